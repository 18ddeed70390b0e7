package bridge_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/otel-wandb/otel-wandb/bridge"
)

var diverge = bridge.Task("diverge", func(context.Context, struct{}) (struct{}, error) {
	return struct{}{}, errors.New("loss is NaN")
})

var outer = bridge.Task("outer", func(ctx context.Context, in struct{}) (struct{}, error) {
	return leaf(ctx, in)
}, bridge.WithEntity("other-team"), bridge.WithProject("other-project"), bridge.WithRunID("outer-1"))

var leaf = bridge.Task("leaf", func(ctx context.Context, in struct{}) (struct{}, error) {
	fmt.Println("leaf is on", bridge.RunFromContext(ctx).URL())
	return in, nil
})

// What the table at the end of docs/experiments.md says, tried.
func Example_differences() {
	ctx, collector := connected()
	defer collector.show()
	none := struct{}{}

	// A failed task is a failed run.
	_, _ = diverge(ctx, none)

	// A child knows where its parent's run is, here and in another process.
	_, _ = outer(ctx, none)
	message := map[string]string{}
	far, run, err := bridge.StartTask(ctx, "sender", bridge.WithProject("far"), bridge.WithRunID("sender-1"))
	if err != nil {
		panic(err)
	}
	bridge.Inject(far, message)
	_, _ = leaf(bridge.Extract(ctx, message), none)

	// One field that is set changes no other: the mode stays new.
	fresh := bridge.WithConfig(far, bridge.WithMode(bridge.ModeNew))
	_, _ = double(bridge.WithConfig(fresh, bridge.WithTags("special")), 1)

	// An id in a scope is no way around mode new.
	_, _ = probe(bridge.WithConfig(far, bridge.WithRunID("sender-1")), 0.5)
	run.End(nil)
	// Output:
	// leaf is on https://wandb.ai/other-team/other-project/runs/outer-1
	// leaf is on https://wandb.ai/team/far/runs/sender-1
	// run of diverge in team/vision: failed, exit code 1
	// run of outer in other-team/other-project: finished
	// run of sender in team/far: finished
	// run of double in team/far: finished
	//   double has tags special
	//   double logs doubled=2
	// run of probe in team/far: finished
	//   probe logs loss=0.5
}
