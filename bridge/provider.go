package bridge

import (
	"context"
	"fmt"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	sdkresource "go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// makeProvider gives a program without a TracerProvider one: spans go where
// runs go, and each is stamped.
func (b *Bridge) makeProvider(ctx context.Context, to Sink) error {
	exporter, err := otlptrace.New(ctx, client{to})
	if err != nil {
		return fmt.Errorf("wandb bridge: tracer provider: %w", err)
	}
	resource, err := sdkresource.Merge(sdkresource.Default(), sdkresource.NewSchemaless(b.resource...))
	if err != nil {
		resource = sdkresource.NewSchemaless(b.resource...)
	}
	tp := sdktrace.NewTracerProvider(
		sdktrace.WithResource(resource),
		sdktrace.WithSpanProcessor(NewSpanProcessor()),
		sdktrace.WithBatcher(exporter),
	)
	b.provider = tp
	b.close = append(b.close, tp.Shutdown)
	b.flush = append(b.flush, tp.ForceFlush)
	otel.SetTracerProvider(tp)
	otel.SetTextMapPropagator(propagator())
	return nil
}

// client sends spans to a sink, which the pipeline shuts down.
type client struct{ to Sink }

func (client) Start(context.Context) error { return nil }
func (client) Stop(context.Context) error  { return nil }

func (c client) UploadTraces(ctx context.Context, spans []*tracepb.ResourceSpans) error {
	request, err := proto.Marshal(&collectorpb.ExportTraceServiceRequest{ResourceSpans: spans})
	if err != nil {
		return fmt.Errorf("wandb bridge: encode spans: %w", err)
	}
	return c.to.Export(ctx, request)
}
