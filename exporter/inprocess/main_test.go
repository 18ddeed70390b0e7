package inprocess

import (
	"context"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/otel/attribute"
	otellog "go.opentelemetry.io/otel/log"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/goleak"

	"github.com/otel-wandb/otel-wandb/exporter/internal/engine"
	"github.com/otel-wandb/otel-wandb/exporter/internal/runview"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(secondProgram); dir != "" {
		os.Exit(runSecondProgram(dir))
	}
	goleak.VerifyTestMain(m)
}

// patience bounds waits for what does happen, on any machine.
const patience = time.Minute

// failing is a sink that fails while it is told to.
type failing struct {
	sink
	mu  sync.Mutex
	err error
}

func (f *failing) set(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

func (f *failing) get() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

func (f *failing) Traces(ctx context.Context, td ptrace.Traces) error {
	if err := f.get(); err != nil {
		return err
	}
	return f.sink.Traces(ctx, td)
}

func (f *failing) Logs(ctx context.Context, ld plog.Logs) error {
	if err := f.get(); err != nil {
		return err
	}
	return f.sink.Logs(ctx, ld)
}

func (f *failing) Metrics(ctx context.Context, md pmetric.Metrics) error {
	if err := f.get(); err != nil {
		return err
	}
	return f.sink.Metrics(ctx, md)
}

// through puts a sink in front of the real engine.
func through(front func(sink) sink) Option {
	return func(s *settings) {
		s.open = func(cfg engine.Config) (sink, error) {
			inner, err := openEngine(cfg)
			return front(inner), err
		}
	}
}

// heard keeps what an Exporter says.
type heard struct {
	mu   sync.Mutex
	errs []error
}

func (h *heard) Handle(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.errs = append(h.errs, err)
}

func (h *heard) all() []error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]error(nil), h.errs...)
}

// program is a program with both SDKs, which export at once and not in batches.
type program struct {
	exporter *Exporter
	traces   *sdktrace.TracerProvider
	logs     *sdklog.LoggerProvider
	said     *heard
}

func newProgram(t *testing.T, dir string, opts ...Option) *program {
	t.Helper()
	said := &heard{}
	e, err := New(t.Context(), append([]Option{WithDir(dir), WithErrorHandler(said.Handle)}, opts...)...)
	require.NoError(t, err)
	return &program{
		exporter: e, said: said,
		traces: sdktrace.NewTracerProvider(sdktrace.WithSyncer(e.Spans())),
		logs:   sdklog.NewLoggerProvider(sdklog.WithProcessor(sdklog.NewSimpleProcessor(e.Logs()))),
	}
}

// task is a span that is a run, with rows as span events and one as a log record.
func (p *program) task(name string, rows int, attrs ...attribute.KeyValue) {
	ctx, span := p.traces.Tracer("test").Start(context.Background(), name,
		trace.WithAttributes(append(attrs, attribute.String("wandb.run.mode", "auto"))...))
	for i := range rows {
		span.AddEvent("wandb.log", trace.WithAttributes(attribute.Int("event", i)))
	}
	span.End()
	p.log(ctx)
}

func (p *program) log(ctx context.Context) {
	var r otellog.Record
	r.SetEventName("wandb.log")
	r.SetTimestamp(time.Now())
	r.SetBody(attribute.MapValue(attribute.Float64("record", 0.5)))
	p.logs.Logger("test").Emit(ctx, r)
}

func (p *program) shutdown(ctx context.Context, t *testing.T) {
	t.Helper()
	require.NoError(t, p.traces.Shutdown(ctx))
	require.NoError(t, p.logs.Shutdown(ctx))
	require.NoError(t, p.exporter.Shutdown(ctx))
}

// readRuns reads all runs under dir, by id.
func readRuns(t *testing.T, dir string) map[string]*runview.Run {
	t.Helper()
	parts, err := runview.List(dir)
	require.NoError(t, err)
	runs := map[string]*runview.Run{}
	for key, group := range runview.Group(parts) {
		run, err := runview.Read(group, runview.Options{})
		require.NoError(t, err)
		runs[key.ID] = run
	}
	return runs
}

// theRun is the one run under dir.
func theRun(t *testing.T, dir string) *runview.Run {
	t.Helper()
	runs := readRuns(t, dir)
	require.Len(t, runs, 1)
	for _, run := range runs {
		return run
	}
	return nil
}
