package join

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"go.uber.org/goleak"

	"github.com/otel-wandb/otel-wandb/exporter/internal/run"
	"github.com/otel-wandb/otel-wandb/internal/runid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func key(id string) runid.Coordinates { return runid.Coordinates{ID: id} }

func TestFind(t *testing.T) {
	j := New()
	j.Put(key("a"), "", []run.Source{
		{Instance: "i-1", HostName: "box", Service: "trainer"},
		{Instance: "i-2", HostName: "box", Service: "trainer"},
		{Instance: "i-3", HostName: "other", Service: "trainer", PID: "7"},
	})
	j.Put(key("b"), "", []run.Source{{Pod: "p-1", HostName: "box", Service: "evaluator"}})
	j.Put(key("c"), "carol", []run.Source{{HostName: "box", Service: "trainer"}})
	for _, tt := range []struct {
		name    string
		from    run.Source
		program bool
		client  string
		want    []string
		key     string
	}{
		{"the program itself", run.Source{Instance: "i-1", HostName: "box"}, true, "", []string{"a"}, "i-1"},
		{"a machine's, each run once", run.Source{HostName: "box"}, false, "", []string{"a", "b"}, "box"},
		{"a machine's, of who has a run there", run.Source{HostName: "box"}, false, "carol", []string{"a", "b", "c"}, "box"},
		{"the nearest key that is known", run.Source{Pod: "p-1", HostName: "box"}, false, "", []string{"b"}, "p-1"},
		{"a key that no run has is passed over", run.Source{Pod: "p-9", HostName: "box"}, false, "", []string{"a", "b"}, "box"},
		{"another program on the machine", run.Source{HostName: "box", Service: "web"}, true, "", nil, ""},
		{"another instance of the program", run.Source{Instance: "i-9", HostName: "box", Service: "trainer"}, true, "", nil, ""},
		{"the same service, which says no instance", run.Source{HostName: "box", Service: "trainer"}, true, "", []string{"a"}, "box"},
		{"an instance, where the run says none", run.Source{Instance: "i-9", HostName: "box", Service: "evaluator"}, true, "", []string{"b"}, "box"},
		{"the same process", run.Source{HostName: "other", PID: "7"}, true, "", []string{"a"}, "other"},
		{"another process", run.Source{HostName: "other", PID: "8"}, true, "", nil, ""},
		{"nothing to join by", run.Source{Service: "trainer"}, false, "", nil, ""},
		{"nowhere", run.Source{HostName: "none"}, false, "", nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			found, by := j.Find(&tt.from, tt.program, tt.client)
			var ids []string
			for _, key := range found {
				ids = append(ids, key.ID)
			}
			assert.ElementsMatch(t, tt.want, ids)
			if tt.want != nil {
				assert.Equal(t, tt.key, tt.from.Key(by))
			}
		})
	}
}

func TestAnEntryIsReplacedAndRemoved(t *testing.T) {
	j := New()
	at := func(host string) []runid.Coordinates {
		found, _ := j.Find(&run.Source{HostName: host}, false, "")
		return found
	}
	j.Put(key("a"), "", []run.Source{{HostName: "old"}})
	j.Put(key("b"), "", []run.Source{{HostName: "old"}})
	j.Put(key("a"), "", []run.Source{{HostName: "new"}})
	assert.Equal(t, []runid.Coordinates{key("b")}, at("old"))
	assert.Equal(t, []runid.Coordinates{key("a")}, at("new"))
	j.Remove(key("a"))
	j.Remove(key("a"))
	j.Put(key("b"), "", nil)
	assert.Empty(t, at("old"))
	assert.Empty(t, at("new"))
	assert.Empty(t, j.by, "nothing is left of what was")
	assert.Empty(t, j.runs)
}
