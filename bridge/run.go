package bridge

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/otel-wandb/otel-wandb/bridge/internal/carrier"
)

// Run is a task's hold on the W&B run it is on. Several tasks may be on one
// run, each with a Run of its own.
//
// A nil *Run, and that of a task that has no run (telemetry is off, another
// rank logs for it), can be used like any other: its methods do nothing and
// give zero values. No method waits for the network, and none fails: what
// cannot be logged is said once to the error handler, see [WithErrorHandler].
//
// ConcurrentSafe: what changes is atomic, or behind a lock.
type Run struct {
	place   // zero where the task has no run
	bridge  *Bridge
	task    string // the task's name
	span    trace.Span
	self    trace.SpanContext
	parent  trace.SpanID
	start   time.Time
	stream  stream               // nil where the task has no run
	carrier *carrier.Stream      // likewise, in tests too
	stamp   []attribute.KeyValue // for spans under the task
	ended   atomic.Bool

	cancel   context.CancelCauseFunc // of the task's context
	stopped  chan struct{}           // nil where the task has no run
	stopOnce sync.Once

	mu    sync.Mutex // guards added
	added []string   // tags added while it runs
}

// RunFromContext is the run of the nearest task around ctx, and nil where there
// is none.
func RunFromContext(ctx context.Context) *Run { return stateOf(ctx).run }

// Recording tells whether the run takes what is logged: the task has a run and
// has not ended.
func (r *Run) Recording() bool { return r != nil && r.stream != nil && !r.ended.Load() }

// ID is the run's id in its project; "" for no run.
func (r *Run) ID() string {
	if r == nil {
		return ""
	}
	return r.coords.ID
}

// Name is the run's display name, as it was set when the run opened.
func (r *Run) Name() string {
	if r == nil {
		return ""
	}
	return r.name
}

// Project is the run's project; "" where the collector decides it.
func (r *Run) Project() string {
	if r == nil {
		return ""
	}
	return r.coords.Project
}

// Entity is the user or team that owns the run's project; "" where the
// collector, or W&B, decides it.
func (r *Run) Entity() string {
	if r == nil {
		return ""
	}
	return r.coords.Entity
}

// Group is the run's group; "" for none.
func (r *Run) Group() string {
	if r == nil {
		return ""
	}
	return r.group
}

// URL is the run's page. It is known from the task's start, where entity and
// project are. Where no entity is, W&B is asked once for that of the program's
// key ($WANDB_API_KEY, netrc), beside other work. Until it has answered, and
// without a key, it is W&B's front page, from which the run can be found by its
// id. "" for no run.
func (r *Run) URL() string {
	if r == nil || r.stream == nil {
		return ""
	}
	c := r.coords
	if c.Entity == "" {
		c.Entity = r.bridge.whose.of(c.Host)
	}
	if url := runURL(c); url != "" {
		return url
	}
	return appURL(r.coords.Host)
}

// GroupURL is the page of the run's group, on which ranks and sweeps are seen
// together; "" where there is no group, or entity or project are not known.
func (r *Run) GroupURL() string {
	if r == nil || r.stream == nil {
		return ""
	}
	return groupURL(r.coords, r.group)
}

// Span is the task's span, of the program's own tracer. Never nil.
func (r *Run) Span() trace.Span {
	if r == nil || r.span == nil {
		return trace.SpanFromContext(context.Background())
	}
	return r.span
}

func (r *Run) now() time.Time { return r.bridge.clock() }
