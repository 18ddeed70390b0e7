package run

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The end event's last number counts a writer's events of all kinds: with its
// start event and heartbeats in, the run is complete, also after a restart.
func TestEveryNumberedEventCountsForTheEnd(t *testing.T) {
	now := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC).UnixNano()
	owner := SpanID{1}
	ctx := &Context{Role: RoleOwner, OwnerSpan: owner, OwnerStart: now}
	numbered := func(kind Kind, seq uint64) Item {
		return Item{Kind: kind, ID: ID{Writer: "w", Seq: seq}, Order: Order{Time: now, Src: "w", N: seq}, Span: owner, Carrier: true}
	}
	begin, row, beat, end := numbered(KindTask, 1), numbered(KindRow, 2), numbered(KindHeartbeat, 3), numbered(KindEnd, 4)
	begin.Task = &Task{Start: now}
	row.Row = &Row{Values: []Value{intValue("loss", 1)}}
	end.End = &End{Event: true, Time: now, Writer: "w", LastSeq: 4}

	for _, missing := range []Kind{0, KindTask, KindRow, KindHeartbeat} {
		s, l := NewState(testKey, testConfig), &testLog{t: t}
		for _, it := range []Item{begin, row, beat, end} {
			if it.Kind != missing {
				s.Apply(now, []Delivery{{Context: ctx, Items: []Item{it}}})
				l.flush(s, now)
			}
		}
		for name, s := range map[string]*State{"live": s, "replayed": l.replayed()} {
			require.True(t, s.Open())
			s.Resumed(now)
			_, due := s.Due(now+int64(testConfig.Linger), 0)
			assert.Equal(t, missing == 0, due, "%s, without kind %d: all is in, so the run ends", name, missing)
		}
	}
}
