package upload

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/otel-wandb/otel-wandb/exporter/internal/dotwandb"
	"github.com/otel-wandb/otel-wandb/exporter/internal/runview"
	"github.com/otel-wandb/otel-wandb/internal/wandb"
	"github.com/otel-wandb/otel-wandb/internal/wandbtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type (
	rec  = dotwandb.Record
	item = dotwandb.Item
)

// fixture is a server, a client whose requests a test can stop, and a folder of
// logs, in a bubble with a clock of its own.
type fixture struct {
	*testing.T
	server    *wandbtest.Server
	dir       string
	client    *wandb.Client
	intercept func(r *http.Request, send func() (*http.Response, error)) (*http.Response, error)
	notices   []Notice // of trouble
	links     []string // what else was told, a line each
	num       int64
	files     map[string]string // content of the run's files, by name
	others    bool              // somebody else went on with the run
	forgot    bool              // and the position, which had our config before that, is lost
}

func bubble(t *testing.T, opts wandbtest.Options, test func(f *fixture)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		f := &fixture{T: t, server: wandbtest.New(opts), dir: dir}
		h, stop := f.server.InMemory()
		defer stop()
		inner := h.Transport
		h.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
			send := func() (*http.Response, error) { return inner.RoundTrip(r) }
			if f.intercept != nil {
				return f.intercept(r, send)
			}
			return send()
		})
		creds, err := wandb.APIKey(wandbtest.Key, "the test")
		require.NoError(t, err)
		f.client, err = wandb.New(wandb.Options{BaseURL: wandbtest.URL, HTTP: h, Credentials: creds})
		require.NoError(t, err)
		test(f)
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// part is the log of run r's nth part.
func (f *fixture) part(n int) string {
	return filepath.Join(f.dir, "wandb", fmt.Sprintf("run-20260102_15040%d-r", n), "run-r.wandb")
}

// write appends records to a part's log, and makes it.
func (f *fixture) write(part int, records ...rec) {
	f.Helper()
	path := f.part(part)
	require.NoError(f, os.MkdirAll(filepath.Dir(path), 0o777))
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o666)
	require.NoError(f, err)
	defer file.Close()
	fi, err := file.Stat()
	require.NoError(f, err)
	var b []byte
	at := fi.Size()
	if at == 0 {
		b = dotwandb.AppendFileHeader(b)
		at = dotwandb.FileHeaderSize
	}
	framer := dotwandb.NewFramer(at)
	for i := range records {
		f.num++
		records[i].Num = f.num
		b = framer.Append(b, records[i].Append(nil))
	}
	_, err = file.Write(b)
	require.NoError(f, err)
}

func (f *fixture) position() string {
	return PositionFile(filepath.Join(f.dir, "wandb"), wandbtest.URL, wandb.Path{Project: "p", Run: "r"})
}

// uploader of the parts that are there.
func (f *fixture) uploader(change ...func(*Options)) *Uploader {
	opts := Options{Client: f.client, Position: f.position(), Notify: f.notice}
	for n := 1; n < 9; n++ {
		if _, err := os.Stat(f.part(n)); err == nil {
			opts.Parts = append(opts.Parts, f.part(n))
		}
	}
	for _, c := range change {
		c(&opts)
	}
	return New(opts)
}

func (f *fixture) notice(n Notice) {
	switch n.Kind {
	case Opened:
		f.links = append(f.links, "opened "+n.URL)
	case Ended:
		f.links = append(f.links, fmt.Sprintf("ended %s %d", n.Run, n.ExitCode))
	default:
		f.notices = append(f.notices, n)
	}
}

func following(o *Options) { o.Follow, o.Alive = true, true }

func (f *fixture) held() wandbtest.Run {
	f.Helper()
	r, ok := f.server.Run("", "p", "r")
	require.True(f, ok, "the run is not there")
	return r
}

var start = time.Date(2026, 1, 2, 15, 4, 1, 0, time.UTC)

// Records.

func opening(startTime time.Time, config ...item) []rec {
	return []rec{
		{Header: &dotwandb.Header{Producer: "0.1.0", MinConsumer: "0.70.0"}},
		{Run: &dotwandb.Run{ID: "r", Project: "p", DisplayName: "train-abcdef", Group: "g", Tags: []string{"a"}, StartTime: startTime, Config: config}},
		{Environment: &dotwandb.Environment{OS: "Linux", Host: "h1", StartedAt: startTime, Program: "train.py", WriterID: "otel-wandb", MemoryTotal: 1 << 40}},
		{Telemetry: &dotwandb.Telemetry{CLIVersion: "0.1.0", CoreVersion: "0.1.0", Platform: "linux-amd64", Features: []int{2, 4}}},
	}
}

