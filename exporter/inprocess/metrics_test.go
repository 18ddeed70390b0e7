package inprocess

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	otellog "go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	colmetricspb "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/testing/protocmp"
)

// A program's metrics are in its run, by the resource that its providers share.
func TestMetricsJoinTheProgramsRun(t *testing.T) {
	dir := t.TempDir()
	said := &heard{}
	e, err := New(t.Context(), WithDir(dir), WithErrorHandler(said.Handle))
	require.NoError(t, err)
	res := resource.NewSchemaless(attribute.String("service.instance.id", "one"), attribute.String("service.name", "trainer"))
	traces := sdktrace.NewTracerProvider(sdktrace.WithSyncer(e.Spans()), sdktrace.WithResource(res))
	logs := sdklog.NewLoggerProvider(sdklog.WithProcessor(sdklog.NewSimpleProcessor(e.Logs())), sdklog.WithResource(res))
	metrics := sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewPeriodicReader(e.Metrics())), sdkmetric.WithResource(res))
	meter := metrics.Meter("test")
	loss, err := meter.Float64Gauge("train.loss")
	require.NoError(t, err)
	took, err := meter.Float64Histogram("step.duration")
	require.NoError(t, err)
	memory, err := meter.Int64Gauge("process.memory.usage")
	require.NoError(t, err)

	loss.Record(t.Context(), 1)
	require.NoError(t, metrics.ForceFlush(t.Context())) // before the run: of no run
	ctx, span := traces.Tracer("test").Start(t.Context(), "train", trace.WithAttributes(attribute.String("wandb.run.mode", "auto")))
	announce(ctx, logs)
	loss.Record(ctx, 0.5)
	took.Record(ctx, 3)
	memory.Record(ctx, 64<<20)
	require.NoError(t, metrics.ForceFlush(ctx))
	span.End()
	loss.Record(ctx, 0.25)
	require.NoError(t, metrics.Shutdown(t.Context())) // the last reading comes after the task's end
	require.NoError(t, traces.Shutdown(t.Context()))
	require.NoError(t, logs.Shutdown(t.Context()))
	require.NoError(t, e.Shutdown(t.Context()))

	run := theRun(t, dir)
	require.Len(t, run.Rows, 2)
	assert.InDelta(t, 0.5, run.Rows[0].Values["train.loss"], 0)
	assert.EqualValues(t, 1, run.Rows[0].Values["step.duration/count"])
	assert.Contains(t, run.Rows[0].Values["step.duration"], "bins")
	assert.InDelta(t, 0.25, run.Summary["train.loss"], 0)
	require.Len(t, run.System, 2)
	assert.EqualValues(t, 64, run.System[0].Values["proc.memory.rssMB"])
	require.NotNil(t, run.Exit)
	assert.Zero(t, *run.Exit)
	assert.Empty(t, said.all())
}

// announce sends the event that opens the run of the task in ctx.
func announce(ctx context.Context, logs *sdklog.LoggerProvider) {
	var r otellog.Record
	r.SetEventName("wandb.run.start")
	r.SetTimestamp(time.Now())
	r.AddAttributes(attribute.String("wandb.run.mode", "auto"))
	logs.Logger("test").Emit(ctx, r)
}

// What cannot be written is parked, and written once.
func TestMetricsAreParked(t *testing.T) {
	disk := &failing{err: errors.New("the disk is full")}
	dir := t.TempDir()
	p := newProgram(t, dir, through(func(s sink) sink { disk.sink = s; return disk }))
	m := p.exporter.Metrics()
	read := everyKindOfReading()
	read.Resource = resource.NewSchemaless(attribute.String("wandb.run.id", "asked"))
	require.NoError(t, m.Export(t.Context(), read))
	assert.Equal(t, "9 data points", p.exporter.Stats().Parked.String())
	disk.set(nil)
	require.NoError(t, m.ForceFlush(t.Context()))
	require.NoError(t, m.Export(t.Context(), read))
	require.NoError(t, m.Shutdown(t.Context()))
	require.ErrorIs(t, m.Export(t.Context(), read), errShutdown)
	p.shutdown(t.Context(), t)
	assert.Len(t, theRun(t, dir).Rows, 2, "of two scopes, with keys in common")
}

func TestNothingReadIsNothing(t *testing.T) {
	p := newProgram(t, t.TempDir())
	m := p.exporter.Metrics()
	require.NoError(t, m.Export(t.Context(), &metricdata.ResourceMetrics{}))
	assert.Equal(t, metricdata.CumulativeTemporality, m.Temporality(sdkmetric.InstrumentKindCounter))
	assert.IsType(t, sdkmetric.AggregationExplicitBucketHistogram{}, m.Aggregation(sdkmetric.InstrumentKindHistogram))
	p.shutdown(t.Context(), t)
}

// receiver keeps what OpenTelemetry's own exporter sends.
type receiver struct {
	colmetricspb.UnimplementedMetricsServiceServer
	got *colmetricspb.ExportMetricsServiceRequest
}

