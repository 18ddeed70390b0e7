package bridged

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"

	"github.com/otel-wandb/otel-wandb/bridge"
	"github.com/otel-wandb/otel-wandb/exporter/inprocess"
	"github.com/otel-wandb/otel-wandb/exporter/internal/runview"
)

// A program on the bridge, with a MeterProvider that knows the machine, as the
// SDK's detectors do it: its metrics and the machine's are in its run.
func TestMetricsOfAProgramOnTheBridge(t *testing.T) {
	dir := t.TempDir()
	exporter, err := inprocess.New(t.Context(), inprocess.WithDir(dir))
	require.NoError(t, err)
	b, err := bridge.New(bridge.WithSink(exporter.Sink()), bridge.WithDir(""), bridge.WithProject("p"))
	require.NoError(t, err)
	res, err := resource.New(t.Context(), resource.WithHost(), resource.WithProcessPID(), resource.WithProcessExecutableName())
	require.NoError(t, err)
	res, err = resource.Merge(resource.Default(), res) // and with it unknown_service:<executable>
	require.NoError(t, err)
	meters := sdkmetric.NewMeterProvider(sdkmetric.WithResource(res), sdkmetric.WithReader(sdkmetric.NewPeriodicReader(exporter.Metrics())))
	loss, err := meters.Meter("test").Float64Gauge("val.loss")
	require.NoError(t, err)
	load, err := meters.Meter("test").Float64Gauge("system.cpu.load_average.1m")
	require.NoError(t, err)

	_, run, err := bridge.StartTask(b.Context(context.Background()), "train", bridge.WithRunID("r"))
	require.NoError(t, err)
	run.LogAttrs(attribute.Float64("loss", 0.5))
	require.NoError(t, b.ForceFlush(t.Context())) // the run is known
	loss.Record(t.Context(), 0.25)
	load.Record(t.Context(), 1.5)
	require.NoError(t, meters.ForceFlush(t.Context()))
	run.End(new(error))
	require.NoError(t, meters.Shutdown(context.Background()))
	require.NoError(t, b.Shutdown(context.Background()))
	require.NoError(t, exporter.Shutdown(context.Background()))

	parts, err := runview.List(dir)
	require.NoError(t, err)
	r, err := runview.Read(parts, runview.Options{})
	require.NoError(t, err)
	assert.InDelta(t, 0.25, r.Summary["val.loss"], 0)
	host, ok := res.Set().Value("host.name")
	require.True(t, ok)
	require.NotEmpty(t, r.System)
	assert.Contains(t, r.System[0].Values, "cpu.load_average.1m/l:"+host.AsString())
	require.NotNil(t, r.Exit)
	assert.Zero(t, *r.Exit)
}