func row(step int64, kv ...string) rec {
	var items []item
	for i := 0; i < len(kv); i += 2 {
		path := strings.Split(kv[i], ".")
		items = append(items, item{Key: path[0], Rest: path[1:], JSON: kv[i+1]})
	}
	items = append(items, item{Key: "_timestamp", JSON: "1767366241.5"}, item{Key: "_runtime", JSON: strconv.FormatInt(step, 10) + ".5"}, item{Key: "_step", JSON: strconv.FormatInt(step, 10)})
	return rec{History: &dotwandb.History{Items: items, Step: step}}
}

// tableRow is a row with a table, in pieces as the exporter writes it.
func tableRow(step int64, key, path string, kv ...string) rec {
	return row(step, append(kv, key+"._type", `"table-file"`, key+".size", "30", key+".path", quoted(path), key+".log_mode", `"IMMUTABLE"`)...)
}

// tableText is a table's value in the summary.
func tableText(path string) string {
	return `{"_type":"table-file","size":30,"path":` + quoted(path) + `,"log_mode":"IMMUTABLE"}`
}

func line(text string, stderr bool) rec {
	return rec{Output: &dotwandb.Output{Stderr: stderr, Time: start.Add(1234567 * time.Microsecond), Line: text + "\n"}}
}

func stats(second int, key, json string) rec {
	return rec{Stats: &dotwandb.Stats{Time: start.Add(time.Duration(second) * time.Second), Items: []item{{Key: key, JSON: json}}}}
}

// file writes a file of a part's, and gives the record that names it.
func (f *fixture) file(part int, name, content string) rec {
	f.Helper()
	path := filepath.Join(filepath.Dir(f.part(part)), "files", filepath.FromSlash(name))
	require.NoError(f, os.MkdirAll(filepath.Dir(path), 0o777))
	require.NoError(f, os.WriteFile(path, []byte(content), 0o666))
	if f.files == nil {
		f.files = map[string]string{}
	}
	f.files[name] = content
	return named(name, dotwandb.FileNow)
}

func named(name string, policy int) rec {
	return rec{Files: &dotwandb.Files{Files: []dotwandb.File{{Path: name, Policy: policy, Type: dotwandb.FileMedia}}}}
}

func summary(kv ...string) rec {
	s := &dotwandb.Summary{}
	for i := 0; i < len(kv); i += 2 {
		path := strings.Split(kv[i], ".")
		s.Update = append(s.Update, item{Key: path[0], Rest: path[1:], JSON: kv[i+1]})
	}
	return rec{Summary: s}
}

func setConfig(key, json string) rec {
	return rec{Config: &dotwandb.Config{Update: []item{{Key: key, JSON: json}}}}
}

func exit(code int32) rec { return rec{Exit: &dotwandb.Exit{Code: code, Runtime: 9}} }

// sample is one of everything.
func (f *fixture) sample() {
	f.write(1, opening(start, item{Key: "lr", JSON: "0.1"}, item{Key: "seed", JSON: "9007199254740993"})...)
	f.write(1,
		rec{Metric: &dotwandb.Metric{Name: "loss", StepMetric: "epoch", Defined: true, Summary: dotwandb.MetricSummary{Min: true}}},
		row(0, "loss", "NaN", "big", "9007199254740993", "val.acc", "0.5", "val.f1", "-Infinity"),
		line("hello", false), line("oh no", true),
		f.file(1, "media/table/t_1_0123.table.json", `{"columns":["a"],"data":[[1]]}`),
		stats(3, "cpu", "4.25"),
		tableRow(1, "t", "media/table/t_1_0123.table.json", "loss", "Infinity", "text", `"<a> & \"b\" é"`),
		summary("loss.min", "NaN", "_step", "1", "t", tableText("media/table/t_1_0123.table.json")),
		rec{Alert: &dotwandb.Alert{Title: "look", Text: "here", Level: "WARN", Wait: time.Minute}},
		setConfig("lr", "0.2"),
		row(4, "loss", "0.25"),
		line("bye", false),
		stats(6, "cpu", "5"),
		summary("loss.min", "0.25", "_step", "4", "_runtime", "4.5", "_wandb.runtime", "4"),
		exit(3),
	)
}

// whole checks that the server has all that the logs have, once and in order.
func (f *fixture) whole(alerts int) wandbtest.Run {
	f.Helper()
	parts, err := runview.List(f.dir)
	require.NoError(f, err)
	want, err := runview.Read(parts, runview.Options{})
	require.NoError(f, err)
	got := f.held()
	rows := []map[string]any{}
	for _, r := range want.Rows {
		rows = append(rows, r.Values)
	}
	sent, summary := got.Rows(), got.Summary()
	f.wholeTables(strings.Contains(got.ConfigJSON, `"artifacts":true`), sent, summary)
	assert.Equal(f, fmt.Sprint(rows), fmt.Sprint(sent), "rows") // NaN equals nothing, but prints
	for _, file := range [][]wandbtest.Line{got.History, got.Events, got.Console} {
		for i, l := range file {
			assert.Equal(f, i, l.Offset)
		}
	}
	if assert.Len(f, got.Console, len(want.Console), "console") {
		for i, l := range want.Console {
			assert.Contains(f, got.Console[i].Text, l.Text)
		}
	}
	assert.Equal(f, fmt.Sprint(want.Summary), fmt.Sprint(summary), "summary")
	assert.Equal(f, fmt.Sprint(want.Config), fmt.Sprint(got.Config()), "config")
	assert.GreaterOrEqual(f, len(got.Alerts), alerts)
	if want.Exit != nil && assert.NotNil(f, got.ExitCode) {
		assert.Equal(f, int(*want.Exit), *got.ExitCode)
	}
	f.wholeFiles(want, got)
	assert.Empty(f, f.server.Violations())
	return got
}

