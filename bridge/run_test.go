package bridge

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

var errBoom = errors.New("boom")

func TestLog(t *testing.T) {
	p := newProgram(t)
	_, run, err := StartTask(p.ctx, "train")
	require.NoError(t, err)
	type val struct {
		Accuracy float64 `wandb:"accuracy"`
		Skipped  float64
		hidden   float64 `wandb:"hidden"` //nolint:unused // not exported, so not logged
	}
	type Common struct {
		Epoch int `wandb:"epoch"`
	}
	type metrics struct {
		Common
		Loss  float32       `wandb:"loss"`
		None  *float64      `wandb:"none"`
		Took  time.Duration `wandb:"took"`
		Val   *val          `wandb:"val"`
		Other *val          `wandb:"other"`
		Not   int           `wandb:"-"`
	}
	for _, tt := range []struct {
		name string
		log  func()
		want row
	}{
		{"Log", func() { run.Log(map[string]any{"loss": 0.5, "n": 2, "ok": true, "s": "x"}) }, row{values: map[string]any{"loss": 0.5, "n": int64(2), "ok": true, "s": "x"}}},
		{"an error, a time", func() {
			run.Log(map[string]any{
				"err": fmt.Errorf("no loss: %w", errBoom), "nil": (*fs.PathError)(nil), "took": 1500 * time.Millisecond,
				"at": time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC), "all": []any{errBoom}, "in": map[string]any{"err": errBoom}, "month": time.May,
			})
		}, row{values: map[string]any{
			"err": "no loss: boom", "nil": "<nil>", "took": "1.5s", "at": "2026-11-23T10:00:00Z", "all": []attribute.Value{attribute.StringValue("boom")}, "in": []attribute.KeyValue{attribute.String("err", "boom")}, "month": int64(5),
		}}},
		{"LogStep", func() { run.LogStep(7, map[string]any{"loss": 0.5}) }, row{step: 7, hasStep: true, values: map[string]any{"loss": 0.5}}},
		{"LogAttrs", func() { run.LogAttrs(attribute.Float64("loss", 0.5)) }, row{values: map[string]any{"loss": 0.5}}},
		{"LogAttrs, step first", func() { run.LogAttrs(Step(7), attribute.Float64("loss", 0.5)) }, row{step: 7, hasStep: true, values: map[string]any{"loss": 0.5}}},
		{"LogAttrs, step last", func() { run.LogAttrs(attribute.Float64("loss", 0.5), Step(7)) }, row{step: 7, hasStep: true, values: map[string]any{"loss": 0.5}}},
		{"LogStruct", func() {
			run.LogStruct(&metrics{Common: Common{3}, Loss: 0.1, Took: time.Second, Val: &val{Accuracy: 0.9}})
		}, row{values: map[string]any{
			"epoch": int64(3), "loss": 0.1, "took": "1s", "val/accuracy": 0.9,
		}}},
		{"LogHistogram", func() { run.LogHistogram("grad", []float64{1, 2}) }, row{values: map[string]any{"grad": []float64{1, 2}}, histograms: []string{"grad"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			sent := only(t, p.sent.streams)
			sent.rows = nil
			tt.log()
			assert.Equal(t, tt.want, only(t, sent.rows))
		})
	}
	assert.Empty(t, p.said())

	sent := only(t, p.sent.streams)
	sent.rows = nil
	for range 3 {
		run.Log(map[string]any{"loss": 1, "bad": func() {}})
		run.LogStruct(7)
		run.LogStruct(struct{ Untagged int }{1})
	}
	assert.Len(t, sent.rows, 3, "the rest of the row is logged")
	require.Len(t, p.said(), 3, "each thing is said once")
	assert.Contains(t, p.said()[0], `task "train": wandb bridge: metric bad`)

	run.End(nil)
	run.Log(map[string]any{"late": 1})
	assert.Len(t, sent.rows, 3, "nothing after the end")
}

