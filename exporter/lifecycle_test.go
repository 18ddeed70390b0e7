package wandbexporter

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/exporter"
)

// signals are the exporters of the component, each alone.
var signals = map[string]struct {
	create  func(context.Context, exporter.Settings, component.Config) (component.Component, error)
	consume func(context.Context, component.Component) error
}{
	"traces": {
		func(ctx context.Context, set exporter.Settings, cfg component.Config) (component.Component, error) {
			return NewFactory().CreateTraces(ctx, set, cfg)
		},
		func(ctx context.Context, c component.Component) error {
			return c.(exporter.Traces).ConsumeTraces(ctx, task(1, 1))
		},
	},
	"logs": {
		func(ctx context.Context, set exporter.Settings, cfg component.Config) (component.Component, error) {
			return NewFactory().CreateLogs(ctx, set, cfg)
		},
		func(ctx context.Context, c component.Component) error {
			return c.(exporter.Logs).ConsumeLogs(ctx, started(1))
		},
	},
	"metrics": {
		func(ctx context.Context, set exporter.Settings, cfg component.Config) (component.Component, error) {
			return NewFactory().CreateMetrics(ctx, set, cfg)
		},
		func(ctx context.Context, c component.Component) error {
			return c.(exporter.Metrics).ConsumeMetrics(ctx, reading(1, "loss"))
		},
	},
}

func TestLifecycle(t *testing.T) {
	for name, signal := range signals {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			c, err := signal.create(t.Context(), nopSettings(), configIn(dir))
			require.NoError(t, err)
			require.ErrorIs(t, signal.consume(t.Context(), c), errNotStarted)
			require.NoError(t, c.Start(t.Context(), nopHost()))
			require.NoError(t, signal.consume(t.Context(), c))
			require.NoError(t, c.Shutdown(t.Context()))
			require.ErrorIs(t, signal.consume(t.Context(), c), errNotStarted)
			assert.Len(t, runs(t, dir), 1)
			assert.Empty(t, engines.by)
		})
		t.Run(name+" shut down without start", func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "runs")
			c, err := signal.create(t.Context(), nopSettings(), configIn(dir))
			require.NoError(t, err)
			require.NoError(t, c.Shutdown(t.Context()))
			assert.NoDirExists(t, dir, "nothing is made before Start")
			assert.Empty(t, engines.by)
		})
	}
}

// A directory that cannot be is an error of Start, which names it.
func TestStartFails(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	inTheWay := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(inTheWay, "wandb"), nil, 0o600))
	for name, dir := range map[string]string{
		"the directory is a file":      file,
		"the directory is in a file":   filepath.Join(file, "runs"),
		"a file has the folder's name": inTheWay,
	} {
		t.Run(name, func(t *testing.T) {
			p := newPair(t, nopSettings(), configIn(dir))
			for range 2 { // trying again is no different
				err := p.traces.Start(t.Context(), nopHost())
				assert.ErrorContains(t, err, "not a directory")
				assert.ErrorContains(t, err, dir)
			}
			require.ErrorIs(t, p.traces.ConsumeTraces(t.Context(), task(1, 1)), errNotStarted)
			p.shutdown(t) // as the Collector does with all that it has built
			assert.Empty(t, engines.by)
		})
	}
}

// An exporter that could not start can, once the directory is mended.
func TestStartAfterMending(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "runs")
	require.NoError(t, os.WriteFile(dir, nil, 0o600))
	p := newPair(t, nopSettings(), configIn(dir))
	require.Error(t, p.traces.Start(t.Context(), nopHost()))
	require.NoError(t, os.Remove(dir))
	p.start(t, nopHost())
	require.NoError(t, p.traces.ConsumeTraces(t.Context(), task(1, 1)))
	p.shutdown(t)
}

// The engine goes with its last user, and not with one that never started.
func TestShutdownOfOneSignalLeavesTheOther(t *testing.T) {
	p := newPair(t, nopSettings(), configIn(t.TempDir()))
	require.NoError(t, p.traces.Start(t.Context(), nopHost()))
	require.NoError(t, p.logs.Shutdown(t.Context()))
	require.NoError(t, p.traces.ConsumeTraces(t.Context(), task(1, 1)))
	require.NoError(t, p.logs.Start(t.Context(), nopHost()))
	require.NoError(t, p.traces.Shutdown(t.Context()))
	require.NoError(t, p.traces.Shutdown(t.Context()))
	require.NoError(t, p.logs.ConsumeLogs(t.Context(), record(1, "wandb.log")))
	require.NoError(t, p.logs.Shutdown(t.Context()))
	assert.Empty(t, engines.by)
}

// Both signals of an id write one run; another start goes on with it.
func TestSignalsShareTheirRuns(t *testing.T) {
	dir := t.TempDir()
	cfg := configIn(dir)
	cfg.Finish.Linger = time.Hour
	p := newPair(t, nopSettings(), cfg)
	p.start(t, nopHost())
	require.NoError(t, p.logs.ConsumeLogs(t.Context(), started(1)))
	require.NoError(t, p.logs.ConsumeLogs(t.Context(), record(1, "wandb.log")))
	p.shutdown(t)
	require.Len(t, runs(t, dir), 1)

	p = newPair(t, nopSettings(), cfg)
	p.start(t, nopHost())
	require.NoError(t, p.traces.ConsumeTraces(t.Context(), task(1, 3)))
	require.NoError(t, p.logs.ConsumeLogs(t.Context(), record(1, "wandb.log"))) // once more
	p.shutdown(t)

	all := runs(t, dir)
	require.Len(t, all, 1)
	assert.Len(t, all[0].Parts, 1)
	assert.Len(t, all[0].Rows, 4)
}

// The same exporters can be started again.
func TestRestart(t *testing.T) {
	dir := t.TempDir()
	p := newPair(t, nopSettings(), configIn(dir))
	for n := range byte(3) {
		p.start(t, nopHost())
		require.NoError(t, p.traces.ConsumeTraces(t.Context(), task(n+1, 1)))
		p.shutdown(t)
	}
	assert.Len(t, runs(t, dir), 3)
}

// Two collectors in one process have an id in common and nothing else.
func TestCollectorsInOneProcessDoNotShare(t *testing.T) {
	dirs := []string{t.TempDir(), t.TempDir()}
	first, second := newPair(t, nopSettings(), configIn(dirs[0])), newPair(t, nopSettings(), configIn(dirs[1]))
	first.start(t, nopHost())
	second.start(t, nopHost())
	require.NoError(t, first.traces.ConsumeTraces(t.Context(), task(1, 1)))
	require.NoError(t, second.traces.ConsumeTraces(t.Context(), task(1, 2)))
	first.shutdown(t)
	require.NoError(t, second.traces.ConsumeTraces(t.Context(), task(2, 1)))
	second.shutdown(t)
	assert.Len(t, runs(t, dirs[0]), 1)
	assert.Len(t, runs(t, dirs[1]), 2)
	assert.Empty(t, engines.by)
}
