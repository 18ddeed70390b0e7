package inprocess

import (
	"context"
	"fmt"
	"sync/atomic"

	sdklog "go.opentelemetry.io/otel/sdk/log"
)

// logs is the face for log records.
// ConcurrentSafe: it holds an Exporter and a flag.
type logs struct {
	exporter *Exporter
	down     atomic.Bool
}

var _ sdklog.Exporter = (*logs)(nil)

// Export writes the records, or parks them. An error means that they are lost.
func (l *logs) Export(_ context.Context, records []sdklog.Record) (err error) {
	if l.down.Load() {
		return sdklog.ErrExporterShutdown
	}
	if len(records) == 0 {
		return nil
	}
	defer l.exporter.guard(&err)
	body, err := encode(toOTLP(records))
	if err != nil {
		return fmt.Errorf("wandb in process: %d log records lost, which cannot be OTLP: %w", len(records), err)
	}
	return l.exporter.take(logsRequest(body, len(records)))
}

// ForceFlush waits until what is parked is written.
func (l *logs) ForceFlush(ctx context.Context) error { return l.exporter.ForceFlush(ctx) }

// Shutdown takes no more from this provider, which has flushed before. The
// Exporter goes on: who made it shuts it down.
func (l *logs) Shutdown(context.Context) error {
	l.down.Store(true)
	return nil
}
