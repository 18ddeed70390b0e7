package bridge_test

import (
	"context"
	"fmt"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/otel-wandb/otel-wandb/bridge"
)

var fetch = bridge.Trace("fetch", func(context.Context, string) (int, error) { return 3, nil })

var prepare = bridge.Task("prepare", func(ctx context.Context, source string) (int, error) {
	return fetch(ctx, source)
}, bridge.WithRunID("prepare-1"))

// Every span under a task leads to the task's run.
func Example_links() {
	spans := tracetest.NewSpanRecorder() // stands in for a trace viewer

	provider := sdktrace.NewTracerProvider(
		sdktrace.WithSpanProcessor(bridge.NewSpanProcessor()), // links on all spans under tasks
		sdktrace.WithSpanProcessor(spans),
	)
	ctx, collector := connected(bridge.WithTracerProvider(provider))
	defer collector.show()

	if _, err := prepare(ctx, "s3://data"); err != nil {
		fmt.Println(err)
	}
	for _, span := range spans.Ended() {
		for _, a := range span.Attributes() {
			if a.Key == "wandb.run.url" {
				fmt.Println(span.Name(), a.Value.AsString())
			}
		}
	}
	// Output:
	// fetch https://wandb.ai/team/vision/runs/prepare-1
	// prepare https://wandb.ai/team/vision/runs/prepare-1
	// run of prepare in team/vision: finished
}