func (r *receiver) Export(_ context.Context, request *colmetricspb.ExportMetricsServiceRequest) (*colmetricspb.ExportMetricsServiceResponse, error) {
	r.got = request
	return &colmetricspb.ExportMetricsServiceResponse{}, nil
}

// Readings become the OTLP that OpenTelemetry's own exporter makes of them.
func TestReadingsAreWhatOTLPMakesOfThem(t *testing.T) {
	listener, err := net.Listen("tcp", "localhost:0")
	require.NoError(t, err)
	theirs, server := &receiver{}, grpc.NewServer()
	colmetricspb.RegisterMetricsServiceServer(server, theirs)
	served := make(chan error)
	go func() { served <- server.Serve(listener) }()
	client, err := otlpmetricgrpc.New(t.Context(), otlpmetricgrpc.WithEndpoint(listener.Addr().String()), otlpmetricgrpc.WithInsecure())
	require.NoError(t, err)
	read := everyKindOfReading()
	require.NoError(t, client.Export(t.Context(), read))
	require.NoError(t, client.Shutdown(t.Context()))
	server.Stop()
	require.NoError(t, <-served)

	ours, points := readings(read)
	if diff := cmp.Diff(theirs.got, ours, protocmp.Transform()); diff != "" {
		t.Errorf("theirs (-), ours (+):\n%s", diff)
	}
	assert.Equal(t, 9, points)
}

func everyKindOfReading() *metricdata.ResourceMetrics {
	from, at := time.Unix(1_700_000_000, 0), time.Unix(1_700_000_010, 5)
	set := attribute.NewSet(attribute.String("k", "v"), attribute.Int("n", 3), attribute.Bool("b", true))
	number := func(name string, data metricdata.Aggregation) metricdata.Metrics {
		return metricdata.Metrics{Name: name, Description: "of " + name, Unit: "1", Data: data}
	}
	return &metricdata.ResourceMetrics{
		Resource: resource.NewWithAttributes("https://schema/r", attribute.String("service.name", "trainer")),
		ScopeMetrics: []metricdata.ScopeMetrics{
			{Scope: instrumentation.Scope{Name: "a", Version: "1", SchemaURL: "https://schema/s", Attributes: set}, Metrics: []metricdata.Metrics{
				number("gauge.int", metricdata.Gauge[int64]{DataPoints: []metricdata.DataPoint[int64]{{Attributes: set, Time: at, Value: 9007199254740993}}}),
				number("gauge.float", metricdata.Gauge[float64]{DataPoints: []metricdata.DataPoint[float64]{{StartTime: from, Time: at, Value: 0.5}}}),
				number("sum.int", metricdata.Sum[int64]{
					Temporality: metricdata.CumulativeTemporality, IsMonotonic: true,
					DataPoints: []metricdata.DataPoint[int64]{{StartTime: from, Time: at, Value: 3}},
				}),
				number("sum.float", metricdata.Sum[float64]{
					Temporality: metricdata.DeltaTemporality,
					DataPoints:  []metricdata.DataPoint[float64]{{StartTime: from, Time: at, Value: -0.5}},
				}),
				number("histogram.int", metricdata.Histogram[int64]{
					Temporality: metricdata.CumulativeTemporality,
					DataPoints: []metricdata.HistogramDataPoint[int64]{{
						StartTime: from, Time: at, Count: 3, Sum: 12, Bounds: []float64{1, 5}, BucketCounts: []uint64{1, 1, 1},
						Min: metricdata.NewExtrema[int64](1), Max: metricdata.NewExtrema[int64](8),
					}},
				}),
				number("exponential", metricdata.ExponentialHistogram[float64]{
					Temporality: metricdata.CumulativeTemporality,
					DataPoints: []metricdata.ExponentialHistogramDataPoint[float64]{{
						StartTime: from, Time: at, Count: 4, Sum: 2, Scale: 1, ZeroCount: 1, ZeroThreshold: 0.25,
						PositiveBucket: metricdata.ExponentialBucket{Offset: 1, Counts: []uint64{1, 0, 1}},
						NegativeBucket: metricdata.ExponentialBucket{Offset: -1, Counts: []uint64{1}},
					}},
				}),
				number("summary", metricdata.Summary{DataPoints: []metricdata.SummaryDataPoint{{
					StartTime: from, Time: at, Count: 2, Sum: 3, QuantileValues: []metricdata.QuantileValue{{Quantile: 0.5, Value: 1.5}},
				}}}),
			}},
			{Scope: instrumentation.Scope{Name: "b"}, Metrics: []metricdata.Metrics{
				number("gauge.float", metricdata.Gauge[float64]{DataPoints: []metricdata.DataPoint[float64]{{Time: at, Value: 0.5}}}),
				number("exponential.int", metricdata.ExponentialHistogram[int64]{
					Temporality: metricdata.CumulativeTemporality,
					DataPoints:  []metricdata.ExponentialHistogramDataPoint[int64]{{Time: at, Count: 1, Sum: 2, PositiveBucket: metricdata.ExponentialBucket{Counts: []uint64{1}}}},
				}),
			}},
		},
	}
}
