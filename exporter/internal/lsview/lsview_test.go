package lsview

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.uber.org/goleak"

	"github.com/otel-wandb/otel-wandb/exporter/internal/dotwandb"
	"github.com/otel-wandb/otel-wandb/exporter/internal/engine"
	"github.com/otel-wandb/otel-wandb/exporter/internal/placement"
	"github.com/otel-wandb/otel-wandb/exporter/internal/run"
	"github.com/otel-wandb/otel-wandb/exporter/internal/runlog"
	"github.com/otel-wandb/otel-wandb/exporter/internal/runview"
	"github.com/otel-wandb/otel-wandb/exporter/internal/upload"
	"github.com/otel-wandb/otel-wandb/internal/runid"
	"github.com/otel-wandb/otel-wandb/internal/semconv"
)

var update = flag.Bool("update", false, "write what ls says now to testdata; read the difference before committing it")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	start = time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)
	later = start.Add(3 * time.Hour) // when ls looks
)

// dir is a directory of runs as programs leave it.
type dir struct {
	t      *testing.T
	path   string
	folder *runlog.Folder
	n      int // parts so far: each starts a minute after the one before
}

func newDir(t *testing.T, online bool) *dir {
	t.Helper()
	d := &dir{t: t, path: t.TempDir()}
	d.open(online)
	return d
}

func (d *dir) open(online bool) {
	root, err := runlog.OpenRoot(d.path, runlog.Options{Location: time.UTC, Online: online})
	require.NoError(d.t, err)
	d.t.Cleanup(func() { _ = root.Close() })
	d.folder, err = root.Folder("", "")
	require.NoError(d.t, err)
}

const (
	noEnd  = -1 // the part is left open
	synced = 1 << 20
)

// part writes a log with rows of loss and acc. exit|synced leaves the marker.
func (d *dir) part(project, id string, rows, exit int, more ...dotwandb.Record) *runlog.Part {
	d.t.Helper()
	d.n++
	began := start.Add(time.Duration(d.n) * time.Minute)
	recs := []dotwandb.Record{
		{Header: &dotwandb.Header{Producer: "1", MinConsumer: "0.70.0"}},
		{Run: &dotwandb.Run{ID: id, Project: project, DisplayName: "the " + id, StartTime: began}},
	}
	for i := range rows {
		recs = append(recs, row(i, map[string]float64{"loss": 1 / float64(i+1), "val.acc": float64(i)}))
	}
	recs = append(recs, more...)
	if exit >= 0 {
		recs = append(recs, dotwandb.Record{Exit: &dotwandb.Exit{Code: int32(exit &^ synced)}})
	}
	var raw [][]byte
	for i := range recs {
		recs[i].Num = int64(i + 1)
		raw = append(raw, recs[i].Append(nil))
	}
	p, err := d.folder.Create(id, began, raw...)
	require.NoError(d.t, err)
	if exit >= 0 {
		require.NoError(d.t, p.Finish())
	} else {
		require.NoError(d.t, p.Close())
	}
	log := filepath.Join(d.folder.Dir(), p.Name(), "run-"+id+".wandb")
	if exit >= 0 && exit&synced != 0 {
		require.NoError(d.t, os.WriteFile(log+".synced", nil, 0o666))
	}
	require.NoError(d.t, os.Chtimes(log, began, began))
	return p
}

func row(step int, values map[string]float64) dotwandb.Record {
	items := []dotwandb.Item{{Key: "_step", JSON: fmt.Sprint(step)}, {Key: "_runtime", JSON: fmt.Sprint(step * 2)}}
	for key, v := range values {
		keys := strings.Split(key, ".")
		items = append(items, dotwandb.Item{Key: keys[0], Rest: keys[1:], JSON: fmt.Sprint(v)})
	}
	return dotwandb.Record{History: &dotwandb.History{Step: int64(step), Items: items}}
}

func (d *dir) list(now time.Time) *Listing {
	d.t.Helper()
	l, err := List(d.path, Options{Now: now, Shown: func(p string) string {
		rel, err := filepath.Rel(d.path, p)
		require.NoError(d.t, err)
		return rel
	}})
	require.NoError(d.t, err)
	l.Dir = "DIR"
	return l
}

