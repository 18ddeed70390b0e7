package bridge_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/otel-wandb/otel-wandb/bridge"
)

var trainOn = bridge.Task("train-on", func(ctx context.Context, step func(n int)) (steps int, err error) {
	run := bridge.RunFromContext(ctx)
	for ctx.Err() == nil {
		step(steps)
		steps++
		run.Log(map[string]any{"step": steps})
	}
	if errors.Is(context.Cause(ctx), bridge.ErrStopped) {
		return steps, nil // somebody has seen enough: no failure
	}
	return steps, context.Cause(ctx)
})

// A loop that ends when somebody presses stop on the run's page.
func Example_stop() {
	ctx, collector := connected(bridge.WithRunID("long"))
	defer collector.show()

	fmt.Println(trainOn(ctx, func(n int) {
		if n == 2 {
			collector.press("", "team", "vision", "long")
		}
	}))
	// Output:
	// 3 <nil>
	// run of train-on in team/vision: finished
	//   train-on logs step=1
	//   train-on logs step=2
	//   train-on logs step=3
}
