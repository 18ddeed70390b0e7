package bridge

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/otel-wandb/otel-wandb/internal/runid"
)

// state is what a context says of runs. It is a value; contexts hold one that
// nobody changes.
type state struct {
	bridge  *Bridge // nil: the one that Setup made
	run     *Run    // the nearest task's above, in this process
	remote  *place  // likewise in another process; nil where a task of this one is above
	local   bool    // a task of this process is above, with or without a run
	skipped bool    // and it was skipped, as its rank logs nothing
	scope   *scope
}

type stateKey struct{}

func stateOf(ctx context.Context) state {
	if st, ok := ctx.Value(stateKey{}).(*state); ok {
		return *st
	}
	return state{}
}

func withState(ctx context.Context, st state) context.Context {
	return context.WithValue(ctx, stateKey{}, &st)
}

// parent is the run that a task here would join: nil for none.
func (st *state) parent() *place {
	if st.run != nil {
		return &st.run.place
	}
	return st.remote
}

// place is a run as those see it that are on it, or may join it.
type place struct {
	coords runid.Coordinates
	name   string
	group  string
	// owner is the span that opened the run; zero where it is not known, as on
	// a run that was joined by its id.
	owner      trace.SpanID
	ownerStart time.Time
	config     map[string]attribute.Value // what its tasks have said so far, from the outermost in
	tags       []string
	up         *place // the run that its task would have joined
}

// above finds the run of these coordinates among p and those around it.
func (p *place) above(c runid.Coordinates) *place {
	for ; p != nil; p = p.up {
		if p.coords == c {
			return p
		}
	}
	return nil
}
