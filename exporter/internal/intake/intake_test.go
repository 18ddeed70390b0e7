package intake

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.uber.org/goleak"

	"github.com/otel-wandb/otel-wandb/exporter/internal/placement"
	"github.com/otel-wandb/otel-wandb/exporter/internal/run"
	"github.com/otel-wandb/otel-wandb/internal/semconv"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// oneSpan is a request of one span.
func oneSpan(edit func(ptrace.Span)) ptrace.Traces {
	td := ptrace.NewTraces()
	span := td.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans().AppendEmpty()
	span.SetTraceID(pcommon.TraceID{1})
	span.SetSpanID(pcommon.SpanID{2})
	span.SetName("train")
	edit(span)
	return td
}

// row is the row of a wandb.log event with these attributes, as key=JSON; the
// drops it brings by reason.
func row(t *testing.T, edit func(pcommon.Map)) (row, drops []string) {
	t.Helper()
	units := Traces(oneSpan(func(s ptrace.Span) {
		ev := s.Events().AppendEmpty()
		ev.SetName(semconv.EventLog)
		edit(ev.Attributes())
	}), &Options{RootlessOff: true})
	require.Len(t, units, 1)
	p, ok := units[0].Payload.(*Payload)
	require.True(t, ok)
	for _, it := range p.Items {
		if it.Row == nil {
			continue
		}
		for _, v := range it.Row.Values {
			row = append(row, strings.Join(append([]string{v.Key}, v.Rest...), "→")+"="+v.Text())
		}
	}
	for _, d := range p.Drops {
		drops = append(drops, d.Reason)
	}
	return row, drops
}

func TestRow(t *testing.T) {
	deep := func(m pcommon.Map) {
		for range 200 {
			m = m.PutEmptyMap("d")
		}
		m.PutInt("x", 1)
	}
	for _, tt := range []struct {
		name       string
		edit       func(pcommon.Map)
		row, drops []string
	}{
		{"numbers", func(m pcommon.Map) { m.PutDouble("loss", 0.5); m.PutInt("n", 3) }, []string{"loss=0.5", "n=3"}, nil},
		{"an integer beyond 2^53", func(m pcommon.Map) { m.PutInt("n", 9007199254740993) }, []string{"n=9007199254740993"}, nil},
		{"the smallest integer", func(m pcommon.Map) { m.PutInt("n", math.MinInt64) }, []string{"n=-9223372036854775808"}, nil},
		{"NaN and infinities are bare", func(m pcommon.Map) {
			m.PutDouble("a", math.NaN())
			m.PutDouble("b", math.Inf(1))
			m.PutDouble("c", math.Inf(-1))
		}, []string{"a=NaN", "b=Infinity", "c=-Infinity"}, nil},
		{"large and small floats", func(m pcommon.Map) { m.PutDouble("a", 1e300); m.PutDouble("b", 1e-9) }, []string{"a=1e+300", "b=1e-09"}, nil},
		{"text and bools", func(m pcommon.Map) { m.PutStr("s", "a \"b\"\n"); m.PutBool("t", true) }, []string{`s="a \"b\"\n"`, "t=true"}, nil},
		{"bytes are base64", func(m pcommon.Map) { m.PutEmptyBytes("b").FromRaw([]byte{1, 2, 3}) }, []string{`b="AQID"`}, nil},
		{"arrays", func(m pcommon.Map) {
			s := m.PutEmptySlice("a")
			s.AppendEmpty().SetInt(1)
			s.AppendEmpty().SetStr("x")
			s.AppendEmpty()
			s.AppendEmpty().SetDouble(math.NaN())
		}, []string{`a=[1,"x",null,NaN]`}, nil},
		{"maps nest", func(m pcommon.Map) {
			in := m.PutEmptyMap("val")
			in.PutDouble("acc", 0.9)
			in.PutEmptyMap("deep").PutInt("x", 1)
			in.PutEmpty("nothing")
		}, []string{"val→acc=0.9", "val→deep→x=1"}, nil},
		{"an empty map is one", func(m pcommon.Map) { m.PutEmptyMap("e") }, []string{"e={}"}, nil},
		{"a dot, a slash and an emoji are literal", func(m pcommon.Map) { m.PutInt("a.b", 1); m.PutInt("c/d", 2); m.PutInt("🚀", 3) }, []string{"a.b=1", "c/d=2", "🚀=3"}, nil},
		{"text that is not UTF-8", func(m pcommon.Map) { m.PutStr("s", "a\xffb") }, []string{"s=\"a\uFFFDb\""}, nil},
		{"a key that is not UTF-8, or holds NUL", func(m pcommon.Map) { m.PutInt("a\xff", 1); m.PutInt("b\x00", 2) }, []string{"a\uFFFD=1", "b\uFFFD=2"}, nil},
		{"what says something of the event is no metric", func(m pcommon.Map) {
			for _, key := range []string{"event.name", "code.line", "thread.id", "log.iostream", "exception.type", "telemetry.sdk", "wandb.foo"} {
				m.PutInt(key, 1)
			}
			m.PutInt("logs", 1)
		}, []string{"logs=1"}, nil},
		{"an empty value is left out, and nothing is left", func(m pcommon.Map) { m.PutEmpty("x") }, nil, []string{DropEmptyRow}},
		{"a key that W&B keeps for itself", func(m pcommon.Map) { m.PutInt("_step", 1); m.PutInt("x", 1) }, []string{"x=1"}, []string{DropReservedKey}},
		{"a key without a name", func(m pcommon.Map) { m.PutInt("", 1); m.PutInt("x", 1) }, []string{"x=1"}, []string{DropBadAttribute}},
		{"200 levels stop at 64", deep, []string{strings.Repeat("d→", maxDepth) + "d=null"}, []string{DropBadAttribute}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			row, drops := row(t, tt.edit)
			assert.Equal(t, tt.row, row)
			assert.Equal(t, tt.drops, drops)
		})
	}
}

