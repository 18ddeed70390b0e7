package engine

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/otel-wandb/otel-wandb/exporter/internal/dotwandb"
	"github.com/otel-wandb/otel-wandb/exporter/internal/run"
	"github.com/otel-wandb/otel-wandb/exporter/internal/runlog"
	"github.com/otel-wandb/otel-wandb/internal/semconv"
)

const (
	restartLog  = 10 << 20 // of each: 100 GB together
	restartTime = 2 * time.Second
	restartRows = 5
	maxFiles    = 600
)

// TestRestartWithManyLargeRuns restarts an engine with 10,000 open runs whose
// logs have 100 GB: it reads checkpoints and what is behind them, no more.
func TestRestartWithManyLargeRuns(t *testing.T) {
	c, dir := newClock(), t.TempDir()
	e := start(t, dir, c)
	began := time.Now()
	f := fleet{clock: c}
	for first := 0; first < restartRuns; first += 100 {
		mustSend(t, e, f.request(first, 100, func(i int, span ptrace.Span) {
			ev := span.Events().AppendEmpty()
			ev.SetName(semconv.EventRunStart)
			rowEvents(span, c.Now(), 0, restartRows, 0)
		}))
	}
	t.Logf("%d runs opened in %v", restartRuns, time.Since(began).Round(time.Millisecond))
	requireFewFiles(t)
	e.Tick() // the first checkpoints
	require.EqualValues(t, restartRuns, e.Gauges().RunsOpen)
	kill(t, e)
	grow(t, dir)

	began = time.Now()
	e = start(t, dir, c)
	started := time.Since(began)
	mustSend(t, e, f.rows(restartRuns*3/4+7, 1, restartRows))
	first := time.Since(began)
	t.Logf("100 GB: started after %v, the first request is taken after %v", started.Round(time.Millisecond), first.Round(time.Millisecond))
	assert.Less(t, first, restartTime*slower)

	// Steps go on where they were.
	for i := 0; i < restartRuns; i += restartRuns / 100 {
		mustSend(t, e, f.rows(i, 1, restartRows))
		mustSend(t, e, f.rows(i, 1, restartRows)) // and repeats are known
		assert.Equal(t, []int64{restartRows}, stepsBehind(t, dir, i, restartLog), "run %d", i)
	}
	ticks := 0
	for ; e.Counters().Get(CountRecovered) < restartRuns && ticks < 10_000; ticks++ {
		c.Add(500 * time.Millisecond)
		e.Tick()
	}
	t.Logf("all %d runs are taken up after %d ticks", e.Counters().Get(CountRecovered), ticks)
	require.EqualValues(t, restartRuns, e.Gauges().RunsOpen)
	for first := 0; first < restartRuns; first += 500 {
		mustSend(t, e, f.request(first, 500, func(_ int, span ptrace.Span) { rowEvents(span, c.Now(), 10, 11, 0) }))
		requireFewFiles(t)
	}

	// Killed, with as much behind the checkpoints as there can be.
	const tails = 100
	for i := range tails {
		mustSend(t, e, f.request(i, 1, func(_ int, span ptrace.Span) { rowEvents(span, c.Now(), 20, 20+1000, 900) }))
	}
	kill(t, e)
	began = time.Now()
	e = start(t, dir, c)
	ticked := make(chan struct{})
	go func() { // a tick takes runs up meanwhile
		defer close(ticked)
		e.Tick()
	}()
	mustSend(t, e, f.rows(3, 1, 2000))
	first = time.Since(began)
	t.Logf("killed, with tails: the first request is taken after %v", first.Round(time.Millisecond))
	assert.Less(t, first, restartTime*slower)
	<-ticked
	steps := stepsBehind(t, dir, 3, restartLog)
	for i, step := range steps {
		require.EqualValues(t, restartRows+i, step, "row %d behind the checkpoint", i)
	}
	require.Len(t, steps, 1+1000+1)
	kill(t, e)
}

