package bridge

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/otel-wandb/otel-wandb/internal/runid"
	"github.com/otel-wandb/otel-wandb/internal/wandb"
)

// scopeName is the instrumentation scope of tasks' spans.
const scopeName = "github.com/otel-wandb/otel-wandb/bridge"

// Bridge is a program's way to W&B: what runs are sent through, and what holds
// for all of them. [Setup] makes the one that tasks use by themselves, [New] one
// that they use under its [Bridge.Context]. A nil *Bridge has no way to W&B:
// tasks are spans of the program's tracer, and nothing more.
//
// ConcurrentSafe: what changes after New is atomic, or behind a lock.
type Bridge struct {
	pipeline pipeline // nil: disabled
	scope    *scope   // holds for all runs
	ranks    Distributed
	resource []attribute.KeyValue
	provider trace.TracerProvider // nil: otel's global one
	trust    bool
	environ  map[string]string // propagated by environment; nil: nothing was
	handler  func(error)
	time     func() time.Time              // nil: time.Now
	patience time.Duration                 // 0: defaultPatience
	flush    []func(context.Context) error // of what Setup made beside the pipeline
	close    []func(context.Context) error

	client func(host string) (*wandb.Client, error) // nil client: there is no key
	stops  bool                                     // the sink tells of runs that were stopped
	whose  whose
	// keyHere: the program itself was given a key. One in netrc is for all
	// programs, and asked for its entity only when somebody wants a page.
	keyHere bool

	mu         sync.Mutex // guards everything below
	said       map[string]struct{}
	open       map[*Run]struct{} // tasks under way
	asker      *asker            // nil: nobody wants to know
	endSignals func()            // nil: SIGTERM is not watched
	down       bool
}

// pipeline is the export path of the runs' own data.
type pipeline interface {
	open(streamTask) stream
	Write()
	Flush(context.Context) error
	Shutdown(context.Context) error
}

// stream is one task's part of it. It keeps nothing it is given.
type stream interface {
	Start(attrs []attribute.KeyValue) error
	Row(t time.Time, step int64, hasStep bool, row []attribute.KeyValue, histograms []string) error
	Event(name string, t time.Time, attrs []attribute.KeyValue) error
	Preempting() error
	Refused()
	End(t time.Time, exitCode *int64, attrs []attribute.KeyValue) error
}

// streamTask is whom a stream speaks for. A zero Owner is not known: what is
// sent then asks for the run and is not stamped.
type streamTask struct {
	Trace        [16]byte
	Span, Parent [8]byte
	Name         string
	Run          runid.Coordinates
	Owner        [8]byte
	OwnerStart   time.Time
}

var current atomic.Pointer[Bridge]

// use is the bridge of a context: its own, else the program's.
func (st *state) use() *Bridge {
	if st.bridge != nil {
		return st.bridge
	}
	return current.Load()
}

// Context returns a context under which tasks use b, instead of what [Setup]
// made: for tests, and for programs that write to several places.
func (b *Bridge) Context(ctx context.Context) context.Context {
	st := stateOf(ctx)
	st.bridge = b
	return withState(ctx, st)
}

func (b *Bridge) enabled() bool { return b != nil && b.pipeline != nil }

func (b *Bridge) tracer() trace.Tracer {
	if b == nil || b.provider == nil {
		return otel.Tracer(scopeName)
	}
	return b.provider.Tracer(scopeName)
}

var missingOnce sync.Once

// missing says once that tasks go nowhere, unless that is wanted.
func (b *Bridge) missing(task string) {
	if b == nil {
		missingOnce.Do(func() {
			otel.Handle(fmt.Errorf("wandb bridge: task %q started and the bridge is not set up, so its run goes nowhere: call bridge.Setup when the program starts, or set WANDB_MODE=disabled there", task))
		})
	}
}

// maxSaid bounds how many different things are said of one bridge.
const maxSaid = 100

// report says each thing once.
func (b *Bridge) report(err error) {
	text := err.Error()
	if b == nil {
		otel.Handle(err)
		return
	}
	b.mu.Lock()
	_, known := b.said[text]
	if b.said == nil {
		b.said = map[string]struct{}{}
	}
	n := len(b.said)
	if !known && n <= maxSaid {
		b.said[text] = struct{}{}
	}
	b.mu.Unlock()
	switch {
	case known || n > maxSaid:
		return
	case n == maxSaid:
		err = errors.New("wandb bridge: a hundred different things went wrong by now: the rest is not said")
	}
	if b.handler == nil {
		otel.Handle(err)
		return
	}
	b.handler(err)
}

// defaultPatience is how long a program waits for its collector when it ends.
const defaultPatience = 10 * time.Second

// bounded is ctx with a deadline: a collector that is gone must not keep a
// program from ending.
func (b *Bridge) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, has := ctx.Deadline(); has {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, cmp.Or(b.patience, defaultPatience))
}

// ForceFlush waits until all that was logged so far has been delivered, or ctx
// ends; 10 s where it has no deadline. Its error says how much has not.
func (b *Bridge) ForceFlush(ctx context.Context) error {
	if !b.enabled() {
		return nil
	}
	ctx, cancel := b.bounded(ctx)
	defer cancel()
	errs := []error{b.pipeline.Flush(ctx)}
	for _, f := range b.flush {
		errs = append(errs, f(ctx))
	}
	return errors.Join(errs...)
}

// Shutdown delivers what is left and closes the bridge; what is not delivered
// when ctx ends (after 10 s where it has no deadline) stays in the program's
// file for its next start. Call it when the
// program's tasks have ended. Tasks that go on, or start later, work as before,
// and log nothing.
func (b *Bridge) Shutdown(ctx context.Context) error {
	if b == nil {
		return nil
	}
	current.CompareAndSwap(b, nil)
	b.mu.Lock()
	b.down = true
	endSignals, asker := b.endSignals, b.asker
	b.endSignals, b.asker = nil, nil
	b.mu.Unlock()
	if endSignals != nil {
		endSignals()
	}
	if asker != nil {
		asker.cancel()
		<-asker.ended
	}
	b.whose.shutdown()
	ctx, cancel := b.bounded(ctx)
	defer cancel()
	if b.pipeline != nil && len(b.close) > 0 {
		// Runs first, while there is time; what is left of them Shutdown says.
		_ = b.pipeline.Flush(ctx)
	}
	var errs []error
	for _, f := range b.close {
		errs = append(errs, f(ctx))
	}
	if b.pipeline != nil {
		errs = append(errs, b.pipeline.Shutdown(ctx))
	}
	return errors.Join(errs...)
}
