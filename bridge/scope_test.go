package bridge

import (
	"context"
	"maps"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/trace"
)

// A9: config scopes.
func TestA9_Scopes(t *testing.T) {
	p := newProgram(t, WithProject("default"), WithTags("all"))
	outer := WithConfig(p.ctx, WithProject("p"), WithGroup("g"), WithTags("b", "a"),
		WithConfigValues(map[string]any{"model": "resnet", "optimizer": map[string]any{"lr": 0.1, "name": "sgd"}}))
	inner := WithConfig(outer, WithEntity("e"), WithTags("c", "a"), WithConfigValues(map[string]any{"optimizer.lr": 0.01}))

	for _, tt := range []struct {
		name string
		in   int
		opts []TaskOption
		want map[string]any
		at   string
	}{
		{"none", 0, nil, map[string]any{"wandb.run.tags": []string{"all"}}, "default"},
		{"outer", 1, nil, map[string]any{
			"wandb.run.tags": []string{"a", "all", "b"}, "wandb.run.group": "g",
			"wandb.config.model": "resnet", "wandb.config.optimizer.lr": 0.1, "wandb.config.optimizer.name": "sgd",
		}, "p"},
		{"inner", 2, nil, map[string]any{
			"wandb.run.tags": []string{"a", "all", "b", "c"}, "wandb.run.group": "g", "wandb.entity": "e",
			"wandb.config.model": "resnet", "wandb.config.optimizer.lr": 0.01, "wandb.config.optimizer.name": "sgd",
		}, "p"},
		{"a task's own options win", 2, []TaskOption{WithProject("q"), WithConfigValues(map[string]any{"model": "vit"})}, map[string]any{
			"wandb.run.tags": []string{"a", "all", "b", "c"}, "wandb.run.group": "g", "wandb.entity": "e",
			"wandb.config.model": "vit", "wandb.config.optimizer.lr": 0.01, "wandb.config.optimizer.name": "sgd",
		}, "q"},
		{"outer again: leaving restores", 1, nil, map[string]any{
			"wandb.run.tags": []string{"a", "all", "b"}, "wandb.run.group": "g",
			"wandb.config.model": "resnet", "wandb.config.optimizer.lr": 0.1, "wandb.config.optimizer.name": "sgd",
		}, "p"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx := []context.Context{p.ctx, outer, inner}[tt.in]
			_, run, err := StartTask(ctx, tt.name, tt.opts...)
			require.NoError(t, err)
			run.End(nil)
			got := only(t, only(t, p.sent.of(tt.name)).starts)
			assert.Equal(t, tt.at, got["wandb.project"])
			for _, stamp := range []string{"wandb.run.mode", "wandb.run.id", "wandb.run.owner", "wandb.run.start_time", "wandb.project"} {
				assert.Contains(t, got, stamp)
				delete(got, stamp)
			}
			assert.Equal(t, tt.want, got, "unset fields are left out")
			attrs, _ := p.span(t, tt.name)
			for k, v := range tt.want {
				assert.Equal(t, v, attrs[k], "on the span: %s", k)
			}
		})
	}
}

// A9: lists, maps and bools survive the way to another process.
func TestA9_ValuesSurvive(t *testing.T) {
	type optimizer struct {
		Name string  `json:"name"`
		LR   float64 `json:"lr"`
	}
	values := map[string]any{
		"list": []any{1, "two", true}, "ints": []int{1, 2}, "flag": false, "nothing": nil, "n": int8(3), "f": float32(0.1),
		"nested": map[string]any{"deep": map[string]any{"x": 1}}, "struct": &optimizer{"sgd", 0.5}, "empty": map[string]any{},
	}
	p := newProgram(t)
	scoped := WithConfig(p.ctx, WithConfigValues(values), WithMode(ModeNew), WithTags("a"))
	carrier := map[string]string{}
	Inject(scoped, carrier)
	other := newProgram(t)
	for name, ctx := range map[string]context.Context{"here": scoped, "there": Extract(other.ctx, carrier)} {
		_, run, err := StartTask(ctx, name)
		require.NoError(t, err)
		run.End(nil)
	}
	here, there := only(t, only(t, p.sent.of("here")).starts), only(t, only(t, other.sent.of("there")).starts)
	assert.EqualValues(t, 3, here["wandb.config.n"])
	assert.InDelta(t, 0.1, here["wandb.config.f"], 0, "as it is written, not as it is stored")
	assert.EqualValues(t, 1, here["wandb.config.nested.deep.x"])
	assert.Equal(t, "sgd", here["wandb.config.struct.name"])
	assert.Equal(t, false, here["wandb.config.flag"])
	for _, own := range []string{"wandb.run.id", "wandb.run.owner", "wandb.run.start_time"} {
		delete(here, own)
		delete(there, own)
	}
	assert.Equal(t, keys(here), keys(there))
	assert.Equal(t, here["wandb.config.nested.deep.x"], there["wandb.config.nested.deep.x"])
	assert.Equal(t, here["wandb.config.list"], there["wandb.config.list"])
	assert.Equal(t, "new", there["wandb.run.mode"])
	assert.Empty(t, append(p.said(), other.said()...))
}

