package bridge

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// A6: without WORLD_SIZE a rank is none.
func TestA6_NoWorldIsNotDistributed(t *testing.T) {
	p := newProgramIn(t, map[string]string{"RANK": "3", "LOCAL_RANK": "1"})
	ctx, run, err := StartTask(p.ctx, "train")
	require.NoError(t, err)
	defer run.End(nil)
	assert.Same(t, run, RunFromContext(ctx))
	assert.NotContains(t, only(t, only(t, p.sent.streams).starts), "wandb.rank")
	_, distributed := DistributedInfo(p.ctx)
	assert.False(t, distributed)
}

// A7: with worker scope each rank says so, or the exporter would listen to the
// wrong one.
func TestA7_RanksOfASharedRunSayTheirScope(t *testing.T) {
	p := newProgramIn(t, rank(3, 2, 2))
	_, run, err := StartTask(p.ctx, "train", WithMode(ModeShared), WithRunID("ours"), WithRankScope(RankScopeWorker))
	require.NoError(t, err)
	run.End(nil)
	assert.Equal(t, "worker", only(t, only(t, p.sent.streams).starts)["wandb.rank_scope"])
}

// A8: an id on the task beats the context's, also in its link; two nodes with
// worker scope have two links; links that the span had stay.
func TestA8_WhichLinkWins(t *testing.T) {
	p := newProgram(t, WithEntity("e"), WithProject("p"))
	earlier := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}})
	_, run, err := StartTask(WithConfig(p.ctx, WithRunID("scope")), "task", WithRunID("own"),
		WithSpanOptions(trace.WithLinks(trace.Link{SpanContext: earlier})))
	require.NoError(t, err)
	run.End(nil)
	assert.Equal(t, "https://wandb.ai/e/p/runs/own", run.URL())
	_, span := p.span(t, "task")
	assert.Equal(t, earlier, only(t, span.Links()).SpanContext)

	urls := map[string]bool{}
	for r := range 4 {
		node := newProgramIn(t, rank(r, 2, 2), WithEntity("e"), WithProject("p"), WithRankScope(RankScopeWorker))
		_, run, err := StartTask(node.ctx, "train")
		require.NoError(t, err)
		run.End(nil)
		if run.URL() != "" {
			urls[run.URL()] = true
		}
	}
	assert.Equal(t, map[string]bool{
		"https://wandb.ai/e/p/runs/my-run-task-worker-0": true, "https://wandb.ai/e/p/runs/my-run-task-worker-1": true,
	}, urls)
}

// A retry of the same task: its body fails, and the next call goes on with the
// run, as its owner, and says which attempt it is.
func TestARetryIsOnTheSameRun(t *testing.T) {
	p := newProgram(t)
	calls := 0
	var first string
	for attempt := 1; attempt <= 2; attempt++ {
		opts := []TaskOption{WithAttempt(attempt)}
		if first != "" {
			opts = append(opts, WithRetryOf(first))
		}
		_, run, err := StartTask(p.ctx, "train", opts...)
		require.NoError(t, err)
		first = run.ID()
		if calls++; calls == 1 {
			err = errors.New("out of memory")
		}
		run.End(&err)
	}
	sent := p.sent.of("train")
	require.Len(t, sent, 2)
	assert.Equal(t, sent[0].task.Run, sent[1].task.Run)
	assert.Equal(t, []int64{1}, sent[0].ends)
	assert.Equal(t, []int64{0}, sent[1].ends)
	for i, s := range sent {
		assert.Equal(t, s.task.Span, s.task.Owner)
		assert.EqualValues(t, i+1, only(t, s.starts)["wandb.run.attempt"])
	}
}

// A child in another process whose project differs has a run of its own there.
func TestAChildInAnotherProcessAndProject(t *testing.T) {
	carrier, _, caller := handedOver(t)
	p := newProgram(t, WithTracerProvider(sdktrace.NewTracerProvider()))
	_, run, err := StartTask(Extract(p.ctx, carrier), "child", WithProject("q"))
	require.NoError(t, err)
	defer run.End(nil)
	assert.NotEqual(t, caller.ID(), run.ID())
	assert.Equal(t, []string{"e", "q"}, []string{run.Entity(), run.Project()})
	assert.EqualValues(t, run.self.SpanID(), only(t, p.sent.streams).task.Owner)
	assert.Equal(t, caller.self.TraceID(), run.self.TraceID())
}
