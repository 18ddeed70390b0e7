package bridge

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
)

// collector is a sink that reads what a collector would.
type collector struct {
	mu       sync.Mutex
	spans    []ptrace.Span
	resource pcommon.Map
	closed   bool
}

func (c *collector) Export(_ context.Context, request []byte) error {
	r := ptraceotlp.NewExportRequest()
	if err := r.UnmarshalProto(request); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, rs := range r.Traces().ResourceSpans().All() {
		c.resource = rs.Resource().Attributes()
		for _, ss := range rs.ScopeSpans().All() {
			for _, s := range ss.Spans().All() {
				c.spans = append(c.spans, s)
			}
		}
	}
	return nil
}

func (c *collector) Shutdown(context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	return nil
}

// events are the names of all carriers' events, in their order.
func (c *collector) events() (names []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.spans {
		if v, ok := s.Attributes().Get("wandb.carrier"); ok && v.Bool() {
			for _, e := range s.Events().All() {
				names = append(names, e.Name())
			}
		}
	}
	return names
}

// The whole way, with the carriers' own pipeline, and a provider of Setup's.
func TestSetup(t *testing.T) {
	global, propagator := otel.GetTracerProvider(), otel.GetTextMapPropagator()
	defer otel.SetTracerProvider(global)
	defer otel.SetTextMapPropagator(propagator)
	require.True(t, noProvider(global), "%T: otel's own provider has another name now", global)
	t.Setenv("WANDB_PROJECT", "p")
	t.Setenv("WANDB_ENTITY", "e")
	t.Setenv("WANDB_DIR", t.TempDir())
	to := &collector{}
	var said []error
	b, err := Setup(t.Context(), WithSink(to), WithErrorHandler(func(err error) { said = append(said, err) }))
	require.NoError(t, err)
	assert.False(t, noProvider(otel.GetTracerProvider()), "the program had none, and has one now")

	ctx, run, err := StartTask(t.Context(), "task")
	require.NoError(t, err)
	run.Log(map[string]any{"loss": 0.5})
	require.NoError(t, b.ForceFlush(ctx))
	assert.Equal(t, []string{"wandb.run.start", "wandb.log"}, to.events(), "live, while the task goes on")
	_, span := otel.Tracer("third party").Start(ctx, "client")
	span.End()
	run.End(nil)
	require.NoError(t, b.Shutdown(t.Context()))
	assert.Equal(t, []string{"wandb.run.start", "wandb.log", "wandb.run.end"}, to.events())
	assert.True(t, to.closed)
	assert.Empty(t, said)
	names := map[string]string{}
	for _, s := range to.spans {
		if id, ok := s.Attributes().Get("wandb.run.id"); ok {
			names[s.Name()] = id.Str()
		}
	}
	assert.Equal(t, run.ID(), names["task"])
	assert.Equal(t, run.ID(), names["client"], "stamped")
	assert.Equal(t, "https://wandb.ai/e/p/runs/"+url.PathEscape(run.ID()), run.URL())

	ctx, late, err := StartTask(b.Context(t.Context()), "late")
	require.NoError(t, err, "a bridge that is shut down fails nobody")
	assert.NotNil(t, RunFromContext(ctx))
	for range 3 {
		late.Log(map[string]any{"loss": 1})
	}
	late.End(nil)
	require.ErrorContains(t, only(t, said), "shut down")
	require.NoError(t, b.Shutdown(t.Context()), "twice is once")
}

// A provider that is there is used, and not changed.
func TestSetup_BesideAProvider(t *testing.T) {
	p := newProgram(t)
	before := otel.GetTracerProvider()
	b, err := Setup(t.Context(), WithSink(nowhere{}), WithDir(""), WithTracerProvider(p.provider))
	require.NoError(t, err)
	assert.Equal(t, before, otel.GetTracerProvider())
	_, run, err := StartTask(t.Context(), "task")
	require.NoError(t, err)
	run.End(nil)
	require.NoError(t, b.Shutdown(t.Context()))
	p.span(t, "task")
	_, run, err = StartTask(t.Context(), "after")
	require.NoError(t, err)
	assert.False(t, run.Recording(), "no bridge is left")
	run.End(nil)
}

func TestSetup_Environment(t *testing.T) {
	p := newProgramIn(t, map[string]string{
		"WANDB_PROJECT": "p", "WANDB_ENTITY": "e", "WANDB_BASE_URL": "https://api.wandb.ai", "WANDB_RUN_GROUP": "g", "WANDB_TAGS": "b, a,,",
		"WANDB_RUN_ID": "r", "WANDB_NAME": "n", "WANDB_JOB_TYPE": "j", "WANDB_NOTES": "o",
		"OTEL_SERVICE_NAME": "svc", "OTEL_RESOURCE_ATTRIBUTES": "a=b%20c,service.name=other",
	})
	ctx, run, err := StartTask(p.ctx, "task")
	require.NoError(t, err)
	_, own, err := StartTask(ctx, "own", WithMode(ModeNew))
	require.NoError(t, err)
	assert.NotEqual(t, "r", own.ID(), "the program's id is its outermost task's")
	own.End(nil)
	run.End(nil)
	got := only(t, p.sent.of("task")).starts[0]
	for k, v := range map[string]any{
		"wandb.project": "p", "wandb.entity": "e", "wandb.run.id": "r", "wandb.run.name": "n", "wandb.run.group": "g",
		"wandb.run.job_type": "j", "wandb.run.notes": "o", "wandb.run.tags": []string{"a", "b"},
	} {
		assert.Equal(t, v, got[k], k)
	}
	assert.NotContains(t, got, "wandb.host", "the default host is the collector's to know")
	resource := attrsOf(p.resource)
	assert.Equal(t, "svc", resource["service.name"])
	assert.Equal(t, "b c", resource["a"])
	assert.NotEmpty(t, resource["host.name"])
	assert.Equal(t, filepath.Base(os.Args[0]), resource["process.command"])
}

