package bridge_test

import (
	"context"
	"log"

	"github.com/otel-wandb/otel-wandb/bridge"
)

var train = bridge.Task("train", func(ctx context.Context, epochs int) (float64, error) {
	run := bridge.RunFromContext(ctx)
	loss := 1.0
	for range epochs {
		loss /= 2
		run.Log(map[string]any{"loss": loss})
	}
	return loss, nil
})

// Configuration of a whole program, and of one call of it.
func Example_workflowConfig() {
	collector := serving()
	defer collector.show()

	program := func() {
		ctx := context.Background()

		// For all that this program does:
		b, err := bridge.Setup(ctx,
			bridge.WithEntity("my-team"),
			bridge.WithProject("my-project"),
			bridge.WithTags("production"),
		)
		if err != nil {
			log.Print(err)
		}
		defer b.Shutdown(context.Background())

		// For one workflow of it:
		ctx = bridge.WithConfig(ctx,
			bridge.WithTags("experiment-1"),
			bridge.WithConfigValues(map[string]any{"model": "resnet50", "dataset": "imagenet"}),
		)
		if _, err := train(ctx, 2); err != nil {
			log.Print(err)
		}
	}
	program()
	// Output:
	// run of train in my-team/my-project: finished
	//   train has tags experiment-1 production
	//   train has config dataset=imagenet model=resnet50
	//   train logs loss=0.5
	//   train logs loss=0.25
}

var compare = bridge.Task("compare", func(ctx context.Context, _ struct{}) (string, error) {
	// Other tags and config for this call.
	special := bridge.WithConfig(ctx,
		bridge.WithTags("special-run"),
		bridge.WithConfigValues(map[string]any{"learning_rate": 0.01}))
	if _, err := train(special, 1); err != nil {
		return "", err
	}

	// Another run mode for this one: it has a run of its own.
	if _, err := train(bridge.WithConfig(ctx, bridge.WithMode(bridge.ModeNew)), 2); err != nil {
		return "", err
	}

	// Nothing is left of either.
	_, err := train(ctx, 1)
	return "done", err
})

// Configuration for one call of a child.
func Example_childConfig() {
	ctx, collector := connected()
	defer collector.show()

	if _, err := compare(ctx, struct{}{}); err != nil {
		log.Print(err)
	}
	// Output:
	// run of compare in team/vision: finished
	//   train has tags special-run
	//   train has config learning_rate=0.01
	//   train logs loss=0.5
	//   train logs loss=0.5
	// run of train in team/vision: finished
	//   train logs loss=0.5
	//   train logs loss=0.25
}
