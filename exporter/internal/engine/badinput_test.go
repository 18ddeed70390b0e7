package engine

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/otel-wandb/otel-wandb/exporter/internal/dotwandb"
	"github.com/otel-wandb/otel-wandb/exporter/internal/placement"
	"github.com/otel-wandb/otel-wandb/exporter/internal/runview"
	"github.com/otel-wandb/otel-wandb/internal/semconv"
)

// badInput is one thing that a program should not send, beside the rows of an
// innocent run in the same request.
type badInput struct {
	name string
	span func(span ptrace.Span)               // changes a task with one row
	more func(td ptrace.Traces, at time.Time) // adds spans instead
	logs func(rec plog.LogRecord)             // is a stamped record instead
	drop map[string]int64                     // what must be counted, by reason
	runs []string                             // ids that must have a run, besides the innocent's
	rows int                                  // history rows besides the innocent's
	see  func(t *testing.T, run *runview.Run) // looks at the first of runs
}

var big = strings.Repeat("x", 20<<20)

func badInputs() []badInput {
	attr := func(key, value string) func(ptrace.Span) {
		return func(s ptrace.Span) { s.Attributes().PutStr(key, value) }
	}
	id := func(value string) func(ptrace.Span) { return attr(semconv.RunID, value) }
	row := func(fill func(m pcommon.Map)) func(ptrace.Span) {
		return func(s ptrace.Span) { fill(s.Events().At(0).Attributes()) }
	}
	times := func(start, end, event int64) func(ptrace.Span) {
		return func(s ptrace.Span) {
			s.SetStartTimestamp(pcommon.Timestamp(start))
			s.SetEndTimestamp(pcommon.Timestamp(end))
			s.Events().At(0).SetTimestamp(pcommon.Timestamp(event))
		}
	}
	task := "0b000000000000000000000000000000-0b0000000000000b" // its run where it asks for none
	cases := []badInput{
		{name: "unknown mode", span: attr(semconv.RunMode, "share"), drop: map[string]int64{"unknown_mode": 1}, runs: []string{task}, rows: 1},
		{name: "unknown mode of 20 MB", span: attr(semconv.RunMode, big), drop: map[string]int64{"unknown_mode": 1}, runs: []string{task}, rows: 1},
		{name: "shared and alone", span: attr(semconv.RunMode, "shared"), drop: map[string]int64{"shared_without_parent": 1}},
		{name: "id with slashes", span: id("a/b/../../../c"), rows: 1},
		{name: "id ..", span: id(".."), rows: 1},
		{name: "id .", span: id("."), rows: 1},
		{name: "id of 10 kB", span: id(strings.Repeat("i", 10_000)), rows: 1},
		{name: "id with invalid UTF-8", span: id("a\xff\xfeb"), rows: 1},
		{name: "id with control codes", span: id("a\x00\n\x1bb"), rows: 1},
		{name: "id of blanks", span: id("   "), rows: 1},
		{name: "id that looks like a link out", span: id("latest-run"), rows: 1},
		{name: "project out of the folder", span: attr(semconv.Project, "../../etc"), drop: map[string]int64{"bad_project": 1}},
		{name: "project ..", span: attr(semconv.Project, ".."), drop: map[string]int64{"bad_project": 1}},
		{name: "project with invalid UTF-8", span: attr(semconv.Project, "a\xff"), drop: map[string]int64{"bad_project": 1}},
		{name: "entity ..", span: attr(semconv.Entity, ".."), drop: map[string]int64{"bad_entity": 1}},
		{name: "entity with a slash", span: attr(semconv.Entity, "a/b"), drop: map[string]int64{"bad_entity": 1}},
		{name: "entity of 1 MB", span: attr(semconv.Entity, big[:1<<20]), drop: map[string]int64{"bad_entity": 1}},
		{name: "entity with blanks and dots", span: attr(semconv.Entity, " ..  "), rows: 1},
		{name: "host that is not allowed", span: attr(semconv.Host, "https://evil.example"), drop: map[string]int64{"host_not_allowed": 1}},
		{name: "host that is a path", span: attr(semconv.Host, "/../../x"), drop: map[string]int64{"host_not_allowed": 1}},
		{name: "row of 20 MB", span: row(func(m pcommon.Map) { m.PutStr("text", big) }), drop: map[string]int64{"row_too_long": 1}, runs: []string{task}},
		{name: "row that is too long with _step and the like", span: row(func(m pcommon.Map) {
			m.PutStr("text", big[:10<<20-100<<10-20])
		}), drop: map[string]int64{"row_too_long": 1}, runs: []string{task}},
		{name: "row with a key of 20 MB", span: row(func(m pcommon.Map) { m.PutInt(big, 1) }), drop: map[string]int64{"row_too_long": 1}, runs: []string{task}},
		{name: "config of 20 MB", span: attr(semconv.ConfigPrefix+"text", big), drop: map[string]int64{"value_too_large": 1}, runs: []string{task}, rows: 1},
		{name: "summary of 20 MB", span: attr(semconv.SummaryPrefix+"text", big), drop: map[string]int64{"value_too_large": 1}, runs: []string{task}, rows: 1},
		{name: "run name of 20 MB", span: attr(semconv.RunName, big), runs: []string{task}, rows: 1, see: func(t *testing.T, r *runview.Run) {
			assert.LessOrEqual(t, len(r.Name), 64<<10+16)
		}},
		{name: "span name of 20 MB", span: func(s ptrace.Span) { s.SetName(big) }, runs: []string{task}, rows: 1, see: func(t *testing.T, r *runview.Run) {
			assert.LessOrEqual(t, len(r.Name), 64<<10+16)
		}},
		{name: "names with invalid UTF-8", span: func(s ptrace.Span) {
			s.SetName("a\xffb")
			for _, key := range []string{semconv.RunName, semconv.RunGroup, semconv.RunJobType, semconv.RunNotes, semconv.ConfigPrefix + "k\xff", semconv.SummaryPrefix + "\xff"} {
				s.Attributes().PutStr(key, "v\xff")
			}
			s.Attributes().PutEmptySlice(semconv.RunTags).AppendEmpty().SetStr("t\xff")
			s.Events().At(0).Attributes().PutStr("m\xff", "\xff")
			s.Events().At(0).Attributes().PutInt(semconv.Step, 3)
			ev := s.Events().AppendEmpty()
			ev.SetName(semconv.EventException)
			ev.Attributes().PutStr(semconv.ExceptionMessage, "\xff")
		}, runs: []string{task}, rows: 1},
		{name: "carrier names with invalid UTF-8", span: func(s ptrace.Span) {
			s.Attributes().PutBool(semconv.Carrier, true)
			s.Attributes().PutStr(semconv.SpanName, "a\xff")
			s.Attributes().PutStr(semconv.Writer, "w\xff")
			s.Attributes().PutStr(semconv.RunOwner, "0b0000000000000b")
			s.Attributes().PutStr(semconv.RunID, "c")
			s.Events().At(0).Attributes().PutInt(semconv.Seq, 1)
			s.Events().At(0).Attributes().PutInt(semconv.Step, 1)
		}, runs: []string{"c"}, rows: 1},
		{name: "tags too long and empty", span: func(s ptrace.Span) {
			tags := s.Attributes().PutEmptySlice(semconv.RunTags)
			tags.AppendEmpty().SetStr(strings.Repeat("t", 65))
			tags.AppendEmpty().SetStr("")
		}, drop: map[string]int64{"bad_tag": 2}, runs: []string{task}, rows: 1},
		{name: "times 0", span: times(0, 0, 0), runs: []string{task}, rows: 1},
		{name: "times in the far future", span: times(math.MaxInt64, math.MaxInt64, math.MaxInt64), runs: []string{task}, rows: 1},
		{name: "times beyond int64", span: times(-1, -1, -1), runs: []string{task}, rows: 1},
		{name: "times of the smallest int64", span: times(math.MinInt64, math.MinInt64, math.MinInt64), runs: []string{task}, rows: 1},
		{name: "a run of 292 years", span: times(1, math.MaxInt64, math.MaxInt64), runs: []string{task}, rows: 1},
		{name: "end before start", span: times(2e18, 1e18, 15e17), runs: []string{task}, rows: 1},
		{name: "NaN as key and value", span: row(func(m pcommon.Map) {
			m.PutDouble("NaN", math.NaN())
			m.PutDouble("Infinity", math.Inf(-1))
			m.PutStr(semconv.Step, "NaN")
		}), drop: map[string]int64{"bad_attribute": 1}, runs: []string{task}, rows: 1},
		{name: "times behind the year 2262", span: func(s ptrace.Span) {
			s.SetEndTimestamp(math.MaxUint64)
			s.Events().At(0).SetTimestamp(math.MaxUint64)
		}, runs: []string{task}, rows: 1, see: func(t *testing.T, r *runview.Run) {
			assert.Positive(t, r.Rows[0].Values["_timestamp"])
		}},
		{name: "a histogram of what no float tells apart", span: row(func(m pcommon.Map) {
			m.PutEmptySlice(semconv.Histogram).AppendEmpty().SetStr("h")
			m.PutEmptySlice("h").AppendEmpty().SetDouble(1e300)
		}), runs: []string{task}, rows: 1},
		{name: "steps out of range", span: row(func(m pcommon.Map) { m.PutInt(semconv.Step, math.MaxInt64) }), runs: []string{task}, rows: 1},
		{name: "a negative step", span: row(func(m pcommon.Map) { m.PutInt(semconv.Step, math.MinInt64) }), runs: []string{task}, rows: 1},
		{name: "empty names", span: func(s ptrace.Span) {
			s.SetName("")
			for _, key := range []string{semconv.RunName, semconv.RunGroup, semconv.RunID, semconv.Project, semconv.Entity, semconv.Host, semconv.ConfigPrefix, semconv.SummaryPrefix, semconv.Prefix, ""} {
				s.Attributes().PutStr(key, "")
			}
			s.Events().At(0).Attributes().PutStr("", "x")
			s.Events().AppendEmpty().SetName("")
		}, drop: map[string]int64{"bad_attribute": 3}, runs: []string{task}, rows: 1},
		{name: "a row of nothing", span: row(func(m pcommon.Map) { m.Clear() }), drop: map[string]int64{"empty_row": 1}, runs: []string{task}},
		{name: "reserved keys", span: row(func(m pcommon.Map) { m.PutInt("_step", 7) }), drop: map[string]int64{"reserved_key": 1}, runs: []string{task}, rows: 1},
		{name: "an unknown event", span: func(s ptrace.Span) { s.Events().AppendEmpty().SetName("wandb.lgo") }, drop: map[string]int64{"unknown_event": 1}, runs: []string{task}, rows: 1},
		{name: "10,000 metrics in a row", span: row(func(m pcommon.Map) {
			for i := range 10_000 {
				m.PutInt(fmt.Sprintf("metric %d", i), int64(i))
			}
		}), runs: []string{task}, rows: 1, see: func(t *testing.T, r *runview.Run) {
			assert.Len(t, r.Rows[0].Values, 10_001+3)
		}},
		{name: "values 200 levels deep", span: func(s ptrace.Span) {
			deep(s.Events().At(0).Attributes().PutEmpty("deep"), 200)
			deep(s.Attributes().PutEmpty(semconv.ConfigPrefix+"deep"), 200)
			deep(s.Attributes().PutEmpty(semconv.SummaryPrefix+"deep"), 200)
			deep(s.Attributes().PutEmpty(semconv.RunMode), 200) // a mode that is a tree
		}, drop: map[string]int64{"unknown_mode": 1, "bad_attribute": 3}, runs: []string{task}, rows: 1},
		{name: "100,000 events in a span", span: func(s ptrace.Span) {
			rowEvents(s, time.Unix(1, 0), 1, 100_000, 0)
		}, runs: []string{task}, rows: 100_000},
		{name: "duplicate attributes", span: func(s ptrace.Span) {
			// Maps of the wire are lists: the same key twice.
			b, err := (&ptrace.ProtoMarshaler{}).MarshalTraces(duplicated())
			if err != nil {
				panic(err)
			}
			td, err := (&ptrace.ProtoUnmarshaler{}).UnmarshalTraces(b)
			if err != nil {
				panic(err)
			}
			td.ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(0).Events().At(0).CopyTo(s.Events().At(0))
		}, runs: []string{task}, rows: 1},
		{name: "a malformed stamp", span: attr(semconv.RunOwner, "xyz"), drop: map[string]int64{"bad_stamp": 1}, runs: []string{task}, rows: 1},
		{name: "a stamp without an id", span: attr(semconv.RunOwner, "0b0000000000000b"), drop: map[string]int64{"bad_stamp": 1}, runs: []string{task}, rows: 1},
		{name: "a zero trace id", span: func(s ptrace.Span) { s.SetTraceID(pcommon.TraceID{}) }, rows: 1},
		{name: "a zero span id", span: func(s ptrace.Span) { s.SetSpanID(pcommon.SpanID{}) }, drop: map[string]int64{DropNoSpan: 2}},
		{name: "a span that is its own parent", span: func(s ptrace.Span) { s.SetParentSpanID(s.SpanID()) }, drop: map[string]int64{"span_cycle": 1}},
		{name: "ranks out of range", span: func(s ptrace.Span) {
			for _, key := range []string{semconv.Rank, semconv.WorldSize, semconv.LocalRank, semconv.LocalWorldSize, semconv.Worker} {
				s.Attributes().PutInt(key, math.MinInt64)
			}
		}, runs: []string{task}, rows: 1},
		{
			name: "an exit code out of range", span: func(s ptrace.Span) { s.Attributes().PutInt(semconv.ExitCode, math.MaxInt64) }, runs: []string{task}, rows: 1,
			see: func(t *testing.T, r *runview.Run) { assert.EqualValues(t, 1, *r.Exit) },
		},
		{name: "a definition of nothing", span: func(s ptrace.Span) {
			s.Events().AppendEmpty().SetName(semconv.EventDefineMetric)
		}, drop: map[string]int64{"bad_definition": 1}, runs: []string{task}, rows: 1},
		{name: "a console record of 20 MB", logs: func(rec plog.LogRecord) { rec.Body().SetStr(big) }, runs: []string{"logged"}},
		{name: "a console record of 100,000 lines", logs: func(rec plog.LogRecord) { rec.Body().SetStr(strings.Repeat("\n\x1b[31m", 100_000)) }, runs: []string{"logged"}},
		{name: "a row record 200 levels deep", logs: func(rec plog.LogRecord) {
			rec.SetEventName(semconv.EventLog)
			deep(rec.Body(), 200)
		}, drop: map[string]int64{"bad_attribute": 1}, runs: []string{"logged"}, rows: 1},
		{name: "a row record without a map", logs: func(rec plog.LogRecord) {
			rec.SetEventName(semconv.EventLog)
			rec.Body().SetStr("loss=1")
		}, drop: map[string]int64{"empty_row": 1}},
	}
	for n := 1; n <= 3; n++ {
		for _, modes := range []bool{false, true} {
			drop := map[string]int64{DropCycle: int64(n)}
			if modes {
				drop = map[string]int64{"span_cycle": 1}
			}
			cases = append(cases, badInput{
				name: fmt.Sprintf("a ring of %d spans, with modes: %v", n, modes),
				more: func(td ptrace.Traces, at time.Time) { ring(td, at, n, modes) },
				drop: drop,
				// One of the tasks is refused, and is no parent: the others have a run each.
				rows: map[bool]int{true: n - 1}[modes],
			})
		}
	}
	return cases
}