func TestSetup_Disabled(t *testing.T) {
	for _, env := range []map[string]string{{"WANDB_MODE": "disabled", "WANDB_PROJECT": "a/b"}, {"OTEL_SDK_DISABLED": "true"}} {
		p := newProgramIn(t, env)
		assert.Nil(t, p.pipeline)
		task := Task("task", func(ctx context.Context, _ int) (int, error) {
			assert.Nil(t, RunFromContext(ctx))
			return 7, errBoom
		}, WithMode(ModeShared), WithConfigValues(map[string]any{"f": func() {}}))
		out, err := task(p.ctx, 0)
		require.ErrorIs(t, err, errBoom)
		assert.Equal(t, 7, out)
		attrs, span := p.span(t, "task")
		assert.Equal(t, map[string]any{"error.type": "*errors.errorString"}, attrs)
		assert.Equal(t, "exception", only(t, span.Events()).Name, "the span says what an ordinary one would")
		require.NoError(t, p.ForceFlush(t.Context()))
		require.NoError(t, p.Shutdown(t.Context()))
		assert.Empty(t, p.said())
	}
}

func TestSetup_Refuses(t *testing.T) {
	for _, tt := range []struct {
		name string
		env  map[string]string
		opts []SetupOption
		says string
	}{
		{"project", map[string]string{"WANDB_PROJECT": "a/b"}, nil, "WANDB_PROJECT"},
		{"entity", nil, []SetupOption{WithEntity("a/b")}, "WithEntity"},
		{"host", map[string]string{"WANDB_BASE_URL": "wandb.ai"}, nil, "WANDB_BASE_URL"},
		{"mode", nil, []SetupOption{WithMode("x")}, "ModeAuto"},
		{"value", nil, []SetupOption{WithConfigValues(map[string]any{"f": func() {}})}, "config.f"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := newSetup(func(k string) string { return tt.env[k] }, tt.opts)
			require.ErrorContains(t, err, tt.says)
		})
	}
	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "carrier pigeon")
	b, err := Setup(t.Context())
	require.ErrorContains(t, err, "carrier pigeon")
	assert.Nil(t, b)
}

// Nobody listens where the collector should be, and the folder is a file: the
// task is what it is without the bridge.
func TestSetup_NoCollectorNoFolder(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	said := make(chan error, 10)
	b, err := New(WithEndpoint("http://"+l.Addr().String()), WithDir(file), WithTracerProvider(noTracing()), WithErrorHandler(func(err error) { said <- err }))
	require.NoError(t, err)
	task := Task("task", func(ctx context.Context, n int) (int, error) {
		for range 1000 {
			RunFromContext(ctx).Log(map[string]any{"loss": 1})
		}
		return n, nil
	})
	out, err := task(b.Context(t.Context()), 7)
	require.NoError(t, err)
	assert.Equal(t, 7, out)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	require.Error(t, b.Shutdown(gone), "it says that something is left")
	require.ErrorContains(t, <-said, file) // Shutdown does not wait for it: its time was over
	assert.LessOrEqual(t, len(said), 2, "each trouble once")
}

// A collector that is gone does not keep the program from ending.
func TestShutdownIsBounded(t *testing.T) {
	b, err := New(WithSink(gone{}), WithErrorHandler(func(error) {}))
	require.NoError(t, err)
	b.patience = 50 * time.Millisecond
	require.NoError(t, b.makeProviderFor(t, gone{}))
	_, run, err := StartTask(b.Context(context.Background()), "task")
	require.NoError(t, err)
	run.End(nil)
	require.ErrorContains(t, b.ForceFlush(context.Background()), "not acknowledged")
	require.ErrorContains(t, b.Shutdown(context.Background()), "not acknowledged")
}

// makeProviderFor is makeProvider, which leaves otel as it was.
func (b *Bridge) makeProviderFor(t *testing.T, to Sink) error {
	tp, propagator := otel.GetTracerProvider(), otel.GetTextMapPropagator()
	t.Cleanup(func() { otel.SetTracerProvider(tp); otel.SetTextMapPropagator(propagator) })
	return b.makeProvider(t.Context(), to)
}

type gone struct{}

func (gone) Export(context.Context, []byte) error { return errors.New("nobody there") }
func (gone) Shutdown(context.Context) error       { return nil }

