package loadgen

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"

	"github.com/otel-wandb/otel-wandb/internal/semconv"
)

const (
	tracesMethod = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
	logsMethod   = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"

	taskName = "load"
	// unmarkedTrace is how many unmarked spans a trace has: a root and children.
	unmarkedTrace = 16
	// rowsPerWriter keeps the row numbers of several writers on one run apart.
	rowsPerWriter = 1_000_000_000
	rowInterval   = time.Millisecond
)

// request is one encoded export request.
type request struct {
	method string
	body   []byte
	items  int
	rows   []acked
}

type acked struct {
	run         string
	first, last int64
}

// builder makes the requests of one client. All ids and values follow from
// session, client and position.
//
// Runs are divided among clients. Where there are fewer runs than clients,
// several clients write to one run: writer 1 numbers its rows from 1e9, and so on.
type builder struct {
	options Options
	seed    uint64
	writer  string
	runs    []*runState
	turn    int // of runs
	left    int // items; -1: no end
	spans   uint64
	client  uint64
}

// runState is one client's part in one run.
type runState struct {
	id    string
	trace pcommon.TraceID
	owner pcommon.SpanID
	first bool  // the client that announces and ends the run
	base  int64 // of its row numbers
	rows  int64
	seq   int64
}

func newBuilder(o Options, client int) *builder {
	h := fnv.New64a()
	_, _ = h.Write([]byte(o.Session))
	b := &builder{options: o, seed: h.Sum64(), client: uint64(client), left: -1}
	b.writer = fmt.Sprintf("%016x", mix(b.seed, 1, b.client))
	if o.Items > 0 {
		b.left = o.Items / o.Clients
		if client < o.Items%o.Clients {
			b.left++
		}
	}
	for run := client % o.Runs; run < o.Runs; run += o.Clients {
		b.runs = append(b.runs, &runState{
			id:    fmt.Sprintf("%s-%d", o.Session, run),
			trace: traceID(mix(b.seed, 2, uint64(run)), mix(b.seed, 3, uint64(run))),
			owner: spanID(mix(b.seed, 4, uint64(run))),
			first: client < o.Runs,
			base:  int64(client/o.Runs) * rowsPerWriter,
		})
	}
	return b
}

// next builds the next request; false when there are no items left.
func (b *builder) next() (request, bool) {
	n := b.options.PerRequest
	if b.left >= 0 {
		n = min(n, b.left)
		b.left -= n
	}
	if n == 0 {
		return request{}, false
	}
	switch b.options.Kind {
	case LogRows:
		return b.logRows(n), true
	case CarrierRows:
		return b.carrierRows(n), true
	case Spans:
		return b.stampedSpans(n), true
	default:
		return b.unmarkedSpans(n), true
	}
}

// split calls f for each run of a request of n items, with how many of them
// are that run's.
func (b *builder) split(n int, f func(run *runState, n int)) {
	parts := min(b.options.RunsPerRequest, n, len(b.runs))
	for part := range parts {
		run := b.runs[b.turn%len(b.runs)]
		b.turn++
		f(run, n*(part+1)/parts-n*part/parts)
	}
}

func (b *builder) stampedSpans(n int) request {
	traces, spans := newTraces("app")
	b.split(n, func(run *runState, n int) {
		for range n {
			s := b.span(spans, run.trace, run.owner, "step")
			b.workAttributes(s.Attributes())
			b.stamp(s.Attributes(), run)
		}
	})
	return tracesRequest(traces, n, nil)
}

func (b *builder) unmarkedSpans(n int) request {
	traces, spans := newTraces("app")
	for range n {
		at := b.spans % unmarkedTrace
		group := b.spans / unmarkedTrace
		trace := traceID(mix(b.seed, 5, b.client, group), mix(b.seed, 6, b.client, group))
		var parent pcommon.SpanID
		if at > 0 {
			parent = b.spanIDOf(b.spans - at)
		}
		b.workAttributes(b.span(spans, trace, parent, "GET /items").Attributes())
	}
	return tracesRequest(traces, n, nil)
}

