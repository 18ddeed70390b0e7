package bridge_test

import (
	"context"
	"errors"
	"fmt"

	"go.opentelemetry.io/otel/attribute"

	"github.com/otel-wandb/otel-wandb/bridge"
)

// drain is a sink for examples: a program has a collector instead.
type drain struct{}

func (drain) Export(context.Context, []byte) error { return nil }
func (drain) Shutdown(context.Context) error       { return nil }

func setup() (context.Context, func()) {
	b, err := bridge.New(bridge.WithSink(drain{}), bridge.WithDir(""), bridge.WithEntity("team"), bridge.WithProject("vision"))
	if err != nil {
		panic(err)
	}
	return b.Context(context.Background()), func() {
		if err := b.Shutdown(context.Background()); err != nil {
			panic(err)
		}
	}
}

// A function becomes a task.
func ExampleTask() {
	ctx, shutdown := setup()
	defer shutdown()

	train := bridge.Task("train", func(ctx context.Context, epochs int) (float64, error) {
		run := bridge.RunFromContext(ctx)
		loss := 1.0
		for epoch := range epochs {
			loss /= 2
			run.Log(map[string]any{"epoch": epoch, "loss": loss})
		}
		fmt.Println(run.URL())
		return loss, nil
	}, bridge.WithRunID("first-try"))

	loss, err := train(ctx, 3)
	fmt.Println(loss, err)
	// Output:
	// https://wandb.ai/team/vision/runs/first-try
	// 0.125 <nil>
}

// Where a function of another shape is in the way, a task is started and ended.
func ExampleStartTask() {
	ctx, shutdown := setup()
	defer shutdown()

	train := func(ctx context.Context) (err error) {
		_, run, err := bridge.StartTask(ctx, "train", bridge.WithConfigValues(map[string]any{"lr": 0.1}))
		if err != nil {
			return err
		}
		defer run.End(&err)
		run.LogAttrs(bridge.Step(1), attribute.Float64("loss", 0.5))
		return errors.New("out of memory") // ends the run as failed
	}
	fmt.Println(train(ctx))
	// Output: out of memory
}

// Tasks share their parent's run, unless they ask for one of their own.
func ExampleMode() {
	ctx, shutdown := setup()
	defer shutdown()

	which := func(ctx context.Context, _ struct{}) (string, error) { return bridge.RunFromContext(ctx).ID(), nil }
	auto := bridge.Task("auto", which)
	own := bridge.Task("new", which, bridge.WithMode(bridge.ModeNew))
	shared := bridge.Task("shared", which, bridge.WithMode(bridge.ModeShared))

	parent := bridge.Task("parent", func(ctx context.Context, in struct{}) (struct{}, error) {
		id := bridge.RunFromContext(ctx).ID()
		for _, child := range []func(context.Context, struct{}) (string, error){auto, own, shared} {
			got, err := child(ctx, in)
			fmt.Println(got == id, err)
		}
		return in, nil
	})
	if _, err := parent(ctx, struct{}{}); err != nil {
		fmt.Println(err)
	}
	_, err := shared(ctx, struct{}{})
	fmt.Println(errors.Is(err, bridge.ErrNoParentRun))
	fmt.Println(err)
	// Output:
	// true <nil>
	// false <nil>
	// true <nil>
	// true
	// wandb bridge: task "shared" refused: mode shared needs a parent run: none of the tasks above it has a run: start it under a task, use ModeAuto, or name a run with WithRunID
}

// Scopes say what holds for the tasks under a context.
func ExampleWithConfig() {
	ctx, shutdown := setup()
	defer shutdown()

	where := bridge.Task("where", func(ctx context.Context, _ int) (string, error) {
		return bridge.RunFromContext(ctx).Project(), nil
	})
	nightly := bridge.WithConfig(ctx, bridge.WithProject("nightly"), bridge.WithTags("cron"))
	for _, ctx := range []context.Context{ctx, nightly, ctx} {
		project, err := where(ctx, 0)
		fmt.Println(project, err)
	}
	// Output:
	// vision <nil>
	// nightly <nil>
	// vision <nil>
}

// A helper logs to its task's run; outside a task it does nothing.
func ExampleTrace() {
	ctx, shutdown := setup()
	defer shutdown()

	validate := bridge.Trace("validate", func(ctx context.Context, accuracy float64) (bool, error) {
		run := bridge.RunFromContext(ctx)
		run.Log(map[string]any{"val/accuracy": accuracy})
		return run != nil, nil
	})
	train := bridge.Task("train", func(ctx context.Context, _ int) (bool, error) { return validate(ctx, 0.95) })

	inTask, _ := train(ctx, 0)
	alone, _ := validate(ctx, 0.95)
	fmt.Println(inTask, alone)
	// Output: true false
}

// A workflow engine, a queue, or whatever else carries text carries a run.
func ExampleInject() {
	ctx, shutdown := setup()
	defer shutdown()

	ctx, run, err := bridge.StartTask(ctx, "parent", bridge.WithRunID("sweep-7"))
	if err != nil {
		panic(err)
	}
	defer run.End(nil)
	message := map[string]string{}
	bridge.Inject(ctx, message)

	// In another process:
	far, shutdown := setup()
	defer shutdown()
	_, child, err := bridge.StartTask(bridge.Extract(far, message), "child")
	if err != nil {
		panic(err)
	}
	defer child.End(nil)
	fmt.Println(child.ID())
	// Output: sweep-7
}
