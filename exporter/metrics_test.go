package wandbexporter

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/otel-wandb/otel-wandb/internal/semconv"
)

// ownMetrics are the metrics of the exporter's own scope, by name.
func ownMetrics(t *testing.T, tel *componenttest.Telemetry) map[string]metricdata.Metrics {
	t.Helper()
	var all metricdata.ResourceMetrics
	require.NoError(t, tel.Reader.Collect(t.Context(), &all))
	own := map[string]metricdata.Metrics{}
	for _, scope := range all.ScopeMetrics {
		if scope.Scope.Name != scopeName {
			continue
		}
		for _, m := range scope.Metrics {
			own[strings.TrimPrefix(m.Name, prefix)] = m
		}
	}
	return own
}

// value is a metric's value, or the sum of its values.
func value(t *testing.T, m metricdata.Metrics) (n int64) {
	t.Helper()
	points := []metricdata.DataPoint[int64](nil)
	switch d := m.Data.(type) {
	case metricdata.Sum[int64]:
		assert.True(t, d.IsMonotonic)
		points = d.DataPoints
	case metricdata.Gauge[int64]:
		points = d.DataPoints
	default:
		require.Failf(t, "no sum and no gauge", "%s is %T", m.Name, m.Data)
	}
	for _, p := range points {
		n += p.Value
	}
	return n
}

// started with telemetry that can be read back.
func withTelemetry(t *testing.T, cfg *Config) (*pair, *componenttest.Telemetry) {
	t.Helper()
	tel := componenttest.NewTelemetry()
	t.Cleanup(func() { assert.NoError(t, tel.Shutdown(context.Background())) })
	set := nopSettings()
	set.TelemetrySettings = tel.NewTelemetrySettings()
	p := newPair(t, set, cfg)
	p.start(t, nopHost())
	return p, tel
}

func TestMetrics(t *testing.T) {
	cfg := configIn(t.TempDir())
	cfg.Finish.Linger = 1 << 62 // runs stay open
	p, tel := withTelemetry(t, cfg)

	require.NoError(t, p.traces.ConsumeTraces(t.Context(), task(1, 3)))
	require.NoError(t, p.traces.ConsumeTraces(t.Context(), task(1, 3))) // a repeat
	require.NoError(t, p.logs.ConsumeLogs(t.Context(), record(1, "")))  // a console line
	require.NoError(t, p.logs.ConsumeLogs(t.Context(), record(9, "")))  // waits for span 9
	require.NoError(t, p.traces.ConsumeTraces(t.Context(), plainSpan(2)))
	require.NoError(t, p.logs.ConsumeLogs(t.Context(), record(2, ""))) // of no run
	require.NoError(t, p.metrics.ConsumeMetrics(t.Context(), reading(1, "loss")))
	mend := breakDir(t, cfg.Dir)
	require.Error(t, p.traces.ConsumeTraces(t.Context(), task(3, 1)))
	mend()
	require.NoError(t, p.traces.ConsumeTraces(t.Context(), task(3, 1)))

	got := map[string]int64{}
	units := map[string]string{}
	for name, m := range ownMetrics(t, tel) {
		assert.NotEmpty(t, m.Description, name)
		if strings.HasPrefix(name, "upload_") {
			assert.Zero(t, value(t, m), "offline nothing is uploaded")
			continue
		}
		got[name], units[name] = value(t, m), m.Unit
	}
	for _, varies := range []string{"log_bytes", "journal_bytes", "log_appends", "links"} {
		assert.Positive(t, got[varies], varies)
		delete(got, varies)
	}
	assert.Equal(t, map[string]int64{
		"rows": 5, "metric_points": 1, "console_lines": 1, "repeated_items": 3, "runs_opened": 2, "parts_opened": 2, "parts_finished": 0,
		"parts_damaged": 0, "runs_recovered": 0, "no_run_items": 1, "waited_items": 1, "waiting_items": 1,
		"requests": 9, "requests_busy": 0, "requests_failed": 1, "links_evicted": 0, "runs_open": 2, "in_flight_bytes": 0,
	}, got)
	assert.Equal(t, map[string]string{
		"rows": "{row}", "metric_points": "{point}", "console_lines": "{line}", "repeated_items": "{item}", "runs_opened": "{run}",
		"parts_opened": "{part}", "parts_finished": "{part}", "parts_damaged": "{part}", "runs_recovered": "{run}",
		"no_run_items": "{item}", "waited_items": "{item}", "waiting_items": "{item}", "log_bytes": "By",
		"journal_bytes": "By", "in_flight_bytes": "By", "log_appends": "{append}", "requests": "{request}",
		"requests_busy": "{request}", "requests_failed": "{request}", "links": "{span}", "links_evicted": "{span}",
		"runs_open": "{run}",
	}, units)

	p.shutdown(t)
	assert.Empty(t, ownMetrics(t, tel), "an engine that is gone is not asked")
}