func (b *builder) logRows(n int) request {
	logs := plog.NewLogs()
	rl := logs.ResourceLogs().AppendEmpty()
	rl.Resource().Attributes().PutStr("service.name", "loadgen")
	sl := rl.ScopeLogs().AppendEmpty()
	sl.Scope().SetName("app")
	var rows []acked
	b.split(n, func(run *runState, n int) {
		rows = append(rows, run.upcoming(n))
		for range n {
			row := run.nextRow()
			r := sl.LogRecords().AppendEmpty()
			r.SetEventName(semconv.EventLog)
			r.SetTimestamp(b.rowTime(row))
			r.SetTraceID(run.trace)
			r.SetSpanID(run.owner)
			if !b.options.Bare {
				r.Attributes().EnsureCapacity(12)
			}
			if b.options.Attributes {
				metrics(r.Attributes(), row)
			} else {
				metrics(r.Body().SetEmptyMap(), row)
			}
			if b.options.Bare {
				continue
			}
			b.speakFor(r.Attributes(), run)
			r.Attributes().PutStr(semconv.LogRecordUID, fmt.Sprintf("%s-%d", run.id, row))
		}
	})
	body, err := plogotlp.NewExportRequestFromLogs(logs).MarshalProto()
	must(err)
	return request{method: logsMethod, body: body, items: n, rows: rows}
}

func (b *builder) carrierRows(n int) request {
	traces, spans := newTraces(carrierScope)
	var rows []acked
	b.split(n, func(run *runState, n int) {
		rows = append(rows, run.upcoming(n))
		for n > 0 {
			c := b.carrier(spans, run)
			size := min(n, b.options.PerCarrier)
			c.Events().EnsureCapacity(size)
			for range size {
				row := run.nextRow()
				e := b.event(c, run, semconv.EventLog, b.rowTime(row))
				metrics(e.Attributes(), row)
			}
			n -= size
		}
	})
	return tracesRequest(traces, n, rows)
}

// starts announces the runs that this client answers for.
func (b *builder) starts() []request {
	return b.lifecycle(func(c ptrace.Span, run *runState) {
		e := b.event(c, run, semconv.EventRunStart, pcommon.NewTimestampFromTime(b.options.StartTime))
		e.Attributes().PutStr(semconv.RunMode, semconv.ModeAuto)
		e.Attributes().PutStr(semconv.RunName, run.id)
		e.Attributes().PutStr(semconv.ConfigPrefix+"session", b.options.Session)
	})
}

// ends ends them, after all clients are done.
func (b *builder) ends() []request {
	return b.lifecycle(func(c ptrace.Span, run *runState) {
		at := b.rowTime(run.rows)
		e := b.event(c, run, semconv.EventRunEnd, at)
		e.Attributes().PutInt(semconv.ExitCode, 0)
		e.Attributes().PutInt(semconv.LastSeq, run.seq)
		e.Attributes().PutInt(semconv.EndTime, int64(at))
	})
}

func (b *builder) lifecycle(f func(ptrace.Span, *runState)) []request {
	var requests []request
	var traces ptrace.Traces
	var spans ptrace.SpanSlice
	n := 0
	for _, run := range b.runs {
		if !run.first {
			continue
		}
		if n == 0 {
			traces, spans = newTraces(carrierScope)
		}
		f(b.carrier(spans, run), run)
		if n++; n == b.options.PerRequest {
			requests = append(requests, tracesRequest(traces, 0, nil))
			n = 0
		}
	}
	if n > 0 {
		requests = append(requests, tracesRequest(traces, 0, nil))
	}
	return requests
}

const carrierScope = "github.com/otel-wandb/otel-wandb/bridge"

func newTraces(scope string) (ptrace.Traces, ptrace.SpanSlice) {
	traces := ptrace.NewTraces()
	rs := traces.ResourceSpans().AppendEmpty()
	rs.Resource().Attributes().PutStr("service.name", "loadgen")
	ss := rs.ScopeSpans().AppendEmpty()
	ss.Scope().SetName(scope)
	return traces, ss.Spans()
}

func tracesRequest(traces ptrace.Traces, items int, rows []acked) request {
	body, err := ptraceotlp.NewExportRequestFromTraces(traces).MarshalProto()
	must(err)
	return request{method: tracesMethod, body: body, items: items, rows: rows}
}

func (b *builder) span(spans ptrace.SpanSlice, trace pcommon.TraceID, parent pcommon.SpanID, name string) ptrace.Span {
	s := spans.AppendEmpty()
	s.SetTraceID(trace)
	s.SetSpanID(b.spanIDOf(b.spans))
	s.SetParentSpanID(parent)
	s.SetName(name)
	s.SetKind(ptrace.SpanKindInternal)
	start := b.options.StartTime.Add(time.Duration(b.spans) * rowInterval)
	s.SetStartTimestamp(pcommon.NewTimestampFromTime(start))
	s.SetEndTimestamp(pcommon.NewTimestampFromTime(start.Add(rowInterval)))
	b.spans++
	return s
}

