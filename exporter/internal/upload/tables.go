package upload

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/otel-wandb/otel-wandb/exporter/internal/dotwandb"
	"github.com/otel-wandb/otel-wandb/internal/extjson"
	"github.com/otel-wandb/otel-wandb/internal/wandb"
)

// A table in a row is a file of the run. W&B's own client makes an artifact of it
// besides, in a version for each row, and has the row refer to that. So does the
// upload: the references are put into the line when the row is translated, and
// the artifact goes with the files. What it is called follows from the log alone.

// maxTable bounds the tables that are artifacts too, in bytes: they are read
// whole. The exporter's own are smaller.
const maxTable = 16 << 20

// The fields of a table's value that refer to its artifact.
const (
	artifactPath       = "artifact_path"
	latestArtifactPath = "_latest_artifact_path"
)

// tables are those of a row that are to be artifacts, as the files that they are.
// wandb.ErrFull says that it is not known yet where the run is, of which their
// names are made: its first upsert says so.
func (s *state) tables(h *dotwandb.History) (list []runFile, err error) {
	if !s.Artifacts {
		return nil, nil
	}
	for i := range h.Items {
		if it := &h.Items[i]; !saysTable(it) {
			continue
		}
		key, value := h.Items[i].Key, &object{}
		for j := range h.Items {
			if h.Items[j].Key == key {
				value.set(&h.Items[j], s.fit(h.Items[j].JSON))
			}
		}
		text, _ := value.get(key)
		if path := tablePath(text); path != "" {
			list = append(list, runFile{Part: s.Part, Path: path, Table: key, Step: stepIn(h)})
		}
	}
	if len(list) > 0 && s.entity() == "" {
		return nil, wandb.ErrFull
	}
	return list, nil
}

// saysTable tells whether an item says of its key that it is a table. Nearly none
// does.
func saysTable(it *dotwandb.Item) bool {
	const word = `"table-file"`
	switch len(it.Rest) {
	case 0:
		if strings.HasPrefix(it.JSON, "{") && strings.Contains(it.JSON, word) {
			kind, _ := extjson.Get(it.JSON, "_type")
			return kind == word
		}
	case 1:
		return it.Rest[0] == "_type" && it.JSON == word
	}
	return false
}

// tablePath is the file of a table that refers to no artifact; "" where it does,
// or is none that could be one.
func tablePath(value string) string {
	if _, there := extjson.Get(value, artifactPath); there {
		return "" // W&B's own client wrote it
	}
	raw, _ := extjson.Get(value, "path")
	path, _ := extjson.Decode(raw)
	name, _ := path.(string)
	raw, _ = extjson.Get(value, "size")
	size, err := strconv.ParseInt(raw, 10, 64)
	if err != nil || size > maxTable || !fs.ValidPath(name) {
		return ""
	}
	return name
}

// entity is whose the run is; "" while only W&B knows it.
func (s *state) entity() string {
	if s.Asked.Entity == "" && s.Upserted {
		return s.Path.Entity
	}
	return s.Asked.Entity
}

// clientID is what an artifact is called before W&B has it: the same for the same
// row of the same log, and in all the world for no other.
func (s *state) clientID(kind string, f runFile) string {
	const alphabet = "abcdefghijklmnopqrstuvwxyz0123456789"
	what := strings.Join([]string{
		kind, s.entity(), s.Asked.Project, s.Asked.Run, f.Part, f.Table, f.Path, strconv.FormatInt(f.Step, 10),
	}, "\x00")
	var id []byte
	for block := byte(0); len(id) < 128; block++ {
		for _, b := range sha256.Sum256(append([]byte(what), 0, block)) {
			id = append(id, alphabet[int(b)%len(alphabet)])
		}
	}
	return string(id)
}

// versionID and sequenceID are a version's names. Each version has both to
// itself, as W&B's own client does it.
func (s *state) versionID(f runFile) string  { return s.clientID("version", f) }
func (s *state) sequenceID(f runFile) string { return s.clientID("sequence", f) }

// entry is the name of a table within its artifact.
func entry(key string) string {
	var parts []string
	for part := range strings.SplitSeq(key, "/") {
		switch part {
		case "":
		case ".", "..":
			parts = append(parts, strings.Repeat("_", len(part)))
		default:
			parts = append(parts, part)
		}
	}
	name := strings.Join(parts, "/")
	if !strings.HasSuffix(name, "table.json") {
		name += ".table.json"
	}
	return name
}

// refer has a table's value refer to its artifact.
func (s *state) refer(n *node, f runFile) {
	value := n.inner()
	value.put(artifactPath, quoted(wandb.ClientArtifact(s.versionID(f), entry(f.Table))))
	value.put(latestArtifactPath, quoted(wandb.ClientArtifact(s.sequenceID(f)+":latest", entry(f.Table))))
}

// logged notes the tables of a row that went out.
func (s *state) logged(tables []runFile, b *batch) {
	for _, f := range tables {
		s.file(f)
		b.named++
		if s.LastTables == nil {
			s.LastTables = map[string]runFile{}
		}
		s.LastTables[f.Table] = f
	}
}

