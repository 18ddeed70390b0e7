package bridge

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// rank is this one of a world of nodes with n ranks each, as torchrun says it.
func rank(r, nodes, n int) map[string]string {
	return map[string]string{
		"RANK": strconv.Itoa(r), "WORLD_SIZE": strconv.Itoa(nodes * n), "LOCAL_RANK": strconv.Itoa(r % n),
		"LOCAL_WORLD_SIZE": strconv.Itoa(n), "GROUP_RANK": strconv.Itoa(r / n),
		"OTEL_RESOURCE_ATTRIBUTES": "flyte.run_name=my-run,flyte.action_name=task",
	}
}

// A5: ids and groups, base my-run-task.
func TestA5_IDsAndGroups(t *testing.T) {
	const base = "my-run-task"
	for _, tt := range []struct {
		name      string
		env       map[string]string
		opts      []TaskOption
		id, group string
	}{
		{"not distributed", rank(0, 1, 1), nil, base, ""},
		{"1 node, auto", rank(0, 1, 4), nil, base, ""},
		{"1 node, new, rank 2", rank(2, 1, 4), []TaskOption{WithMode(ModeNew)}, base + "-rank-2", base},
		{"1 node, new, worker scope", rank(2, 1, 4), []TaskOption{WithMode(ModeNew), WithRankScope(RankScopeWorker)}, base + "-rank-2", base},
		{"auto, worker scope, worker 1", rank(4, 2, 4), []TaskOption{WithRankScope(RankScopeWorker)}, base + "-worker-1", ""},
		{"new, global, rank 6", rank(6, 2, 4), []TaskOption{WithMode(ModeNew)}, base + "-rank-6", base},
		{"new, worker scope", rank(6, 2, 4), []TaskOption{WithMode(ModeNew), WithRankScope(RankScopeWorker)}, base + "-worker-1-rank-2", base + "-worker-1"},
		{"an id the user gave", rank(6, 2, 4), []TaskOption{WithMode(ModeNew), WithRunID("mine")}, "mine", ""},
		{"a group the user gave", rank(2, 1, 4), []TaskOption{WithMode(ModeNew), WithGroup("ours")}, base + "-rank-2", "ours"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newProgramIn(t, tt.env, WithEntity("e"), WithProject("p"))
			_, run, err := StartTask(p.ctx, "train", tt.opts...)
			require.NoError(t, err)
			defer run.End(nil)
			assert.Equal(t, tt.id, run.ID())
			assert.Equal(t, tt.group, run.Group())
			assert.Equal(t, tt.id, only(t, p.sent.streams).task.Run.ID)
		})
	}
}

// Without Flyte's names ranks have no base in common: a group of each rank's
// own would be none.
func TestA5_GroupsOfRanksWithoutABase(t *testing.T) {
	carrier, _, caller := handedOver(t)
	underRun := environment([]string{"TRACEPARENT=" + carrier["traceparent"], "BAGGAGE=" + carrier["baggage"]})
	underSpan := environment([]string{"TRACEPARENT=" + carrier["traceparent"]})
	for _, tt := range []struct {
		name  string
		env   map[string]string
		group string
	}{
		{"under a run", underRun, "g"},
		{"under a span", underSpan, caller.self.TraceID().String()},
		{"alone", nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			env := rank(1, 1, 2)
			delete(env, "OTEL_RESOURCE_ATTRIBUTES")
			for k, v := range tt.env {
				env[k] = v
			}
			p := newProgramIn(t, env)
			_, run, err := StartTask(p.ctx, "train", WithMode(ModeNew))
			require.NoError(t, err)
			defer run.End(nil)
			base := run.self.TraceID().String() + "-" + run.self.SpanID().String()
			assert.Equal(t, base+"-rank-1", run.ID())
			if tt.group == "" {
				tt.group = base
			}
			assert.Equal(t, tt.group, run.Group())
		})
	}
}

// A6: which ranks leave logging to another.
func TestA6_WhoSkips(t *testing.T) {
	worker := WithRankScope(RankScopeWorker)
	for _, tt := range []struct {
		name     string
		nodes, n int
		opts     []TaskOption
		logs     []int
	}{
		{"auto, global", 2, 2, nil, []int{0}},
		{"auto, worker scope", 2, 2, []TaskOption{worker}, []int{0, 2}},
		{"auto, worker scope, one node", 1, 4, []TaskOption{worker}, []int{0}},
		{"new, global", 2, 2, []TaskOption{WithMode(ModeNew)}, []int{0, 1, 2, 3}},
		{"new, worker scope", 2, 2, []TaskOption{WithMode(ModeNew), worker}, []int{0, 1, 2, 3}},
		{"shared", 2, 2, []TaskOption{WithMode(ModeShared), WithRunID("ours")}, []int{0, 1, 2, 3}},
		{"a world of one", 1, 1, nil, []int{0}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var logs []int
			for r := range tt.nodes * tt.n {
				p := newProgramIn(t, rank(r, tt.nodes, tt.n))
				ctx, run, err := StartTask(p.ctx, "train", tt.opts...)
				require.NoError(t, err)
				run.Log(map[string]any{"loss": 1})
				if RunFromContext(ctx) != nil {
					logs = append(logs, r)
					assert.Len(t, only(t, p.sent.streams).rows, 1)
				} else {
					assert.Empty(t, p.sent.streams)
					assert.Empty(t, run.ID())
					assert.Empty(t, run.URL())
				}
				run.End(nil)
				assert.Len(t, p.spans.Ended(), 1, "its span is there all the same")
			}
			assert.Equal(t, tt.logs, logs)
		})
	}
}

