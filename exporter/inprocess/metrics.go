package inprocess

import (
	"context"
	"fmt"
	"sync/atomic"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// metrics is the face for a reader of metrics.
// ConcurrentSafe: it holds an Exporter and a flag.
type metrics struct {
	exporter *Exporter
	down     atomic.Bool
}

var _ sdkmetric.Exporter = (*metrics)(nil)

// Temporality is cumulative: a reading that is missed changes none behind it.
func (*metrics) Temporality(sdkmetric.InstrumentKind) metricdata.Temporality {
	return metricdata.CumulativeTemporality
}

// Aggregation is the SDK's default.
func (*metrics) Aggregation(kind sdkmetric.InstrumentKind) sdkmetric.Aggregation {
	return sdkmetric.DefaultAggregationSelector(kind)
}

// Export writes the readings, or parks them. An error means that they are lost.
func (m *metrics) Export(_ context.Context, read *metricdata.ResourceMetrics) (err error) {
	if m.down.Load() {
		return errShutdown
	}
	request, points := readings(read)
	if points == 0 {
		return nil
	}
	defer m.exporter.guard(&err)
	body, err := encode(request)
	if err != nil {
		return fmt.Errorf("wandb in process: %d data points lost, which cannot be OTLP: %w", points, err)
	}
	return m.exporter.take(metricsRequest(body, points))
}

// ForceFlush waits until what is parked is written.
func (m *metrics) ForceFlush(ctx context.Context) error { return m.exporter.ForceFlush(ctx) }

// Shutdown takes no more from this provider, which has read a last time before.
// The Exporter goes on: who made it shuts it down.
func (m *metrics) Shutdown(context.Context) error {
	m.down.Store(true)
	return nil
}
