package wandbexporter

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"

	"github.com/otel-wandb/otel-wandb/internal/wandbtest"
)

// meters is a program's MeterProvider, which sends to the collector by
// OpenTelemetry's own exporter.
func (c *collector) meters(t *testing.T, on ...attribute.KeyValue) *sdkmetric.MeterProvider {
	t.Helper()
	out, err := otlpmetricgrpc.New(t.Context(), otlpmetricgrpc.WithEndpoint(c.site.Addr), otlpmetricgrpc.WithInsecure())
	require.NoError(t, err)
	return sdkmetric.NewMeterProvider(
		sdkmetric.WithResource(resource.NewSchemaless(on...)),
		sdkmetric.WithReader(sdkmetric.NewPeriodicReader(out)),
	)
}

// A program's metrics and its machine's are in the run's log, and go to W&B as
// history and as system metrics.
func TestMetricsThroughACollector(t *testing.T) {
	w, cfg := standIn(t, wandbtest.Options{})
	c := startCollector(t, fmt.Sprintf(", mode: online, host: %q, project: digits, api_key: %q", cfg.Host, wandbtest.Key))
	conn := c.dial(t)
	open := started(1)
	on := open.ResourceLogs().At(0).Resource().Attributes()
	on.PutStr("service.instance.id", "one")
	on.PutStr("host.name", "box")
	_, err := plogotlp.NewGRPCClient(conn).Export(t.Context(), plogotlp.NewExportRequestFromLogs(open))
	require.NoError(t, err)

	program := c.meters(t, attribute.String("service.instance.id", "one"), attribute.String("host.name", "box"))
	loss, err := program.Meter("train").Float64Gauge("train.loss")
	require.NoError(t, err)
	memory, err := program.Meter("train").Int64Gauge("process.memory.usage", metric.WithUnit("By"))
	require.NoError(t, err)
	machine := c.meters(t, attribute.String("host.name", "box"))
	used, err := machine.Meter("host").Float64Gauge("system.memory.utilization")
	require.NoError(t, err)
	for i := range 3 {
		loss.Record(t.Context(), 1/float64(i+1))
		memory.Record(t.Context(), 64<<20)
		used.Record(t.Context(), 0.5, metric.WithAttributes(attribute.String("state", "used")))
		require.NoError(t, program.ForceFlush(t.Context()))
		require.NoError(t, machine.ForceFlush(t.Context()))
	}
	_, err = ptraceotlp.NewGRPCClient(conn).Export(t.Context(), ptraceotlp.NewExportRequestFromTraces(task(1, 0)))
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		all := w.Runs()
		return len(all) == 1 && all[0].State == "finished"
	}, patience, 10*time.Millisecond)
	// They shut down later than the task, which ended long ago: of no run, and no error.
	require.NoError(t, program.Shutdown(context.Background()))
	require.NoError(t, machine.Shutdown(context.Background()))
	c.Stop(t)

	all := runs(t, c.site.Dir)
	require.Len(t, all, 1)
	require.Len(t, all[0].Parts, 1)
	require.Len(t, all[0].Rows, 3)
	assert.InDelta(t, 0.5, all[0].Rows[1].Values["train.loss"], 0)
	require.Len(t, all[0].System, 6)

	at := w.Runs()[0]
	assert.Len(t, at.History, 3)
	keys := map[string]int{}
	for _, line := range at.SystemMetrics() {
		assert.Equal(t, true, line["_wandb"])
		assert.Positive(t, line["_timestamp"])
		for key, v := range line {
			if key[0] != '_' {
				keys[fmt.Sprint(key, "=", v)]++
			}
		}
	}
	assert.Equal(t, map[string]int{"system.proc.memory.rssMB=64": 3, "system.memory_percent/l:box=50": 3}, keys)
	assert.Empty(t, w.Violations())
}

// A collector that is killed with SIGKILL right after it said "taken" has the
// readings, knows the run that they join, and takes none of them twice.
func TestMetricsSurviveAKill(t *testing.T) {
	c := startCollector(t, "")
	open := started(1)
	open.ResourceLogs().At(0).Resource().Attributes().PutStr("host.name", "box")
	_, err := plogotlp.NewGRPCClient(c.dial(t)).Export(t.Context(), plogotlp.NewExportRequestFromLogs(open))
	require.NoError(t, err)
	const kills = 3
	for i := range kills {
		md := reading(1, "system.cpu.load_average.1m")
		on := md.ResourceMetrics().At(0).Resource().Attributes()
		on.Clear()
		on.PutStr("host.name", "box")
		md.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().At(0).Gauge().DataPoints().At(0).
			SetTimestamp(pcommon.Timestamp(1e18 + 5e8 + int64(i)*1e9))
		request := pmetricotlp.NewExportRequestFromMetrics(md)
		_, err = pmetricotlp.NewGRPCClient(c.dial(t)).Export(t.Context(), request)
		require.NoError(t, err)
		c.Kill()
		c.Collector = c.site.StartReady(t)
		_, err = pmetricotlp.NewGRPCClient(c.dial(t)).Export(t.Context(), request) // the answer was lost
		require.NoError(t, err)
	}
	c.Stop(t)
	all := runs(t, c.site.Dir)
	require.Len(t, all, 1)
	require.Len(t, all[0].System, kills)
	for _, sample := range all[0].System {
		assert.Contains(t, sample.Values, "cpu.load_average.1m/l:box")
	}
}
