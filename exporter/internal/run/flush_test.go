package run

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-wandb/otel-wandb/exporter/internal/dotwandb"
)

// Who logs once a second, even a little early, has the summary with each row: a
// summary that comes behind it is a request to W&B of its own. Who logs more often
// has it once a second, the last of it by the tick.
func TestTheSummaryGoesWithItsRow(t *testing.T) {
	for _, tt := range []struct {
		name            string
		every           time.Duration
		rows, summaries int
		left            bool // a tick has something to write, in the end
	}{
		{"once a second", time.Second, 30, 30, false},
		{"a little early", 950 * time.Millisecond, 30, 30, false},
		{"ten times a second", 100 * time.Millisecond, 91, 11, false},
		{"and one more", 100 * time.Millisecond, 92, 11, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, l := NewState(testKey, testConfig), &testLog{t: t}
			now := int64(1_700_000_000) * int64(time.Second)
			ctx := &Context{Role: RoleOwner, OwnerSpan: SpanID{1}, OwnerStart: now}
			for i := range tt.rows {
				s.Apply(now, []Delivery{{Context: ctx, Items: []Item{{
					Kind: KindRow, ID: ID{Hash: uint64(i + 1)}, Order: Order{Time: now}, Span: ctx.OwnerSpan,
					Row: &Row{Values: []Value{intValue("x", int64(i))}},
				}}}})
				l.flush(s, now)
				now += int64(tt.every)
			}
			rows, summaries := 0, 0
			for _, b := range l.parts[0] {
				rec, err := dotwandb.Decode(b)
				require.NoError(t, err)
				if rec.History != nil {
					rows++
				}
				if rec.Summary != nil {
					summaries++
				}
			}
			assert.Equal(t, tt.rows, rows)
			assert.Equal(t, tt.summaries, summaries)

			s.TickSummary(now + int64(time.Second))
			assert.Equal(t, !tt.left, s.empty())
		})
	}
}
