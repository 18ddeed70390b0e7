package engine

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/otel-wandb/otel-wandb/internal/semconv"
)

const perRequest = 512

// BenchmarkLogRows is the cost of a history row that comes as a stamped log
// record, from OTLP data to the run's log.
func BenchmarkLogRows(b *testing.B) { benchLogRows(b, true) }

// BenchmarkBareLogRows is the same without stamp and uid: an ancestor says
// whose the row is, and its content is its identity.
func BenchmarkBareLogRows(b *testing.B) { benchLogRows(b, false) }

func benchLogRows(b *testing.B, stamped bool) {
	e := New(Config{Dir: b.TempDir(), Manual: true})
	require.NoError(b, e.Start())
	requests := make([]plog.Logs, 0, b.N/perRequest+1)
	for n := 0; n < b.N; n += perRequest {
		ld := plog.NewLogs()
		records := ld.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords()
		for i := range perRequest {
			rec := records.AppendEmpty()
			rec.SetEventName(semconv.EventLog)
			rec.SetTimestamp(pcommon.Timestamp(1_700_000_000_000_000_000 + n + i))
			rec.SetTraceID(pcommon.TraceID{1})
			rec.SetSpanID(pcommon.SpanID{2})
			if stamped || n+i == 0 { // the first says it for its span
				stamp(rec.Attributes())
				rec.Attributes().PutStr(semconv.LogRecordUID, fmt.Sprintf("uid-%d", n+i))
			}
			m := rec.Body().SetEmptyMap()
			m.PutInt("row", int64(n+i))
			m.PutDouble("loss", 1/float64(i+1))
			m.PutDouble("acc", float64(i)/1000)
			m.PutDouble("lr", 0.001)
		}
		requests = append(requests, ld)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for _, ld := range requests {
		require.NoError(b, e.Logs(context.Background(), ld))
	}
	b.StopTimer()
	require.NoError(b, e.Shutdown(context.Background()))
}

func stamp(m pcommon.Map) {
	m.PutStr(semconv.RunID, "a-run")
	m.PutStr(semconv.RunOwner, "0200000000000000")
	m.PutStr(semconv.Entity, "team")
	m.PutStr(semconv.Project, "project")
	m.PutInt(semconv.RunStartTime, 1_700_000_000_000_000_000)
}

// BenchmarkCarrierRows is the cost of a row that the bridge sends.
func BenchmarkCarrierRows(b *testing.B) {
	e := New(Config{Dir: b.TempDir(), Manual: true})
	require.NoError(b, e.Start())
	requests := make([]ptrace.Traces, 0, b.N/perRequest+1)
	for n := 0; n < b.N; n += perRequest {
		td := ptrace.NewTraces()
		spans := td.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans()
		for c := range perRequest / 64 {
			span := spans.AppendEmpty()
			span.SetTraceID(pcommon.TraceID{1})
			span.SetSpanID(pcommon.SpanID{9, byte(n), byte(n >> 8), byte(n >> 16), byte(c)})
			span.SetParentSpanID(pcommon.SpanID{2})
			stamp(span.Attributes())
			span.Attributes().PutBool(semconv.Carrier, true)
			span.Attributes().PutStr(semconv.Task, "0200000000000000")
			for i := range 64 {
				ev := span.Events().AppendEmpty()
				ev.SetName(semconv.EventLog)
				ev.SetTimestamp(pcommon.Timestamp(1_700_000_000_000_000_000 + n + i))
				m := ev.Attributes()
				m.PutStr(semconv.Writer, "w1")
				m.PutInt(semconv.Seq, int64(n+c*64+i+1))
				m.PutInt("row", int64(n+i))
				m.PutDouble("loss", 1/float64(i+1))
				m.PutDouble("acc", float64(i)/1000)
				m.PutDouble("lr", 0.001)
			}
		}
		requests = append(requests, td)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for _, td := range requests {
		require.NoError(b, e.Traces(context.Background(), td))
	}
	b.StopTimer()
	require.NoError(b, e.Shutdown(context.Background()))
}

// BenchmarkStampedSpans is the cost of a span that belongs to a run and holds
// nothing for it.
func BenchmarkStampedSpans(b *testing.B) { benchSpans(b, true) }

// BenchmarkUnmarkedSpans is the cost of a span of a program that knows nothing
// of W&B.
func BenchmarkUnmarkedSpans(b *testing.B) { benchSpans(b, false) }

func benchSpans(b *testing.B, stamped bool) {
	e := New(Config{Dir: b.TempDir(), Manual: true})
	require.NoError(b, e.Start())
	requests := make([]ptrace.Traces, 0, b.N/perRequest+1)
	for n := 0; n < b.N; n += perRequest {
		td := ptrace.NewTraces()
		spans := td.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans()
		for i := range perRequest {
			k := n + i
			span := spans.AppendEmpty()
			span.SetTraceID(pcommon.TraceID{1, byte(k >> 6), byte(k >> 14), byte(k >> 22)})
			span.SetSpanID(pcommon.SpanID{3, byte(k), byte(k >> 8), byte(k >> 16), byte(k >> 24)})
			span.SetParentSpanID(pcommon.SpanID{2})
			span.SetName("GET /things")
			for a := range 8 {
				span.Attributes().PutStr(fmt.Sprintf("http.attribute.%d", a), "some value")
			}
			if stamped {
				stamp(span.Attributes())
			}
		}
		requests = append(requests, td)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for _, td := range requests {
		require.NoError(b, e.Traces(context.Background(), td))
	}
	b.StopTimer()
	require.NoError(b, e.Shutdown(context.Background()))
}