func TestWhatElseARunTakes(t *testing.T) {
	p := newProgram(t, WithTags("a"))
	_, run, err := StartTask(p.ctx, "train")
	require.NoError(t, err)
	run.Config().Update(map[string]any{"optimizer": map[string]any{"lr": 0.1}, "n": 1})
	run.Summary().Set("best", 0.9)
	run.DefineMetric("val/*", WithStepMetric("epoch"), WithSummary("min", "max"), WithGoal(Minimize), WithHidden())
	run.Alert(AlertWarn, "title", "text")
	run.Alert("", "t", "")
	run.AddTags("c", "b")
	run.AddTags()
	run.End(nil)

	sent := only(t, p.sent.streams)
	assert.Equal(t, []event{
		{"wandb.config", map[string]any{"n": int64(1), "optimizer.lr": 0.1}},
		{"wandb.summary", map[string]any{"best": 0.9}},
		{"wandb.define_metric", map[string]any{"name": "val/*", "step_metric": "epoch", "summary": []string{"min", "max"}, "goal": "minimize", "hidden": true}},
		{"wandb.alert", map[string]any{"title": "title", "text": "text", "level": "WARN"}},
		{"wandb.alert", map[string]any{"title": "t", "text": "", "level": "INFO"}},
	}, sent.events)
	require.Len(t, sent.starts, 2, "tags come with another announcement")
	assert.Equal(t, []string{"a", "b", "c"}, sent.starts[1]["wandb.run.tags"])
	attrs, _ := p.span(t, "train")
	assert.Equal(t, []string{"a", "b", "c"}, attrs["wandb.run.tags"])
}

func TestHowATaskEnds(t *testing.T) {
	command := exec.Command("sh", "-c", "exit 3").Run()
	for _, tt := range []struct {
		name   string
		body   func() error
		panics any
		code   int64
		status codes.Code
		kind   string
		says   string
	}{
		{"well", func() error { return nil }, nil, 0, codes.Unset, "", ""},
		{"with an error", func() error { return errBoom }, nil, 1, codes.Error, "*errors.errorString", "boom"},
		{"with a command's code", func() error { return fmt.Errorf("evaluate: %w", command) }, nil, 3, codes.Error, "*fmt.wrapError", "evaluate: exit status 3"},
		{"with a panic", func() error { panic("ouch") }, "ouch", 1, codes.Error, "string", "panic: ouch"},
		{"with an error's panic", func() error { panic(errBoom) }, errBoom, 1, codes.Error, "*errors.errorString", "panic: boom"},
	} {
		check := func(t *testing.T, p *program) {
			sent := only(t, p.sent.of("task"))
			assert.Equal(t, []int64{tt.code}, sent.ends)
			attrs, span := p.span(t, "task")
			assert.Equal(t, tt.code, attrs["wandb.exit_code"])
			assert.Equal(t, tt.status, span.Status().Code)
			if tt.kind == "" {
				assert.Empty(t, sent.events)
				return
			}
			e := only(t, sent.events)
			assert.Equal(t, "exception", e.name)
			assert.Equal(t, tt.kind, e.attrs["exception.type"])
			assert.Equal(t, tt.says, e.attrs["exception.message"])
			assert.Equal(t, tt.says, span.Status().Description)
			assert.Empty(t, span.Events(), "or it would be on the console twice")
			if tt.panics != nil {
				assert.Contains(t, e.attrs["exception.stacktrace"], "TestHowATaskEnds")
			}
		}
		t.Run(tt.name+", StartTask", func(t *testing.T) {
			p := newProgram(t)
			task := func() (err error) {
				_, run, err := StartTask(p.ctx, "task")
				require.NoError(t, err)
				defer run.End(&err)
				return tt.body()
			}
			if tt.panics != nil {
				assert.PanicsWithValue(t, tt.panics, func() { _ = task() }, "it goes on panicking")
			} else if err := task(); tt.code == 0 {
				assert.NoError(t, err)
			} else {
				assert.Error(t, err)
			}
			check(t, p)
		})
		t.Run(tt.name+", Task", func(t *testing.T) {
			p := newProgram(t)
			task := Task("task", func(context.Context, int) (int, error) { return 7, tt.body() })
			if tt.panics != nil {
				assert.PanicsWithValue(t, tt.panics, func() { _, _ = task(p.ctx, 0) })
			} else {
				out, err := task(p.ctx, 0)
				assert.Equal(t, 7, out, "what the function returns is returned")
				assert.Equal(t, tt.code != 0, err != nil)
			}
			check(t, p)
		})
	}
}

