package inprocess

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/otel-wandb/otel-wandb/exporter/internal/engine"
)

// Exporter writes spans, log records and metrics as runs. Make it with [New].
// ConcurrentSafe: requests go to the engine, which is; a lock guards the rest.
type Exporter struct {
	sink     sink
	park     *park
	stops    *stops
	idle     func() // closes connections to W&B
	where    string // for messages: the folder of runs
	patience time.Duration
	handle   func(error)
	broken   atomic.Pointer[error] // after a panic: the engine's locks may be held

	mu     sync.Mutex // guards closed, and under against it
	closed bool
	under  sync.WaitGroup // exports under way
	ended  chan struct{}  // closed when Shutdown has done its work
}

// sink is what the Exporter needs of the engine.
type sink interface {
	Traces(context.Context, ptrace.Traces) error
	Logs(context.Context, plog.Logs) error
	Metrics(context.Context, pmetric.Metrics) error
	Settle()
	Shutdown(context.Context) error
	Counters() *engine.Counters
}

func openEngine(cfg engine.Config) (sink, error) {
	e := engine.New(cfg)
	if err := e.Start(); err != nil {
		return nil, err
	}
	return e, nil
}

// New opens the directory and takes up what an earlier program left unfinished
// there. Without options it does what W&B's own variables say: WANDB_DIR,
// WANDB_PROJECT, WANDB_ENTITY, WANDB_BASE_URL, WANDB_API_KEY and WANDB_MODE. Its
// error names what to mend, the Exporter is nil then, and the program can go on
// without. ctx is looked at once, before anything is opened.
func New(ctx context.Context, opts ...Option) (*Exporter, error) {
	s, err := newSettings(opts)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("wandb in process: not started: %w", err)
	}
	dir, err := filepath.Abs(s.dir)
	if err != nil {
		return nil, fmt.Errorf("wandb in process: directory %q: %w", s.dir, err)
	}
	cfg, stops := s.engineConfig(), &stops{}
	if cfg.Online, err = s.online(stops); err != nil {
		return nil, err
	}
	sink, err := s.open(cfg)
	if err != nil {
		if cfg.Online != nil {
			cfg.Online.Shutdown(ctx)
		}
		return nil, fmt.Errorf("wandb in process: %w", err)
	}
	e := &Exporter{
		stops: stops, idle: s.closeIdle,
		sink: sink, where: filepath.Join(dir, "wandb"), patience: s.patience, handle: s.handle,
		ended: make(chan struct{}),
	}
	e.park = newPark(s.parkBytes, e.where, e.write, s.handle)
	return e, nil
}

// Spans is the exporter's face for a TracerProvider.
func (e *Exporter) Spans() sdktrace.SpanExporter { return newSpans(e) }

// Logs is the exporter's face for a LoggerProvider.
func (e *Exporter) Logs() sdklog.Exporter { return &logs{exporter: e} }

// Metrics is the exporter's face for a MeterProvider's reader:
//
//	sdkmetric.NewPeriodicReader(exporter.Metrics(), sdkmetric.WithInterval(10*time.Second))
//
// Metrics of the program's resource join the program's open runs.
func (e *Exporter) Metrics() sdkmetric.Exporter { return &metrics{exporter: e} }

var errShutdown = errors.New("wandb in process: shut down: shut the Exporter down after the providers that use it")

// enter counts an export as under way, until under.Done. It is false after
// Shutdown has begun.
func (e *Exporter) enter() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.closed {
		e.under.Add(1)
	}
	return !e.closed
}

// take writes a request, or parks it. An error means that it is lost.
func (e *Exporter) take(r *request) error {
	if !e.enter() {
		return errShutdown
	}
	defer e.under.Done()

	err := e.write(r)
	if err == nil {
		return nil
	}
	if broken := e.broken.Load(); broken != nil {
		return *broken
	}
	return e.park.add(r, err)
}

// write hands a request to the engine. It returns when that is on disk.
func (e *Exporter) write(r *request) (err error) {
	if broken := e.broken.Load(); broken != nil {
		return *broken
	}
	defer e.guard(&err)
	// The SDK's deadline is for exporters on a network. This is no slower than
	// the disk, and what would be given up here would be lost.
	return r.write(context.Background(), e.sink)
}

// guard makes a panic an error: a bug of ours must not end the program. What
// the engine holds then is not certain, so nothing is written any more.
func (e *Exporter) guard(err *error) {
	p := recover()
	if p == nil {
		return
	}
	bug := fmt.Errorf("wandb in process: a bug in the exporter: nothing more is written to %s by this program; please report it: %v\n%s", e.where, p, debug.Stack())
	if e.broken.CompareAndSwap(nil, &bug) {
		e.handle(bug)
	}
	*err = bug
}

// ForceFlush waits until all that is parked now is written. Its error says how
// much is not, where, and why.
func (e *Exporter) ForceFlush(ctx context.Context) error {
	e.mu.Lock()
	closed := e.closed
	e.mu.Unlock()
	if closed {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, e.patience)
	defer cancel()
	return e.park.drain(ctx)
}

// endGrace is what Shutdown may take beyond its context, to end the runs that
// it can: on a disk that works that takes milliseconds.
const endGrace = time.Second

// Shutdown writes what is parked, ends the runs whose tasks have ended, and
// closes the files. Call it after the providers' own Shutdown. When ctx ends
// first, or [WithPatience] is over, it gives up what is parked, and its error says
// how much that was. Runs whose tasks have not ended stay open, and the next
// program to write here ends them as crashed.
func (e *Exporter) Shutdown(ctx context.Context) error {
	e.mu.Lock()
	first := !e.closed
	e.closed = true
	e.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, e.patience)
	defer cancel()
	var err error
	if first {
		go func() {
			defer close(e.ended)
			err = e.end(ctx)
		}()
	}
	select {
	case <-e.ended:
		return err
	case <-ctx.Done():
	}
	grace := time.NewTimer(endGrace)
	defer grace.Stop()
	select {
	case <-e.ended:
		return err
	case <-grace.C:
		return fmt.Errorf("wandb in process: the disk under %s does not answer; %w", e.where, e.park.left(ctx.Err()))
	}
}

func (e *Exporter) end(ctx context.Context) (err error) {
	e.under.Wait()
	err = e.park.drain(ctx)
	e.park.stop()
	if e.broken.Load() != nil {
		return err
	}
	// Whatever waits for an ancestor has waited long enough: the program sends no more.
	e.sink.Settle()
	if sinkErr := e.sink.Shutdown(ctx); sinkErr != nil {
		err = errors.Join(err, fmt.Errorf("wandb in process: %w", sinkErr))
	}
	e.idle()
	return err
}

// Stats is what an [Exporter] has not written, since it was made.
type Stats struct {
	// Parked waits in memory, to be tried again.
	Parked      Count
	ParkedBytes int64
	// Refused is lost: the park was full.
	Refused Count
	// Dropped was kept out of every run, by reason; the names are those of the
	// Collector component's metric otelcol_exporter_wandb_dropped_items.
	Dropped map[string]int64
}

// Count is a number of spans, of log records and of metrics' data points.
type Count struct{ Spans, LogRecords, DataPoints int }

// Stats tells what was not written.
func (e *Exporter) Stats() Stats {
	s := e.park.stats()
	s.Dropped = e.sink.Counters().Dropped()
	return s
}
