package uploadconformance

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-wandb/otel-wandb/exporter/internal/dotwandb"
	"github.com/otel-wandb/otel-wandb/internal/extjson"
	"github.com/otel-wandb/otel-wandb/internal/wandbtest"
)

type (
	rec  = dotwandb.Record
	item = dotwandb.Item
)

// scribe writes the log that says what the requests of a capture say: after
// each request, what is new in it.
type scribe struct {
	testing.TB
	start time.Time
	// held is what W&B has of the run already: a log knows nothing of it.
	held wandbtest.Run
	step int64 // the first of this session

	files        []dotwandb.File // that rows name
	opened       bool
	run          dotwandb.Run
	config       map[string]string // top-level keys → JSON
	kinds        map[string]any    // telemetry, metrics, environments: the last of each
	console      []string          // the console as it is in the end: a line may come in pieces
	printed      int
	lines        map[string]int                  // of each file, how many are written
	environments map[string]dotwandb.Environment // as the capture has them in the end
	summary      map[string]extjson.Member
}

func newScribe(t testing.TB, list []request, held wandbtest.Run) *scribe {
	s := &scribe{TB: t, held: held, config: map[string]string{}, kinds: map[string]any{}, summary: map[string]extjson.Member{}}
	s.lines = map[string]int{"wandb-history.jsonl": len(held.History), "wandb-events.jsonl": len(held.Events), "output.log": len(held.Console)}
	if n := len(held.History); n > 0 {
		s.step = held.Rows()[n-1]["_step"].(int64) + 1
	}
	if held.ConfigJSON != "" {
		for _, m := range s.members(held.ConfigJSON) {
			s.config[m.Key] = s.value(m.Raw)
		}
	}
	if held.SummaryJSON != "" {
		for _, m := range s.members(held.SummaryJSON) {
			s.summary[m.Key] = m
		}
	}
	s.start = list[0].time.Truncate(time.Microsecond)
	for _, r := range list {
		if config, ok := r.operationConfig(t); ok {
			e, _ := extjson.Get(config, "_wandb", "value", "e")
			s.environments = environments(t, e)
		}
	}
	for _, r := range list {
		if !r.isStream() {
			continue
		}
		f := r.stream(t).Files["output.log"]
		for i, line := range f.Content {
			at := f.Offset + i - len(held.Console)
			s.console = append(s.console[:at], append([]string{line}, s.console[min(at+1, len(s.console)):]...)...)
		}
	}
	for _, r := range list { // system metrics say when the run began
		if r.isStream() {
			if events := r.stream(t).Files["wandb-events.jsonl"].Content; len(events) > 0 {
				row, err := extjson.DecodeObject(events[0])
				require.NoError(t, err)
				s.start = atSecond(row["_timestamp"].(float64) - row["_runtime"].(float64))
				break
			}
		}
	}
	return s
}

func atSecond(f float64) time.Time { return time.UnixMicro(int64(math.Round(f * 1e6))).UTC() }

func (s *scribe) members(text string) []extjson.Member {
	list, err := extjson.Members(text)
	require.NoError(s, err, "%s", text)
	return list
}

// value takes the {"value":…} off a config entry.
func (s *scribe) value(raw string) string {
	v, ok := extjson.Get(raw, "value")
	require.True(s, ok, "%s", raw)
	return v
}

// records are what of a request the log does not say yet.
func (s *scribe) records(r request) []rec {
	switch {
	case r.operation == "UpsertBucket":
		return s.upsert(r.variables(s))
	case r.operation == "NotifyScriptableRunAlert":
		v := r.variables(s)
		wait, err := v["waitDuration"].(json.Number).Int64()
		require.NoError(s, err)
		return []rec{{Alert: &dotwandb.Alert{
			Title: v["title"].(string), Text: v["text"].(string), Level: v["severity"].(string), Wait: time.Duration(wait) * time.Millisecond,
		}}}
	case r.isStream():
		return s.stream(r.stream(s))
	}
	return nil
}

