package bridge

import (
	"context"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// NewSpanProcessor stamps every span that starts under a task with the task's
// run, spans of third-party instrumentation too, so that a trace viewer shows
// the link to W&B on each, and a collector knows the run without the span's
// ancestors. Register it with the program's TracerProvider; [Setup] does so
// where it makes one.
//
//	sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(bridge.NewSpanProcessor()), …)
//
// It works without it: ancestors decide then. Spans outside tasks cost a look
// into their context.
//
// ConcurrentSafe: it has no state.
func NewSpanProcessor() sdktrace.SpanProcessor { return stamper{} }

type stamper struct{}

func (stamper) OnStart(ctx context.Context, span sdktrace.ReadWriteSpan) {
	if st, ok := ctx.Value(stateKey{}).(*state); ok && st.run != nil {
		span.SetAttributes(st.run.stamp...)
	}
}

func (stamper) OnEnd(sdktrace.ReadOnlySpan)      {}
func (stamper) Shutdown(context.Context) error   { return nil }
func (stamper) ForceFlush(context.Context) error { return nil }
