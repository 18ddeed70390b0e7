package dotwandb

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
)

var start = time.Date(2026, 11, 22, 20, 44, 10, 884152000, time.UTC)

func historyRecord() Record {
	return Record{Num: 4711, UUID: "8f2b1c:100-107", History: &History{Step: 1234, Items: []Item{
		{Key: "loss", JSON: "0.9672161004820059"},
		{Key: "acc", JSON: "0.019801326693244747"},
		{Key: "lr", JSON: "0.001"},
		{Key: "val", Rest: []string{"loss"}, JSON: "0.5"},
		{Key: "val", Rest: []string{"acc"}, JSON: "NaN"},
		{Key: "_step", JSON: "1234"},
		{Key: "_runtime", JSON: "0.036533112"},
		{Key: "_timestamp", JSON: "1.7953802509265337e+09"},
	}}}
}

func everyRecord() map[string]Record {
	return map[string]Record{
		"header":  {Header: &Header{Producer: "0.1.0", MinConsumer: "0.70.0"}},
		"history": historyRecord(),
		"run": {Run: &Run{
			ID: "train-7", Entity: "team", Project: "proof", Group: "g", JobType: "train", DisplayName: "näme", Notes: "notes",
			Tags: []string{"a", "b"}, Host: "node-1", BaseURL: "https://wandb.example", StartTime: start,
			Config:  []Item{{Key: "lr", JSON: "0.1"}, {Key: "model", Rest: []string{"depth"}, JSON: "12"}},
			Summary: []Item{{Key: "_wandb", Rest: []string{"runtime"}, JSON: "7"}},
			Resumed: true, StartingStep: 12, Runtime: 7,
			Telemetry: &Telemetry{CLIVersion: "0.28.3", Features: []int{4, 76}},
			GitRemote: "https://example.com/r.git", GitCommit: "99b995a",
		}},
		"config": {Config: &Config{
			Update: []Item{{Key: "lr", JSON: "0.1"}, {Key: "a", Rest: []string{"b", "c"}, JSON: `{"d":1}`}},
			Remove: []Item{{Key: "gone"}},
		}},
		"summary": {Summary: &Summary{
			Update: []Item{{Key: "loss", JSON: "-Infinity"}, {Key: "a", Rest: []string{"b"}, JSON: `"x"`}},
			Remove: []Item{{Key: "gone", Rest: []string{"too"}}},
		}},
		"stats":  {Stats: &Stats{Time: start, Items: []Item{{Key: "cpu", JSON: "12.5"}}}},
		"stdout": {Output: &Output{Time: start, Line: "hello\n"}},
		"stderr": {Output: &Output{Stderr: true, Time: start, Line: "oh\n"}},
		"metric": {Metric: &Metric{
			Name: "val/loss", StepMetric: "epoch", StepSync: true, Hidden: true, Defined: true,
			Summary: MetricSummary{Min: true, Last: true, First: true}, Goal: 1, Overwrite: true, Expanded: true,
		}},
		"glob":      {Metric: &Metric{GlobName: "val/*", Summary: MetricSummary{Max: true, Mean: true, Best: true, None: true, Copy: true}}},
		"files":     {Files: &Files{Files: []File{{Path: "requirements.txt", Type: FileWandb}, {Path: "model.bin", Policy: FileAtEnd, Type: FileMedia}}}},
		"alert":     {Alert: &Alert{Title: "t", Text: "x", Level: "WARN", Wait: time.Minute}},
		"telemetry": {Telemetry: &Telemetry{CLIVersion: "1", CoreVersion: "2", PythonVersion: "3", Platform: "linux-x86_64", Features: []int{2, 69}}},
		"environment": {Environment: &Environment{
			OS: "Linux", Python: "no", StartedAt: start, Docker: "img", Args: []string{"--lr", "", "1"}, Program: "train",
			CodePath: "code/train.go", CodePathLocal: "train.go", GitRemote: "r", GitCommit: "c", Email: "e", Root: "/r", Host: "h",
			Username: "u", Executable: "/bin/train", CPUCount: 2, CPUCountLogical: 4, GPUType: "H100", GPUCount: 8,
			MemoryTotal: 25276502016, Slurm: map[string]string{"job_id": "1", "nodes": "2"}, WriterID: "w",
		}},
		"exit":         {Exit: &Exit{Code: 254, Runtime: 3600}},
		"exit 0":       {Exit: &Exit{}},
		"not complete": {Exit: &Exit{Code: -1, NotComplete: true}},
	}
}

func TestRoundTrip(t *testing.T) {
	for name, rec := range everyRecord() {
		t.Run(name, func(t *testing.T) {
			rec.Num, rec.UUID = 7, "id"
			b := rec.Append([]byte("before"))
			require.Equal(t, "before", string(b[:6]))
			got, err := Decode(b[6:])
			require.NoError(t, err)
			assert.Empty(t, cmp.Diff(rec, got))
			clear(b)
			assert.Empty(t, cmp.Diff(rec, got), "nothing refers to the input")
		})
	}
}

// W&B's core panics at a record of no known type.
func TestRecordWithoutTypeIsNotWritten(t *testing.T) {
	for _, rec := range []Record{{}, {Num: 7, UUID: "id"}, {Num: 7, Other: 24}} {
		assert.Empty(t, rec.Append(nil))
	}
}