// Under a task that was skipped: what would be on its run is skipped with it,
// refusals included, and what has a run of its own has it.
func TestA6_UnderASkippedTask(t *testing.T) {
	p := newProgramIn(t, rank(1, 1, 2))
	ctx, outer, err := StartTask(p.ctx, "outer")
	require.NoError(t, err)
	for _, opts := range [][]TaskOption{nil, {WithMode(ModeShared)}} {
		inner, run, err := StartTask(ctx, "inner", opts...)
		require.NoError(t, err, "rank 0 is not refused: nor is this one")
		assert.Nil(t, RunFromContext(inner))
		run.End(nil)
	}
	ctx, own, err := StartTask(ctx, "own", WithMode(ModeNew))
	require.NoError(t, err)
	assert.Equal(t, own, RunFromContext(ctx))
	_, below, err := StartTask(ctx, "below")
	require.NoError(t, err)
	assert.Equal(t, own.ID(), below.ID(), "a run of this rank's own is joined by what is under it")
	below.End(nil)
	own.End(nil)
	outer.End(nil)
}

// A7: who ends a run that ranks share. All of them say they are owners, and
// which rank they are; the exporter hears the one that decides.
func TestA7_RanksOfASharedRun(t *testing.T) {
	for r := range 4 {
		p := newProgramIn(t, rank(r, 2, 2))
		_, run, err := StartTask(p.ctx, "train", WithMode(ModeShared), WithRunID("ours"))
		require.NoError(t, err)
		run.End(nil)
		sent := only(t, p.sent.streams)
		assert.Equal(t, "ours", run.ID())
		assert.Equal(t, sent.task.Span, sent.task.Owner)
		start := only(t, sent.starts)
		assert.Equal(t, map[string]any{
			"wandb.rank": int64(r), "wandb.local_rank": int64(r % 2), "wandb.world_size": int64(4),
			"wandb.local_world_size": int64(2), "wandb.worker": int64(r / 2),
		}, map[string]any{
			"wandb.rank": start["wandb.rank"], "wandb.local_rank": start["wandb.local_rank"], "wandb.world_size": start["wandb.world_size"],
			"wandb.local_world_size": start["wandb.local_world_size"], "wandb.worker": start["wandb.worker"],
		})
	}
}

func TestDistributedInfo(t *testing.T) {
	for _, tt := range []struct {
		name string
		env  map[string]string
		want Distributed
		says string
	}{
		{"nothing", nil, Distributed{}, ""},
		{"torchrun", map[string]string{"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4", "GROUP_RANK": "1"}, Distributed{5, 1, 8, 4, 1}, ""},
		{"torch, two variables", map[string]string{"RANK": "3", "WORLD_SIZE": "4"}, Distributed{3, 3, 4, 4, 0}, ""},
		{"half of torch", map[string]string{"RANK": "3"}, Distributed{}, ""},
		{"SLURM", map[string]string{"SLURM_PROCID": "5", "SLURM_NTASKS": "8", "SLURM_LOCALID": "1", "SLURM_STEP_TASKS_PER_NODE": "4(x2)", "SLURM_NODEID": "1"}, Distributed{5, 1, 8, 4, 1}, ""},
		{"SLURM, a step of its own", map[string]string{"SLURM_PROCID": "1", "SLURM_NTASKS": "8", "SLURM_STEP_NUM_TASKS": "2", "SLURM_NTASKS_PER_NODE": "1"}, Distributed{1, 0, 2, 1, 1}, ""},
		{"Open MPI", map[string]string{"OMPI_COMM_WORLD_RANK": "5", "OMPI_COMM_WORLD_SIZE": "8", "OMPI_COMM_WORLD_LOCAL_RANK": "1", "OMPI_COMM_WORLD_LOCAL_SIZE": "4"}, Distributed{5, 1, 8, 4, 1}, ""},
		{"a Kubernetes indexed job", map[string]string{"JOB_COMPLETION_INDEX": "2", "WORLD_SIZE": "4"}, Distributed{2, 0, 4, 1, 2}, ""},
		{"an index alone", map[string]string{"JOB_COMPLETION_INDEX": "2"}, Distributed{}, ""},
		{"torchrun under SLURM", map[string]string{"RANK": "1", "WORLD_SIZE": "2", "SLURM_PROCID": "0", "SLURM_NTASKS": "1"}, Distributed{1, 1, 2, 2, 0}, ""},
		{"no number", map[string]string{"RANK": "one", "WORLD_SIZE": "2"}, Distributed{}, `"one"`},
		{"beyond the world", map[string]string{"RANK": "2", "WORLD_SIZE": "2"}, Distributed{}, "rank 2 of 2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newProgramIn(t, tt.env)
			got, ok := DistributedInfo(p.ctx)
			assert.Equal(t, tt.want, got)
			assert.Equal(t, tt.want.WorldSize > 1, ok)
			if tt.says == "" {
				assert.Empty(t, p.said())
			} else {
				assert.Contains(t, only(t, p.said()), tt.says)
			}
		})
	}
	p := newProgramIn(t, rank(1, 1, 2))
	got, ok := DistributedInfo(WithConfig(p.ctx, WithDistributed(Distributed{Rank: 3, WorldSize: 4, LocalWorldSize: 2, Worker: 1})))
	assert.True(t, ok)
	assert.Equal(t, 3, got.Rank)
	assert.Equal(t, 2, got.Workers())
}