func TestATaskWhoseGoroutineEnds(t *testing.T) {
	p := newProgram(t)
	task := Task("task", func(context.Context, int) (int, error) {
		runtime.Goexit()
		return 0, nil
	})
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = task(p.ctx, 0) })
	wg.Wait()
	assert.Equal(t, []int64{1}, only(t, p.sent.of("task")).ends, "it did not return: it failed")
}

func TestOnlyTheFirstEndCounts(t *testing.T) {
	p := newProgram(t)
	_, run, err := StartTask(p.ctx, "task")
	require.NoError(t, err)
	run.End(nil)
	err = errBoom
	run.End(&err)
	assert.Equal(t, []int64{0}, only(t, p.sent.streams).ends)
	assert.Len(t, p.spans.Ended(), 1)
}

func TestTraceOfAHelper(t *testing.T) {
	p := newProgram(t)
	helper := Trace("helper", func(_ context.Context, fail bool) (int, error) {
		if fail {
			return 1, errBoom
		}
		panic("ouch")
	})
	ctx, run, err := StartTask(p.ctx, "task")
	require.NoError(t, err)
	out, err := helper(ctx, true)
	require.ErrorIs(t, err, errBoom)
	assert.Equal(t, 1, out)
	attrs, span := p.span(t, "helper")
	assert.Equal(t, codes.Error, span.Status().Code)
	assert.Equal(t, "exception", only(t, span.Events()).Name)
	assert.NotContains(t, attrs, "wandb.run.mode", "a helper is no task")
	assert.Equal(t, run.ID(), attrs["wandb.run.id"])
	assert.PanicsWithValue(t, "ouch", func() { _, _ = helper(ctx, false) })
	run.End(nil)
	assert.Len(t, p.spans.Ended(), 3)
}

// A nil run, one that records nothing and one that has ended take everything.
func TestNilSafety(t *testing.T) {
	use := func(t *testing.T, run *Run) {
		run.Log(map[string]any{"a": 1})
		run.LogStep(1, map[string]any{"a": 1})
		run.LogAttrs(Step(1), attribute.Int("a", 1))
		run.LogStruct(struct{}{})
		run.LogHistogram("a", nil)
		run.Config().Update(map[string]any{"a": 1})
		run.Summary().Set("a", 1)
		run.DefineMetric("a", nil)
		run.AddTags("a")
		run.Alert(AlertInfo, "a", "b")
		assert.NotNil(t, run.Span())
		assert.Empty(t, run.ID()+run.Name()+run.Project()+run.Entity()+run.Group()+run.URL()+run.GroupURL())
		assert.False(t, run.Recording())
		run.End(nil)
	}
	use(t, nil)
	use(t, RunFromContext(t.Context()))
	Config{}.Update(map[string]any{"a": 1})
	Summary{}.Set("a", 1)

	var none *Bridge
	require.NoError(t, none.ForceFlush(t.Context()))
	require.NoError(t, none.Shutdown(t.Context()))
	_, run, err := StartTask(none.Context(t.Context()), "task", nil)
	require.NoError(t, err)
	use(t, run)

	p := newProgram(t, Disabled())
	_, run, err = StartTask(p.ctx, "task")
	require.NoError(t, err)
	use(t, run)
	assert.PanicsWithValue(t, "ouch", func() {
		var run *Run
		defer run.End(nil)
		panic("ouch")
	})
}

