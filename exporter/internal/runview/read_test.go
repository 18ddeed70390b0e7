package runview

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/otel-wandb/otel-wandb/exporter/internal/dotwandb"
	"github.com/otel-wandb/otel-wandb/exporter/internal/runlog"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var start = time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)

type (
	rec  = dotwandb.Record
	item = dotwandb.Item
	m    = map[string]any
)

func update(key, value string, rest ...string) []item {
	return []item{{Key: key, Rest: rest, JSON: value}}
}

func history(step int) rec {
	return rec{UUID: fmt.Sprint("w:", step), History: &dotwandb.History{Step: int64(step), Items: []item{
		{Key: "_step", JSON: fmt.Sprint(step)},
		{Key: "loss", JSON: fmt.Sprint(1 / float64(step+1))},
		{Key: "val", Rest: []string{"acc"}, JSON: "NaN"},
	}}}
}

func exit(code int32) rec { return rec{Exit: &dotwandb.Exit{Code: code}} }

func line(s string) rec { return rec{Output: &dotwandb.Output{Line: s, Time: start}} }

// write makes a part of a run and leaves it open.
func write(t *testing.T, f *runlog.Folder, run dotwandb.Run, recs ...rec) *runlog.Part {
	t.Helper()
	num := int64(0)
	var bytes [][]byte
	for _, r := range append([]rec{{Header: &dotwandb.Header{Producer: "1", MinConsumer: "0.70.0"}}, {Run: &run}}, recs...) {
		num++
		r.Num = num
		bytes = append(bytes, r.Append(nil))
	}
	p, err := f.Create(run.ID, run.StartTime, bytes...)
	require.NoError(t, err)
	return p
}

func folder(t *testing.T, host, entity string) (*runlog.Root, *runlog.Folder) {
	t.Helper()
	r, err := runlog.OpenRoot(t.TempDir(), runlog.Options{LatestRun: true})
	require.NoError(t, err)
	t.Cleanup(func() { _ = r.Close() })
	f, err := r.Folder(host, entity)
	require.NoError(t, err)
	return r, f
}

func readAll(t *testing.T, dir string, opts Options) *Run {
	t.Helper()
	parts, err := List(dir)
	require.NoError(t, err)
	groups := Group(parts)
	require.Len(t, groups, 1)
	for _, g := range groups {
		run, err := Read(g, opts)
		require.NoError(t, err)
		return run
	}
	return nil
}