func TestHistogram(t *testing.T) {
	got, _ := row(t, func(m pcommon.Map) {
		s := m.PutEmptySlice("grad")
		for i := range 128 {
			s.AppendEmpty().SetDouble(float64(i))
		}
		s.AppendEmpty().SetDouble(math.NaN())
		m.PutEmptySlice(semconv.Histogram).AppendEmpty().SetStr("grad")
		m.PutStr("other", "x")
	})
	require.Len(t, got, 2)
	assert.True(t, strings.HasPrefix(got[0], `grad={"_type":"histogram","values":[2,2,`), got[0])
	assert.Equal(t, 2*maxBins, strings.Count(got[0], ",")-1, "n counts, n+1 edges")
	assert.Equal(t, `other="x"`, got[1])
}

func TestConsoleText(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		want     []string
	}{
		{"one line", "hello", []string{"hello"}},
		{"ends with a newline", "hello\n", []string{"hello"}},
		{"several", "a\r\nb\n\nc", []string{"a", "b", "", "c"}},
		{"colours and a bell", "\x1b[31mred\x1b[0m\a", []string{"red"}},
		{"a progress bar", "10%\r20%", []string{"20%"}},
		{"a progress bar that has just begun again", "10%\r20%\r", []string{"20%"}},
		{"progress bars", "a\rb\r\nc\rd\r\r\n", []string{"b", "d"}},
		{"a tab stays", "a\tb", []string{"a\tb"}},
		{"an escape at the end", "x\x1b[", []string{"x"}},
		{"not UTF-8", "a\xff", []string{"a\uFFFD"}},
	} {
		t.Run(tt.name, func(t *testing.T) { assert.Equal(t, tt.want, lines(tt.in)) })
	}
}

// What waits comes back as it was, whatever else was in its request.
func TestWaitingUnitsComeBackTheSame(t *testing.T) {
	td := ptrace.NewTraces()
	for r := range 2 {
		rs := td.ResourceSpans().AppendEmpty()
		rs.Resource().Attributes().PutStr(semconv.Project, fmt.Sprint("p", r))
		for s := range 2 {
			ss := rs.ScopeSpans().AppendEmpty()
			ss.Scope().Attributes().PutStr(semconv.Entity, fmt.Sprint("e", s))
			for i := range 3 {
				span := ss.Spans().AppendEmpty()
				span.SetTraceID(pcommon.TraceID{1})
				span.SetSpanID(pcommon.SpanID{byte(r), byte(s), byte(i), 1})
				span.SetParentSpanID(pcommon.SpanID{9})
				span.Attributes().PutStr(semconv.RunMode, semconv.ModeNew)
				ev := span.Events().AppendEmpty()
				ev.SetName(semconv.EventLog)
				ev.Attributes().PutInt("x", int64(i))
			}
		}
	}
	requireSame(t, Traces(td, &Options{}))

	ld := plog.NewLogs()
	records := ld.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords()
	for i := range 4 {
		rec := records.AppendEmpty()
		rec.SetSpanID(pcommon.SpanID{9})
		rec.SetEventName(semconv.EventLog)
		rec.Body().SetEmptyMap().PutInt("x", int64(i/2)) // two pairs of equals
	}
	requireSame(t, Logs(ld, &Options{}))
}

func requireSame(t *testing.T, units []placement.Unit) {
	t.Helper()
	var kept []*Payload
	var want []placement.Unit
	for i, u := range units {
		if i%3 != 1 { // some are placed at once
			kept = append(kept, u.Payload.(*Payload))
			want = append(want, u)
		}
	}
	b, err := Encode(kept)
	require.NoError(t, err)
	got, err := Decode(b, &Options{})
	require.NoError(t, err)
	require.Len(t, got, len(want))
	for i := range got {
		a, b := want[i], got[i]
		if want[i].Payload.(*Payload).record == nil { // a record's ordinal among equals is not in it
			assert.Equal(t, a.Subject, b.Subject)
			assert.Equal(t, a.Payload.(*Payload).Items, b.Payload.(*Payload).Items)
			continue
		}
		assert.Equal(t, values(a), values(b))
	}
}

func values(u placement.Unit) (out []run.Value) {
	for _, it := range u.Payload.(*Payload).Items {
		out = append(out, it.Row.Values...)
	}
	return out
}

func TestEqualRecordsOfARequestAreApart(t *testing.T) {
	ld := plog.NewLogs()
	records := ld.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords()
	for range 3 {
		rec := records.AppendEmpty()
		rec.SetEventName(semconv.EventLog)
		rec.Body().SetEmptyMap().PutInt("x", 1)
	}
	ids := map[uint64]bool{}
	for range 2 { // the same request again has the same identities
		for _, u := range Logs(ld, &Options{}) {
			ids[u.Payload.(*Payload).Items[0].ID.Hash] = true
		}
	}
	assert.Len(t, ids, 3)
}

func TestTaskRules(t *testing.T) {
	opts := &Options{Rules: []TaskRule{{SpanName: "train/*", Mode: semconv.ModeAuto}, {ScopeName: "lib*", Mode: semconv.ModeNew}}}
	assert.Equal(t, semconv.ModeAuto, opts.rule("train/epoch/1", "x"), "a star stands for slashes, too")
	assert.Equal(t, semconv.ModeNew, opts.rule("other", "library"))
	assert.Empty(t, opts.rule("other", "x"))
}
