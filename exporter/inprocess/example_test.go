package inprocess_test

import (
	"context"
	"fmt"
	"os"

	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/otel-wandb/otel-wandb/exporter/inprocess"
	"github.com/otel-wandb/otel-wandb/exporter/internal/runview"
)

func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "runs")
	must(err)
	defer func() { must(os.RemoveAll(dir)) }()

	exporter, err := inprocess.New(ctx, inprocess.WithDir(dir), inprocess.WithProject("digits"))
	must(err)
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter.Spans()))

	_, task := provider.Tracer("example").Start(ctx, "train", trace.WithAttributes(
		attribute.String("wandb.run.mode", "auto"),
		attribute.Float64("wandb.config.lr", 0.01)))
	for i := range 3 {
		task.AddEvent("wandb.log", trace.WithAttributes(attribute.Float64("loss", 1/float64(i+1))))
	}
	task.End()

	must(provider.Shutdown(ctx))
	must(exporter.Shutdown(ctx))

	// The run is on disk: `wandb sync` uploads it. Here it is read back.
	parts, err := runview.List(dir)
	must(err)
	run, err := runview.Read(parts, runview.Options{})
	must(err)
	fmt.Println("project", run.Project, "config lr", run.Config["lr"])
	fmt.Println(len(run.Rows), "rows, the last loss", run.Summary["loss"])
	fmt.Println("exit code", *run.Exit)
	// Output:
	// project digits config lr 0.01
	// 3 rows, the last loss 0.3333333333333333
	// exit code 0
}

// A MeterProvider's readings go to the run that their resource names. Without a
// name they join the program's runs that are open.
func ExampleExporter_Metrics() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "runs")
	must(err)
	defer func() { must(os.RemoveAll(dir)) }()

	exporter, err := inprocess.New(ctx, inprocess.WithDir(dir))
	must(err)
	program := resource.NewSchemaless(attribute.String("wandb.run.id", "digits-1"))
	traces := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter.Spans()), sdktrace.WithResource(program))
	meters := sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewPeriodicReader(exporter.Metrics())), sdkmetric.WithResource(program))

	_, task := traces.Tracer("example").Start(ctx, "train", trace.WithAttributes(attribute.String("wandb.run.mode", "auto")))
	loss, err := meters.Meter("example").Float64Gauge("loss")
	must(err)
	loss.Record(ctx, 0.25)
	task.End()

	must(traces.Shutdown(ctx))
	must(meters.Shutdown(ctx)) // its last reading
	must(exporter.Shutdown(ctx))

	parts, err := runview.List(dir)
	must(err)
	run, err := runview.Read(parts, runview.Options{})
	must(err)
	fmt.Println("run", run.ID, "loss", run.Summary["loss"], "exit code", *run.Exit)
	// Output:
	// run digits-1 loss 0.25 exit code 0
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
