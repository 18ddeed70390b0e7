package engine

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.uber.org/goleak"

	"github.com/otel-wandb/otel-wandb/exporter/internal/dotwandb"
	"github.com/otel-wandb/otel-wandb/internal/semconv"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock is a clock that tests move.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

func start(t *testing.T, dir string, c *clock) *Engine {
	t.Helper()
	e := New(Config{Dir: dir, Now: c.Now, Manual: true, LatestRun: true})
	require.NoError(t, e.Start())
	return e
}

func records(t *testing.T, path string) (out []dotwandb.Record) {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	r, err := dotwandb.NewReader(f, dotwandb.Strict)
	require.NoError(t, err)
	for {
		b, err := r.Next()
		if err != nil {
			return out
		}
		rec, err := dotwandb.Decode(b)
		require.NoError(t, err)
		out = append(out, rec)
	}
}

func TestOneTaskBecomesARun(t *testing.T) {
	c := newClock()
	dir := t.TempDir()
	e := start(t, dir, c)
	td := ptrace.NewTraces()
	span := td.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans().AppendEmpty()
	span.SetTraceID(pcommon.TraceID{1})
	span.SetSpanID(pcommon.SpanID{2})
	span.SetName("train")
	span.SetStartTimestamp(pcommon.NewTimestampFromTime(c.Now()))
	span.SetEndTimestamp(pcommon.NewTimestampFromTime(c.Now().Add(time.Minute)))
	span.Attributes().PutStr(semconv.RunMode, "auto")
	span.Attributes().PutDouble("wandb.config.lr", 0.1)
	for i := range 3 {
		ev := span.Events().AppendEmpty()
		ev.SetName(semconv.EventLog)
		ev.SetTimestamp(pcommon.NewTimestampFromTime(c.Now().Add(time.Duration(i) * time.Second)))
		ev.Attributes().PutDouble("loss", 1/float64(i+1))
	}
	require.NoError(t, e.Traces(context.Background(), td))
	require.NoError(t, e.Traces(context.Background(), td))
	c.Add(10 * time.Second)
	e.Tick()
	require.NoError(t, e.Shutdown(context.Background()))

	logs, err := filepath.Glob(filepath.Join(dir, "wandb", "offline-run-*", "*.wandb"))
	require.NoError(t, err)
	require.Len(t, logs, 1)
	var rows, exits int
	for _, r := range records(t, logs[0]) {
		if r.History != nil {
			rows++
		}
		if r.Exit != nil {
			exits++
		}
		t.Logf("%+v", r)
		if r.Run != nil {
			t.Logf("%+v", *r.Run)
		}
		if r.Summary != nil {
			t.Logf("%+v", *r.Summary)
		}
	}
	require.Equal(t, 3, rows)
	require.Equal(t, 1, exits)
	require.EqualValues(t, 3, e.Counters().Get(CountRepeated))
}
