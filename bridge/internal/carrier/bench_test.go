package carrier

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

type nowhere struct{}

func (nowhere) Export(context.Context, []byte) error { return nil }
func (nowhere) Shutdown(context.Context) error       { return nil }

var fiveScalars = []attribute.KeyValue{
	attribute.Float64("train/loss", 0.25), attribute.Float64("train/accuracy", 0.875), attribute.Float64("lr", 1e-3),
	attribute.Int("epoch", 12), attribute.Float64("grad_norm", 1.5),
}

func benchmarkPipeline(b *testing.B, dir string) *Pipeline {
	b.Helper()
	p, err := Start(Config{Sink: nowhere{}, Dir: dir, MaxBytes: 1 << 30, Report: func(error) {}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := p.Shutdown(context.Background()); err != nil && !errors.Is(err, ErrFull) {
			b.Error(err)
		}
	})
	return p
}

// rowWhenThereIsRoom logs a row. Who does nothing else can log hundreds of
// megabytes a second, and more than a busy machine writes meanwhile.
func rowWhenThereIsRoom(s *Stream, at time.Time, step int64) error {
	for {
		err := s.Row(at, step, true, fiveScalars, nil)
		if !errors.Is(err, ErrFull) {
			return err
		}
		runtime.Gosched()
	}
}

// BenchmarkRow is what a program pays for a row of five scalars, while the rest
// of the path works too: a file, requests, and a sink that takes all.
func BenchmarkRow(b *testing.B) {
	for _, bb := range []struct{ name, dir string }{{"file", b.TempDir()}, {"memory", ""}} {
		b.Run(bb.name, func(b *testing.B) {
			s := benchmarkPipeline(b, bb.dir).Open(owner)
			now := time.Now()
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if err := rowWhenThereIsRoom(s, now, int64(i)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkRowParallel(b *testing.B) {
	s := benchmarkPipeline(b, b.TempDir()).Open(owner)
	now := time.Now()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := rowWhenThereIsRoom(s, now, 0); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// BenchmarkAddEvent is what OpenTelemetry's SDK takes for the same row, of which
// it then keeps the last 128.
func BenchmarkAddEvent(b *testing.B) {
	tp := sdktrace.NewTracerProvider()
	defer func() { _ = tp.Shutdown(context.Background()) }()
	_, span := tp.Tracer("bench").Start(context.Background(), "task")
	now := time.Now()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		span.AddEvent("wandb.log", trace.WithTimestamp(now), trace.WithAttributes(attribute.Int("wandb.step", i)), trace.WithAttributes(fiveScalars...))
	}
}
