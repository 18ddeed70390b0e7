package bridge

import (
	"context"
	"maps"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if as := os.Getenv("BRIDGE_TEST_PREEMPTED"); as != "" {
		preemptedProgram(as)
		return
	}
	goleak.VerifyTestMain(m)
}

// recorder is a pipeline that keeps what it is given.
type recorder struct {
	mu      sync.Mutex
	streams []*recorded
	broken  error // what every call answers
}

type recorded struct {
	to   *recorder
	task streamTask

	starts []map[string]any
	rows   []row
	events []event
	ends   []int64

	preempting, refused int
}

type row struct {
	step       int64
	hasStep    bool
	values     map[string]any
	histograms []string
}

type event struct {
	name  string
	attrs map[string]any
}

func attrsOf(kvs []attribute.KeyValue) map[string]any {
	out := map[string]any{}
	for _, kv := range kvs {
		if _, twice := out[string(kv.Key)]; twice {
			panic("two attributes " + kv.Key)
		}
		out[string(kv.Key)] = kv.Value.AsInterface()
	}
	return out
}

func (r *recorder) open(t streamTask) stream {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := &recorded{to: r, task: t}
	r.streams = append(r.streams, s)
	return s
}

func (r *recorder) Write()                         {}
func (r *recorder) Flush(context.Context) error    { return r.broken }
func (r *recorder) Shutdown(context.Context) error { return r.broken }

func (s *recorded) add(f func()) error {
	s.to.mu.Lock()
	defer s.to.mu.Unlock()
	if s.to.broken == nil {
		f()
	}
	return s.to.broken
}

func (s *recorded) Start(attrs []attribute.KeyValue) error {
	return s.add(func() { s.starts = append(s.starts, attrsOf(attrs)) })
}

func (s *recorded) Preempting() error { return s.add(func() { s.preempting++ }) }
func (s *recorded) Refused()          { _ = s.add(func() { s.refused++ }) }

func (s *recorded) Row(_ time.Time, step int64, hasStep bool, values []attribute.KeyValue, histograms []string) error {
	return s.add(func() { s.rows = append(s.rows, row{step, hasStep, attrsOf(values), slices.Clone(histograms)}) })
}

func (s *recorded) Event(name string, _ time.Time, attrs []attribute.KeyValue) error {
	return s.add(func() { s.events = append(s.events, event{name, attrsOf(attrs)}) })
}

func (s *recorded) End(_ time.Time, code *int64, _ []attribute.KeyValue) error {
	return s.add(func() { s.ends = append(s.ends, *code) })
}

// of is what the tasks of that name sent, in the order of their start.
func (r *recorder) of(task string) (out []*recorded) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.streams {
		if s.task.Name == task {
			out = append(out, s)
		}
	}
	return out
}

// program is a bridge for tests, with a TracerProvider of its own.
type program struct {
	*Bridge
	ctx   context.Context
	sent  *recorder
	spans *tracetest.SpanRecorder
	said  func() []string
}

func newProgram(t *testing.T, opts ...SetupOption) *program { return newProgramIn(t, nil, opts...) }

// newProgramIn is newProgram in an environment.
func newProgramIn(t *testing.T, env map[string]string, opts ...SetupOption) *program {
	t.Helper()
	p := &program{sent: &recorder{}, spans: tracetest.NewSpanRecorder()}
	tp := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(NewSpanProcessor()), sdktrace.WithSpanProcessor(p.spans))
	t.Cleanup(func() { assert.NoError(t, tp.Shutdown(context.Background())) })
	var mu sync.Mutex
	var said []string
	p.said = func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(said)
	}
	opts = append([]SetupOption{
		WithTracerProvider(tp), WithSink(nowhere{}), WithDir(""),
		WithErrorHandler(func(err error) {
			mu.Lock()
			defer mu.Unlock()
			said = append(said, err.Error())
		}),
	}, opts...)
	c, err := newSetup(func(k string) string { return env[k] }, opts)
	require.NoError(t, err)
	p.Bridge, err = c.build()
	require.NoError(t, err)
	if started := p.pipeline; started != nil {
		t.Cleanup(func() { assert.NoError(t, started.Shutdown(context.Background())) })
		p.pipeline = p.sent
	}
	p.ctx = p.Context(t.Context())
	return p
}

type nowhere struct{}

func (nowhere) Export(context.Context, []byte) error { return nil }
func (nowhere) Shutdown(context.Context) error       { return nil }

// span is the ended span of that name.
func (p *program) span(t *testing.T, name string) (attrs map[string]any, span sdktrace.ReadOnlySpan) {
	t.Helper()
	for _, s := range p.spans.Ended() {
		if s.Name() == name {
			return attrsOf(s.Attributes()), s
		}
	}
	require.Fail(t, "no span "+name)
	return nil, nil
}

func only[T any](t *testing.T, s []T) T {
	t.Helper()
	require.Len(t, s, 1)
	return s[0]
}

func keys(m map[string]any) []string { return slices.Sorted(maps.Keys(m)) }

func noTracing() trace.TracerProvider { return noop.NewTracerProvider() }