func deep(v pcommon.Value, levels int) {
	for i := range levels {
		if i%2 == 0 {
			v = v.SetEmptyMap().PutEmpty("k")
		} else {
			v = v.SetEmptySlice().AppendEmpty()
		}
	}
	v.SetInt(1)
}

func duplicated() ptrace.Traces {
	td := ptrace.NewTraces()
	ev := td.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans().AppendEmpty().Events().AppendEmpty()
	ev.SetName(semconv.EventLog)
	for i := range 3 {
		ev.Attributes().PutInt(fmt.Sprintf("loss%d", i), int64(i))
	}
	b, err := (&ptrace.ProtoMarshaler{}).MarshalTraces(td)
	if err != nil {
		panic(err)
	}
	for i := range 3 {
		b = []byte(strings.ReplaceAll(string(b), fmt.Sprintf("loss%d", i), "loss_"))
	}
	td, err = (&ptrace.ProtoUnmarshaler{}).UnmarshalTraces(b)
	if err != nil {
		panic(err)
	}
	return td
}

// ring is n spans, each the parent of the next and the last of the first.
func ring(td ptrace.Traces, at time.Time, n int, modes bool) {
	spans := td.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans()
	for i := range n {
		s := spans.AppendEmpty()
		s.SetTraceID(pcommon.TraceID{0x0c})
		s.SetSpanID(pcommon.SpanID{0x0c, byte(i + 1)})
		s.SetParentSpanID(pcommon.SpanID{0x0c, byte((i+1)%n + 1)})
		rowEvents(s, at, 0, 1, 0)
		if modes {
			s.Attributes().PutStr(semconv.RunMode, semconv.ModeAuto)
		}
	}
}