// wholeTables checks that each table has its artifact, once, but for those that
// were given up, and that rows and summary refer to it; then it takes the
// references away, of which the log knows nothing. Where W&B does not know what
// clients call artifacts, there are none.
func (f *fixture) wholeTables(artifacts bool, rows []map[string]any, summary map[string]any) {
	f.Helper()
	committed := map[string]wandbtest.Artifact{} // by its client's id
	count, tables := 0, map[string]bool{}
	for _, a := range f.server.Artifacts() {
		if a.State == "COMMITTED" {
			committed[a.ClientID] = a
			count++
		}
	}
	refers := func(value any, where string) (table map[string]any, id string) {
		table, _ = value.(map[string]any)
		if table["_type"] != "table-file" {
			return nil, ""
		}
		path, _ := table[artifactPath].(string)
		latest, _ := table[latestArtifactPath].(string)
		delete(table, artifactPath)
		delete(table, latestArtifactPath)
		if !artifacts {
			assert.Empty(f, path+latest, where)
			return table, where
		}
		id, name, _ := strings.Cut(strings.TrimPrefix(path, "wandb-client-artifact://"), "/")
		given := slices.ContainsFunc(f.notices, func(n Notice) bool { return n.Kind == FileFailed && strings.Contains(n.Err.Error(), "has no artifact") })
		a, there := committed[id]
		if !there {
			assert.True(f, given, "%s: no artifact %s", where, path)
			return table, id
		}
		assert.Equal(f, "wandb-client-artifact://"+a.SequenceID+":latest/"+name, latest)
		want, err := tableEntry(f.files[table["path"].(string)])
		require.NoError(f, err)
		assert.Equal(f, string(want), string(a.Files[name]), where)
		return table, id
	}
	for i, row := range rows {
		for key, value := range row {
			if table, id := refers(value, fmt.Sprint(key, " of row ", i)); table != nil {
				assert.False(f, tables[id], "%s: two rows refer to it", id)
				tables[id] = true
			}
		}
	}
	for key, value := range summary {
		if table, id := refers(value, "summary "+key); table != nil && artifacts {
			assert.True(f, tables[id], "summary %s refers to an artifact of no row", key)
		}
	}
	if !artifacts {
		clear(tables)
	}
	assert.LessOrEqual(f, count, len(tables), "artifacts")
}

// wholeFiles checks that the server has all files but those that were given up.
func (f *fixture) wholeFiles(want *runview.Run, got wandbtest.Run) {
	f.Helper()
	files := map[string]string{}
	for name, content := range f.files {
		files[name] = content
	}
	if len(want.Console) > 0 {
		for _, l := range want.Console {
			files[consoleFile] += l.Text + "\n"
		}
	}
	if want.Exit != nil {
		files[summaryFile] = got.SummaryJSON
		files[configFile] = "_wandb:\n    value:\n"
		files[metadataFile] = `{"os":"Linux","startedAt":"`
	}
	for name, content := range files {
		if slices.ContainsFunc(f.notices, func(n Notice) bool { return n.Kind == FileFailed && strings.Contains(n.Err.Error(), name) }) {
			continue
		}
		if want.Exit == nil && name == consoleFile {
			continue // the end's
		}
		b := string(got.Files[name])
		switch name {
		case configFile, metadataFile:
			assert.Equal(f, content, b[:min(len(b), len(content))], name)
		default:
			assert.Equal(f, content, b, name)
		}
		assert.Contains(f, got.Uploaded, name)
	}
	for _, name := range got.Uploaded {
		assert.Contains(f, got.Files, name, "reported")
	}
}

// answerOf takes an answer in, so that the server is done with its request.
func answerOf(resp *http.Response, err error) {
	if err == nil {
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
	}
}

var errKilled = errors.New("killed")

// killAt kills the nth request from now on: before it is sent, or after it is
// answered.
func (f *fixture) killAt(n int, before bool, kill context.CancelCauseFunc) {
	count := 0
	f.intercept = func(_ *http.Request, send func() (*http.Response, error)) (*http.Response, error) {
		if count++; count != n {
			return send()
		}
		if !before {
			answerOf(send())
		}
		kill(errKilled)
		return nil, errKilled
	}
}