func (s *scribe) upsert(v map[string]any) (list []rec) {
	changed := false
	set := func(name string, field *string) {
		if text, ok := v[name].(string); ok && text != *field {
			*field, changed = text, true
		}
	}
	run := &s.run
	set("name", &run.ID)
	set("project", &run.Project)
	set("groupName", &run.Group)
	set("displayName", &run.DisplayName)
	set("jobType", &run.JobType)
	set("notes", &run.Notes)
	set("host", &run.Host)
	var tags []string
	if given, ok := v["tags"].([]any); ok {
		for _, tag := range given {
			tags = append(tags, tag.(string))
		}
		changed = changed || !slices.Equal(tags, run.Tags)
		run.Tags = tags
	}
	update, later := s.configOf(v)
	if !s.opened {
		s.opened, changed = true, true
		run.StartTime, run.Config, update = s.start, update, nil
		// W&B's client knows the program now and the rest of the environment later:
		// a log has both at once.
		for key, e := range s.environments {
			later = append(later, s.remember("e "+key, e, rec{Environment: &e})...)
		}
		if program, ok := v["program"].(string); ok && len(s.environments) == 0 {
			later = append(later, rec{Environment: &dotwandb.Environment{Program: program, WriterID: "unknown"}})
		}
		list = append(list, rec{Header: &dotwandb.Header{Producer: "0.28.3", MinConsumer: "0.70.0"}})
	}
	if changed {
		copied := *run
		list = append(list, rec{Run: &copied})
	}
	if len(update) > 0 {
		list = append(list, rec{Config: &dotwandb.Config{Update: update}})
	}
	return append(list, later...)
}

// configOf is what is new in a config: keys of the run's own, and records of
// what W&B's key holds.
func (s *scribe) configOf(v map[string]any) (update []item, records []rec) {
	text, _ := v["config"].(string)
	if text == "" {
		return nil, nil
	}
	own := map[string]string{}
	for _, m := range s.members(text) {
		value := s.value(m.Raw)
		if m.Key == "_wandb" {
			for _, m := range s.members(value) {
				own[m.Key] = m.Raw
			}
			continue
		}
		if s.config[m.Key] != value {
			s.config[m.Key] = value
			update = append(update, item{Key: m.Key, JSON: value})
		}
	}
	for key, raw := range own {
		switch key {
		case "t", "m", "e", "cli_version", "python_version":
		default: // what its charts look like
			if s.config["_wandb "+key] != raw {
				s.config["_wandb "+key] = raw
				update = append(update, item{Key: "_wandb", Rest: []string{key}, JSON: raw})
			}
		}
	}
	t := telemetry(s, own["t"])
	records = append(records, s.remember("t", *t, rec{Telemetry: t})...)
	for _, m := range metrics(s, own["m"]) {
		records = append(records, s.remember("m "+m.Name+m.GlobName, m, rec{Metric: &m})...)
	}
	for key, e := range environments(s, own["e"]) {
		records = append(records, s.remember("e "+key, e, rec{Environment: &e})...)
	}
	return update, records
}

// remember is the record if it says something new.
func (s *scribe) remember(name string, value any, r rec) []rec {
	if reflect.DeepEqual(s.kinds[name], value) {
		return nil
	}
	s.kinds[name] = value
	return []rec{r}
}

// environments are those of a config, by their key in it.
func environments(t testing.TB, text string) map[string]dotwandb.Environment {
	all := map[string]dotwandb.Environment{}
	if text == "" {
		return all
	}
	members, err := extjson.Members(text)
	require.NoError(t, err)
	for _, m := range members {
		all[m.Key] = environment(t, m.Raw)
	}
	return all
}

func decode[T any](t testing.TB, text string) (v T) {
	require.NoError(t, json.Unmarshal([]byte(text), &v), "%s", text)
	return v
}

