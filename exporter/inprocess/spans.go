package inprocess

import (
	"context"
	"fmt"
	"sync/atomic"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	coltracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
)

// spans is the face for spans: OpenTelemetry's own OTLP exporter, with a client
// that leads to the engine and not to a network.
// ConcurrentSafe: it holds an Exporter and a flag.
type spans struct {
	exporter *Exporter
	otlp     *otlptrace.Exporter
	down     atomic.Bool
}

var (
	_ sdktrace.SpanExporter = (*spans)(nil)
	_ otlptrace.Client      = client{}
)

func newSpans(e *Exporter) *spans {
	return &spans{exporter: e, otlp: otlptrace.NewUnstarted(client{e})}
}

// ExportSpans writes the spans, or parks them. An error means that they are lost.
func (s *spans) ExportSpans(ctx context.Context, batch []sdktrace.ReadOnlySpan) (err error) {
	if s.down.Load() {
		return errShutdown
	}
	defer s.exporter.guard(&err)
	return s.otlp.ExportSpans(ctx, batch)
}

// Shutdown takes no more from this provider. The Exporter goes on, with what is
// parked: who made it shuts it down, and waits once, not once a provider.
func (s *spans) Shutdown(context.Context) error {
	s.down.Store(true)
	return nil
}

// client is what OTLP's exporter sends to.
type client struct{ exporter *Exporter }

func (client) Start(context.Context) error { return nil }
func (client) Stop(context.Context) error  { return nil }

func (c client) UploadTraces(_ context.Context, resources []*tracepb.ResourceSpans) error {
	body, err := encode(&coltracepb.ExportTraceServiceRequest{ResourceSpans: resources})
	n := 0
	for _, rs := range resources {
		for _, ss := range rs.GetScopeSpans() {
			n += len(ss.GetSpans())
		}
	}
	if err != nil {
		return fmt.Errorf("wandb in process: %d spans lost, which cannot be OTLP: %w", n, err)
	}
	return c.exporter.take(tracesRequest(body, n))
}
