package inprocess

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/exporter/exportertest"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploghttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	otellog "go.opentelemetry.io/otel/log"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	wandbexporter "github.com/otel-wandb/otel-wandb/exporter"
	"github.com/otel-wandb/otel-wandb/exporter/internal/runview"
)

// The same spans and records make the same runs, whether they go through this
// package or as OTLP to the Collector's component.
func TestInProcessAndOTLPMakeTheSameRuns(t *testing.T) {
	here, there := t.TempDir(), t.TempDir()
	e, err := New(t.Context(), WithDir(here), WithErrorHandler((&heard{}).Handle))
	require.NoError(t, err)
	c := startComponent(t, there)
	otlpSpans, err := otlptracehttp.New(t.Context(), otlptracehttp.WithEndpointURL(c.url+"/v1/traces"))
	require.NoError(t, err)
	otlpLogs, err := otlploghttp.New(t.Context(), otlploghttp.WithEndpointURL(c.url+"/v1/logs"))
	require.NoError(t, err)

	res := resource.NewSchemaless(attribute.String("service.name", "trainer"), attribute.String("host.name", "gpu-1"))
	traces := sdktrace.NewTracerProvider(sdktrace.WithResource(res),
		sdktrace.WithSyncer(e.Spans()), sdktrace.WithSyncer(otlpSpans))
	logs := sdklog.NewLoggerProvider(sdklog.WithResource(res),
		sdklog.WithProcessor(sdklog.NewSimpleProcessor(e.Logs())), sdklog.WithProcessor(sdklog.NewSimpleProcessor(otlpLogs)))
	work(t, traces.Tracer("trainer"), logs.Logger("trainer"))
	require.NoError(t, traces.Shutdown(t.Context()))
	require.NoError(t, logs.Shutdown(t.Context()))
	require.NoError(t, e.Shutdown(t.Context()))
	c.shutdown(t)

	ours, theirs := readRuns(t, here), readRuns(t, there)
	require.Len(t, ours, 2)
	if diff := cmp.Diff(theirs, ours, sameRun...); diff != "" {
		t.Errorf("through OTLP (-), in process (+):\n%s", diff)
	}
	for id, run := range ours {
		assert.NotNil(t, run.Exit, "run %s", id)
		assert.NotEmpty(t, run.Rows, "run %s", id)
	}
}

// sameRun compares what the conventions promise: not where and when it was
// written, nor whether its end has been written yet.
var sameRun = []cmp.Option{
	cmpopts.IgnoreFields(runview.Run{}, "Parts", "Exit"),
	cmpopts.IgnoreFields(runview.Row{}, "Part", "Num", "UUID"),
	cmpopts.IgnoreMapEntries(func(key string, _ any) bool { return slices.Contains([]string{"_wandb", "_runtime"}, key) }),
}

// work is a run with a run under it: rows as span events and as log records,
// config, summary, console, an exception, a failed end.
func work(t *testing.T, tracer trace.Tracer, logger otellog.Logger) {
	t.Helper()
	ctx, task := tracer.Start(t.Context(), "train", trace.WithAttributes(
		attribute.String("wandb.run.mode", "auto"), attribute.StringSlice("wandb.run.tags", []string{"b", "a"}),
		attribute.Float64("wandb.config.optimizer.lr", 0.1), attribute.IntSlice("wandb.config.layers", []int{3, 4})))
	_, eval := tracer.Start(ctx, "evaluate", trace.WithAttributes(attribute.String("wandb.run.mode", "new")))
	eval.AddEvent("wandb.log", trace.WithAttributes(attribute.Float64("accuracy", 0.75)))
	eval.SetAttributes(attribute.Bool("wandb.summary.passed", true))
	eval.End()
	_, step := tracer.Start(ctx, "step")
	for i := range 10 {
		step.AddEvent("wandb.log", trace.WithAttributes(attribute.Float64("loss", 1/float64(i+1)), attribute.Int("wandb.step", 2*i)))
	}
	step.End()
	row := record0("wandb.log")
	row.SetBody(attribute.MapValue(attribute.Float64("val.loss", 0.5), attribute.Map("nested", attribute.Int("n", 1))))
	logger.Emit(ctx, row)
	line := record0("")
	line.SetBody(attribute.StringValue("epoch 1 done"))
	logger.Emit(ctx, line)
	task.RecordError(assert.AnError)
	task.SetStatus(codes.Error, "failed")
	task.End()
}

func record0(event string) (r otellog.Record) {
	r.SetTimestamp(time.Now())
	r.SetEventName(event)
	return r
}

// component is the Collector's component behind an OTLP endpoint.
type component struct {
	url      string
	shutdown func(*testing.T)
}

func startComponent(t *testing.T, dir string) *component {
	t.Helper()
	factory := wandbexporter.NewFactory()
	cfg := factory.CreateDefaultConfig().(*wandbexporter.Config)
	cfg.Dir, cfg.Finish.Linger = dir, time.Nanosecond
	set := exportertest.NewNopSettings(factory.Type())
	spans, err := factory.CreateTraces(t.Context(), set, cfg)
	require.NoError(t, err)
	records, err := factory.CreateLogs(t.Context(), set, cfg)
	require.NoError(t, err)
	require.NoError(t, spans.Start(t.Context(), componenttest.NewNopHost()))
	require.NoError(t, records.Start(t.Context(), componenttest.NewNopHost()))

	mux := http.NewServeMux()
	mux.HandleFunc("/v1/traces", func(w http.ResponseWriter, r *http.Request) {
		request := ptraceotlp.NewExportRequest()
		serve(t, w, r, request.UnmarshalProto, func(ctx context.Context) error {
			return spans.ConsumeTraces(ctx, request.Traces())
		})
	})
	mux.HandleFunc("/v1/logs", func(w http.ResponseWriter, r *http.Request) {
		request := plogotlp.NewExportRequest()
		serve(t, w, r, request.UnmarshalProto, func(ctx context.Context) error {
			return records.ConsumeLogs(ctx, request.Logs())
		})
	})
	server := httptest.NewServer(mux)
	return &component{server.URL, func(t *testing.T) {
		t.Helper()
		server.Close()
		require.Eventually(t, func() bool {
			for _, run := range readRuns(t, dir) {
				if run.Exit == nil {
					return false
				}
			}
			return true
		}, patience, 10*time.Millisecond, "the runs never ended")
		require.NoError(t, spans.Shutdown(context.Background()))
		require.NoError(t, records.Shutdown(context.Background()))
	}}
}

func serve(t *testing.T, w http.ResponseWriter, r *http.Request, decode func([]byte) error, consume func(context.Context) error) {
	body, err := io.ReadAll(r.Body)
	if err == nil {
		err = decode(body)
	}
	if err == nil {
		err = consume(r.Context())
	}
	if !assert.NoError(t, err) {
		w.WriteHeader(http.StatusInternalServerError)
	}
}