func telemetry(t testing.TB, text string) *dotwandb.Telemetry {
	m := decode[map[string]any](t, text)
	var out dotwandb.Telemetry
	for _, n := range m["3"].([]any) {
		out.Features = append(out.Features, int(n.(float64)))
	}
	out.PythonVersion, out.CLIVersion = m["4"].(string), m["5"].(string)
	out.CoreVersion, out.Platform = m["12"].(string), m["13"].(string)
	return &out
}

func metrics(t testing.TB, text string) (list []dotwandb.Metric) {
	type entry struct {
		Name    string `json:"1"`
		Glob    string `json:"2"`
		Step    int    `json:"5"`
		Options []int  `json:"6"`
		Summary []int  `json:"7"`
	}
	all := decode[[]entry](t, text)
	for _, e := range all {
		m := dotwandb.Metric{Name: e.Name, GlobName: e.Glob}
		if e.Step > 0 {
			m.StepMetric = all[e.Step-1].Name
		}
		for i, flag := range []*bool{&m.StepSync, &m.Hidden, &m.Defined} {
			*flag = slices.Contains(e.Options, i+1)
		}
		q := &m.Summary
		for i, flag := range []*bool{&q.Min, &q.Max, &q.Mean, &q.Best, &q.Last, &q.None, &q.Copy, &q.First} {
			*flag = slices.Contains(e.Summary, i+1)
		}
		list = append(list, m)
	}
	return list
}

func environment(t testing.TB, text string) dotwandb.Environment {
	e := decode[struct {
		OS, Python, Program, Email, Root, Host, Username, Executable, WriterID string
		StartedAt                                                              time.Time
		Args                                                                   []string
		CPUCount                                                               uint32 `json:"cpu_count"`
		CPUCountLogical                                                        uint32 `json:"cpu_count_logical"`
		Memory                                                                 struct {
			Total uint64 `json:",string"`
		}
	}](t, text)
	return dotwandb.Environment{
		OS: e.OS, Python: e.Python, StartedAt: e.StartedAt, Args: e.Args, Program: e.Program, Email: e.Email, Root: e.Root,
		Host: e.Host, Username: e.Username, Executable: e.Executable, CPUCount: e.CPUCount, CPUCountLogical: e.CPUCountLogical,
		MemoryTotal: e.Memory.Total, WriterID: e.WriterID,
	}
}

// fresh are the lines of a file that no earlier request had.
func (s *scribe) fresh(q stream, file string) []string {
	f := q.Files[file]
	from := min(max(0, s.lines[file]-f.Offset), len(f.Content))
	s.lines[file] = max(s.lines[file], f.Offset+len(f.Content))
	return f.Content[from:]
}

func (s *scribe) stream(q stream) (list []rec) {
	if len(q.Files["wandb-history.jsonl"].Content) > 0 && len(s.files) > 0 {
		list = append(list, rec{Files: &dotwandb.Files{Files: s.files}})
		s.files = nil
	}
	for _, text := range s.fresh(q, "wandb-history.jsonl") {
		h := &dotwandb.History{}
		for _, m := range s.members(text) {
			if m.Key == "_step" {
				n, err := strconv.ParseInt(m.Raw, 10, 64)
				require.NoError(s, err)
				h.Step = n - s.step
				m.Raw = strconv.FormatInt(h.Step, 10)
			}
			h.Items = append(h.Items, leaves(item{Key: m.Key, JSON: m.Raw})...)
		}
		list = append(list, rec{History: h})
	}
	for _, text := range s.fresh(q, "wandb-events.jsonl") {
		st := &dotwandb.Stats{}
		for _, m := range s.members(text) {
			if m.Key == "_timestamp" {
				f, err := strconv.ParseFloat(m.Raw, 64)
				require.NoError(s, err)
				st.Time = atSecond(f)
			}
			if name, ok := strings.CutPrefix(m.Key, "system."); ok {
				st.Items = append(st.Items, item{Key: name, JSON: m.Raw})
			}
		}
		list = append(list, rec{Stats: st})
	}
	for range s.fresh(q, "output.log") {
		list = append(list, rec{Output: console(s, s.console[s.printed])})
		s.printed++
	}
	if whole := q.Files["wandb-summary.json"].Content; len(whole) > 0 {
		change := &dotwandb.Summary{}
		for _, m := range s.members(whole[len(whole)-1]) {
			if s.summary[m.Key] == m {
				continue
			}
			s.summary[m.Key] = m
			raw := m.Raw
			if m.Key == "_step" {
				n, err := strconv.ParseInt(raw, 10, 64)
				require.NoError(s, err)
				raw = strconv.FormatInt(n-s.step, 10)
			}
			change.Update = append(change.Update, leaves(item{Key: m.Key, JSON: raw})...)
		}
		if len(change.Update) > 0 {
			list = append(list, rec{Summary: change})
		}
	}
	if q.Complete {
		list = append(list, rec{Exit: &dotwandb.Exit{Code: int32(*q.ExitCode)}}) //nolint:gosec // an exit code
	}
	return list
}

