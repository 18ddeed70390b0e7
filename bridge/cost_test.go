package bridge

import (
	"context"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// What the bridge costs a program, beside what OpenTelemetry's SDK takes for the
// same. make bench-bridge prints them; docs/performance.md has the figures.

func fiveScalars(i int) [5]attribute.KeyValue {
	return [5]attribute.KeyValue{
		attribute.Float64("train/loss", 0.25), attribute.Float64("train/accuracy", 0.875), attribute.Float64("lr", 1e-3),
		attribute.Int("epoch", i), attribute.Float64("grad_norm", 1.5),
	}
}

// BenchmarkCostRow: a row of five scalars. The bridge's includes what its two
// goroutines do with it, until the last is acknowledged: the file, the requests,
// and a sink that takes all.
// AddEvent's is only the call: what it holds is exported when the span ends, and
// of the rows of a span the SDK keeps the last 128, unless it is told to keep
// all.
func BenchmarkCostRow(b *testing.B) {
	for _, bb := range []struct{ name, dir string }{{"LogAttrs/file", b.TempDir()}, {"LogAttrs/memory", ""}} {
		b.Run(bb.name, func(b *testing.B) {
			br, err := New(WithSink(nowhere{}), WithDir(bb.dir), WithMaxBytes(1<<30), WithTracerProvider(noTracing()), WithErrorHandler(func(error) {}))
			if err != nil {
				b.Fatal(err)
			}
			_, run, err := StartTask(br.Context(b.Context()), "task")
			if err != nil {
				b.Fatal(err)
			}
			path := br.pipeline.(carriers)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				row := fiveScalars(i)
				run.LogAttrs(row[:]...)
			}
			// The loop's end stopped the clock. What is still on its way is part of
			// the cost.
			b.StartTimer()
			if err := br.ForceFlush(b.Context()); err != nil {
				b.Error(err)
			}
			b.StopTimer()
			run.End(nil)
			_ = br.Shutdown(context.Background())
			b.ReportMetric(float64(path.RefusedRows()), "refused")
		})
	}
	for _, bb := range []struct {
		name string
		keep int
	}{{"AddEvent/128", 128}, {"AddEvent/all", -1}} {
		b.Run(bb.name, func(b *testing.B) {
			limits := sdktrace.NewSpanLimits()
			limits.EventCountLimit = bb.keep
			tp := sdktrace.NewTracerProvider(sdktrace.WithRawSpanLimits(limits))
			defer func() { _ = tp.Shutdown(context.Background()) }()
			_, span := tp.Tracer("bench").Start(b.Context(), "task")
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				row := fiveScalars(i)
				span.AddEvent("wandb.log", trace.WithAttributes(row[:]...))
			}
			b.StopTimer()
			span.End()
		})
	}
}

// existing is a processor as programs have: it looks at the span and takes it.
type existing struct{ seen int }

func (e *existing) OnStart(_ context.Context, s sdktrace.ReadWriteSpan) { e.seen += len(s.Name()) }
func (e *existing) OnEnd(s sdktrace.ReadOnlySpan)                       { e.seen += len(s.Name()) }
func (*existing) Shutdown(context.Context) error                        { return nil }
func (*existing) ForceFlush(context.Context) error                      { return nil }

// BenchmarkCostSpan: a span with two attributes, that starts and ends, in a program
// with a processor of its own; then with the bridge's beside it, outside any
// task (in a context of some depth) and under one.
func BenchmarkCostSpan(b *testing.B) {
	type key int
	deep := context.Background()
	for i := range 8 {
		deep = context.WithValue(deep, key(i), i)
	}
	for _, bb := range []struct {
		name   string
		stamps bool
		task   bool
	}{{"without", false, false}, {"beside, unrelated", true, false}, {"beside, under a task", true, true}} {
		b.Run(bb.name, func(b *testing.B) {
			opts := []sdktrace.TracerProviderOption{sdktrace.WithSpanProcessor(&existing{})}
			if bb.stamps {
				opts = append(opts, sdktrace.WithSpanProcessor(NewSpanProcessor()))
			}
			tp := sdktrace.NewTracerProvider(opts...)
			defer func() { _ = tp.Shutdown(context.Background()) }()
			ctx := deep
			if bb.task {
				br, err := New(WithSink(nowhere{}), WithDir(""), WithTracerProvider(tp), WithEntity("e"), WithProject("p"))
				if err != nil {
					b.Fatal(err)
				}
				defer func() { _ = br.Shutdown(context.Background()) }()
				in, run, err := StartTask(br.Context(ctx), "task")
				if err != nil {
					b.Fatal(err)
				}
				defer run.End(nil)
				ctx = in
			} else {
				in, span := tp.Tracer("bench").Start(ctx, "server")
				defer span.End()
				ctx = in
			}
			tracer := tp.Tracer("bench")
			b.ReportAllocs()
			for b.Loop() {
				_, span := tracer.Start(ctx, "GET /", trace.WithAttributes(attribute.String("http.route", "/"), attribute.Int("n", 1)))
				span.End()
			}
		})
	}
}

// BenchmarkCostProcessor is the bridge's processor alone, on an unrelated span.
func BenchmarkCostProcessor(b *testing.B) {
	type key int
	ctx := context.Background()
	for i := range 8 {
		ctx = context.WithValue(ctx, key(i), i)
	}
	p := NewSpanProcessor()
	b.ReportAllocs()
	for b.Loop() {
		p.OnStart(ctx, nil)
		p.OnEnd(nil)
	}
}