// keepReferences gives what has the summary refer to artifacts once it is changed:
// a table there is that of the last row, or the one that was there before.
func (s *state) keepReferences(update []dotwandb.Item) (restore func()) {
	type reference struct{ path, version, latest string }
	before := map[string]reference{}
	given := map[string]bool{} // the log has its own
	for i := range update {
		it := &update[i]
		if _, there := s.LastTables[it.Key]; !there {
			continue
		}
		given[it.Key] = given[it.Key] || slices.Equal(it.Rest, []string{artifactPath})
		value, _ := s.summary.get(it.Key)
		var r reference
		r.path, _ = extjson.Get(value, "path")
		r.version, _ = extjson.Get(value, artifactPath)
		r.latest, _ = extjson.Get(value, latestArtifactPath)
		before[it.Key] = r
	}
	return func() {
		for key, r := range before {
			text, there := s.summary.get(key)
			if path, _ := extjson.Get(text, "path"); !there || given[key] || path == "" {
				continue
			} else if value, f := s.summary.at[key].inner(), s.LastTables[key]; path == quoted(f.Path) {
				s.refer(s.summary.at[key], f)
			} else if path == r.path && r.version != "" {
				value.put(artifactPath, r.version)
				value.put(latestArtifactPath, r.latest)
			} else {
				value.remove(artifactPath)
				value.remove(latestArtifactPath)
			}
		}
	}
}

// putTable makes the artifact of a table. The error is transient: not its own.
func (u *Uploader) putTable(ctx context.Context, f runFile) error {
	if !slices.Contains(u.state.Files, f) {
		return nil // an earlier try made it
	}
	err := u.logTable(ctx, f)
	switch {
	case err == nil:
		u.fileDone(f)
		u.save()
	case wandb.IsTransient(err), ctx.Err() != nil:
		return err
	default:
		u.fileFailed(f, err)
	}
	return nil
}

func (u *Uploader) logTable(ctx context.Context, f runFile) error {
	s := u.state
	content, err := u.content(f)
	if err != nil {
		return err
	}
	file, size, err := content()
	if err != nil {
		return err
	}
	b, err := io.ReadAll(io.LimitReader(file, maxTable+1))
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	if len(b) > maxTable {
		return fmt.Errorf("it has %d bytes, and its row says that it has at most %d", size, maxTable)
	}
	table, err := tableEntry(string(b))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience(size))
	defer cancel()
	_, err = u.opts.Client.LogArtifact(ctx, s.Path, wandb.Artifact{
		Type: "run_table", Name: wandb.NameArtifact("run-" + s.Path.Run + "-" + f.Table),
		Files:    map[string][]byte{entry(f.Table): table},
		ClientID: s.versionID(f), SequenceID: s.sequenceID(f), Step: f.Step + s.Step,
		Again: s.Continued, // a position was lost, perhaps
	})
	return err
}

// tableEntry is a table's file as its artifact has it: byte for byte what W&B's
// own client writes, of which the version's digest is made.
func tableEntry(file string) ([]byte, error) {
	columns, _ := extjson.Get(file, "columns")
	data, _ := extjson.Get(file, "data")
	names, err1 := arrayOf(columns)
	rows, err2 := arrayOf(data)
	if err := errors.Join(err1, err2); err != nil {
		return nil, fmt.Errorf("it is no table: %w", err)
	}
	types := make([]string, len(names))
	for i, row := range rows {
		cells, ok := row.([]any)
		if !ok || len(cells) != len(names) {
			return nil, fmt.Errorf("it is no table: row %d has not one value for each of %d columns", i, len(names))
		}
		for k, cell := range cells {
			types[k] = joinType(types[k], typeOf(cell))
		}
	}
	byName := map[string]string{}
	for i, name := range names {
		byName[fmt.Sprint(name)] = types[i]
	}
	b := []byte(`{"_type": "table", "column_types": {"params": {"type_map": {`)
	for i, name := range slices.Sorted(maps.Keys(byName)) {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = append(appendQuoted(b, name), `: {"params": {"allowed_types": [`...)
		b = append(b, optional(byName[name])...)
		b = append(b, `]}, "wb_type": "union"}`...)
	}
	b = append(b, `}}, "wb_type": "typedDict"}, "columns": `...)
	b = appendSpaced(b, columns)
	b = append(b, `, "data": `...)
	b = appendSpaced(b, data)
	return fmt.Appendf(b, `, "log_mode": "IMMUTABLE", "ncols": %d, "nrows": %d}`, len(names), len(rows)), nil
}

func arrayOf(raw string) ([]any, error) {
	v, err := extjson.Decode(raw)
	if err != nil {
		return nil, err
	}
	l, ok := v.([]any)
	if !ok {
		return nil, errors.New("columns or data are no array")
	}
	return l, nil
}

// typeOf is W&B's word for the type of a value; "" of none, as which NaN counts.
func typeOf(cell any) string {
	switch v := cell.(type) {
	case nil:
		return ""
	case bool:
		return "boolean"
	case string:
		return "string"
	case int64:
		return "number"
	case float64:
		if v != v {
			return ""
		}
		return "number"
	}
	return "any"
}

// joinType is the type of a column that has both.
func joinType(a, b string) string {
	switch {
	case a == "" || a == b:
		return b
	case b == "":
		return a
	}
	return "any"
}

// optional are the types of a column whose values may be missing, by their names.
func optional(kind string) string {
	names := []string{"none", nonEmpty(kind, "unknown")}
	slices.Sort(names)
	return `{"wb_type": "` + names[0] + `"}, {"wb_type": "` + names[1] + `"}`
}

// appendSpaced writes JSON as Python does: with a space behind each colon and
// comma, and no other.
func appendSpaced(b []byte, raw string) []byte {
	inText := false
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		switch {
		case inText && c == '\\':
			b = append(b, c)
			i++
			c = raw[i] // it is JSON: something follows
		case c == '"':
			inText = !inText
		case inText:
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			continue
		case c == ',' || c == ':':
			b = append(b, c)
			c = ' '
		}
		b = append(b, c)
	}
	return b
}