// A9: a value that cannot be JSON is an error that names the field and its type.
func TestA9_ValuesThatCannotBeJSON(t *testing.T) {
	loop := map[string]any{}
	loop["again"] = loop
	for _, tt := range []struct {
		name        string
		value       any
		field, kind string
	}{
		{"function", func() {}, "config.hook", "func()"},
		{"channel", make(chan int), "config.hook", "chan int"},
		{"complex", 1i, "config.hook", "complex128"},
		{"in a map", map[string]any{"a": []any{1, func() {}}}, "config.hook.a[1]", "func()"},
		{"holds itself", loop, "config.hook.again", "map[string]interface {}"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newProgram(t)
			ctx := WithConfig(p.ctx, WithConfigValues(map[string]any{"hook": tt.value}))
			ctx = WithConfig(ctx, WithTags("fine"))
			same, run, err := StartTask(ctx, "task")
			var bad *ValueError
			require.ErrorAs(t, err, &bad)
			assert.Contains(t, bad.Field, tt.field)
			assert.Equal(t, tt.kind, bad.Type)
			assert.ErrorContains(t, err, bad.Field)
			assert.ErrorContains(t, err, tt.kind)
			assert.Nil(t, run)
			assert.Equal(t, ctx, same)
			assert.False(t, trace.SpanContextFromContext(same).IsValid())
			_, run, err = StartTask(p.ctx, "beside")
			require.NoError(t, err, "outside the scope all is well")
			run.End(nil)
		})
	}
}

// A child on its parent's run says only what it does not inherit.
func TestA9_AChildSaysWhatDiffers(t *testing.T) {
	p := newProgram(t, WithConfigValues(map[string]any{"seed": 1}))
	ctx, run, err := StartTask(WithConfig(p.ctx, WithTags("a"), WithConfigValues(map[string]any{"lr": 0.1})), "parent", WithConfigValues(map[string]any{"depth": 3}))
	require.NoError(t, err)
	_, plain, err := StartTask(ctx, "plain")
	require.NoError(t, err)
	within := WithConfig(ctx, WithTags("b"), WithConfigValues(map[string]any{"lr": 0.2, "depth": 3}))
	_, scoped, err := StartTask(within, "scoped")
	require.NoError(t, err)
	carrier := map[string]string{}
	Inject(within, carrier)
	far := newProgram(t)
	_, there, err := StartTask(Extract(far.ctx, carrier), "scoped")
	require.NoError(t, err)
	_, own, err := StartTask(within, "own", WithMode(ModeNew))
	require.NoError(t, err)

	config := func(r *recorder, task string) map[string]any {
		got := only(t, only(t, r.of(task)).starts)
		maps.DeleteFunc(got, func(k string, _ any) bool {
			return k != "wandb.run.tags" && !strings.HasPrefix(k, "wandb.config.")
		})
		return got
	}
	assert.Empty(t, config(p.sent, "plain"))
	want := map[string]any{"wandb.run.tags": []string{"b"}, "wandb.config.lr": 0.2}
	assert.Equal(t, want, config(p.sent, "scoped"))
	assert.Equal(t, want, config(far.sent, "scoped"), "likewise in another process")
	assert.Equal(t, map[string]any{
		"wandb.run.tags": []string{"a", "b"}, "wandb.config.lr": 0.2, "wandb.config.depth": int64(3), "wandb.config.seed": int64(1),
	}, config(p.sent, "own"), "a run of its own says all of its scopes")
	for _, r := range []*Run{own, there, scoped, plain, run} {
		r.End(nil)
	}
}

// What a scope asks for is for the tasks started under it, and their runs are
// what counts further down.
func TestA9_HowFarAScopeReaches(t *testing.T) {
	p := newProgram(t)
	ctx, run, err := StartTask(p.ctx, "parent")
	require.NoError(t, err)
	defer run.End(nil)
	scoped := WithConfig(ctx, WithRunID("x"), WithProject("p"))

	_, own, err := StartTask(scoped, "own", WithMode(ModeNew))
	require.NoError(t, err)
	own.End(nil)
	assert.NotEqual(t, "x", own.ID(), "a scope's id never reaches a new child")
	assert.Equal(t, "p", own.Project())

	in, first, err := StartTask(scoped, "first")
	require.NoError(t, err)
	assert.Equal(t, "x", first.ID())
	in, other, err := StartTask(in, "other", WithProject("q"))
	require.NoError(t, err)
	assert.NotEqual(t, "x", other.ID(), "the id is used up")
	_, below, err := StartTask(in, "below")
	require.NoError(t, err)
	assert.Equal(t, other.ID(), below.ID(), "its run is nearer than the scope around it")
	below.End(nil)
	other.End(nil)
	first.End(nil)

	ctx = WithConfig(p.ctx, WithMode(ModeNew))
	in, a, err := StartTask(ctx, "a")
	require.NoError(t, err)
	_, b, err := StartTask(in, "b")
	require.NoError(t, err)
	assert.NotEqual(t, a.ID(), b.ID(), "a mode holds for all tasks under the scope")
	b.End(nil)
	a.End(nil)
}
