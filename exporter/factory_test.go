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
	assert.NoError(t, confmap.Validate(f.CreateDefaultConfig()), "the defaults are enough to start")
}

// Metrics have no exporter yet: a configuration that asks for one is refused
// when it is loaded, and nothing is dropped in silence.
func TestMetricsAreRefused(t *testing.T) {
	_, err := NewFactory().CreateMetrics(t.Context(), nopSettings(), createDefaultConfig())
	require.Error(t, err)
	assert.Equal(t, component.StabilityLevelUndefined, NewFactory().MetricsStability())
}

// Requests are shared with other exporters of the pipeline.
func TestRequestsAreNotChanged(t *testing.T) {
	p := newPair(t, nopSettings(), configIn(t.TempDir()))
	assert.False(t, p.traces.Capabilities().MutatesData)
	assert.False(t, p.logs.Capabilities().MutatesData)
	p.start(t, nopHost())
	td := task(1, 2)
	td.MarkReadOnly() // panics on a change
	require.NoError(t, p.traces.ConsumeTraces(t.Context(), td))
	ld := record(1, "wandb.log")
	ld.MarkReadOnly()
	require.NoError(t, p.logs.ConsumeLogs(t.Context(), ld))
	p.shutdown(t)
}
