package bridge_test

import (
	"context"
	"fmt"

	"github.com/otel-wandb/otel-wandb/bridge"
)

var inspect = bridge.Task("inspect", func(ctx context.Context, _ struct{}) (string, error) {
	run := bridge.RunFromContext(ctx)

	// One row of metrics.
	run.Log(map[string]any{"loss": 0.5, "accuracy": 0.9})

	// Where the run is.
	fmt.Println("id:     ", run.ID())
	fmt.Println("page:   ", run.URL())
	fmt.Println("project:", run.Project())

	// Config that is known only now.
	run.Config().Update(map[string]any{"learning_rate": 0.001, "batch_size": 32})

	return run.ID(), nil
}, bridge.WithRunID("inspect-1"))

// What a task can ask its run for, and tell it.
func Example_theRun() {
	ctx, collector := connected()
	defer collector.show()

	_, err := inspect(ctx, struct{}{})
	fmt.Println(err)
	// Output:
	// id:      inspect-1
	// page:    https://wandb.ai/team/vision/runs/inspect-1
	// project: vision
	// <nil>
	// run of inspect in team/vision: finished
	//   inspect logs accuracy=0.9 loss=0.5
	//   inspect sets config batch_size=32 learning_rate=0.001
}
