package bridge_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/otel-wandb/otel-wandb/bridge"
)

// A function that is made a task.
var score = bridge.Task("score", func(ctx context.Context, lr float64) (string, error) {
	run := bridge.RunFromContext(ctx)
	run.Log(map[string]any{"score": 100 * lr})
	return "done", nil
})

// A function that is a task from its first line on.
func fit(ctx context.Context, data []float64) (mean float64, err error) {
	_, run, err := bridge.StartTask(ctx, "fit")
	if err != nil {
		return 0, err
	}
	defer run.End(&err)

	if len(data) == 0 {
		return 0, errors.New("no data")
	}
	for i, x := range data {
		mean += (x - mean) / float64(i+1)
		run.Log(map[string]any{"mean": mean})
	}
	return mean, nil
}

// Both ways to make a task, and a program around them.
func Example_basicUsage() {
	collector := serving()
	defer collector.show()

	program := func() {
		ctx := context.Background()
		b, err := bridge.Setup(ctx)
		if err != nil {
			log.Print(err) // the program works without
		}
		defer b.Shutdown(context.Background())

		fmt.Println(score(ctx, 0.1))
		fmt.Println(fit(ctx, []float64{1, 2}))
		fmt.Println(fit(ctx, nil))
	}
	program()
	// Output:
	// done <nil>
	// 1.5 <nil>
	// 0 no data
	// run of score in team/vision: finished
	//   score logs score=10
	// run of fit in team/vision: finished
	//   fit logs mean=1
	//   fit logs mean=1.5
	// run of fit in team/vision: failed, exit code 1
}
