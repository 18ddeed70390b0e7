package bridge

import (
	"bytes"
	"fmt"
	"image"
	_ "image/gif"  // its size is read
	_ "image/jpeg" // likewise
	"image/png"
	"slices"

	"go.opentelemetry.io/otel/attribute"

	"github.com/otel-wandb/otel-wandb/internal/semconv"
)

// maxTableRows is what W&B takes of a table that stands in a row.
const maxTableRows = 10_000

// MediaOption says more of a table, an image or a page.
type MediaOption func(*[]attribute.KeyValue)

// WithCaption puts a text under an image or a page.
func WithCaption(text string) MediaOption {
	return func(to *[]attribute.KeyValue) { *to = append(*to, attribute.String(semconv.MediaCaption, text)) }
}

// AtStep is the step of the row that it stands in, as of [Run.LogStep].
func AtStep(n int64) MediaOption {
	return func(to *[]attribute.KeyValue) { *to = append(*to, Step(n)) }
}

// LogTable logs a table, in a row of its own: numbers, bools, text or nil, at
// most 10,000 rows and 1 MiB. What is larger is refused, and said.
//
//	run.LogTable("predictions", []string{"label", "guess"}, [][]any{{"cat", "dog"}})
func (r *Run) LogTable(key string, columns []string, rows [][]any, opts ...MediaOption) {
	if !r.Recording() {
		return
	}
	names := slices.Clone(columns)
	slices.Sort(names)
	switch {
	case len(columns) == 0 || len(slices.Compact(names)) < len(columns):
		r.refuse("table", key, "its columns are %q: give at least one, and each once", columns)
		return
	case len(rows) > maxTableRows:
		r.refuse("table", key, "it has %d rows, more than %d: log a part of it, or an artifact", len(rows), maxTableRows)
		return
	}
	data := make([]attribute.Value, len(rows))
	for i, row := range rows {
		if len(row) != len(columns) {
			r.refuse("table", key, "row %d has %d values for %d columns: give one for each, nil for none", i, len(row), len(columns))
			return
		}
		v, err := valueOf(fmt.Sprintf("table %s, row %d", key, i), row)
		if err != nil {
			r.stream.Refused()
			r.wrong(err)
			return
		}
		data[i] = v
	}
	r.media(semconv.EventTable, key, opts,
		attribute.StringSlice(semconv.TableColumns, columns),
		attribute.KeyValue{Key: semconv.MediaData, Value: attribute.SliceValue(data...)})
}

// LogHTML logs a page of HTML, of at most 1 MiB, in a row of its own.
func (r *Run) LogHTML(key, html string, opts ...MediaOption) {
	if r.Recording() {
		r.media(semconv.EventMedia, key, opts,
			attribute.String(semconv.MediaType, semconv.MediaHTML), attribute.String(semconv.MediaData, html))
	}
}

// LogImage logs an image, as PNG of at most 1 MiB, in a row of its own. For one
// that is a file already see [Run.LogImageFile].
func (r *Run) LogImage(key string, img image.Image, opts ...MediaOption) {
	if !r.Recording() {
		return
	}
	if img == nil {
		r.refuse("image", key, "it is nil: leave it out")
		return
	}
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		r.refuse("image", key, "%w: give one that has a size", err)
		return
	}
	r.image(key, b.Bytes(), "png", img.Bounds().Dx(), img.Bounds().Dy(), opts)
}

// LogImageFile is LogImage of what a PNG, JPEG or GIF file holds.
func (r *Run) LogImageFile(key string, file []byte, opts ...MediaOption) {
	if !r.Recording() {
		return
	}
	size, format, err := image.DecodeConfig(bytes.NewReader(file))
	if err != nil || !slices.Contains([]string{"png", "jpeg", "gif"}, format) {
		r.refuse("image", key, "it is no PNG, JPEG or GIF: encode it as one")
		return
	}
	r.image(key, file, format, size.Width, size.Height, opts)
}

func (r *Run) image(key string, data []byte, format string, width, height int, opts []MediaOption) {
	r.media(semconv.EventMedia, key, opts,
		attribute.String(semconv.MediaType, semconv.MediaImage), attribute.ByteSlice(semconv.MediaData, data),
		attribute.String(semconv.MediaFormat, format), attribute.Int(semconv.MediaWidth, width), attribute.Int(semconv.MediaHeight, height))
}

func (r *Run) media(event, key string, opts []MediaOption, attrs ...attribute.KeyValue) {
	if key == "" || key[0] == '_' {
		r.refuse("key", key, "W&B takes no such name: begin it with a letter")
		return
	}
	all := append([]attribute.KeyValue{attribute.String(semconv.MediaKey, key)}, attrs...)
	for _, o := range opts {
		if o != nil {
			o(&all)
		}
	}
	if err := r.stream.Event(event, r.now(), all); err != nil {
		// The stream knows the attribute, not the name that the program gave.
		r.said(fmt.Errorf("%q: %w", key, err))
	}
}

// refuse says why something is not logged, and counts it.
func (r *Run) refuse(what, key, why string, args ...any) {
	r.stream.Refused()
	r.wrong(fmt.Errorf("%s %q is not logged: %w", what, key, fmt.Errorf(why, args...)))
}
