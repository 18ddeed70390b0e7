package intake

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"image"
	_ "image/gif"  // what an image says of itself is read
	_ "image/jpeg" // likewise
	_ "image/png"  // likewise
	"slices"
	"strconv"
	"strings"

	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/otel-wandb/otel-wandb/exporter/internal/run"
	"github.com/otel-wandb/otel-wandb/internal/extjson"
	"github.com/otel-wandb/otel-wandb/internal/semconv"
)

// Reasons of drops of tables and media.
const (
	DropBadTable = "bad_table"
	DropBadMedia = "bad_media"
)

// Bounds of tables and media: docs/conventions.md.
const (
	maxMedia     = 1 << 20 // bytes of data
	maxTableRows = 10_000
)

// errTooLarge is of data beyond the bounds.
var errTooLarge = errors.New("too large")

// media is a file, and what W&B wants to know of it in the row that names it.
type media struct {
	kind    string // W&B's word for it: "table-file"
	dir     string // below media
	ext     string
	content []byte
	fields  []byte // of the object besides those that all have: `,"ncols":2`
}

// fileRow reads a table, an image or a page into a row: one metric, whose value
// is a file. keys is where a log record has the event's content, m its attributes.
func fileRow(row *run.Row, p *Payload, f from, name string, m, keys pcommon.Map) bool {
	get := func(key string) pcommon.Value {
		if v, there := keys.Get(key); there {
			return v
		}
		if v, there := m.Get(key); there {
			return v
		}
		return pcommon.NewValueEmpty()
	}
	key := cleanKey(text(get(semconv.MediaKey)))
	if !p.takesKey(key) {
		return false
	}
	var file media
	var err error
	reason, kind := DropBadMedia, text(get(semconv.MediaType))
	switch {
	case name == semconv.EventTable:
		reason = DropBadTable
		file, err = table(get(semconv.TableColumns), get(semconv.MediaData))
	case kind == semconv.MediaImage:
		file, err = picture(get(semconv.MediaData), text(get(semconv.MediaFormat)))
	case kind == semconv.MediaHTML:
		file, err = page(get(semconv.MediaData))
	default:
		p.drop(DropUnsupported, f.who()+" logged "+clip(key)+" as "+name+" of type "+clip(kind)+": image and html are what can be written")
		return false
	}
	if err == nil && len(file.content) > maxMedia {
		err = fmt.Errorf("it has %d bytes: %w", len(file.content), errTooLarge)
	}
	if errors.Is(err, errTooLarge) {
		p.drop(run.DropValueTooLarge, f.who()+" logged "+clip(key)+" ("+name+"): "+err.Error()+
			"; at most "+strconv.Itoa(maxMedia)+" bytes and "+strconv.Itoa(maxTableRows)+" rows travel as an event: log a part of it, or an artifact")
		return false
	}
	if err != nil {
		p.drop(reason, f.who()+" logged "+clip(key)+" ("+name+"), which is not written: "+err.Error())
		return false
	}
	at := ""
	if row.HasStep {
		at = "_" + strconv.FormatInt(row.Step, 10)
	}
	if caption := text(get(semconv.MediaCaption)); caption != "" && name == semconv.EventMedia {
		file.fields = appendText(append(file.fields, `,"caption":`...), caption)
	}
	row.Values, row.File = file.value(key, at)
	return true
}

// takesKey tells whether a metric may be called so.
func (p *Payload) takesKey(key string) bool {
	switch {
	case key == "":
		p.drop(DropBadAttribute, "a row has a metric without a name: name it")
	case key[0] == '_':
		p.drop(DropReservedKey, "metric "+clip(key)+" begins with _, which W&B keeps for itself: rename it")
	default:
		return true
	}
	return false
}

// value is the file's value in the row. Its name follows from what is logged
// alone, not from what came before it: the same event again is the same file.
func (f *media) value(key, step string) ([]run.Value, *run.File) {
	sum := sha256.Sum256(f.content)
	hash := hex.EncodeToString(sum[:])
	path := "media/" + f.dir + "/" + fileName(key) + step + "_" + hash[:20] + f.ext
	b := append([]byte(`{"_type":"`), f.kind...)
	b = append(b, `","sha256":"`...)
	b = append(b, hash...)
	b = append(b, `","size":`...)
	b = strconv.AppendInt(b, int64(len(f.content)), 10)
	b = appendText(append(b, `,"path":`...), path)
	b = append(append(b, f.fields...), '}')
	return []run.Value{{Key: key, JSON: string(b)}}, &run.File{Path: path, Content: f.content}
}

// maxFileName bounds what a key gives of a file's name: 255 bytes is what file
// systems take.
const maxFileName = 128

// fileName is a key as part of a file's name, on any file system. Keys that give
// the same one do not meet: the content's hash is in the name too.
func fileName(key string) string {
	if len(key) > maxFileName {
		key = strings.ToValidUTF8(key[:maxFileName], "")
	}
	return strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f || strings.ContainsRune(`/\:*?"<>|`, c) {
			return '_'
		}
		return c
	}, key)
}

