package bridge

import (
	"bytes"
	"image"
	"image/gif"
	"image/png"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMedia(t *testing.T) {
	var asGIF bytes.Buffer
	require.NoError(t, gif.Encode(&asGIF, image.NewRGBA(image.Rect(0, 0, 3, 2)), nil))
	to := &collector{}
	b, err := New(WithSink(to), WithTracerProvider(noTracing()), WithErrorHandler(func(err error) { assert.NoError(t, err) }))
	require.NoError(t, err)
	_, run, err := StartTask(b.Context(t.Context()), "task")
	require.NoError(t, err)
	run.LogTable("t", []string{"a", "b"}, [][]any{{1, "x"}, {0.5, nil}}, AtStep(7))
	run.LogHTML("page", "<p>", WithCaption("c"))
	run.LogImage("img", image.NewRGBA(image.Rect(0, 0, 3, 2)))
	run.LogImageFile("gif", asGIF.Bytes())
	run.End(nil)
	require.NoError(t, b.Shutdown(t.Context()))

	var got []map[string]any
	for _, s := range to.spans {
		for _, e := range s.Events().All() {
			if e.Name() != "wandb.table" && e.Name() != "wandb.media" {
				continue
			}
			m := e.Attributes().AsRaw()
			m["event"] = e.Name()
			delete(m, "wandb.writer")
			delete(m, "wandb.seq")
			got = append(got, m)
		}
	}
	require.Len(t, got, 4)
	assert.Equal(t, map[string]any{
		"event": "wandb.table", "key": "t", "columns": []any{"a", "b"}, "wandb.step": int64(7),
		"data": []any{[]any{int64(1), "x"}, []any{0.5, nil}},
	}, got[0])
	assert.Equal(t, map[string]any{"event": "wandb.media", "key": "page", "type": "html", "data": "<p>", "caption": "c"}, got[1])
	decoded, err := png.Decode(bytes.NewReader(got[2]["data"].([]byte)))
	require.NoError(t, err)
	assert.Equal(t, image.Rect(0, 0, 3, 2), decoded.Bounds())
	delete(got[2], "data")
	assert.Equal(t, map[string]any{"event": "wandb.media", "key": "img", "type": "image", "format": "png", "width": int64(3), "height": int64(2)}, got[2])
	assert.Equal(t, asGIF.Bytes(), got[3]["data"])
	assert.Equal(t, "gif", got[3]["format"])
}

func TestMedia_RefusedByName(t *testing.T) {
	for _, tt := range []struct {
		says string
		log  func(*Run)
	}{
		{"each once", func(r *Run) { r.LogTable("the key", []string{"a", "a"}, nil) }},
		{"at least one", func(r *Run) { r.LogTable("the key", nil, nil) }},
		{"10001 rows", func(r *Run) { r.LogTable("the key", []string{"a"}, make([][]any, 10_001)) }},
		{"row 1 has 2 values for 1 columns", func(r *Run) { r.LogTable("the key", []string{"a"}, [][]any{{1}, {1, 2}}) }},
		{"func()", func(r *Run) { r.LogTable("the key", []string{"a"}, [][]any{{func() {}}}) }},
		{"no PNG", func(r *Run) { r.LogImageFile("the key", []byte("<svg>")) }},
		{"nil", func(r *Run) { r.LogImage("the key", nil) }},
		{"a size", func(r *Run) { r.LogImage("the key", image.NewRGBA(image.Rectangle{})) }},
		{"begin it", func(r *Run) { r.LogHTML("_the key", "") }},
		{"more than 1048576", func(r *Run) { r.LogHTML("the key", strings.Repeat("x", 1<<20+1)) }},
	} {
		t.Run(tt.says, func(t *testing.T) {
			to := &collector{}
			var said []error
			b, err := New(WithSink(to), WithTracerProvider(noTracing()), WithErrorHandler(func(err error) { said = append(said, err) }))
			require.NoError(t, err)
			_, run, err := StartTask(b.Context(t.Context()), "task", WithProject("p"))
			require.NoError(t, err)
			tt.log(run)
			run.End(nil)
			require.NoError(t, b.Shutdown(t.Context()))
			err = only(t, said)
			require.ErrorContains(t, err, tt.says)
			require.ErrorContains(t, err, "the key")
			assert.ErrorContains(t, err, `task "task"`)
			assert.Equal(t, []string{"wandb.run.start", "wandb.summary", "wandb.run.end"}, to.events(), "the run says that something was refused")
		})
	}
	var none *Run
	none.LogTable("t", nil, nil)
	none.LogHTML("h", "")
	none.LogImage("i", nil)
	none.LogImageFile("i", nil)
}