// leaves takes a value apart as W&B's client writes it: an item for each leaf. A
// log of ours knows nothing of artifacts.
func leaves(it item) (list []item) {
	if n := len(it.Rest); n > 0 && strings.HasSuffix(it.Rest[n-1], "artifact_path") {
		return nil
	}
	inner, err := extjson.Members(it.JSON)
	if err != nil || len(inner) == 0 {
		return []item{it}
	}
	for _, m := range inner {
		list = append(list, leaves(item{Key: it.Key, Rest: append(slices.Clone(it.Rest), m.Key), JSON: m.Raw})...)
	}
	return list
}

// console reads a console line, in either format.
func console(t testing.TB, text string) *dotwandb.Output {
	const layout = "2006-01-02T15:04:05.000000"
	var line struct{ Level, TS, Content string }
	if strings.HasPrefix(text, "{") {
		line = decode[struct{ Level, TS, Content string }](t, text)
	} else {
		rest, isError := strings.CutPrefix(text, "ERROR ")
		if isError {
			line.Level = "error"
		}
		line.TS, line.Content, _ = strings.Cut(rest, " ")
	}
	at, err := time.Parse(layout, line.TS)
	require.NoError(t, err, "%s", text)
	return &dotwandb.Output{Stderr: line.Level == "error", Time: at, Line: line.Content + "\n"}
}

// runLog is a log that grows.
type runLog struct {
	testing.TB
	path string
	num  int64
}

func newLog(t testing.TB, dir, id string) *runLog {
	l := &runLog{TB: t, path: filepath.Join(dir, "wandb", fmt.Sprintf("run-20260102_150401-%s", id), fmt.Sprintf("run-%s.wandb", id))}
	require.NoError(t, os.MkdirAll(filepath.Dir(l.path), 0o777))
	require.NoError(t, os.WriteFile(l.path, dotwandb.AppendFileHeader(nil), 0o600))
	return l
}

// media writes the files that a capture brought to W&B, but for those that an
// upload makes itself.
func (l *runLog) media(list []request) (files []dotwandb.File) {
	for _, r := range list {
		name := r.runFile()
		if !strings.HasPrefix(name, "media/") && name != "somefile.txt" {
			continue
		}
		path := filepath.Join(filepath.Dir(l.path), "files", filepath.FromSlash(name))
		require.NoError(l, os.MkdirAll(filepath.Dir(path), 0o777))
		require.NoError(l, os.WriteFile(path, r.body, 0o600))
		files = append(files, dotwandb.File{Path: name, Policy: dotwandb.FileNow, Type: dotwandb.FileMedia})
	}
	return files
}

func (l *runLog) write(records []rec) {
	file, err := os.OpenFile(l.path, os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(l, err)
	defer file.Close()
	fi, err := file.Stat()
	require.NoError(l, err)
	var b []byte
	framer := dotwandb.NewFramer(fi.Size())
	for i := range records {
		l.num++
		records[i].Num = l.num
		b = framer.Append(b, records[i].Append(nil))
	}
	_, err = file.Write(b)
	require.NoError(l, err)
}
