package run

import (
	"cmp"
	"math"
	"slices"

	"github.com/otel-wandb/otel-wandb/internal/runid"
)

// owner is a task on the run none of whose ancestors is on it. Usually there
// is one; attempts, ranks and traces that ask for the same id make more.
type owner struct {
	Span     SpanID      `cbor:"1,keyasint"`
	Trace    [16]byte    `cbor:"2,keyasint"`
	SpanName string      `cbor:"3,keyasint,omitempty"`
	Start    int64       `cbor:"4,keyasint"`
	Attempt  *int64      `cbor:"5,keyasint,omitempty"`
	Ranks    runid.Ranks `cbor:"6,keyasint,omitempty"`
	RunName  string      `cbor:"7,keyasint,omitempty"`
	Group    string      `cbor:"8,keyasint,omitempty"`
	JobType  string      `cbor:"9,keyasint,omitempty"`
	Notes    string      `cbor:"10,keyasint,omitempty"`

	Declared  bool    `cbor:"11,keyasint,omitempty"` // it spoke for itself; otherwise known from stamps only
	Carriers  bool    `cbor:"12,keyasint,omitempty"` // its end comes by event
	SpanEnd   *End    `cbor:"13,keyasint,omitempty"`
	EventEnd  *End    `cbor:"14,keyasint,omitempty"`
	EventAt   int64   `cbor:"15,keyasint,omitempty"` // when the end event arrived
	Base      float64 `cbor:"16,keyasint,omitempty"` // seconds that earlier attempts ran
	ErrorAt   Order   `cbor:"17,keyasint"`
	ErrorType string  `cbor:"18,keyasint,omitempty"`
	ErrorText string  `cbor:"19,keyasint,omitempty"`
}

func (o *owner) ended() bool { return o.SpanEnd != nil || o.EventEnd != nil }

// end is when it ended, unix ns.
func (o *owner) end() int64 {
	if o.EventEnd != nil && o.EventEnd.Time != 0 {
		return o.EventEnd.Time
	}
	if o.SpanEnd != nil {
		return o.SpanEnd.Time
	}
	return 0
}

// exitCode is wandb.exit_code of the end event, else process.exit.code, else 1
// where the status is ERROR, else 0.
func (o *owner) exitCode() int32 {
	var code *int64
	failed := false
	for _, e := range []*End{o.EventEnd, o.SpanEnd} {
		if e != nil && code == nil {
			code = e.ExitCode
		}
	}
	for _, e := range []*End{o.EventEnd, o.SpanEnd} {
		if e != nil {
			if code == nil {
				code = e.ProcessCode
			}
			failed = failed || e.Error
		}
	}
	switch {
	case code != nil:
		return clampCode(*code)
	case failed:
		return 1
	default:
		return 0
	}
}

// clampCode keeps a code that the record cannot hold a failure.
func clampCode(code int64) int32 {
	if int64(int32(code)) != code {
		return 1
	}
	return int32(code)
}

// deciding are the owners of the last attempt, of them those that speak for
// their ranks, in the order in which they started: the last one's word counts.
func deciding(owners []*owner) []*owner {
	var able []*owner
	for _, o := range owners {
		if o.Ranks.Decides() {
			able = append(able, o)
		}
	}
	if len(able) == 0 {
		able = slices.Clone(owners) // ranks without their first: better than nothing
	}
	slices.SortFunc(able, func(a, b *owner) int {
		return cmp.Or(cmp.Compare(a.Start, b.Start), slices.Compare(a.Span[:], b.Span[:]))
	})
	highest := int64(math.MinInt64)
	numbered := false
	for _, o := range able {
		highest, numbered = max(highest, attemptOf(o)), numbered || o.Attempt != nil
	}
	if numbered {
		return slices.DeleteFunc(able, func(o *owner) bool { return attemptOf(o) < highest })
	}
	// Without numbers: those that started after all earlier ones had ended.
	from, latest := 0, int64(0)
	for i, o := range able {
		if i > 0 && latest != 0 && o.Start >= latest {
			from = i
		}
		if !o.ended() {
			// It has not ended: nothing that starts later starts after it.
			return able[from:]
		}
		latest = max(latest, o.end())
	}
	return able[from:]
}

func attemptOf(o *owner) int64 {
	if o.Attempt == nil {
		return 0
	}
	return *o.Attempt
}
