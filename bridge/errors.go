package bridge

import (
	"errors"
	"fmt"
)

// Why a task is refused: errors.Is tells them apart, and the error itself, a
// [*RefusedError], says which task and what to do.
var (
	// ErrNoParentRun: mode shared, and no task above it has a run.
	ErrNoParentRun = errors.New("mode shared needs a parent run")
	// ErrElsewhere: mode shared, with another host, entity or project than the
	// parent's run is in.
	ErrElsewhere = errors.New("mode shared cannot leave the parent's project")
	// ErrUnknownMode: no run mode has that name.
	ErrUnknownMode = errors.New("unknown run mode")
	// ErrBadName: W&B takes no host, entity or project of that name.
	ErrBadName = errors.New("name that W&B does not take")
)

// RefusedError is why a task was not started. Its body has not run, and
// nothing of it reached W&B.
type RefusedError struct {
	Task   string // the task's name
	Parent string // the parent's run, host/entity/project/id; "" for none
	Reason error  // one of the Err… variables
	Detail string // what was asked for
	Remedy string
}

func (e *RefusedError) Error() string {
	under := ""
	if e.Parent != "" {
		under = " under run " + e.Parent
	}
	return fmt.Sprintf("wandb bridge: task %q%s refused: %v: %s: %s", e.Task, under, e.Reason, e.Detail, e.Remedy)
}

// Unwrap gives the reason.
func (e *RefusedError) Unwrap() error { return e.Reason }
