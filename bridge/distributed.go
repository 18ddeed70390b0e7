package bridge

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/otel-wandb/otel-wandb/internal/runid"
)

// Distributed says which worker of a distributed training this process is.
// Ranks count from 0. See [WithMode] and [WithRankScope] for what ranks share:
//
//	mode    rank scope  nodes  who logs              run
//	auto    global      any    rank 0                one
//	auto    worker      N      local rank 0 of each  one a node, id base-worker-W
//	shared  any         any    all                   one; rank 0 (worker scope: local rank 0) ends it
//	new     global      any    all                   one a rank, id base-rank-R, group base
//	new     worker      N      all                   one a rank, id base-worker-W-rank-L, group base-worker-W
//
// An id asked for with [WithRunID] stays as it is. Mode shared needs a parent's
// run or such an id: it is what the ranks have in common. Where they have no
// base in common either (Flyte's names), the group of mode new is that of the
// parent's run, else the trace they were started in; else name one, with
// [WithGroup] or WANDB_RUN_GROUP.
type Distributed struct {
	Rank, LocalRank           int // among all, and on this node
	WorldSize, LocalWorldSize int // number of ranks, and of those on this node
	Worker                    int // number of this node
}

// Workers is the number of nodes, at least one.
func (d Distributed) Workers() int { return d.in(RankScopeGlobal).Nodes() }

func (d Distributed) in(s RankScope) runid.Ranks {
	return runid.Ranks{
		Rank: d.Rank, LocalRank: d.LocalRank, WorldSize: d.WorldSize, LocalWorldSize: d.LocalWorldSize,
		Worker: d.Worker, WorkerScope: s == RankScopeWorker,
	}
}

// DistributedInfo tells which rank this is, as [WithDistributed] says or else
// the environment when the bridge was set up; ok is false where the process is
// alone.
func DistributedInfo(ctx context.Context) (d Distributed, ok bool) {
	st := stateOf(ctx)
	b := st.use()
	switch {
	case st.scope != nil && st.scope.ranks != nil:
		d = *st.scope.ranks
	case b != nil && b.scope != nil && b.scope.ranks != nil:
		d = *b.scope.ranks
	case b != nil:
		d = b.ranks
	}
	return d, d.WorldSize > 1
}

func (b *Bridge) ranksFor(says *scope) runid.Ranks {
	d := b.ranks
	var rs RankScope
	if says != nil {
		rs = says.rankScope
		if says.ranks != nil {
			d = *says.ranks
		}
	}
	if d.WorldSize <= 1 {
		return runid.Ranks{}
	}
	return d.in(rs)
}

// launcher names the variables by which a launcher tells its processes their
// ranks; each may have alternatives, the first that is set counts.
type launcher struct {
	name                          string
	rank, world                   []string // both must be there
	localRank, localWorld, worker []string
}

var launchers = []launcher{
	{
		"torchrun",
		[]string{"RANK"},
		[]string{"WORLD_SIZE"},
		[]string{"LOCAL_RANK"},
		[]string{"LOCAL_WORLD_SIZE"},
		[]string{"GROUP_RANK"},
	},
	{
		"Open MPI",
		[]string{"OMPI_COMM_WORLD_RANK"},
		[]string{"OMPI_COMM_WORLD_SIZE"},
		[]string{"OMPI_COMM_WORLD_LOCAL_RANK"},
		[]string{"OMPI_COMM_WORLD_LOCAL_SIZE"},
		nil,
	},
	{
		"SLURM",
		[]string{"SLURM_PROCID"},
		[]string{"SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"},
		[]string{"SLURM_LOCALID"},
		[]string{"SLURM_STEP_TASKS_PER_NODE", "SLURM_NTASKS_PER_NODE"},
		[]string{"SLURM_NODEID"},
	},
	{
		// Kubernetes gives an index and no number: that comes from the job.
		"Kubernetes",
		[]string{"JOB_COMPLETION_INDEX"},
		[]string{"WORLD_SIZE"},
		nil,
		nil,
		nil,
	},
}

// ranksOf reads the environment of the first launcher that has left a rank
// there. The zero value is a process that is alone.
func ranksOf(env func(string) string) (Distributed, error) {
	for _, l := range launchers {
		rank, world := first(env, l.rank), first(env, l.world)
		if rank == "" || world == "" {
			continue
		}
		var d Distributed
		for _, f := range []struct {
			to   *int
			text string
			or   int
		}{
			{&d.Rank, rank, 0},
			{&d.WorldSize, world, 0},
			{&d.LocalWorldSize, first(env, l.localWorld), -1},
			{&d.LocalRank, first(env, l.localRank), -1},
			{&d.Worker, first(env, l.worker), -1},
		} {
			*f.to = f.or
			if f.text == "" {
				continue
			}
			// SLURM writes "4(x2)": four on each of two nodes.
			n, err := strconv.Atoi(strings.FieldsFunc(f.text+" ", func(r rune) bool { return r == '(' || r == ',' || r == ' ' })[0])
			if err != nil || n < 0 {
				return Distributed{}, fmt.Errorf("wandb bridge: the environment of %s holds %q where a rank or a number of ranks belongs: this process counts as not distributed; mend it, or use WithDistributed", l.name, f.text)
			}
			*f.to = n
		}
		if d.Rank >= d.WorldSize {
			return Distributed{}, fmt.Errorf("wandb bridge: the environment of %s says rank %d of %d: this process counts as not distributed; mend it, or use WithDistributed", l.name, d.Rank, d.WorldSize)
		}
		d.complete(l.localRank == nil)
		return d, nil
	}
	return Distributed{}, nil
}

// complete fills what a launcher left out. Without more, all ranks are on one
// node; an indexed job has one pod, and so one node, a rank.
func (d *Distributed) complete(onePerNode bool) {
	if d.LocalWorldSize < 0 {
		d.LocalWorldSize = d.WorldSize
		if onePerNode {
			d.LocalWorldSize = 1
		}
	}
	if d.LocalRank < 0 {
		d.LocalRank = 0
		if d.LocalWorldSize > 0 {
			d.LocalRank = d.Rank % d.LocalWorldSize
		}
	}
	if d.Worker < 0 {
		d.Worker = 0
		if d.LocalWorldSize > 0 {
			d.Worker = d.Rank / d.LocalWorldSize
		}
	}
}

func first(env func(string) string, names []string) string {
	for _, n := range names {
		if v := env(n); v != "" {
			return v
		}
	}
	return ""
}
