package bridge_test

import (
	"context"

	"github.com/otel-wandb/otel-wandb/bridge"
)

// This function drops the context that StartTask gives it.
func cleanAlone(ctx context.Context) (err error) {
	_, run, err := bridge.StartTask(ctx, "clean-alone") // not so
	if err != nil {
		return err
	}
	defer run.End(&err)
	_, err = train(ctx, 1)
	return err
}

// This one takes it.
func clean(ctx context.Context) (err error) {
	ctx, run, err := bridge.StartTask(ctx, "clean")
	if err != nil {
		return err
	}
	defer run.End(&err)
	_, err = train(ctx, 1)
	return err
}

// A task under the context of StartTask is on the run; one under the context of
// before is not.
func Example_theContextOfATask() {
	ctx, collector := connected()
	defer collector.show()

	if err := cleanAlone(ctx); err != nil {
		panic(err)
	}
	if err := clean(ctx); err != nil {
		panic(err)
	}
	// Output:
	// run of clean-alone in team/vision: finished
	// run of train in team/vision: finished
	//   train logs loss=0.5
	// run of clean in team/vision: finished
	//   train logs loss=0.5
}
