package engine

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/otel-wandb/otel-wandb/internal/semconv"
)

// Several programs in one folder are normal: who starts beside an open run of
// another leaves it alone, and has nothing to say about it.
func TestARunOfAnotherProgramIsNotTakenUp(t *testing.T) {
	c := newClock()
	dir := t.TempDir()
	first := start(t, dir, c)
	require.NoError(t, first.Logs(context.Background(), startEvent()))

	core, said := observer.New(zap.InfoLevel)
	second := New(Config{Dir: dir, Now: c.Now, Manual: true, Logger: zap.New(core)})
	require.NoError(t, second.Start())
	second.Tick()
	assert.Zero(t, second.Gauges().RunsOpen)
	assert.Empty(t, said.All())

	err := second.Logs(context.Background(), startEvent())
	assert.ErrorContains(t, err, "locked by another writer")
	assert.NotContains(t, err.Error(), `\x00`, "messages name runs as people do")
	require.NoError(t, first.Shutdown(context.Background()))
	require.NoError(t, second.Logs(context.Background(), startEvent()))
	assert.EqualValues(t, 1, second.Gauges().RunsOpen)
	require.NoError(t, second.Shutdown(context.Background()))
}

// startEvent opens a run while its span is open.
func startEvent() plog.Logs {
	ld := plog.NewLogs()
	rec := ld.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords().AppendEmpty()
	rec.SetTraceID(pcommon.TraceID{1})
	rec.SetSpanID(pcommon.SpanID{2})
	rec.SetEventName(semconv.EventRunStart)
	rec.Attributes().PutStr(semconv.RunMode, "auto")
	return ld
}
