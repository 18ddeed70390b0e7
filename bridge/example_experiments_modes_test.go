package bridge_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/otel-wandb/otel-wandb/bridge"
)

var probe = bridge.Task("probe", func(ctx context.Context, lr float64) (float64, error) {
	run := bridge.RunFromContext(ctx) // the probe's own
	run.Log(map[string]any{"loss": 1 - lr})
	return 1 - lr, nil
}, bridge.WithMode(bridge.ModeNew))

var search = bridge.Task("search", func(ctx context.Context, rates []float64) (best float64, err error) {
	run := bridge.RunFromContext(ctx)
	best = 1
	for _, lr := range rates {
		loss, err := probe(ctx, lr)
		if err != nil {
			return 0, err
		}
		best = min(best, loss)
	}
	// This task's run is what it was.
	run.Log(map[string]any{"best": best})
	return best, nil
})

// Mode new: each call of a task has a run of its own.
func Example_modeNew() {
	ctx, collector := connected()
	defer collector.show()

	fmt.Println(search(ctx, []float64{0.25, 0.5}))
	// Output:
	// 0.5 <nil>
	// run of search in team/vision: finished
	//   search logs best=0.5
	// run of probe in team/vision: finished
	//   probe logs loss=0.75
	// run of probe in team/vision: finished
	//   probe logs loss=0.5
}

var report = bridge.Task("report", func(ctx context.Context, accuracy float64) (struct{}, error) {
	// There is a parent's run, or this would not be reached.
	bridge.RunFromContext(ctx).Log(map[string]any{"accuracy": accuracy})
	return struct{}{}, nil
}, bridge.WithMode(bridge.ModeShared))

var release = bridge.Task("release", func(ctx context.Context, accuracy float64) (struct{}, error) {
	return report(ctx, accuracy)
})

// Mode shared: a task that makes no sense without its caller's run.
func Example_modeShared() {
	ctx, collector := connected()
	defer collector.show()

	_, err := release(ctx, 0.9)
	fmt.Println("under a task:", err)
	_, err = report(ctx, 0.9)
	fmt.Println("alone:", errors.Is(err, bridge.ErrNoParentRun))
	fmt.Println(err)
	// Output:
	// under a task: <nil>
	// alone: true
	// wandb bridge: task "report" refused: mode shared needs a parent run: none of the tasks above it has a run: start it under a task, use ModeAuto, or name a run with WithRunID
	// run of release in team/vision: finished
	//   report logs accuracy=0.9
}