// What waits for one collector is not sent to another, and a test's sink does
// not take what a program has left.
func TestOutbox(t *testing.T) {
	at := func(env map[string]string, opts ...SetupOption) string {
		c, err := newSetup(func(k string) string { return env[k] }, opts)
		require.NoError(t, err)
		return c.outbox()
	}
	dir := map[string]string{"WANDB_DIR": "/d"}
	assert.Equal(t, filepath.FromSlash("/d/wandb/outbox"), filepath.Dir(at(dir)))
	assert.NotEqual(t, at(dir), at(dir, WithEndpoint("http://a:4317")))
	assert.Equal(t, at(dir, WithEndpoint("http://a:4317")), at(map[string]string{"WANDB_DIR": "/d", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:4317"}))
	assert.Empty(t, at(dir, WithSink(nowhere{})))
	assert.Equal(t, "/x", at(dir, WithSink(nowhere{}), WithDir("/x")))
	assert.Empty(t, at(dir, WithDir("")))
}

func TestResource(t *testing.T) {
	assert.Equal(t, []string{"train", "-n=3", "--api-key=***", "-token", "***", "-v", "https://***@host/x", "--passwd", "-x"},
		withoutSecrets([]string{"train", "-n=3", "--api-key=s3cr3t", "-token", "s3cr3t", "-v", "https://me:s3cr3t@host/x", "--passwd", "-x"}))
	got := map[string]string{}
	code(&debug.BuildInfo{
		Main:     debug.Module{Path: "github.com/me/train/v2", Version: "v2.0.1"},
		Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "abc"}, {Key: "vcs.time", Value: "x"}},
	}, func(k, v string) { got[k] = v })
	assert.Equal(t, map[string]string{
		"vcs.ref.head.revision": "abc", "service.version": "v2.0.1", "vcs.repository.url.full": "https://github.com/me/train",
	}, got)
}

func TestReportsAreBounded(t *testing.T) {
	p := newProgram(t)
	for i := range 1000 {
		p.report(errors.New("trouble " + string(rune('0'+i))))
	}
	assert.Len(t, p.said(), maxSaid+1)
	assert.Contains(t, p.said()[maxSaid], "not said")
}

func TestTaskOptions(t *testing.T) {
	p := newProgram(t)
	_, run, err := StartTask(p.ctx, "task", WithAttempt(2), WithResume(ResumeMust), WithRunID("a/b"), WithRunName("n"), WithJobType("j"), WithNotes("o"),
		WithAttributes(attribute.String("own", "x")), WithSpanOptions(trace.WithSpanKind(trace.SpanKindConsumer)))
	require.NoError(t, err)
	run.End(nil)
	got := only(t, p.sent.streams).starts[0]
	for k, v := range map[string]any{
		"wandb.run.attempt": int64(2), "wandb.run.resume": "must", "wandb.run.name": "n", "wandb.run.job_type": "j", "wandb.run.notes": "o",
		"wandb.config.otel.asked_run_id": "a/b", "wandb.run.id": run.ID(),
	} {
		assert.Equal(t, v, got[k], k)
	}
	assert.NotContains(t, run.ID(), "/")
	assert.NotContains(t, got, "own", "a span's own attributes are no run's")
	attrs, span := p.span(t, "task")
	assert.Equal(t, "x", attrs["own"])
	assert.Equal(t, trace.SpanKindConsumer, span.SpanKind())
}

// picky is a sink that takes its first request only the second time, and its
// second never.
type picky struct {
	nowhere
	calls chan string
	n     int
}

func (s *picky) Export(context.Context, []byte) error {
	s.n++
	switch s.n {
	case 1:
		s.calls <- "later"
		return errBoom
	case 3:
		s.calls <- "never"
		return fmt.Errorf("picky: %w", Permanent(errBoom))
	}
	s.calls <- "taken"
	return nil
}

func TestPermanent(t *testing.T) {
	require.NoError(t, Permanent(nil))
	require.ErrorIs(t, Permanent(errBoom), errBoom)
	dir := t.TempDir()
	s := &picky{calls: make(chan string, 10)}
	b, err := New(WithSink(s), WithDir(dir), WithTracerProvider(noTracing()), WithErrorHandler(func(error) {}))
	require.NoError(t, err)
	_, run, err := StartTask(b.Context(t.Context()), "task")
	require.NoError(t, err)
	require.NoError(t, b.ForceFlush(t.Context()))
	run.Log(map[string]any{"refused": 1})
	require.ErrorContains(t, b.ForceFlush(t.Context()), "boom")
	run.Log(map[string]any{"taken": 1})
	require.NoError(t, b.ForceFlush(t.Context()), "what was refused holds up nothing")
	kept, err := filepath.Glob(filepath.Join(dir, "refused-*.otlp"))
	require.NoError(t, err)
	assert.Len(t, kept, 1)
	run.End(nil)
	require.NoError(t, b.Shutdown(t.Context()))
	for _, want := range []string{"later", "taken", "never", "taken", "taken"} {
		assert.Equal(t, want, <-s.calls)
	}
}