func TestBadInput(t *testing.T) {
	for _, tt := range badInputs() {
		t.Run(tt.name, func(t *testing.T) {
			c, parent := newClock(), t.TempDir()
			dir := filepath.Join(parent, "a", "b", "runs")
			e := start(t, dir, c)
			innocent := newProgram(1, "innocent")
			mustSend(t, e, innocent.start(c.Now()))

			td := innocent.rows(c.Now(), 0, 5)
			switch {
			case tt.span != nil:
				s := td.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans().AppendEmpty()
				s.SetTraceID(pcommon.TraceID{0x0b})
				s.SetSpanID(pcommon.SpanID{0x0b, 7: 0x0b})
				s.SetName("bad")
				s.SetStartTimestamp(pcommon.NewTimestampFromTime(c.Now()))
				s.SetEndTimestamp(pcommon.NewTimestampFromTime(c.Now().Add(time.Second)))
				s.Attributes().PutStr(semconv.RunMode, semconv.ModeAuto)
				rowEvents(s, c.Now(), 0, 1, 0)
				tt.span(s)
			case tt.more != nil:
				tt.more(td, c.Now())
			}
			innocent.rows(c.Now(), 5, 10).ResourceSpans().MoveAndAppendTo(td.ResourceSpans())
			mustSend(t, e, td)
			if tt.logs != nil {
				ld := plog.NewLogs()
				rec := ld.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords().AppendEmpty()
				rec.SetTraceID(pcommon.TraceID{0x0b})
				rec.SetSpanID(pcommon.SpanID{0x0b, 7: 0x0b})
				rec.Attributes().PutStr(semconv.RunID, "logged")
				rec.Attributes().PutStr(semconv.RunOwner, "0b0000000000000b")
				tt.logs(rec)
				require.NoError(t, e.Logs(context.Background(), ld))
			}
			// What waits for something impossible does not wait for ever.
			c.Add(25 * time.Hour)
			e.Tick()
			assert.Zero(t, e.Waiting(), "nothing waits")
			for reason, n := range tt.drop {
				assert.Equal(t, n, e.Counters().Dropped()[reason], "dropped as %s; all drops: %v", reason, e.Counters().Dropped())
			}
			if len(tt.drop) == 0 {
				assert.Empty(t, e.Counters().Dropped())
			}

			// The engine goes on, also after a restart, which reads all of it again.
			mustSend(t, e, innocent.rows(c.Now(), 10, 15))
			kill(t, e)
			e = start(t, dir, c)
			mustSend(t, e, innocent.rows(c.Now(), 15, 20))
			mustSend(t, e, innocent.end(c.Now(), 0))
			for range 5 {
				c.Add(25 * time.Hour)
				e.Tick()
			}
			assert.Zero(t, e.Counters().Get(CountDamaged), "no log is taken for damaged")
			require.NoError(t, e.Shutdown(context.Background()))

			requireWithin(t, parent, dir)
			requireClean(t, dir)
			parts, err := runview.List(dir)
			require.NoError(t, err)
			byID := map[string][]runview.PartInfo{}
			rows := 0
			for key, group := range runview.Group(parts) {
				byID[key.ID] = group
				r, err := runview.Read(group, runview.Options{})
				require.NoError(t, err)
				assert.NotNil(t, r.Exit, "run %v has an exit", key)
				assert.Zero(t, r.BadValues, "run %v holds JSON only", key)
				if key.ID == "innocent" {
					require.Equal(t, 20, r.RowCount, "rows of the innocent run")
					continue
				}
				rows += r.RowCount
				if len(tt.runs) > 0 && key.ID == tt.runs[0] && tt.see != nil {
					tt.see(t, r)
				}
			}
			assert.Equal(t, tt.rows, rows, "rows besides the innocent's")
			for _, run := range tt.runs {
				assert.Contains(t, byID, run)
			}
		})
	}
}