// plainSpan is a root span that holds nothing for W&B.
func plainSpan(n byte) (td ptrace.Traces) {
	td = task(n, 0)
	td.ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(0).Attributes().Clear()
	return td
}

// Every drop has its reason, on one metric.
func TestDroppedItemsByReason(t *testing.T) {
	cfg := configIn(t.TempDir())
	cfg.Rootless = off
	p, tel := withTelemetry(t, cfg)

	noTask := task(1, 2)
	noTask.ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(0).Attributes().Clear()
	require.NoError(t, p.traces.ConsumeTraces(t.Context(), noTask))
	refused := task(2, 3)
	refused.ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(0).Attributes().PutStr(semconv.Host, "https://elsewhere")
	require.NoError(t, p.traces.ConsumeTraces(t.Context(), refused))
	bad := task(3, 1)
	span := bad.ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(0)
	span.Events().At(0).Attributes().PutInt("_step", 1)
	event := span.Events().AppendEmpty()
	event.SetName("wandb.lok")
	require.NoError(t, p.traces.ConsumeTraces(t.Context(), bad))
	require.NoError(t, p.logs.ConsumeLogs(t.Context(), noSpan()))

	m := ownMetrics(t, tel)["dropped_items"]
	assert.Equal(t, "{item}", m.Unit)
	got := map[string]int64{}
	for _, p := range m.Data.(metricdata.Sum[int64]).DataPoints {
		reason, ok := p.Attributes.Value("reason")
		require.True(t, ok)
		got[reason.AsString()] = p.Value
	}
	assert.Equal(t, map[string]int64{
		"no_task": 2, "host_not_allowed": 1, "reserved_key": 1, "unknown_event": 1, "no_span": 1,
	}, got, "reasons: %v", slices.Sorted(maps.Keys(got)))
	p.shutdown(t)
}

// Two exporters of one collector are told apart.
func TestMetricsNameTheirExporter(t *testing.T) {
	tel := componenttest.NewTelemetry()
	t.Cleanup(func() { assert.NoError(t, tel.Shutdown(context.Background())) })
	var pairs []*pair
	for i, name := range []string{"laptop", "archive"} {
		set := nopSettings()
		set.ID = component.NewIDWithName(Type, name)
		set.TelemetrySettings = tel.NewTelemetrySettings()
		p := newPair(t, set, configIn(t.TempDir()))
		p.start(t, nopHost())
		require.NoError(t, p.traces.ConsumeTraces(t.Context(), task(1, i+1)))
		pairs = append(pairs, p)
	}
	rows := map[string]int64{}
	for _, p := range ownMetrics(t, tel)["rows"].Data.(metricdata.Sum[int64]).DataPoints {
		id, _ := p.Attributes.Value("exporter")
		rows[id.AsString()] = p.Value
	}
	assert.Equal(t, map[string]int64{"wandb/laptop": 1, "wandb/archive": 2}, rows)
	for _, p := range pairs {
		p.shutdown(t)
	}
}

// The helper's own metrics say how much was sent, and how much went back.
func TestTheHelpersMetricsAreThere(t *testing.T) {
	cfg := configIn(t.TempDir())
	p, tel := withTelemetry(t, cfg)
	require.NoError(t, p.traces.ConsumeTraces(t.Context(), task(1, 1)))
	mend := breakDir(t, cfg.Dir)
	require.Error(t, p.traces.ConsumeTraces(t.Context(), task(2, 1)))
	mend()
	for name, want := range map[string]int64{"otelcol_exporter_sent_spans": 1, "otelcol_exporter_send_failed_spans": 1} {
		m, err := tel.GetMetric(name)
		require.NoError(t, err)
		assert.Equal(t, want, value(t, m), name)
	}
	p.shutdown(t)
}

// noSpan is a row of no span, which is dropped.
func noSpan() plog.Logs {
	ld := record(1, semconv.EventLog)
	rec := ld.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().At(0)
	rec.SetSpanID([8]byte{})
	return ld
}
