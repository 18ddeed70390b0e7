package bridge

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A1: which run a task is on.
func TestA1_RunModes(t *testing.T) {
	const own, parents = "its own", "its parent's"
	for _, tt := range []struct {
		name    string
		parent  bool
		opts    []TaskOption
		want    string // own, parents, or an id
		refused error
	}{
		{"auto with a parent", true, []TaskOption{WithMode(ModeAuto)}, parents, nil},
		{"auto alone", false, []TaskOption{WithMode(ModeAuto)}, own, nil},
		{"new under a parent", true, []TaskOption{WithMode(ModeNew)}, own, nil},
		{"new alone", false, []TaskOption{WithMode(ModeNew)}, own, nil},
		{"shared with a parent", true, []TaskOption{WithMode(ModeShared)}, parents, nil},
		{"shared alone", false, []TaskOption{WithMode(ModeShared)}, "", ErrNoParentRun},
		{"nothing said, with a parent", true, nil, parents, nil},
		{"nothing said, alone", false, nil, own, nil},
		{"another id", true, []TaskOption{WithRunID("x")}, "x", nil},
		{"another id, shared", true, []TaskOption{WithRunID("x"), WithMode(ModeShared)}, "x", nil},
		{"another id, shared, alone", false, []TaskOption{WithRunID("x"), WithMode(ModeShared)}, "x", nil},
		{"another project", true, []TaskOption{WithProject("q")}, own, nil},
		{"the parent's project by name", true, []TaskOption{WithProject("p")}, parents, nil},
		{"another project, shared", true, []TaskOption{WithProject("q"), WithMode(ModeShared)}, "", ErrElsewhere},
		{"another entity, shared", true, []TaskOption{WithEntity("q"), WithMode(ModeShared)}, "", ErrElsewhere},
		{"another host, shared", true, []TaskOption{WithHost("https://q.example"), WithMode(ModeShared)}, "", ErrElsewhere},
		{"no such mode", true, []TaskOption{WithMode("hybrid")}, "", ErrUnknownMode},
		{"no such project", true, []TaskOption{WithProject("a/b")}, "", ErrBadName},
		{"no such host", true, []TaskOption{WithHost("api.wandb.ai")}, "", ErrBadName},
		{"a retry", false, []TaskOption{WithRetryOf("first")}, "first", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newProgram(t, WithProject("p"))
			ctx, parent := p.ctx, (*Run)(nil)
			if tt.parent {
				var err error
				ctx, parent, err = StartTask(ctx, "parent")
				require.NoError(t, err)
				defer parent.End(nil)
			}
			ran := false
			var id string
			child := Task("child", func(ctx context.Context, _ struct{}) (struct{}, error) {
				ran = true
				id = RunFromContext(ctx).ID()
				return struct{}{}, nil
			}, tt.opts...)

			_, err := child(ctx, struct{}{})
			if tt.refused != nil {
				require.ErrorIs(t, err, tt.refused)
				assert.ErrorContains(t, err, `task "child"`)
				assert.False(t, ran, "the body ran")
				assert.Empty(t, p.sent.of("child"), "something of it was sent")
				assert.Empty(t, p.spans.Ended(), "it has a span")
				return
			}
			require.NoError(t, err)
			require.True(t, ran)
			sent := only(t, p.sent.of("child"))
			switch tt.want {
			case parents:
				assert.Equal(t, parent.ID(), id)
				assert.EqualValues(t, parent.self.SpanID(), sent.task.Owner)
				assert.Equal(t, parent.start, sent.task.OwnerStart)
			case own:
				_, span := p.span(t, "child")
				sc := span.SpanContext()
				assert.Equal(t, sc.TraceID().String()+"-"+sc.SpanID().String(), id, "the id alone leads back to the trace")
				assert.EqualValues(t, sc.SpanID(), sent.task.Owner)
			default:
				assert.Equal(t, tt.want, id)
			}
			assert.Equal(t, id, sent.task.Run.ID)
			assert.Empty(t, p.said())
		})
	}
}

func TestA1_FlyteNamesTheRun(t *testing.T) {
	p := newProgramIn(t, map[string]string{"OTEL_RESOURCE_ATTRIBUTES": "flyte.run_name=test-run,flyte.action_name=test-action"})
	ctx, run, err := StartTask(p.ctx, "train")
	require.NoError(t, err)
	assert.Equal(t, "test-run-test-action", run.ID())
	_, probe, err := StartTask(ctx, "probe", WithMode(ModeNew))
	require.NoError(t, err)
	assert.NotEqual(t, run.ID(), probe.ID(), "a program's name is its outermost task's")
	assert.Equal(t, run.ID(), probe.Group())
	probe.End(nil)
	run.End(nil)
}