// Children at the same time get runs of their own, and the parent's is back
// for the next.
func TestConcurrentSafe_Children(t *testing.T) {
	p := newProgram(t)
	ctx, parent, err := StartTask(p.ctx, "parent")
	require.NoError(t, err)
	child := Task("child", func(ctx context.Context, n int) (string, error) {
		run := RunFromContext(ctx)
		for i := range 20 {
			run.Log(map[string]any{"n": n, "i": i})
			parent.Log(map[string]any{"child": n})
			run.AddTags(fmt.Sprint("tag", n))
		}
		in, below, err := StartTask(ctx, "below", WithMode(ModeAuto))
		assert.NoError(t, err)
		assert.Equal(t, run.ID(), below.ID())
		assert.Same(t, below, RunFromContext(in))
		below.End(nil)
		return run.ID(), nil
	}, WithMode(ModeNew))
	var wg sync.WaitGroup
	ids := make([]string, 16)
	for i := range ids {
		wg.Go(func() { ids[i], _ = child(ctx, i) })
	}
	wg.Wait()
	seen := map[string]bool{parent.ID(): true}
	for _, id := range ids {
		assert.False(t, seen[id], "run %s twice", id)
		seen[id] = true
	}
	for _, s := range p.sent.of("child") {
		assert.Len(t, s.rows, 20)
		for _, r := range s.rows {
			assert.Equal(t, s.rows[0].values["n"], r.values["n"], "no row of another")
		}
	}
	assert.Equal(t, parent, RunFromContext(ctx))
	parent.End(nil)
	assert.Len(t, only(t, p.sent.of("parent")).rows, 320)
}

// Telemetry that is broken changes nothing of the task.
func TestTelemetryNeverBreaksTheProgram(t *testing.T) {
	p := newProgram(t)
	p.sent.broken = errors.New("the disk is full")
	task := Task("task", func(ctx context.Context, _ int) (int, error) {
		for range 100 {
			RunFromContext(ctx).Log(map[string]any{"loss": 1})
		}
		return 7, nil
	})
	out, err := task(p.ctx, 0)
	require.NoError(t, err)
	assert.Equal(t, 7, out)
	assert.Equal(t, []string{"the disk is full"}, p.said(), "one line says what is wrong")
}

func TestWithoutSpansRunsLive(t *testing.T) {
	for _, tt := range []struct {
		name string
		opts []SetupOption
	}{
		{"no SDK", []SetupOption{WithTracerProvider(noTracing())}},
		{"sampled away", []SetupOption{WithTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.NeverSample())))}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newProgram(t, tt.opts...)
			ctx, run, err := StartTask(p.ctx, "parent")
			require.NoError(t, err)
			_, child, err := StartTask(ctx, "child")
			require.NoError(t, err)
			assert.Equal(t, run.ID(), child.ID())
			parentSent, childSent := only(t, p.sent.of("parent")).task, only(t, p.sent.of("child")).task
			assert.NotZero(t, parentSent.Span)
			assert.NotEqual(t, parentSent.Span, childSent.Span)
			assert.Equal(t, parentSent.Trace, childSent.Trace)
			assert.Equal(t, parentSent.Span, childSent.Parent)
			carrier := map[string]string{}
			Inject(ctx, carrier)
			assert.Contains(t, carrier["traceparent"], run.self.TraceID().String(), "the trace goes on elsewhere")
			child.End(nil)
			run.End(nil)
		})
	}
}

// The promise of LogAttrs, through the real path: no interface, no copy and no
// step moves a row to the heap.
func TestLogAttrsAllocatesNothing(t *testing.T) {
	b, err := New(WithSink(nowhere{}), WithDir(""), WithTracerProvider(noTracing()))
	require.NoError(t, err)
	defer func() { assert.NoError(t, b.Shutdown(context.Background())) }()
	_, run, err := StartTask(b.Context(t.Context()), "task")
	require.NoError(t, err)
	defer run.End(nil)
	n := 0
	for name, log := range map[string]func(){
		"metrics":  func() { row := fiveScalars(n); run.LogAttrs(row[:]...) },
		"a step":   func() { run.LogAttrs(Step(int64(n)), attribute.Float64("loss", 0.5)) },
		"own text": func() { run.LogAttrs(attribute.String("phase", "warm-up"), attribute.Bool("ok", true)) },
	} {
		// The buffer behind grows now and then: less than once a row is none.
		assert.Zero(t, testing.AllocsPerRun(5000, func() { n++; log() }), name)
	}
}
