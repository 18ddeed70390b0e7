package inprocess

import (
	"context"
	"sync/atomic"
)

// Sink is the exporter's face for a sender that encodes its requests itself and
// keeps them until they are taken, as the bridge does:
//
//	b, err := bridge.Setup(ctx, bridge.WithSink(exporter.Sink()))
//
// Nothing of it is parked: the sender has it, and sends it again.
//
// ConcurrentSafe: it holds an Exporter and a flag.
type Sink struct {
	exporter *Exporter
	down     atomic.Bool
}

// Sink is the exporter's face for serialised requests. Each call makes one, to
// be shut down by whom it is given to.
func (e *Exporter) Sink() *Sink { return &Sink{exporter: e} }

// Export writes an ExportTraceServiceRequest, as protobuf. It returns nil when
// that is on disk, and an error when it must be sent again. It keeps no bytes.
func (s *Sink) Export(_ context.Context, request []byte) error {
	if s.down.Load() {
		return errShutdown
	}
	e := s.exporter
	if !e.enter() {
		return errShutdown
	}
	defer e.under.Done()
	return e.write(tracesRequest(request, 0))
}

// OnStop has stopped called each time somebody presses a run's stop button at
// W&B, from any goroutine.
func (s *Sink) OnStop(stopped func(host, entity, project, runID string)) {
	s.exporter.stops.add(stopped)
}

// Shutdown takes no more from this sender. The Exporter goes on, and is shut
// down by who made it, after the sender.
func (s *Sink) Shutdown(context.Context) error {
	s.down.Store(true)
	return nil
}
