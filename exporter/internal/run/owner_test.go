package run

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/otel-wandb/otel-wandb/internal/runid"
)

func ended(o *owner, at int64) *owner {
	o.SpanEnd = &End{Time: at}
	return o
}

func attempt(o *owner, n int64) *owner {
	o.Attempt = &n
	return o
}

func ranked(o *owner, rank int) *owner {
	o.Ranks = runid.Ranks{Rank: rank, WorldSize: 4, LocalWorldSize: 4}
	return o
}

func TestDecidingOwners(t *testing.T) {
	mk := func(id byte, start int64) *owner { return &owner{Span: SpanID{id}, Start: start} }
	for _, tt := range []struct {
		name   string
		owners []*owner
		want   []byte // spans, in the order of their starts
	}{
		{"nobody", nil, nil},
		{"one", []*owner{mk(1, 10)}, []byte{1}},
		{"two at once", []*owner{mk(2, 11), mk(1, 10)}, []byte{1, 2}},
		{"a second after the first had ended", []*owner{ended(mk(1, 10), 20), mk(2, 30)}, []byte{2}},
		{"a second that began before", []*owner{ended(mk(1, 10), 20), mk(2, 15)}, []byte{1, 2}},
		{"the third after both", []*owner{ended(mk(1, 10), 20), ended(mk(2, 15), 40), mk(3, 41)}, []byte{3}},
		{"the first is still open", []*owner{mk(1, 10), ended(mk(2, 20), 30), mk(3, 40)}, []byte{1, 2, 3}},
		{"numbers win over times", []*owner{attempt(mk(1, 90), 2), attempt(mk(2, 100), 1)}, []byte{1}},
		{"without a number is before the first", []*owner{mk(1, 100), attempt(mk(2, 10), 1)}, []byte{2}},
		{"rank 0 decides", []*owner{ranked(mk(1, 10), 1), ranked(mk(2, 11), 0), ranked(mk(3, 12), 2)}, []byte{2}},
		{"ranks without their first", []*owner{ranked(mk(1, 10), 1), ranked(mk(3, 12), 2)}, []byte{1, 3}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []byte
			for _, o := range deciding(tt.owners) {
				got = append(got, o.Span[0])
			}
			assert.Equal(t, tt.want, got)
		})
	}
}

func TestExitCode(t *testing.T) {
	code := func(n int64) *int64 { return &n }
	for _, tt := range []struct {
		name        string
		span, event *End
		want        int32
	}{
		{"ended well", &End{}, nil, 0},
		{"status ERROR", &End{Error: true}, nil, 1},
		{"process.exit.code beats the status", &End{Error: true, ProcessCode: code(3)}, nil, 3},
		{"wandb.exit_code beats both", &End{Error: true, ProcessCode: code(3)}, &End{Event: true, ExitCode: code(7)}, 7},
		{"an end event that says 0", &End{Error: true}, &End{Event: true, ExitCode: code(0)}, 0},
		{"an end event that says nothing", &End{Error: true}, &End{Event: true}, 1},
		{"a code no record can hold", &End{ProcessCode: code(1 << 40)}, nil, 1},
		{"negative, as signals are", &End{ProcessCode: code(-9)}, nil, -9},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := &owner{SpanEnd: tt.span, EventEnd: tt.event}
			assert.Equal(t, tt.want, o.exitCode())
		})
	}
}