// requireWithin walks everything: nothing is outside of dir, and what is in it
// lies where runs lie.
func requireWithin(t *testing.T, parent, dir string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(parent, func(path string, entry fs.DirEntry, err error) error {
		require.NoError(t, err)
		if strings.HasPrefix(dir, path) {
			return nil
		}
		rel, err := filepath.Rel(dir, path)
		require.NoError(t, err)
		require.True(t, filepath.IsLocal(rel), "%s is outside of %s", path, dir)
		if !entry.IsDir() {
			require.Contains(t, "/"+rel, "/wandb/", "%s is not in a folder of runs", path)
		}
		return nil
	}))
}

// requireClean reads every log strictly and requires that W&B could: all text
// in it is UTF-8, and no record is beyond what readers take.
func requireClean(t *testing.T, dir string) {
	t.Helper()
	parts, err := runview.List(dir)
	require.NoError(t, err)
	for _, part := range parts {
		b, err := os.ReadFile(part.Path)
		require.NoError(t, err)
		r, err := dotwandb.NewReader(strings.NewReader(string(b)), dotwandb.Strict)
		require.NoError(t, err)
		for {
			raw, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(t, err, part.Path)
			require.LessOrEqual(t, len(raw), 32<<20, "%s: a record", part.Path)
			rec, err := dotwandb.Decode(raw)
			require.NoError(t, err, part.Path)
			requireUTF8(t, reflect.ValueOf(rec))
		}
	}
}

