package bridge

import (
	"github.com/otel-wandb/otel-wandb/internal/runmode"
	"github.com/otel-wandb/otel-wandb/internal/semconv"
)

// Mode says which run a task is on. The zero value is [ModeAuto].
type Mode string

// The run modes.
const (
	// ModeAuto joins the parent task's run, or opens one where there is none.
	ModeAuto Mode = semconv.ModeAuto
	// ModeNew opens a run of the task's own, in the group of the parent's.
	ModeNew Mode = semconv.ModeNew
	// ModeShared joins the parent task's run; without one the task is refused
	// with [ErrNoParentRun].
	ModeShared Mode = semconv.ModeShared
)

func (m Mode) parse() (runmode.Mode, bool) {
	if m == "" {
		return runmode.Auto, true
	}
	return runmode.Parse(string(m))
}

// RankScope says what the workers of a distributed training share a run with.
// The zero value is [RankScopeGlobal]. On a single node there is no difference.
type RankScope string

// The rank scopes.
const (
	RankScopeGlobal RankScope = "global" // one run for all ranks
	RankScopeWorker RankScope = "worker" // one run for each node
)