func TestPartsReplayedOneAfterAnotherGiveTheMergedRun(t *testing.T) {
	root, f := folder(t, "", "")
	first := dotwandb.Run{
		ID: "r1", Entity: "team", Project: "proof", DisplayName: "first name", Notes: "notes", Tags: []string{"a"}, Group: "g", JobType: "train",
		StartTime: start, Config: []item{{Key: "lr", JSON: "0.1"}, {Key: "old", JSON: "1"}},
	}
	later := first
	later.DisplayName, later.Notes, later.Tags = "second name", "", []string{"a", "b"}
	later.StartTime = start.Add(time.Hour)
	later.Config = append(update("lr", "0.2"), update("model", "12", "depth")...)
	later.Resumed = true

	// Written in the other order: what counts is the start.
	write(
		t, f, later,
		history(3),
		rec{Summary: &dotwandb.Summary{Update: append(update("loss", "0.25"), update("acc", "{\"max\":1}")...)}},
		line("three\n"),
		rec{Metric: &dotwandb.Metric{Name: "loss", StepMetric: "epoch"}},
		exit(0),
	)
	write(
		t, f, first,
		rec{Metric: &dotwandb.Metric{Name: "loss"}}, rec{Metric: &dotwandb.Metric{Name: "epoch"}},
		history(0), history(1), line("one\n"),
		rec{Config: &dotwandb.Config{Update: update("lr", "0.15")}},
		rec{Alert: &dotwandb.Alert{Title: "slow", Level: "WARN"}},
		history(2), line("two\n"),
		rec{Summary: &dotwandb.Summary{Update: update("gone", "1")}},
		exit(254),
	)

	run := readAll(t, root.Dir(), Options{})
	assert.Equal(t, Key{Entity: "team", Project: "proof", ID: "r1"}, run.Key)
	assert.Equal(t, "second name", run.Name)
	assert.Equal(t, "notes", run.Notes)
	assert.Equal(t, []string{"a", "b"}, run.Tags)
	assert.Equal(t, "g", run.Group)
	assert.Equal(t, "train", run.JobType)
	assert.Equal(t, start, run.Start)
	assert.Equal(t, m{"lr": 0.2, "model": m{"depth": int64(12)}}, run.Config, "the later part's replaces")
	assert.Equal(t, m{"loss": 0.25, "acc": m{"max": int64(1)}}, run.Summary, "the later part's replaces")
	require.Len(t, run.Rows, 4)
	for i, row := range run.Rows {
		assert.EqualValues(t, i, row.Step)
		assert.InDelta(t, 1/float64(i+1), row.Values["loss"], 0)
		assert.True(t, math.IsNaN(row.Values["val"].(m)["acc"].(float64)))
		assert.Equal(t, fmt.Sprint("w:", i), row.UUID)
	}
	assert.Equal(t, []int{0, 0, 0, 1}, []int{run.Rows[0].Part, run.Rows[1].Part, run.Rows[2].Part, run.Rows[3].Part})
	assert.Equal(t, []Line{{start, false, "one"}, {start, false, "two"}, {start, false, "three"}}, run.Console)
	assert.Equal(t, []dotwandb.Metric{{Name: "loss", StepMetric: "epoch"}, {Name: "epoch"}}, run.Metrics)
	assert.Equal(t, []dotwandb.Alert{{Title: "slow", Level: "WARN"}}, run.Alerts)
	require.NotNil(t, run.Exit)
	assert.EqualValues(t, 0, *run.Exit)
	require.Len(t, run.Parts, 2)
	assert.EqualValues(t, 254, *run.Parts[0].Exit)
	assert.Equal(t, 3, run.Parts[0].Rows)
	assert.False(t, run.Damaged)
	assert.Zero(t, run.AfterExit)
}

func TestWithinAPart(t *testing.T) {
	root, f := folder(t, "", "")
	run := dotwandb.Run{ID: "r1", Project: "p", StartTime: start, DisplayName: "before", Config: update("a", "1")}
	later := dotwandb.Run{ID: "r1", Project: "p", DisplayName: "after", Notes: "n", Tags: []string{"t"}, Config: update("b", "2")}
	write(
		t, f, run,
		rec{Config: &dotwandb.Config{Update: update("c", `{"x":1}`)}},
		rec{Config: &dotwandb.Config{Update: update("c", "2", "y")}},
		rec{Run: &later},
		rec{Config: &dotwandb.Config{Update: append(update("d", "3"), update("e", "4", "f")...), Remove: []item{{Key: "d"}, {Key: "no", Rest: []string{"such"}}}}},
		rec{Summary: &dotwandb.Summary{Update: append(update("s", "1"), update("t", "1", "u")...)}},
		rec{Summary: &dotwandb.Summary{Update: update("s", "2"), Remove: []item{{Key: "t", Rest: []string{"u"}}}}},
		rec{Summary: &dotwandb.Summary{Update: update("bad", "not JSON")}},
		exit(3),
		history(7), rec{Run: &run}, exit(0),
	)
	got := readAll(t, root.Dir(), Options{})
	assert.Equal(t, "after", got.Name)
	assert.Equal(t, start, got.Start, "a record without a start does not set it to 1970")
	assert.Equal(t, m{"b": int64(2), "e": m{"f": int64(4)}}, got.Config)
	assert.Equal(t, m{"s": int64(2), "bad": "not JSON"}, got.Summary, "no map is left behind without a key")
	assert.Equal(t, 1, got.BadValues)
	assert.EqualValues(t, 3, *got.Exit, "the first exit counts")
	assert.Equal(t, 3, got.AfterExit)
	assert.Empty(t, got.Rows)
	assert.Equal(t, m{"s": int64(2), "t": m{}, "b.c": int64(1)}, Flat(m{"s": int64(2), "t": m{}, "b": m{"c": int64(1)}}))
}

