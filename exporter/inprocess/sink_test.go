package inprocess

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// aTask is a request with a task that has logged one row.
func aTask(t *testing.T) []byte {
	t.Helper()
	td := ptrace.NewTraces()
	span := td.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans().AppendEmpty()
	span.SetName("train")
	span.SetTraceID(pcommon.TraceID{1})
	span.SetSpanID(pcommon.SpanID{2})
	span.SetStartTimestamp(1e18)
	span.SetEndTimestamp(2e18)
	span.Attributes().PutStr("wandb.run.mode", "auto")
	row := span.Events().AppendEmpty()
	row.SetName("wandb.log")
	row.SetTimestamp(1e18)
	row.Attributes().PutDouble("loss", 0.5)
	request, err := (&ptrace.ProtoMarshaler{}).MarshalTraces(td)
	require.NoError(t, err)
	return request
}

func TestSinkWritesARequest(t *testing.T) {
	dir := t.TempDir()
	e, err := New(t.Context(), WithDir(dir))
	require.NoError(t, err)
	s, request := e.Sink(), aTask(t)
	require.NoError(t, s.Export(t.Context(), request))
	clear(request) // it keeps none of the bytes
	require.NoError(t, s.Shutdown(t.Context()))
	assert.ErrorIs(t, s.Export(t.Context(), aTask(t)), errShutdown)

	again := e.Sink()
	require.NoError(t, again.Export(t.Context(), aTask(t)), "another sender goes on; what comes twice counts once")
	require.NoError(t, e.Shutdown(t.Context()))
	assert.ErrorIs(t, again.Export(t.Context(), aTask(t)), errShutdown)

	run := theRun(t, dir)
	assert.Len(t, run.Rows, 1)
	assert.InDelta(t, 0.5, run.Summary["loss"], 0)
	require.NotNil(t, run.Exit)
}

// What a sender keeps is not parked too.
func TestSinkThatCannotWriteSaysSo(t *testing.T) {
	full := errors.New("the disk is full")
	disk := &failing{err: full}
	dir := t.TempDir()
	p := newProgram(t, dir, through(func(s sink) sink { disk.sink = s; return disk }))
	s := p.exporter.Sink()
	assert.ErrorIs(t, s.Export(t.Context(), aTask(t)), full)
	assert.Zero(t, p.exporter.Stats().Parked)
	disk.set(nil)
	assert.ErrorContains(t, s.Export(t.Context(), []byte("no protobuf")), "spans as OTLP")
	require.NoError(t, s.Export(t.Context(), aTask(t)))
	p.shutdown(t.Context(), t)
	assert.Len(t, theRun(t, dir).Rows, 1)
}
