package run

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-wandb/otel-wandb/exporter/internal/dotwandb"
)

// What has no time is at its owner's start: 1970 would be where every chart
// begins, and another hour at another try would be another row.
func TestRowsWithoutATimeAreAtTheirOwnersStart(t *testing.T) {
	const start, now = 1_000e9, 9_000e9
	owner := SpanID{1}
	for _, tt := range []struct {
		name   string
		ctx    Context
		before []Item // in the run already
		want   string
	}{
		{"the owner's start", Context{OwnerSpan: owner, OwnerStart: start}, nil, "1000"},
		{"that its task has said", Context{OwnerSpan: owner}, []Item{{Kind: KindTask, Span: owner, Task: &Task{Start: start}}}, "1000"},
		{"a guest's: the run's start", Context{Role: RoleGuest}, []Item{{Kind: KindRow, ID: ID{Hash: 1}, Order: Order{Time: start}, Row: &Row{Values: []Value{intValue("x", 1)}}}}, "1000"},
		{"nothing is known", Context{Role: RoleGuest}, nil, "9001"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := NewState(testKey, testConfig)
			task := tt.ctx
			if task.Role == RoleNone {
				task.Role = RoleOwner
			}
			s.Apply(now, []Delivery{{Context: &task, Items: tt.before}})
			row := Item{Kind: KindRow, ID: ID{Hash: 7}, Row: &Row{Values: []Value{intValue("loss", 1)}}}
			for range 2 {
				s.Apply(now+1e9, []Delivery{{Context: &tt.ctx, Items: []Item{row}}})
			}
			var times []string
			w, ok := s.Flush(now + 1e9)
			require.True(t, ok)
			for _, b := range w.Records {
				rec, err := dotwandb.Decode(b)
				require.NoError(t, err)
				if rec.History == nil || rec.History.Items[0].Key != "loss" {
					continue
				}
				for _, it := range rec.History.Items {
					if it.Key == "_timestamp" {
						times = append(times, it.JSON)
					}
				}
			}
			assert.Equal(t, []string{tt.want}, times, "once, however often it comes")
		})
	}
}