func (d *dir) log(id string) string {
	d.t.Helper()
	logs, err := filepath.Glob(filepath.Join(d.path, "wandb", "*-"+id, "*.wandb"))
	require.NoError(d.t, err)
	require.NotEmpty(d.t, logs)
	return logs[len(logs)-1]
}

func golden(t *testing.T, name string, l *Listing, now time.Time) {
	t.Helper()
	var got bytes.Buffer
	View{l, now}.Text(&got)
	file := filepath.Join("testdata", name+".txt")
	if *update {
		require.NoError(t, os.WriteFile(file, got.Bytes(), 0o666))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("%s differs (-want +got); if the new text is right, run with -update:\n%s", file, diff)
	}
}

func TestRunsInEveryState(t *testing.T) {
	d := newDir(t, false)
	d.part("demo", "finished", 30, 0)
	d.part("demo", "failed", 3, 3, dotwandb.Record{Output: &dotwandb.Output{Line: "boom\n", Stderr: true}})
	d.part("demo", "given-up", 3, 254)
	d.part("demo", "two-parts", 5, 254, noted(t))
	d.part("demo", "two-parts", 2, 0, noted(t))
	d.part("demo", "half-uploaded", 5, 0|synced, noted(t))
	d.part("demo", "half-uploaded", 1, 0, noted(t))
	d.part("demo", "another-client's", 5, 254)
	d.part("demo", "another-client's", 2, 0, noted(t)) // `otel-wandb sync` takes its own parts only
	d.part("demo", "uploaded", 1, 0|synced)
	d.part("other", "interrupted", 4, noEnd) // W&B's own client, killed
	require.NoError(t, os.Remove(d.log("interrupted")+".synced"))
	d.part("other", "no rows", 0, 0)
	d.open(true)
	d.part("demo", "online", 1, 0)
	golden(t, "every_state", d.list(later), later)
}

// noted is a record with a note of the exporter's: it says whose log that is.
func noted(t *testing.T) dotwandb.Record {
	t.Helper()
	s := run.NewState(runid.Coordinates{Project: "p", ID: "r"}, run.Config{})
	v := run.Value{Key: "x"}
	v.SetFloat(1)
	row := run.Item{Kind: run.KindRow, ID: run.ID{Hash: 1}, Row: &run.Row{Values: []run.Value{v}}}
	s.Apply(1, []run.Delivery{{Context: &run.Context{}, Items: []run.Item{row}}})
	w, ok := s.Flush(1)
	require.True(t, ok)
	rec, err := dotwandb.Decode(w.Records[len(w.Records)-1])
	require.NoError(t, err)
	return dotwandb.Record{UUID: rec.UUID, Telemetry: &dotwandb.Telemetry{}}
}

func TestDamage(t *testing.T) {
	d := newDir(t, false)
	d.part("demo", "damaged", 3000, 0)
	file := d.log("damaged")
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	b[len(b)/2] ^= 0xff
	require.NoError(t, os.WriteFile(file, b, 0o666))

	d.part("demo", "empty", 0, 0)
	require.NoError(t, os.WriteFile(d.log("empty"), b[:7], 0o666))
	require.NoError(t, os.Chtimes(d.log("empty"), start, start))
	d.part("demo", "begun", 0, 0)
	require.NoError(t, os.WriteFile(d.log("begun"), b[:5], 0o666))
	require.NoError(t, os.Chtimes(d.log("begun"), later, later))
	d.part("demo", "garbage", 0, 0)
	require.NoError(t, os.WriteFile(d.log("garbage"), []byte("garbage"), 0o666))
	require.NoError(t, os.Chtimes(d.log("garbage"), later, later))

	l := d.list(later)
	byID := map[string]*Run{}
	for _, r := range l.Runs {
		byID[filepath.Base(r.Path)] = r
	}
	assert.True(t, byID["damaged"].Damaged)
	assert.Equal(t, Unreadable, byID["empty"].State)
	assert.Equal(t, Inspect, byID["empty"].Upload)
	assert.Equal(t, Wait, byID["begun"].Upload)
	assert.Contains(t, byID["begun"].Next, "just begun")
	assert.Equal(t, Inspect, byID["garbage"].Upload, "however fresh it is")
	assert.Contains(t, byID["garbage"].Next, "it is no log")
	var text bytes.Buffer
	View{l, later}.Text(&text)
	assert.Contains(t, text.String(), "damaged")
	assert.Contains(t, text.String(), "note: wandb/offline-run-20260102_150505-damaged/run-damaged.wandb: damage at offset")
	assert.Contains(t, text.String(), "move wandb/offline-run-20260102_150605-empty away")
}