// kill ends an engine as SIGKILL does: nothing is checkpointed. Its shards are
// idle, so that their runs can be touched.
func kill(t *testing.T, e *Engine) {
	t.Helper()
	for _, s := range e.shards {
		for _, r := range s.runs {
			r.log.stale = false
		}
	}
	require.NoError(t, e.Shutdown(context.Background()))
}

// grow makes the logs look long: a hole, and a checkpoint that says all before
// its end was read. Nothing in the hole is a record, so nobody may look there.
func grow(t *testing.T, dir string) {
	t.Helper()
	root, err := runlog.OpenRoot(dir, runlog.Options{})
	require.NoError(t, err)
	defer root.Close()
	folder, err := root.Folder("", "")
	require.NoError(t, err)
	states, err := folder.OpenStates()
	require.NoError(t, err)
	require.Len(t, states, restartRuns)
	for _, file := range states {
		b, err := file.Read()
		require.NoError(t, err)
		state, offset, err := run.Load(b, run.Config{})
		require.NoError(t, err)
		require.Positive(t, offset)
		state.Replayed()
		part := state.Parts()[0].Dir
		require.NoError(t, os.Truncate(filepath.Join(folder.Dir(), part, "run-"+state.Key.ID+".wandb"), restartLog))
		b, err = state.Checkpoint(restartLog)
		require.NoError(t, err)
		require.NoError(t, folder.WriteState(state.Key.Key(), true, b))
	}
}

func stepsBehind(t *testing.T, dir string, i int, offset int64) (steps []int64) {
	t.Helper()
	logs, err := filepath.Glob(filepath.Join(dir, "wandb", fmt.Sprintf("offline-run-*-many-%d", i), "*.wandb"))
	require.NoError(t, err)
	require.Len(t, logs, 1)
	file, err := os.Open(logs[0])
	require.NoError(t, err)
	defer file.Close()
	_, err = file.Seek(offset, io.SeekStart)
	require.NoError(t, err)
	for r := dotwandb.NewReaderAt(file, offset, dotwandb.Strict); ; {
		b, err := r.Next()
		if errors.Is(err, io.EOF) {
			return steps
		}
		require.NoError(t, err, logs[0])
		rec, err := dotwandb.Decode(b)
		require.NoError(t, err)
		if rec.History != nil {
			steps = append(steps, rec.History.Step)
		}
	}
}

func requireFewFiles(t *testing.T) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	require.Less(t, len(entries), maxFiles, "open files")
}

// fleet is many programs, each with a run of its own.
type fleet struct{ clock *clock }

func (f fleet) rows(i int, n, from int64) ptrace.Traces {
	return f.request(i, 1, func(_ int, span ptrace.Span) { rowEvents(span, f.clock.Now(), from, from+n, 0) })
}

// request has one carrier for each of so many runs.
func (f fleet) request(first, runs int, fill func(i int, span ptrace.Span)) ptrace.Traces {
	td := ptrace.NewTraces()
	spans := td.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans()
	for i := first; i < first+runs; i++ {
		var owner pcommon.SpanID
		binary.BigEndian.PutUint32(owner[:], uint32(i)+1)
		var trace pcommon.TraceID
		copy(trace[:], owner[:])
		span := spans.AppendEmpty()
		fill(i, span)
		var id pcommon.SpanID
		binary.BigEndian.PutUint32(id[:], uint32(i)+1)
		// What it holds says which it is: a repeat is one.
		row, _ := span.Events().At(span.Events().Len() - 1).Attributes().Get("row")
		binary.BigEndian.PutUint32(id[4:], uint32(row.Int())+1)
		span.SetTraceID(trace)
		span.SetSpanID(id)
		span.SetParentSpanID(owner)
		span.Attributes().PutBool(semconv.Carrier, true)
		span.Attributes().PutStr(semconv.Task, owner.String())
		span.Attributes().PutStr(semconv.SpanName, "task")
		span.Attributes().PutStr(semconv.RunID, fmt.Sprintf("many-%d", i))
		span.Attributes().PutStr(semconv.RunOwner, owner.String())
	}
	return td
}
