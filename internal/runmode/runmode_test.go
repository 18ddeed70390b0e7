package runmode

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// The table "Run modes" of docs/conventions.md, cell by cell.
func TestDecide(t *testing.T) {
	const none, parents, other = "", "p", "x"
	joins := Decision{Outcome: Joins, Rule: JoinsParent}
	opens := func(r Rule) Decision { return Decision{Outcome: Opens, Rule: r} }
	guest := Decision{Outcome: Guest, Rule: JoinsAskedID}
	refused := func(r Reason) Decision { return Decision{Outcome: Refused, Reason: r} }

	for _, tt := range []struct {
		name  string
		mode  Mode
		id    string
		away  bool
		under Decision // a parent run is known
		alone Decision
	}{
		{"auto, nothing", Auto, none, false, joins, opens(OpensPlain)},
		{"auto, the parent's id", Auto, parents, false, joins, opens(OpensAskedID)},
		{"auto, another id", Auto, other, false, opens(OpensAskedID), opens(OpensAskedID)},
		{"auto, another project", Auto, none, true, opens(OpensAway), opens(OpensPlain)},
		{"auto, the parent's id in another project", Auto, parents, true, opens(OpensAskedID), opens(OpensAskedID)},
		{"auto, another id in another project", Auto, other, true, opens(OpensAskedID), opens(OpensAskedID)},
		{"new, nothing", New, none, false, opens(OpensNew), opens(OpensNew)},
		{"new, the parent's id", New, parents, false, opens(OpensAskedID), opens(OpensAskedID)},
		{"new, another id", New, other, false, opens(OpensAskedID), opens(OpensAskedID)},
		{"new, another project", New, none, true, opens(OpensNew), opens(OpensNew)},
		{"shared, nothing", Shared, none, false, joins, refused(SharedAlone)},
		{"shared, the parent's id", Shared, parents, false, joins, guest},
		{"shared, another id", Shared, other, false, guest, guest},
		{"shared, another project", Shared, none, true, refused(SharedElsewhere), refused(SharedAlone)},
		{"shared, another id in another project", Shared, other, true, guest, guest},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ask := Ask{Mode: tt.mode, ID: tt.id, Away: tt.away, Parent: true, ParentID: parents}
			assert.Equal(t, tt.under, Decide(ask), "under a parent's run")
			ask.Parent, ask.ParentID = false, ""
			assert.Equal(t, tt.alone, Decide(ask), "without a parent run")
		})
	}
}

func TestParse(t *testing.T) {
	for _, m := range []Mode{Auto, New, Shared} {
		got, ok := Parse(m.String())
		assert.True(t, ok)
		assert.Equal(t, m, got)
	}
	for _, name := range []string{"", "hybrid", "Auto", "new "} {
		_, ok := Parse(name)
		assert.False(t, ok, "%q", name)
	}
	assert.Empty(t, Mode(0).String())
}
