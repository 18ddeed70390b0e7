package engine

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/otel-wandb/otel-wandb/exporter/internal/disk/disktest"
	"github.com/otel-wandb/otel-wandb/exporter/internal/runview"
	"github.com/otel-wandb/otel-wandb/internal/semconv"
)

func withTable(td ptrace.Traces, c *clock) ptrace.Traces {
	ev := td.ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(0).Events().AppendEmpty()
	ev.SetName(semconv.EventTable)
	ev.SetTimestamp(pcommon.NewTimestampFromTime(c.Now()))
	ev.Attributes().PutStr(semconv.MediaKey, "t")
	ev.Attributes().PutEmptySlice(semconv.TableColumns).AppendEmpty().SetStr("a")
	ev.Attributes().PutStr(semconv.MediaData, `[[1],[2]]`)
	return td
}

// A file that cannot be written keeps its rows out of the log, and the sender
// has them. When it can, both are there once; and a run that is read from its
// logs alone ends with the summary that it had.
func TestTableOnAFullDisk(t *testing.T) {
	c, dir := newClock(), t.TempDir()
	d := disktest.New(t, dir)
	e := start(t, dir, c)
	require.NoError(t, e.Traces(context.Background(), taskOf(c, 1, false)))
	d.Only(func(path string) bool { return strings.HasSuffix(path, ".table.json") })
	d.Leave(3)
	table := withTable(taskOf(c, 2, false), c)
	err := e.Traces(context.Background(), table)
	require.ErrorContains(t, err, "media/table/t_")
	require.ErrorContains(t, err, "no space")
	d.Mend()
	require.NoError(t, e.Traces(context.Background(), table), "sent again")
	require.NoError(t, e.Shutdown(context.Background()))

	for _, f := range stateFiles(t, dir) {
		require.NoError(t, os.Remove(f))
	}
	e = start(t, dir, c)
	require.NoError(t, e.Traces(context.Background(), table), "and again")
	c.Add(time.Minute)
	e.Tick()
	require.NoError(t, e.Shutdown(context.Background()))

	parts, err := runview.List(dir)
	require.NoError(t, err)
	r, err := runview.Read(parts, runview.Options{})
	require.NoError(t, err)
	require.NotNil(t, r.Exit)
	require.Len(t, r.Rows, 3)
	value := r.Rows[2].Values["t"]
	assert.Equal(t, value, r.Summary["t"])
	path := value.(map[string]any)["path"].(string)
	b, err := os.ReadFile(filepath.Join(parts[0].Dir, "files", filepath.FromSlash(path)))
	require.NoError(t, err)
	assert.JSONEq(t, `{"columns":["a"],"data":[[1],[2]]}`, string(b))
}
