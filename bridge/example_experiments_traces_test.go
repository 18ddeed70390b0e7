package bridge_test

import (
	"context"
	"fmt"

	"github.com/otel-wandb/otel-wandb/bridge"
)

type validation struct {
	Accuracy float64 `wandb:"accuracy"`
	F1       float64 `wandb:"f1"`
}

// A helper with a span of its own.
var logValidation = bridge.Trace("log-validation", func(ctx context.Context, v validation) (bool, error) {
	run := bridge.RunFromContext(ctx)
	run.LogStruct(v) // no run, no row: nothing to ask for
	return run != nil, nil
})

var trainAndValidate = bridge.Task("train-and-validate", func(ctx context.Context, epochs int) (bool, error) {
	run := bridge.RunFromContext(ctx)
	for epoch := range epochs {
		run.Log(map[string]any{"loss": 1 / float64(epoch+1)})
	}
	return logValidation(ctx, validation{Accuracy: 0.95, F1: 0.92})
})

// A helper logs to the run of the task that calls it.
func Example_helpers() {
	ctx, collector := connected()
	defer collector.show()

	fmt.Println(trainAndValidate(ctx, 2))
	fmt.Println(logValidation(ctx, validation{}))
	// Output:
	// true <nil>
	// false <nil>
	// run of train-and-validate in team/vision: finished
	//   train-and-validate logs loss=1
	//   train-and-validate logs loss=0.5
	//   train-and-validate logs accuracy=0.95 f1=0.92
}
