package bridge_test

import (
	"context"
	"image"

	"github.com/otel-wandb/otel-wandb/bridge"
)

var inspectErrors = bridge.Task("inspect-errors", func(ctx context.Context, mistaken image.Image) (int, error) {
	run := bridge.RunFromContext(ctx)
	run.LogTable("errors", []string{"label", "guess", "certainty"}, [][]any{
		{"cat", "dog", 0.7},
		{"cat", nil, 0.1},
	})
	run.LogImage("worst", mistaken, bridge.WithCaption("taken for a dog"), bridge.AtStep(10))
	run.LogHTML("report", "<h1>2 errors of 1000</h1>")
	run.LogHistogram("certainty", []float64{0.7, 0.1})
	return 2, nil
})

// Tables, images, pages and distributions.
func Example_media() {
	ctx, collector := connected()
	defer collector.show()

	if _, err := inspectErrors(ctx, image.NewGray(image.Rect(0, 0, 28, 28))); err != nil {
		panic(err)
	}
	// Output:
	// run of inspect-errors in team/vision: finished
	//   inspect-errors logs table errors
	//   inspect-errors logs image worst
	//   inspect-errors logs html report
	//   inspect-errors logs certainty=[0.7,0.1]
}