// table is W&B's file of a table.
func table(columns, data pcommon.Value) (media, error) {
	if columns.Type() != pcommon.ValueTypeSlice || columns.Slice().Len() == 0 {
		return media{}, errors.New("it has no columns: name them in `columns`, an array")
	}
	names := texts(columns)
	sorted := slices.Clone(names)
	slices.Sort(sorted)
	if len(slices.Compact(sorted)) < len(names) {
		return media{}, errors.New("two of its columns have one name: name each once")
	}
	rows, err := rowsOf(data)
	if err != nil {
		return media{}, err
	}
	b := []byte(`{"columns":[`)
	for i, name := range names {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendText(b, name)
	}
	b = append(b, `],"data":[`...)
	for i, row := range rows {
		if i > 0 {
			b = append(b, ',')
		}
		if b, err = appendRow(b, row, len(names)); err != nil {
			return media{}, fmt.Errorf("row %d: %w", i, err)
		}
	}
	return media{
		kind: "table-file", dir: "table", ext: ".table.json", content: append(b, `]}`...),
		fields: fmt.Appendf(nil, `,"ncols":%d,"nrows":%d,"log_mode":"IMMUTABLE"`, len(names), len(rows)),
	}, nil
}

// rowsOf are a table's rows: an array of arrays, or the same as JSON text.
func rowsOf(data pcommon.Value) (rows []any, err error) {
	switch data.Type() {
	case pcommon.ValueTypeSlice:
		if n := data.Slice().Len(); n > maxTableRows { // before they are copied
			return nil, fmt.Errorf("it has %d rows: %w", n, errTooLarge)
		}
		rows = data.Slice().AsRaw()
	case pcommon.ValueTypeStr:
		if n := len(data.Str()); n > maxMedia {
			return nil, fmt.Errorf("its data has %d bytes: %w", n, errTooLarge)
		}
		v, err := extjson.Decode(data.Str())
		if err != nil {
			return nil, fmt.Errorf("its data is no JSON: %w", err)
		}
		var ok bool
		if rows, ok = v.([]any); !ok {
			return nil, errors.New("its data is JSON, but no array of rows")
		}
	default:
		return nil, errors.New("its data is missing: give an array of rows, or that as JSON text")
	}
	if len(rows) > maxTableRows {
		return nil, fmt.Errorf("it has %d rows: %w", len(rows), errTooLarge)
	}
	return rows, nil
}

func appendRow(b []byte, row any, columns int) ([]byte, error) {
	cells, ok := row.([]any)
	if !ok || len(cells) != columns {
		return nil, fmt.Errorf("it is no array of %d values: give one for each column, empty for none", columns)
	}
	b = append(b, '[')
	for i, cell := range cells {
		if i > 0 {
			b = append(b, ',')
		}
		switch v := cell.(type) {
		case nil:
			b = append(b, "null"...)
		case bool:
			b = strconv.AppendBool(b, v)
		case int64:
			b = strconv.AppendInt(b, v, 10)
		case float64:
			b = run.AppendFloat(b, v)
		case string:
			b = appendText(b, v)
		default:
			return nil, fmt.Errorf("value %d is neither number, bool nor text: make it text", i)
		}
	}
	return append(b, ']'), nil
}

// picture is an image's file as it came. What it says of itself holds.
func picture(data pcommon.Value, format string) (media, error) {
	var b []byte
	switch data.Type() {
	case pcommon.ValueTypeBytes:
		b = data.Bytes().AsRaw()
	case pcommon.ValueTypeStr:
		var err error
		if b, err = base64.StdEncoding.DecodeString(data.Str()); err != nil {
			return media{}, fmt.Errorf("its data is text, but no base64: %w", err)
		}
	default:
		return media{}, errors.New("its data is missing: give the bytes of an image's file")
	}
	size, is, err := image.DecodeConfig(bytes.NewReader(b))
	if err != nil {
		return media{}, fmt.Errorf("its data is no PNG, JPEG or GIF: %w", err)
	}
	if format != "" && format != is {
		return media{}, fmt.Errorf("its data is %s, and its `format` says %s: mend one of them", is, clip(format))
	}
	ext := "." + is
	if is == "jpeg" {
		ext = ".jpg"
	}
	return media{
		kind: "image-file", dir: "images", ext: ext, content: b,
		fields: fmt.Appendf(nil, `,"format":%q,"width":%d,"height":%d`, is, size.Width, size.Height),
	}, nil
}

// page is a page of HTML.
func page(data pcommon.Value) (media, error) {
	if data.Type() != pcommon.ValueTypeStr || data.Str() == "" {
		return media{}, errors.New("its data is missing: give the page as text")
	}
	return media{kind: "html-file", dir: "html", ext: ".html", content: []byte(strings.ToValidUTF8(data.Str(), "\uFFFD"))}, nil
}
