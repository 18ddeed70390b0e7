package wandbexporter

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"
)

func TestFactory(t *testing.T) {
	f := NewFactory()
	assert.Equal(t, "wandb", f.Type().String())
	assert.Equal(t, component.StabilityLevelAlpha, f.TracesStability())
	assert.Equal(t, component.StabilityLevelAlpha, f.LogsStability())
	assert.Equal(t, component.StabilityLevelAlpha, f.MetricsStability())
	assert.NoError(t, confmap.Validate(f.CreateDefaultConfig()), "the defaults are enough to start")
}

// Requests are shared with other exporters of the pipeline.
func TestRequestsAreNotChanged(t *testing.T) {
	p := newPair(t, nopSettings(), configIn(t.TempDir()))
	assert.False(t, p.traces.Capabilities().MutatesData)
	assert.False(t, p.logs.Capabilities().MutatesData)
	assert.False(t, p.metrics.Capabilities().MutatesData)
	p.start(t, nopHost())
	td := task(1, 2)
	td.MarkReadOnly() // panics on a change
	require.NoError(t, p.traces.ConsumeTraces(t.Context(), td))
	ld := record(1, "wandb.log")
	ld.MarkReadOnly()
	require.NoError(t, p.logs.ConsumeLogs(t.Context(), ld))
	md := reading(1, "loss")
	md.MarkReadOnly()
	require.NoError(t, p.metrics.ConsumeMetrics(t.Context(), md))
	p.shutdown(t)
}