func TestFormOfItems(t *testing.T) {
	flat := Record{Config: &Config{Update: []Item{{Key: "lr", JSON: "1"}}}}
	assert.Equal(t, unhex(t, "2a 0a | 0a 08 | 0a 02 6c 72 | 82 01 01 31"), flat.Append(nil), "config: key")
	nested := Record{History: &History{Items: []Item{{Key: "lr", JSON: "1"}}}}
	assert.Equal(t, unhex(t, "12 0c | 0a 08 | 12 02 6c 72 | 82 01 01 31 | 12 00"), nested.Append(nil),
		"history: nested_key, and a step that is empty for 0")

	// W&B's client writes summary items as key, too.
	b := protowire.AppendTag(nil, typeSummary, protowire.BytesType)
	b = protowire.AppendBytes(b, unhex(t, "0a 08 | 0a 02 6c 72 | 82 01 01 31"))
	got, err := Decode(b)
	require.NoError(t, err)
	assert.Equal(t, []Item{{Key: "lr", JSON: "1"}}, got.Summary.Update)
}

func TestInvalidUTF8IsReplaced(t *testing.T) {
	rec := Record{Output: &Output{Line: "a\xff\xfeb\n"}, UUID: "\x80"}
	got, err := Decode(rec.Append(nil))
	require.NoError(t, err)
	assert.Equal(t, "a\uFFFDb\n", got.Output.Line)
	assert.Equal(t, "\uFFFD", got.UUID)
}

func TestLongBodiesMoveUp(t *testing.T) {
	for _, n := range []int{100, 126, 127, 128, 16_000, 16_383, 16_384, 2_097_152} {
		rec := Record{Num: 1, Output: &Output{Line: string(make([]byte, n))}}
		got, err := Decode(rec.Append(nil))
		require.NoError(t, err)
		require.Len(t, got.Output.Line, n)
	}
}

func TestDecode(t *testing.T) {
	msg := func(num protowire.Number) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, num, protowire.BytesType), nil)
	}
	for _, tt := range []struct {
		name  string
		in    []byte
		other int
		err   bool
	}{
		{"nothing", nil, 0, false},
		{"artifact", msg(8), 8, false},
		{"footer", msg(22), 22, false},
		{"request", msg(100), 100, false},
		{"a type of the future", msg(77), 0, false},
		{"cut tag", []byte{0x88}, 0, true},
		{"cut message", []byte{0x12, 0x05, 0x01}, 0, true},
		{"field number 0", []byte{0x00, 0x00}, 0, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rec, err := Decode(tt.in)
			assert.Equal(t, tt.err, err != nil, "%v", err)
			assert.Equal(t, tt.other, rec.Other)
			_, m := rec.body()
			assert.Nil(t, m)
		})
	}
	t.Run("the last type counts", func(t *testing.T) {
		rec, err := Decode(append(msg(typeExit), msg(typeOutput)...))
		require.NoError(t, err)
		assert.Nil(t, rec.Exit)
		assert.NotNil(t, rec.Output)
	})
	t.Run("an exit as a number is no exit", func(t *testing.T) {
		rec, err := Decode(protowire.AppendVarint(protowire.AppendTag(nil, typeExit, protowire.VarintType), 1))
		require.NoError(t, err)
		assert.Nil(t, rec.Exit)
	})
	t.Run("an error says which record and field", func(t *testing.T) {
		_, err := Decode([]byte{0x08, 0x07, 0x12, 0x02, 0x0a, 0x7f})
		assert.ErrorContains(t, err, "record 7: field 2: field 1: ")
	})
}

func FuzzDecode(f *testing.F) {
	for _, rec := range everyRecord() {
		f.Add(rec.Append(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		rec, err := Decode(b)
		if err != nil {
			return
		}
		// What is written of it reads back the same, from the second time on:
		// the first time replaces bytes that are not UTF-8 and orders fields.
		once := rec.Append(nil)
		again, err := Decode(once)
		if err != nil {
			t.Fatal(err)
		}
		if twice := again.Append(nil); string(once) != string(twice) {
			t.Fatalf("%x\n%x", once, twice)
		}
	})
}

func TestRowInPiecesIsTheSameRecord(t *testing.T) {
	rec := historyRecord()
	rec.Num, rec.UUID = 0, ""
	rec.History.Items = append(rec.History.Items,
		Item{Key: "", JSON: "1"},
		Item{Key: "text", JSON: `"` + strings.Repeat("x", 300) + "\xff" + `"`},
	)
	before := []byte("what is there already")
	for _, step := range []int64{0, 1, 1 << 40} {
		rec.History.Step = step
		got, row := OpenRow(slices.Clone(before))
		for _, it := range rec.History.Items {
			var item ItemMark
			got, item = OpenItem(got, AppendPath(nil, append([]string{it.Key}, it.Rest...)...))
			got = ShutItem(AppendText(got, it.JSON), item)
		}
		assert.Equal(t, rec.Append(slices.Clone(before)), ShutRow(got, row, step))
	}
}

func BenchmarkAppendHistory(b *testing.B) {
	rec := historyRecord()
	dst := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		dst = rec.Append(dst[:0])
	}
}

func BenchmarkDecodeHistory(b *testing.B) {
	rec := historyRecord()
	payload := rec.Append(nil)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decode(payload); err != nil {
			b.Fatal(err)
		}
	}
}
