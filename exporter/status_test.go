package wandbexporter

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/otel-wandb/otel-wandb/exporter/internal/engine"
)

// reporter is a host that keeps what is reported to it.
type reporter struct {
	component.Host
	mu     sync.Mutex
	events []*componentstatus.Event
}

func (r *reporter) Report(e *componentstatus.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
}

func (r *reporter) statuses() (all []componentstatus.Status) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.events {
		all = append(all, e.Status())
	}
	return all
}

// breakDir makes it impossible to begin a run in dir, for root too, until mend.
func breakDir(t *testing.T, dir string) (mend func()) {
	t.Helper()
	folder, aside := filepath.Join(dir, "wandb"), filepath.Join(dir, "aside")
	require.NoError(t, os.Rename(folder, aside))
	require.NoError(t, os.WriteFile(folder, nil, 0o600))
	return func() {
		t.Helper()
		require.NoError(t, os.Remove(folder))
		require.NoError(t, os.Rename(aside, folder))
	}
}

// The Collector hears, for each signal, when data cannot be written and when
// they can again: of the change, not of each request. So does its log.
func TestStatusIsReportedOnTransitions(t *testing.T) {
	core, logged := observer.New(zap.InfoLevel)
	set := nopSettings()
	set.Logger = zap.New(core)
	dir := t.TempDir()
	p := newPair(t, set, configIn(dir))
	ofTraces, ofLogs := &reporter{Host: nopHost()}, &reporter{Host: nopHost()}
	require.NoError(t, p.traces.Start(t.Context(), ofTraces))
	require.NoError(t, p.logs.Start(t.Context(), ofLogs))
	require.NoError(t, p.traces.ConsumeTraces(t.Context(), task(1, 1)))
	assert.Empty(t, ofTraces.statuses(), "being fine is nothing to report")

	mend := breakDir(t, dir)
	for range 3 {
		err := p.traces.ConsumeTraces(t.Context(), task(2, 1))
		require.ErrorContains(t, err, filepath.Join(dir, "wandb"))
		assert.False(t, consumererror.IsPermanent(err), "senders must keep it")
		require.Error(t, p.logs.ConsumeLogs(t.Context(), started(3)))
	}
	mend()
	for range 3 {
		require.NoError(t, p.traces.ConsumeTraces(t.Context(), task(2, 1)))
		require.NoError(t, p.logs.ConsumeLogs(t.Context(), started(3)))
	}
	p.shutdown(t)

	want := []componentstatus.Status{componentstatus.StatusRecoverableError, componentstatus.StatusOK}
	assert.Equal(t, want, ofTraces.statuses())
	assert.Equal(t, want, ofLogs.statuses())
	assert.ErrorContains(t, ofTraces.events[0].Err(), filepath.Join(dir, "wandb"))
	assert.Equal(t, 1, logged.FilterMessage("data cannot be written: senders keep it and try again").Len())
	assert.Equal(t, 1, logged.FilterMessage("data is written again").Len())
	assert.Zero(t, logged.FilterMessageSnippet("Rejecting").Len(), "nothing is rejected")
	assert.Len(t, runs(t, dir), 3, "what was refused is there after it was sent again")
}

// Being busy, and a sender that went away, are no failures of this component.
func TestBusyIsNoFailure(t *testing.T) {
	m := &member{sharedFor(nopSettings(), configIn(t.TempDir()))}
	host := &reporter{Host: nopHost()}
	require.NoError(t, m.start(t.Context(), host))
	for _, err := range []error{engine.ErrBusy, context.Canceled, context.DeadlineExceeded} {
		require.ErrorIs(t, m.report(err), err)
		assert.False(t, consumererror.IsPermanent(err))
	}
	assert.Empty(t, host.statuses())
	require.Error(t, m.report(errors.New("the disk is full")))
	require.ErrorIs(t, m.report(engine.ErrBusy), engine.ErrBusy)
	assert.Equal(t, []componentstatus.Status{componentstatus.StatusRecoverableError}, host.statuses(), "busy does not mend the disk either")
	require.NoError(t, m.shutdown(t.Context()))
}