func TestAFreshLogThatNobodyHoldsCountsAsRunning(t *testing.T) {
	for _, tt := range []struct {
		name   string
		after  time.Duration
		state  State
		upload Upload
	}{
		{"written a moment ago", time.Minute, Running, Wait},
		{"silent for long", 11 * time.Minute, Left, Sync},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newDir(t, false)
			d.part("demo", "foreign", 2, noEnd)
			require.NoError(t, os.Remove(d.log("foreign")+".synced"))
			l := d.list(start.Add(time.Minute + tt.after))
			require.Len(t, l.Runs, 1)
			assert.Equal(t, tt.state, l.Runs[0].State)
			assert.Equal(t, tt.upload, l.Runs[0].Upload)
		})
	}
}

func TestCommandsSurviveAShell(t *testing.T) {
	for path, want := range map[string]string{
		"wandb/offline-run-1": "wandb/offline-run-1",
		"with space":          "'with space'",
		"it's":                `'it'\''s'`,
		"$(rm)":               "'$(rm)'",
		"-x":                  "'-x'",
		"":                    "''",
	} {
		assert.Equal(t, want, quote(path))
	}
}

func TestAnEmptyDirectorySaysWhatToDo(t *testing.T) {
	d := &dir{t: t, path: t.TempDir()}
	golden(t, "empty", d.list(later), later)
	_, err := List(filepath.Join(d.path, "none"), Options{})
	assert.ErrorIs(t, err, fs.ErrNotExist)
}

// A span of a task that runs, and one that waits, through the exporter itself.
func TestWhileAnExporterWrites(t *testing.T) {
	d := &dir{t: t, path: t.TempDir()}
	now := time.Now()
	e := engine.New(engine.Config{
		Dir: d.path, Manual: true, Now: func() time.Time { return now },
		Placement: placement.Config{Default: runid.Coordinates{Host: "https://api.wandb.ai", Project: "demo"}},
	})
	require.NoError(t, e.Start())
	td := ptrace.NewTraces()
	ss := td.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty()
	for i, name := range []string{"train", "child"} {
		span := ss.Spans().AppendEmpty()
		span.SetName(name)
		span.SetTraceID(pcommon.TraceID{byte(i + 1)})
		span.SetSpanID(pcommon.SpanID{7, byte(i)})
		span.SetStartTimestamp(pcommon.NewTimestampFromTime(now))
		span.SetEndTimestamp(pcommon.NewTimestampFromTime(now.Add(time.Second)))
		span.Attributes().PutStr(semconv.RunMode, "auto")
		ev := span.Events().AppendEmpty()
		ev.SetName(semconv.EventLog)
		ev.SetTimestamp(pcommon.NewTimestampFromTime(now))
		ev.Attributes().PutDouble("loss", 0.5)
	}
	ss.Spans().At(1).SetParentSpanID(pcommon.SpanID{9})
	require.NoError(t, e.Traces(context.Background(), td))

	l := d.list(now.Add(time.Hour)) // silent for long, and held all the same
	require.Len(t, l.Runs, 1)
	assert.Equal(t, Running, l.Runs[0].State)
	assert.Equal(t, 1, l.Runs[0].Rows)
	require.Len(t, l.Waiting, 1)
	assert.Equal(t, "0900000000000000", l.Waiting[0].For)
	assert.Equal(t, []string{"child"}, l.Waiting[0].Names)

	require.NoError(t, e.Shutdown(context.Background()))
	l = d.list(now.Add(time.Hour))
	assert.Equal(t, Left, l.Runs[0].State)
	assert.Equal(t, Recover, l.Runs[0].Upload)
	assert.Empty(t, l.Runs[0].Commands, "wandb sync would upload it as failed")
	assert.Len(t, l.Waiting, 1, "it waits on disk")
	assert.Empty(t, l.Problems)
}