func (b *builder) spanIDOf(n uint64) pcommon.SpanID { return spanID(mix(b.seed, 7, b.client, n)) }

func (b *builder) carrier(spans ptrace.SpanSlice, run *runState) ptrace.Span {
	c := b.span(spans, run.trace, run.owner, semconv.EventLog)
	c.Attributes().PutBool(semconv.Carrier, true)
	b.speakFor(c.Attributes(), run)
	return c
}

func (b *builder) event(carrier ptrace.Span, run *runState, name string, at pcommon.Timestamp) ptrace.SpanEvent {
	run.seq++
	e := carrier.Events().AppendEmpty()
	e.SetName(name)
	e.SetTimestamp(at)
	e.Attributes().EnsureCapacity(6)
	e.Attributes().PutStr(semconv.Writer, b.writer)
	e.Attributes().PutInt(semconv.Seq, run.seq)
	return e
}

// stamp says which run the item belongs to.
func (b *builder) stamp(attrs pcommon.Map, run *runState) {
	attrs.PutStr(semconv.RunID, run.id)
	attrs.PutStr(semconv.RunOwner, run.owner.String())
	attrs.PutStr(semconv.Entity, b.options.Entity)
	attrs.PutStr(semconv.Project, b.options.Project)
	attrs.PutInt(semconv.RunStartTime, b.options.StartTime.UnixNano())
}

// speakFor is a stamp that also names the task: here the owner, a root span.
func (b *builder) speakFor(attrs pcommon.Map, run *runState) {
	b.stamp(attrs, run)
	attrs.PutStr(semconv.Task, run.owner.String())
	attrs.PutStr(semconv.SpanName, taskName)
}

// workAttributes are eight of an ordinary span.
func (b *builder) workAttributes(attrs pcommon.Map) {
	v := mix(b.seed, 8, b.client, b.spans)
	attrs.EnsureCapacity(13)
	attrs.PutStr("http.request.method", "GET")
	attrs.PutStr("url.path", "/items/"+fmt.Sprintf("%06d", v%1_000_000))
	attrs.PutStr("server.address", "items.example.com")
	attrs.PutInt("server.port", 443)
	attrs.PutInt("http.response.status_code", 200)
	attrs.PutStr("user_agent.original", "loadgen")
	attrs.PutDouble("app.score", fraction(v))
	attrs.PutBool("app.cached", v&1 == 0)
}

// metrics are the four of a row.
func metrics(m pcommon.Map, row int64) {
	v := mix(uint64(row))
	m.EnsureCapacity(4)
	m.PutInt("row", row)
	m.PutDouble("loss", 2*fraction(v))
	m.PutDouble("accuracy", fraction(mix(v)))
	m.PutDouble("lr", 0.001)
}

func (b *builder) rowTime(row int64) pcommon.Timestamp {
	return pcommon.NewTimestampFromTime(b.options.StartTime.Add(time.Duration(row%rowsPerWriter) * rowInterval))
}

func (r *runState) nextRow() int64 {
	row := r.base + r.rows
	r.rows++
	return row
}

func (r *runState) upcoming(n int) acked {
	first := r.base + r.rows
	return acked{run: r.id, first: first, last: first + int64(n) - 1}
}

func traceID(hi, lo uint64) (id pcommon.TraceID) {
	binary.BigEndian.PutUint64(id[:8], hi)
	binary.BigEndian.PutUint64(id[8:], lo)
	return id
}

func spanID(v uint64) (id pcommon.SpanID) {
	binary.BigEndian.PutUint64(id[:], v)
	return id
}

func fraction(v uint64) float64 { return float64(v>>11) / (1 << 53) }

// mix is splitmix64 over its arguments.
func mix(values ...uint64) uint64 {
	var z uint64
	for _, v := range values {
		z += v + 0x9e3779b97f4a7c15
		z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9
		z = (z ^ (z >> 27)) * 0x94d049bb133111eb
		z ^= z >> 31
	}
	return z
}

func must(err error) {
	if err != nil {
		panic(err) // pdata cannot fail to encode what it built
	}
}
