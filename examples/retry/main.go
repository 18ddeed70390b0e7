// Command retry is a job that fails, and is tried again: the second attempt goes
// on with the run of the first, which ends as that attempt does.
//
//	attempt 1   steps 0 … 4     fails   ─┐
//	                                     ├──► one run: ten rows, finished
//	attempt 2   steps 5 … 9     succeeds ┘
//
// Each attempt is a process, as under any scheduler. What tells the second
// which run to go on with is the job's name, and nothing of the first is left.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"time"

	"github.com/otel-wandb/otel-wandb/bridge"
	"github.com/otel-wandb/otel-wandb/examples/internal/laptop"
)

const (
	steps    = 10
	failAt   = 5 // in the first attempt
	attempts = 3 // at most
)

func main() {
	attempt, err := strconv.Atoi(os.Getenv("JOB_ATTEMPT"))
	if err != nil {
		laptop.Main(schedule)
		return
	}
	if err := job(context.Background(), os.Getenv("JOB_NAME"), attempt); err != nil {
		fmt.Fprintf(os.Stderr, "attempt %d: %v\n", attempt, err)
		os.Exit(1)
	}
}

// job is one attempt.
func job(ctx context.Context, name string, attempt int) (err error) {
	b, err := bridge.Setup(ctx, bridge.WithProject("otel-wandb-examples"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Shutdown(context.Background())) }()
	return train(ctx, name, attempt)
}

func train(ctx context.Context, name string, attempt int) (err error) {
	// The id is what both attempts have in common. The number says which is
	// the later, whatever arrives first; its outcome is the run's.
	_, run, err := bridge.StartTask(ctx, "train", bridge.WithRunID(name), bridge.WithAttempt(attempt),
		bridge.WithConfigValues(map[string]any{"lr": 0.1}))
	if err != nil {
		return err
	}
	defer run.End(&err)

	from := 0
	if attempt > 1 {
		from = failAt // a real one reads its last checkpoint
	}
	for step := from; step < steps; step++ {
		if attempt == 1 && step == failAt {
			return errors.New("out of memory")
		}
		run.LogStep(int64(step), map[string]any{"loss": 1 / float64(step+1)})
	}
	return nil
}

// schedule starts attempts until one succeeds.
func schedule(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	name := "job-" + strconv.FormatInt(time.Now().UnixNano(), 36)
	for attempt := 1; ; attempt++ {
		cmd := exec.CommandContext(ctx, self)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		cmd.Env = append(os.Environ(), "JOB_NAME="+name, fmt.Sprint("JOB_ATTEMPT=", attempt))
		err := cmd.Run()
		if err == nil {
			fmt.Printf("attempt %d: succeeded. Run: otel-wandb-examples/%s\n", attempt, name)
			return nil
		}
		if attempt == attempts || ctx.Err() != nil {
			return err
		}
	}
}