func TestASparklineKeepsItsShapeAndItsSize(t *testing.T) {
	for _, tt := range []struct {
		name string
		n    int
		f    func(i int) float64
		want string
	}{
		{"nothing", 0, nil, ""},
		{"one value", 1, func(int) float64 { return 7 }, "▁"},
		{"never changes", 100, func(int) float64 { return 7 }, ""},
		{"a few", 4, func(i int) float64 { return float64(i) }, "▁▃▅█"},
		{"rises", 1_000_000, func(i int) float64 { return float64(i) }, ""},
		{"falls", 12345, func(i int) float64 { return -float64(i) }, ""},
		{"huge", 2, func(i int) float64 { return []float64{-math.MaxFloat64, math.MaxFloat64}[i] }, "▁█"},
		{"gaps", 4, func(i int) float64 { return []float64{1, math.NaN(), math.Inf(1), 2}[i] }, "▁█"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var s Series
			for i := range tt.n {
				s.add(tt.f(i))
			}
			got := s.Spark()
			if tt.want != "" || tt.n == 0 {
				assert.Equal(t, tt.want, got)
			}
			assert.Equal(t, tt.n, s.Count)
			assert.LessOrEqual(t, utf8.RuneCountInString(got), width)
			assert.LessOrEqual(t, cap(s.buckets), 4*width, "memory does not grow with the rows")
			if tt.n >= 2*width {
				assert.GreaterOrEqual(t, utf8.RuneCountInString(got), width/2)
			}
			switch tt.name {
			case "rises":
				assert.True(t, strings.HasPrefix(got, "▁") && strings.HasSuffix(got, "█"), got)
			case "falls":
				assert.True(t, strings.HasPrefix(got, "█") && strings.HasSuffix(got, "▁"), got)
			}
		})
	}
}

func TestMetricsAreNumbersOfRowsOnly(t *testing.T) {
	m := metrics{by: map[string]*Series{}}
	m.row("", map[string]any{
		"loss": 0.5, "n": int64(3), "_step": int64(1), "text": "x", "flag": true,
		"val": map[string]any{"acc": 0.9}, "hist": map[string]any{"_type": "histogram", "packed": 1.0},
	})
	var names []string
	for _, s := range m.sorted() {
		names = append(names, s.Name)
	}
	assert.Equal(t, []string{"loss", "n", "val.acc"}, names)
	for i := range 2 * maxMetrics {
		m.add(fmt.Sprint(i), 1)
	}
	assert.Len(t, m.by, maxMetrics)
	assert.Positive(t, m.more)
}

func TestAHugeLogNeedsLittleMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("writes a log of some MiB")
	}
	d := newDir(t, false)
	d.part("demo", "huge", 50_000, 0)
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	l := d.list(later)
	runtime.GC()
	runtime.ReadMemStats(&after)
	assert.Equal(t, 50_000, l.Runs[0].Rows)
	assert.Less(t, int64(after.HeapAlloc)-int64(before.HeapAlloc), int64(4<<20))
}

func TestJSONHasWhatIsNoNumber(t *testing.T) {
	d := newDir(t, false)
	d.part("demo", "nan", 0, 0, dotwandb.Record{History: &dotwandb.History{Items: []dotwandb.Item{{Key: "loss", JSON: "NaN"}}}})
	b, err := json.Marshal(View{d.list(later), later})
	require.NoError(t, err)
	assert.Contains(t, string(b), `"last":"NaN"`)
	assert.Contains(t, string(b), `"commands":["wandb sync wandb/offline-run-20260102_150505-nan"]`)
	assert.NotContains(t, string(b), `"exit_code":null`)
}

func TestLinesThatWandbDoesNotTakeAreSaid(t *testing.T) {
	d := newDir(t, true)
	d.part("demo", "long", 4, 0)
	parts, err := runview.List(d.path)
	require.NoError(t, err)
	read, err := runview.Read(parts, runview.Options{})
	require.NoError(t, err)
	for tooLong, want := range map[int][2]string{
		0: {"at W&B: 3 of 4 rows", "W&B has all of it"},
		1: {"at W&B: 3 of 4 rows, without 1 line that it does not take: too long", "W&B has all that it takes"},
	} {
		at := &AtWandb{}
		at.measure(read, &upload.Progress{History: 3, TooLong: tooLong, Part: filepath.Base(parts[0].Dir), Offset: parts[0].Size, Done: true})
		assert.Equal(t, want[0], at.said(4))
		assert.Equal(t, want[1], at.done())
	}
}