func requireUTF8(t *testing.T, v reflect.Value) {
	t.Helper()
	switch v.Kind() {
	case reflect.String:
		require.True(t, utf8.ValidString(v.String()), "%.100q is not UTF-8", v.String())
	case reflect.Pointer:
		if !v.IsNil() {
			requireUTF8(t, v.Elem())
		}
	case reflect.Struct:
		if v.Type() != reflect.TypeFor[time.Time]() {
			for i := range v.NumField() {
				requireUTF8(t, v.Field(i))
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			requireUTF8(t, v.Index(i))
		}
	default:
	}
}

// A million spans without a root: the bounds hold, and time is bounded too.
func TestAMillionSpansWithoutARoot(t *testing.T) {
	const perRequest = 10_000
	for _, tt := range []struct {
		name   string
		spans  int
		holds  bool
		parent func(i uint64) uint64 // 0: what never comes
	}{
		{"flat, holding nothing", 1_000_000, false, func(uint64) uint64 { return 0 }},
		{"flat, holding rows", 300_000, true, func(uint64) uint64 { return 0 }},
		{"each under one of its own, holding rows", 300_000, true, func(i uint64) uint64 { return i + 1<<40 }},
		{"a chain, the deepest last", 300_000, false, func(i uint64) uint64 { return i - 1 }},
		{"a chain, the deepest first", 300_000, false, func(i uint64) uint64 { return i + 1 }},
		{"a chain that holds rows, the deepest last", 3000, true, func(i uint64) uint64 { return i - 1 }},
		{"a chain that holds rows, the deepest first", 3000, true, func(i uint64) uint64 { return i + 1 }},
		{"under a ring, holding rows", 30_000, true, func(i uint64) uint64 { return i%2 + 1 }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, dir := newClock(), t.TempDir()
			const maxLinks, maxWaiting = 200_000, 100_000
			e := New(Config{Dir: dir, Now: c.Now, Manual: true, Placement: placement.Config{MaxLinks: maxLinks, MaxWaiting: maxWaiting}})
			require.NoError(t, e.Start())
			began := time.Now()
			for first := 0; first < tt.spans; first += perRequest {
				td := ptrace.NewTraces()
				spans := td.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans()
				for i := first; i < min(first+perRequest, tt.spans); i++ {
					s := spans.AppendEmpty()
					s.SetTraceID(pcommon.TraceID{1})
					s.SetSpanID(numberedSpan(uint64(i) + 1))
					parent := tt.parent(uint64(i) + 1)
					if parent == 0 {
						parent = 1 << 50
					}
					s.SetParentSpanID(numberedSpan(parent))
					if tt.holds {
						rowEvents(s, c.Now(), 0, 1, 0)
					}
				}
				mustSend(t, e, td)
				require.LessOrEqual(t, e.Gauges().Links, int64(maxLinks))
				require.LessOrEqual(t, e.Waiting(), maxWaiting)
			}
			sent := time.Since(began)
			e.Tick()
			ticked := time.Since(began) - sent
			c.Add(25 * time.Hour)
			e.Tick()
			settled := time.Since(began) - sent - ticked
			t.Logf("%d spans in %v; a tick took %v, settling %v; drops: %v", tt.spans, sent.Round(time.Millisecond), ticked.Round(time.Millisecond), settled.Round(time.Millisecond), e.Counters().Dropped())
			assert.Less(t, time.Since(began), 20*time.Second*slower, "time is bounded")
			assert.Less(t, ticked, 2*time.Second*slower, "a tick is short")
			assert.Zero(t, e.Waiting())
			if tt.holds {
				var dropped int64
				for _, n := range e.Counters().Dropped() {
					dropped += n
				}
				dropped -= e.Counters().Dropped()[DropLinksFull] // of spans, whether they hold rows or not
				assert.EqualValues(t, tt.spans, dropped, "each row is counted once, as %v", e.Counters().Dropped())
			}
			innocent := newProgram(2, "innocent")
			mustSend(t, e, innocent.start(c.Now()))
			mustSend(t, e, innocent.rows(c.Now(), 0, 5))
			require.NoError(t, e.Shutdown(context.Background()))
			e = New(Config{Dir: dir, Now: c.Now, Manual: true})
			require.NoError(t, e.Start())
			mustSend(t, e, innocent.rows(c.Now(), 5, 10))
			require.NoError(t, e.Shutdown(context.Background()))
		})
	}
}

func numberedSpan(n uint64) (id pcommon.SpanID) {
	binary.BigEndian.PutUint64(id[:], n)
	return id
}
