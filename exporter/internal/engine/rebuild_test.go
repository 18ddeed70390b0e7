package engine

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/otel-wandb/otel-wandb/exporter/internal/run"
	"github.com/otel-wandb/otel-wandb/exporter/internal/runlog"
	"github.com/otel-wandb/otel-wandb/internal/runid"
	"github.com/otel-wandb/otel-wandb/internal/semconv"
)

// taskOf is a task with one row at its time.
func taskOf(c *clock, row int64, replayed bool) ptrace.Traces {
	td := ptrace.NewTraces()
	span := td.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans().AppendEmpty()
	span.SetTraceID(pcommon.TraceID{1})
	span.SetSpanID(pcommon.SpanID{2, byte(row)})
	span.SetName("train")
	span.SetStartTimestamp(pcommon.NewTimestampFromTime(c.Now()))
	span.SetEndTimestamp(pcommon.NewTimestampFromTime(c.Now().Add(time.Second)))
	span.Attributes().PutStr(semconv.RunMode, semconv.ModeAuto)
	span.Attributes().PutStr(semconv.RunID, "r")
	span.Attributes().PutBool(semconv.FlyteReplayed, replayed)
	ev := span.Events().AppendEmpty()
	ev.SetName(semconv.EventLog)
	ev.SetTimestamp(pcommon.NewTimestampFromTime(c.Now()))
	ev.Attributes().PutInt("row", row)
	return td
}

func stateFiles(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "wandb", ".otel-wandb", "*", "*.state"))
	require.NoError(t, err)
	return files
}

// A run whose state file is lost is known from its logs, and what it was
// uploaded to say stays as it is.
func TestStateLostAfterTheEnd(t *testing.T) {
	c := newClock()
	dir := t.TempDir()
	e := start(t, dir, c)
	first := taskOf(c, 1, false)
	require.NoError(t, e.Traces(context.Background(), first))
	c.Add(10 * time.Second)
	e.Tick()
	require.NoError(t, e.Shutdown(context.Background()))
	logs, err := filepath.Glob(filepath.Join(dir, "wandb", "offline-run-*", "*.wandb"))
	require.NoError(t, err)
	require.Len(t, logs, 1)
	uploaded := logs[0] + ".synced" // what `wandb sync` leaves behind
	require.NoError(t, os.WriteFile(uploaded, nil, 0o600))
	for _, f := range stateFiles(t, dir) {
		require.NoError(t, os.Remove(f))
	}

	e = start(t, dir, c)
	require.NoError(t, e.Traces(context.Background(), first), "the same again")
	assert.EqualValues(t, 1, e.Counters().Get(CountRepeated))
	assert.Zero(t, e.Counters().Get(CountParts), "and nothing new to write")
	assert.FileExists(t, uploaded)
	require.NoError(t, e.Traces(context.Background(), taskOf(c, 2, false)))
	assert.EqualValues(t, 1, e.Counters().Get(CountParts), "a second attempt is another part")
	require.NoError(t, e.Shutdown(context.Background()))
	assert.FileExists(t, uploaded)
}

func TestReplayedTaskOpensNoRun(t *testing.T) {
	c := newClock()
	dir := t.TempDir()
	e := start(t, dir, c)
	require.NoError(t, e.Traces(context.Background(), taskOf(c, 1, true)))
	assert.Zero(t, e.Counters().Get(CountOpened), "what it did, it did when it first ran")
	require.NoError(t, e.Shutdown(context.Background()))
	assert.Empty(t, stateFiles(t, dir))
}

// Killed between the exit and what says so beside the log, before any checkpoint.
func TestKilledBetweenExitAndMarker(t *testing.T) {
	c, dir := newClock(), t.TempDir()
	e := start(t, dir, c)
	p := newProgram(1, "short")
	mustSend(t, e, p.start(c.Now()))
	mustSend(t, e, p.rows(c.Now(), 0, 10))
	mustSend(t, e, p.end(c.Now(), 0))
	var key runid.Coordinates
	for _, s := range e.shards {
		for k := range s.runs {
			key = k
		}
	}
	c.Add(10 * time.Second)
	e.Tick()
	require.NoError(t, e.Shutdown(context.Background()))
	logs, err := filepath.Glob(filepath.Join(dir, "wandb", "offline-run-*", "*.wandb"))
	require.NoError(t, err)
	require.Len(t, logs, 1)
	marker := logs[0] + ".synced"
	require.NoFileExists(t, marker)
	require.NoError(t, os.WriteFile(marker, nil, 0o600))
	root, err := runlog.OpenRoot(dir, runlog.Options{})
	require.NoError(t, err)
	folder, err := root.Folder("", "")
	require.NoError(t, err)
	b, err := run.NewState(key, run.Config{}).Checkpoint(0)
	require.NoError(t, err)
	require.NoError(t, folder.WriteState(key.Key(), true, b))
	require.NoError(t, root.Close())

	e = start(t, dir, c)
	for range 2 {
		c.Add(10 * time.Second)
		e.Tick()
	}
	require.NoError(t, e.Shutdown(context.Background()))
	require.NoFileExists(t, marker)
}