// W&B's client writes a record for each write of the program.
func TestConsoleOfPieces(t *testing.T) {
	root, f := folder(t, "", "")
	stderr := func(s string) rec { return rec{Output: &dotwandb.Output{Line: s, Stderr: true}} }
	write(t, f, dotwandb.Run{ID: "r1", StartTime: start},
		line("step"), line(" "), stderr("oh "), line("0"), line("\n"), line("\n"), stderr("no\nleft"), line("a\nb\nc"))
	run := readAll(t, root.Dir(), Options{})
	assert.Equal(t, []Line{
		{start, false, "step 0"},
		{start, false, ""},
		{time.Time{}, true, "oh no"},
		{start, false, "a"},
		{start, false, "b"},
		{start, false, "c"},
		{time.Time{}, true, "left"},
	}, run.Console)

	var texts []string
	run = readAll(t, root.Dir(), Options{OnLine: func(l Line) error { texts = append(texts, l.Text); return nil }})
	assert.Len(t, texts, 7)
	assert.Empty(t, run.Console)
}

func TestDamagedAndTornLogs(t *testing.T) {
	for _, tt := range []struct {
		name    string
		damage  func(b []byte) []byte
		rows    int
		torn    bool
		damaged bool
	}{
		{"none", func(b []byte) []byte { return b }, 9, false, false},
		{"torn last record, as while it is written", func(b []byte) []byte { return b[:len(b)-3] }, 8, true, false},
		{"flipped bit in the last record", func(b []byte) []byte { b[len(b)-3] ^= 1; return b }, 8, true, false},
		{"flipped bit in the middle", func(b []byte) []byte { b[len(b)-100] ^= 1; return b }, 7, false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root, f := folder(t, "", "")
			var rows []rec
			for i := range 9 {
				rows = append(rows, history(i))
			}
			p := write(t, f, dotwandb.Run{ID: "r1", StartTime: start}, rows...)
			b, err := os.ReadFile(p.Path())
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(p.Path(), tt.damage(b), 0o666))

			run := readAll(t, root.Dir(), Options{})
			assert.Len(t, run.Rows, tt.rows)
			assert.Nil(t, run.Exit, "open")
			assert.Equal(t, tt.damaged, run.Damaged)
			assert.Equal(t, tt.torn || tt.damaged, run.Parts[0].Err != nil)
			assert.Equal(t, tt.torn, errors.Is(run.Parts[0].Err, io.ErrUnexpectedEOF))
		})
	}
}

