package bridge_test

import (
	"context"
	"fmt"

	"github.com/otel-wandb/otel-wandb/bridge"
)

var double = bridge.Task("double", func(ctx context.Context, x int) (int, error) {
	bridge.RunFromContext(ctx).Log(map[string]any{"doubled": 2 * x})
	return 2 * x, nil
})

var pipeline = bridge.Task("pipeline", func(ctx context.Context, x int) (int, error) {
	bridge.RunFromContext(ctx).Log(map[string]any{"input": x})

	// double is a task too. Given this task's context it is on this task's run.
	return double(ctx, x)
})

// A task that another one calls is on the run of its caller.
func Example_parentAndChild() {
	ctx, collector := connected()
	defer collector.show()

	fmt.Println(pipeline(ctx, 5))
	// Output:
	// 10 <nil>
	// run of pipeline in team/vision: finished
	//   pipeline logs input=5
	//   double logs doubled=10
}
