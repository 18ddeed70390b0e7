package engine

import (
	"context"
	"io/fs"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/otel-wandb/otel-wandb/internal/semconv"
)

// spans is a request of spans of one trace: id, parent, and a row in each.
func spans(mode string, ids ...[2]byte) ptrace.Traces {
	td := ptrace.NewTraces()
	ss := td.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty()
	for _, id := range ids {
		span := ss.Spans().AppendEmpty()
		span.SetTraceID(pcommon.TraceID{9})
		span.SetSpanID(pcommon.SpanID{id[0]})
		if id[1] != 0 {
			span.SetParentSpanID(pcommon.SpanID{id[1]})
		}
		span.SetName("span" + string('0'+rune(id[0])))
		if mode != "" {
			span.Attributes().PutStr(semconv.RunMode, mode)
		}
		ev := span.Events().AppendEmpty()
		ev.SetName(semconv.EventLog)
		ev.Attributes().PutDouble("loss", 1)
	}
	return td
}

// files are all files below dir with their sizes and times.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		all[path] = info.ModTime().String() + info.Mode().String()
		return err
	}))
	return all
}

func TestInspectSeesWhatWaitsAndWhatIsOpenAndChangesNothing(t *testing.T) {
	c := newClock()
	dir := filepath.Join(t.TempDir(), "with [brackets] *")
	folder := filepath.Join(dir, "wandb")
	e := start(t, dir, c)
	ctx := context.Background()
	require.NoError(t, e.Traces(ctx, spans("", [2]byte{3, 2}, [2]byte{4, 2})))
	c.Add(time.Minute)
	require.NoError(t, e.Traces(ctx, spans("auto", [2]byte{5, 1}, [2]byte{6, 5})))
	running := spans("auto", [2]byte{7, 0})
	running.ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(0).SetTraceID(pcommon.TraceID{8})
	require.NoError(t, e.Traces(ctx, running))

	before := files(t, dir)
	in, err := Inspect(folder)
	require.NoError(t, err)
	assert.Equal(t, before, files(t, dir), "looking changes nothing")

	require.Len(t, in.Waiting, 2)
	assert.Equal(t, byte(2), in.Waiting[0].For[0], "the longest first: two rows of a helper that is open")
	assert.Equal(t, 2, in.Waiting[0].Items)
	assert.Equal(t, []string{"span3", "span4"}, in.Waiting[0].Names)
	assert.Equal(t, c.Now().Add(-time.Minute).UnixNano(), in.Waiting[0].Since.UnixNano())
	assert.Equal(t, byte(1), in.Waiting[1].For[0], "span 6 waits for task 5, and that for span 1")
	assert.Equal(t, 2, in.Waiting[1].Tasks)

	require.Len(t, in.Open, 1)
	assert.True(t, in.Open[0].Held)

	require.NoError(t, e.Traces(ctx, spans("", [2]byte{2, 1})))
	require.NoError(t, e.Traces(ctx, spans("auto", [2]byte{1, 0})))
	in, err = Inspect(folder)
	require.NoError(t, err)
	assert.Empty(t, in.Waiting, "all placed")
	require.NoError(t, e.Shutdown(ctx))

	in, err = Inspect(folder)
	require.NoError(t, err)
	require.NotEmpty(t, in.Open)
	assert.False(t, in.Open[0].Held, "its exporter is gone")
	assert.True(t, in.Open[0].Known)

	// And it starts again in such a directory.
	e = start(t, dir, c)
	require.NoError(t, e.Shutdown(ctx))
}

func TestInspectOfAFolderThatNoExporterUsed(t *testing.T) {
	in, err := Inspect(t.TempDir())
	require.NoError(t, err)
	assert.Empty(t, in.Open)
	assert.Empty(t, in.Waiting)
}
