// Command ranks is a training on four ranks, each a process, that log to one run.
//
//	launcher ──► rank 0 ──┐
//	         ├─► rank 1 ──┤
//	         ├─► rank 2 ──┼──► one run
//	         └─► rank 3 ──┘
//
// The launcher does what torchrun does and no more: it starts the ranks with
// RANK, WORLD_SIZE and the like in their environment. It knows nothing of W&B.
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
	ranks = 4
	steps = 20
)

func main() {
	if os.Getenv("RANK") == "" {
		laptop.Main(launch)
		return
	}
	if err := rank(context.Background()); err != nil {
		fmt.Fprintf(os.Stderr, "rank %s: %v\n", os.Getenv("RANK"), err)
		os.Exit(1)
	}
}

// rank is the program under a launcher.
func rank(ctx context.Context) (err error) {
	b, err := bridge.Setup(ctx, bridge.WithProject("otel-wandb-examples"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Shutdown(context.Background())) }()

	// All ranks log (shared), to the run that they have in common: torchrun's
	// job id says which. By default (auto) rank 0 would log alone.
	ctx, run, err := bridge.StartTask(ctx, "train",
		bridge.WithMode(bridge.ModeShared), bridge.WithRunID("ranks-"+os.Getenv("TORCHELASTIC_RUN_ID")),
		bridge.WithConfigValues(map[string]any{"batch_size": 64}))
	if err != nil {
		return err
	}
	defer run.End(&err)

	d, _ := bridge.DistributedInfo(ctx)
	loss := fmt.Sprintf("rank%d/loss", d.Rank) // a chart for each, next to each other
	for step := range steps {
		run.LogStep(int64(step), map[string]any{loss: float64(d.Rank+1) / float64(step+1)})
	}
	if d.Rank == 0 {
		run.Summary().Set("ranks", d.WorldSize)
	}
	return nil
}

func launch(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	job := strconv.FormatInt(time.Now().UnixNano(), 36)
	var all []*exec.Cmd
	for i := range ranks {
		cmd := exec.CommandContext(ctx, self)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		cmd.Env = append(os.Environ(), "TORCHELASTIC_RUN_ID="+job,
			fmt.Sprint("RANK=", i), fmt.Sprint("LOCAL_RANK=", i), "GROUP_RANK=0",
			fmt.Sprint("WORLD_SIZE=", ranks), fmt.Sprint("LOCAL_WORLD_SIZE=", ranks))
		if err := cmd.Start(); err != nil {
			return err
		}
		all = append(all, cmd)
	}
	var errs []error
	for i, cmd := range all {
		if err := cmd.Wait(); err != nil {
			errs = append(errs, fmt.Errorf("rank %d: %w", i, err))
		}
	}
	fmt.Printf("%d ranks of %d rows each, in run otel-wandb-examples/ranks-%s\n", ranks, steps, job)
	return errors.Join(errs...)
}
