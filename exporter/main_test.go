package wandbexporter

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/exporter/exportertest"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.uber.org/goleak"

	"github.com/otel-wandb/otel-wandb/exporter/internal/runview"
	"github.com/otel-wandb/otel-wandb/internal/runid"
	"github.com/otel-wandb/otel-wandb/internal/semconv"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pair is the component as a collector has it: an exporter for each signal, of
// one id and one configuration.
type pair struct {
	traces  exporter.Traces
	logs    exporter.Logs
	metrics exporter.Metrics
}

func newPair(t *testing.T, set exporter.Settings, cfg *Config) *pair {
	t.Helper()
	traces, err := NewFactory().CreateTraces(t.Context(), set, cfg)
	require.NoError(t, err)
	logs, err := NewFactory().CreateLogs(t.Context(), set, cfg)
	require.NoError(t, err)
	metrics, err := NewFactory().CreateMetrics(t.Context(), set, cfg)
	require.NoError(t, err)
	return &pair{traces, logs, metrics}
}

func (p *pair) start(t *testing.T, host component.Host) {
	t.Helper()
	require.NoError(t, p.traces.Start(t.Context(), host))
	require.NoError(t, p.logs.Start(t.Context(), host))
	require.NoError(t, p.metrics.Start(t.Context(), host))
}

func (p *pair) shutdown(t *testing.T) {
	t.Helper()
	require.NoError(t, p.traces.Shutdown(context.Background()))
	require.NoError(t, p.logs.Shutdown(context.Background()))
	require.NoError(t, p.metrics.Shutdown(context.Background()))
}

func nopSettings() exporter.Settings { return exportertest.NewNopSettings(Type) }

func nopHost() component.Host { return componenttest.NewNopHost() }

// configIn is the default configuration, with runs in dir that end at once.
func configIn(dir string) *Config {
	cfg := createDefaultConfig().(*Config)
	cfg.Dir, cfg.Finish.Linger = dir, time.Nanosecond
	return cfg
}

// task is a request with one task: span n of trace n, with rows as events.
func task(n byte, rows int) ptrace.Traces {
	td := ptrace.NewTraces()
	span := td.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans().AppendEmpty()
	span.SetTraceID(pcommon.TraceID{n})
	span.SetSpanID(pcommon.SpanID{n})
	span.SetName("train")
	span.SetStartTimestamp(1e18)
	span.SetEndTimestamp(1e18 + 1e9)
	span.Attributes().PutStr(semconv.RunMode, semconv.ModeAuto)
	for i := range rows {
		event := span.Events().AppendEmpty()
		event.SetName(semconv.EventLog)
		event.SetTimestamp(pcommon.Timestamp(1e18 + i))
		event.Attributes().PutInt("event", int64(i))
	}
	return td
}

// record is a request with one log record of span n: a row, or another event.
func record(n byte, event string) plog.Logs {
	ld := plog.NewLogs()
	rec := ld.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords().AppendEmpty()
	rec.SetTraceID(pcommon.TraceID{n})
	rec.SetSpanID(pcommon.SpanID{n})
	rec.SetTimestamp(1e18 + 5e8)
	rec.SetEventName(event)
	rec.Attributes().PutInt("record", 1)
	return ld
}

// reading is a request with one gauge, of span n's run.
func reading(n byte, name string) pmetric.Metrics {
	md := pmetric.NewMetrics()
	rm := md.ResourceMetrics().AppendEmpty()
	rm.Resource().Attributes().PutStr(semconv.RunID, runID(n))
	metric := rm.ScopeMetrics().AppendEmpty().Metrics().AppendEmpty()
	metric.SetName(name)
	point := metric.SetEmptyGauge().DataPoints().AppendEmpty()
	point.SetTimestamp(1e18 + 5e8)
	point.SetDoubleValue(0.5)
	return md
}

// runID is that of span n's run, where it asks for none.
func runID(n byte) string {
	return runid.Base("", "", pcommon.TraceID{n}.String(), pcommon.SpanID{n}.String())
}

// started is the record that opens a run while its span is open.
func started(n byte) plog.Logs {
	ld := record(n, semconv.EventRunStart)
	ld.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().At(0).Attributes().PutStr(semconv.RunMode, semconv.ModeAuto)
	return ld
}

// runs reads all runs under dir.
func runs(t *testing.T, dir string) []*runview.Run {
	t.Helper()
	parts, err := runview.List(dir)
	require.NoError(t, err)
	var all []*runview.Run
	for _, group := range runview.Group(parts) {
		run, err := runview.Read(group, runview.Options{})
		require.NoError(t, err)
		all = append(all, run)
	}
	return all
}
