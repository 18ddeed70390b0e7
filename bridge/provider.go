package bridge

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	sdkresource "go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/otel-wandb/otel-wandb/internal/sink"
)

// closeGrace is what closing may take when there is no time left.
const closeGrace = 200 * time.Millisecond

// makeProvider gives a program without a TracerProvider one: spans go where
// runs go, and each is stamped.
func (b *Bridge) makeProvider(ctx context.Context, to Sink) error {
	closed := make(chan struct{})
	done := sync.OnceFunc(func() { close(closed) })
	exporter, err := otlptrace.New(ctx, client{to, b.report, closed})
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
	b.close = append(b.close, func(ctx context.Context) error {
		if ctx.Err() != nil { // the SDK would leave its goroutine then
			grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeGrace)
			defer cancel()
			ctx = grace
		}
		defer done()
		return tp.Shutdown(ctx)
	})
	b.flush = append(b.flush, tp.ForceFlush)
	otel.SetTracerProvider(tp)
	otel.SetTextMapPropagator(propagator())
	return nil
}

// passes tells whether trouble may be over soon.
func passes(err error) bool {
	var e *sink.Error
	return !errors.As(err, &e) || e.Kind == sink.Transient
}

// client sends spans to a sink, which the pipeline shuts down.
type client struct {
	to     Sink
	report func(error)
	closed <-chan struct{} // nobody waits for what is sent any more
}

func (client) Start(context.Context) error { return nil }
func (client) Stop(context.Context) error  { return nil }

func (c client) UploadTraces(ctx context.Context, spans []*tracepb.ResourceSpans) error {
	request, err := proto.Marshal(&collectorpb.ExportTraceServiceRequest{ResourceSpans: spans})
	if err != nil {
		return fmt.Errorf("wandb bridge: encode spans: %w", err)
	}
	// As OpenTelemetry's own exporters do: try again for as long as the SDK lets
	// it, then drop. Runs do not depend on it.
	for wait := 250 * time.Millisecond; ; wait *= 2 {
		err = c.to.Export(ctx, request)
		if err == nil || !passes(err) {
			break
		}
		select {
		case <-ctx.Done():
		case <-c.closed:
		case <-time.After(wait):
			continue
		}
		break
	}
	if err != nil {
		c.report(fmt.Errorf("wandb bridge: spans are lost, runs are not: %w", err))
	}
	return nil // it is said already
}