// A log is read again and again while it grows.
func TestReadWhileWritten(t *testing.T) {
	root, f := folder(t, "", "")
	p := write(t, f, dotwandb.Run{ID: "r1", StartTime: start})
	done := make(chan error, 1)
	const rows = 3000
	go func() {
		for i := range rows {
			r := history(i)
			if err := p.Append(r.Append(nil)); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for writing := true; writing; {
		select {
		case err := <-done:
			require.NoError(t, err)
			writing = false
		default:
		}
		run := readAll(t, root.Dir(), Options{})
		require.False(t, run.Damaged)
		for i, row := range run.Rows {
			if row.Step != int64(i) {
				t.Fatalf("row %d has step %d", i, row.Step)
			}
		}
	}
	assert.Equal(t, rows, readAll(t, root.Dir(), Options{}).RowCount)
}

func TestRowsInACallback(t *testing.T) {
	root, f := folder(t, "", "")
	write(t, f, dotwandb.Run{ID: "r1", StartTime: start}, history(0), history(1), history(2))
	var steps []int64
	run := readAll(t, root.Dir(), Options{OnRow: func(r Row) error { steps = append(steps, r.Step); return nil }})
	assert.Equal(t, []int64{0, 1, 2}, steps)
	assert.Empty(t, run.Rows)
	assert.Equal(t, 3, run.RowCount)

	parts, err := List(root.Dir())
	require.NoError(t, err)
	enough := errors.New("enough")
	_, err = Read(parts, Options{OnRow: func(Row) error { return enough }})
	assert.ErrorIs(t, err, enough)
	_, err = Read(nil, Options{})
	assert.Error(t, err)
}

func TestList(t *testing.T) {
	root, f := folder(t, "", "")
	second := func(n int) time.Time { return start.Add(time.Duration(n) * time.Second) }
	write(t, f, dotwandb.Run{ID: "a", Project: "p", StartTime: second(0)}, exit(0))
	done := write(t, f, dotwandb.Run{ID: "b", Project: "p", StartTime: second(1)})
	require.NoError(t, done.Finish())
	write(t, f, dotwandb.Run{ID: "a", Project: "p", StartTime: second(2)})
	write(t, f, dotwandb.Run{ID: "a", Project: "other", StartTime: second(3)})
	for i, host := range []string{"https://wandb.example", "https://other.example"} {
		g, err := root.Folder(host, "team")
		require.NoError(t, err)
		write(t, g, dotwandb.Run{ID: "a", Entity: "team", Project: "p", StartTime: second(4 + i)})
	}
	// Leftovers and strangers.
	for _, dir := range []string{"wandb/.tmp-otel-wandb-x/files", "wandb/.otel-wandb/aside/y", "wandb/offline-run-20260102_150405-empty", "wandb/notes", "x/y/z"} {
		require.NoError(t, os.MkdirAll(filepath.Join(root.Dir(), dir), 0o777))
	}
	require.NoError(t, os.WriteFile(filepath.Join(root.Dir(), "wandb", "debug.log"), nil, 0o666))
	young := filepath.Join(root.Dir(), "wandb", "run-20260102_150500-young")
	require.NoError(t, os.Mkdir(young, 0o777))
	require.NoError(t, os.WriteFile(filepath.Join(young, "run-young.wandb"), dotwandb.AppendFileHeader(nil), 0o666))

	parts, err := List(root.Dir())
	require.NoError(t, err)
	var got []string
	for i := range parts {
		got = append(got, fmt.Sprint(parts[i].Key()))
	}
	assert.ElementsMatch(t, []string{
		"{  p a}", "{  p b}", "{  p a}", "{  other a}",
		"{https://wandb.example team p a}", "{https://other.example team p a}", "{   young}",
	}, got)
	for _, p := range parts {
		if p.RunID == "young" {
			require.ErrorIs(t, p.Err, ErrNoRun)
			assert.False(t, p.Offline)
			continue
		}
		assert.Equal(t, p.RunID != "b", p.Synced, "the marker stands beside open logs")
		assert.True(t, p.Offline)
		assert.NotZero(t, p.Size)
	}
	groups := Group(parts)
	assert.Len(t, groups, 6)
	both := groups[Key{Project: "p", ID: "a"}]
	require.Len(t, both, 2)
	assert.Equal(t, second(0), both[0].Start)

	folderOnly, err := List(f.Dir())
	require.NoError(t, err)
	assert.Len(t, folderOnly, 5)
	one, err := List(done.Dir())
	require.NoError(t, err)
	require.Len(t, one, 1)
	assert.Equal(t, "b", one[0].RunID)
	_, err = List(filepath.Join(root.Dir(), "none"))
	assert.ErrorIs(t, err, os.ErrNotExist)
}

// W&B's client appends -1 to directories that were started in one second.
func TestListTakesTheLogInADirectoryWithSuffix(t *testing.T) {
	root, f := folder(t, "", "")
	p := write(t, f, dotwandb.Run{ID: "abc", StartTime: start})
	require.NoError(t, p.Close())
	require.NoError(t, os.Rename(p.Dir(), p.Dir()+"-1"))
	parts, err := List(root.Dir())
	require.NoError(t, err)
	require.Len(t, parts, 1)
	assert.Equal(t, "abc", parts[0].RunID)
}