func TestRefusedSaysWhatAndWhatToDo(t *testing.T) {
	p := newProgram(t, WithProject("p"), WithEntity("e"))
	ctx, run, err := StartTask(p.ctx, "parent", WithRunID("r"))
	require.NoError(t, err)
	defer run.End(nil)
	_, _, err = StartTask(ctx, "child", WithMode(ModeShared), WithProject("q"))
	var refused *RefusedError
	require.ErrorAs(t, err, &refused)
	assert.Equal(t, "e/p/r", refused.Parent)
	assert.EqualError(t, err, `wandb bridge: task "child" under run e/p/r refused: mode shared cannot leave the parent's project: it asks for "e/q": leave out WithHost, WithEntity and WithProject, or name a run there with WithRunID`)
}

// A2: who ends the run. Every task says that it has ended; only an owner's word
// ends the run, and the exporter knows owners by their stamps.
func TestA2_WhoFinishes(t *testing.T) {
	p := newProgram(t)
	ctx, parent, err := StartTask(p.ctx, "parent")
	require.NoError(t, err)
	_, child, err := StartTask(ctx, "child")
	require.NoError(t, err)
	child.End(nil)

	owner, member := only(t, p.sent.of("parent")), only(t, p.sent.of("child"))
	assert.Empty(t, owner.ends, "the child's end is not the run's")
	assert.Equal(t, []int64{0}, member.ends)
	assert.Equal(t, owner.task.Span, member.task.Owner)
	parent.Log(map[string]any{"after": 1})
	assert.Len(t, owner.rows, 1, "the parent goes on")
	parent.End(nil)
	assert.Equal(t, []int64{0}, owner.ends)

	// In another process.
	carrier := map[string]string{}
	Inject(ctx, carrier)
	other := newProgram(t)
	_, far, err := StartTask(Extract(other.ctx, carrier), "far")
	require.NoError(t, err)
	assert.Equal(t, parent.ID(), far.ID())
	far.End(nil)
	sent := only(t, other.sent.of("far"))
	assert.Equal(t, owner.task.Owner, sent.task.Owner)
	assert.Equal(t, owner.task.Span, sent.task.Parent)
	assert.Equal(t, owner.task.OwnerStart.UnixNano(), sent.task.OwnerStart.UnixNano())
}

// A3: a new child nested in a parent.
func TestA3_NewChildInside(t *testing.T) {
	p := newProgram(t)
	current := func(ctx context.Context) string { return RunFromContext(ctx).ID() }
	grandchild := Task("grandchild", func(ctx context.Context, _ int) (string, error) { return current(ctx), nil })
	child := Task("child", func(ctx context.Context, _ int) (string, error) {
		below, err := grandchild(ctx, 0)
		assert.Equal(t, current(ctx), below, "its children are on its run")
		return current(ctx), err
	}, WithMode(ModeNew))
	parent := Task("parent", func(ctx context.Context, _ int) (string, error) {
		before := current(ctx)
		inside, err := child(ctx, 0)
		require.NoError(t, err)
		assert.NotEqual(t, before, inside)
		assert.Equal(t, before, current(ctx), "the parent's run is back")
		after, err := grandchild(ctx, 0)
		assert.Equal(t, before, after, "a sibling after it is on the parent's run")
		return before, err
	})
	id, err := parent(p.ctx, 0)
	require.NoError(t, err)
	assert.NotEmpty(t, id)
	assert.Equal(t, id, only(t, p.sent.of("child")).starts[0]["wandb.run.group"], "in its parent's group")
	assert.Nil(t, RunFromContext(p.ctx), "nothing is left behind")

	_, err = child(p.ctx, 0)
	require.NoError(t, err)
	assert.Nil(t, RunFromContext(p.ctx), "with no parent neither")
}

// A4: the current run.
func TestA4_CurrentRun(t *testing.T) {
	p := newProgram(t)
	assert.Nil(t, RunFromContext(p.ctx), "nothing where there is none")
	assert.Nil(t, RunFromContext(context.Background()))

	helper := Trace("helper", func(ctx context.Context, _ int) (*Run, error) {
		run := RunFromContext(ctx)
		run.Log(map[string]any{"accuracy": 0.9})
		return run, nil
	})
	outside, err := helper(p.ctx, 0)
	require.NoError(t, err)
	assert.Nil(t, outside)

	ctx, run, err := StartTask(p.ctx, "task")
	require.NoError(t, err)
	assert.Same(t, run, RunFromContext(ctx))
	inside, err := helper(ctx, 0)
	require.NoError(t, err)
	assert.Same(t, run, inside, "a trace sees its task's run")
	run.End(nil)
	sent := only(t, p.sent.streams)
	assert.Len(t, sent.starts, 1, "no second start")
	assert.Equal(t, map[string]any{"accuracy": 0.9}, only(t, sent.rows).values)
}
