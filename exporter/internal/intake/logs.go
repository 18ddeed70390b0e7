package intake

import (
	"encoding/binary"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/cespare/xxhash/v2"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/otel-wandb/otel-wandb/exporter/internal/placement"
	"github.com/otel-wandb/otel-wandb/exporter/internal/run"
	"github.com/otel-wandb/otel-wandb/internal/semconv"
)

// Logs reads a request of log records: one unit a record, in the request's
// order. ld must not change while units refer to it.
func Logs(ld plog.Logs, opts *Options) []placement.Unit {
	return new(reader).logs(ld, opts)
}

func (r *reader) logs(ld plog.Logs, opts *Options) []placement.Unit {
	r.opts, r.units = opts, slices.Grow(r.units, ld.LogRecordCount())
	for _, rl := range ld.ResourceLogs().All() {
		r.resource(rl.Resource().Attributes())
		for _, sl := range rl.ScopeLogs().All() {
			r.scope(sl.Scope())
			in := &recordScope{rl, sl}
			for _, record := range sl.LogRecords().All() {
				r.record(in, record)
			}
		}
	}
	return r.units
}

// recordUnit is what one log record becomes, in one piece.
type recordUnit struct {
	payload Payload
	item    [1]run.Item
	source  recordSource
}

func (u *recordUnit) one(it run.Item) []run.Item {
	u.item[0] = it
	return u.item[:]
}

func (r *reader) record(in *recordScope, rec plog.LogRecord) {
	m := rec.Attributes()
	a := &r.item
	*a = attributes{}
	r.read(a, m)
	s := placement.Subject{
		Trace: placement.TraceID(rec.TraceID()), Span: placement.SpanID(rec.SpanID()),
		Name: a.spanName, Holds: true, Resource: r.defs.place,
	}
	u := &r.records.take(1)[0]
	p := &u.payload
	if s.Stamp = r.stamp(a, &p.Drops); s.Stamp != nil {
		if task, ok := spanID(a.task); ok {
			s.Span = task
		}
	}
	at := nanos(rec.Timestamp())
	if at == 0 {
		at = nanos(rec.ObservedTimestamp())
	}
	hash := r.recordHash(rec, at)
	s.Fingerprint = hash
	name := eventName(rec)
	s.Event = name
	f := from{
		span: s.Span, src: r.src(s.Span), name: s.Name, hash: hash, record: true, event: name, trace: s.Trace,
		writer: a.writer, carrier: a.writer != "",
	}

	switch {
	case name == semconv.EventRunStart:
		s.Events = true
		if parent, ok := spanID(a.parent); ok {
			s.Parent = parent
		}
		it := r.start(&s, p, f, at, m)
		numbered(&it, a.writer, m)
		it.Carrier = a.writer != ""
		p.Items = u.one(it)
	case strings.HasPrefix(name, semconv.Prefix):
		s.Events = true
		keys := m
		if rec.Body().Type() == pcommon.ValueTypeMap {
			keys, r.body = rec.Body().Map(), true
		}
		if it := &u.item[0]; r.wandbEvent(it, p, f, name, at, m, keys) {
			numbered(it, a.writer, m)
			p.Items = u.item[:]
		} else {
			p.Items = r.counted(u.item[:0], f, at, m)
		}
		r.body = false
	default:
		it := f.item(run.KindLine, at)
		it.Line = line(rec)
		p.Items = u.one(it)
	}
	u.source = recordSource{in, rec}
	p.record = &u.source
	r.units = append(r.units, placement.Unit{Subject: s, Payload: p})
}

// eventName is the record's event name: its own field, or the older attribute.
func eventName(rec plog.LogRecord) string {
	if name := rec.EventName(); name != "" {
		return name
	}
	if v, ok := rec.Attributes().Get(semconv.LegacyEventName); ok {
		return v.AsString()
	}
	return ""
}

// line is a log record as console: its body, then the exception in it.
func line(rec plog.LogRecord) *run.Line {
	stderr := rec.SeverityNumber() >= plog.SeverityNumberError
	if v, ok := rec.Attributes().Get("log.iostream"); ok && v.AsString() == "stderr" {
		stderr = true
	}
	var body []string
	switch rec.Body().Type() {
	case pcommon.ValueTypeEmpty:
	case pcommon.ValueTypeStr:
		body = lines(rec.Body().Str())
	default:
		body = lines(string(appendJSON(nil, rec.Body(), 0)))
	}
	_, isType := rec.Attributes().Get(semconv.ExceptionType)
	_, isMessage := rec.Attributes().Get(semconv.ExceptionMessage)
	if isType || isMessage {
		l := exception(rec.Attributes(), body)
		l.Stderr = stderr || rec.SeverityNumber() == plog.SeverityNumberUnspecified
		return l
	}
	if len(body) == 0 {
		body = []string{eventName(rec)}
	}
	return &run.Line{Stderr: stderr, Text: body}
}

// recordHash is a record's identity: log.record.uid, else its content and its
// ordinal among equals in the request. The latter is best effort: equal records
// of two requests are taken for a repeat.
func (r *reader) recordHash(rec plog.LogRecord, at int64) uint64 {
	trace, span := rec.TraceID(), rec.SpanID()
	if v, ok := rec.Attributes().Get(semconv.LogRecordUID); ok {
		return nonZero(xxhash.Sum64String("uid\x00" + v.AsString()))
	}
	b := r.row.text[:0]
	b = append(b, trace[:]...)
	b = append(b, span[:]...)
	b = binary.LittleEndian.AppendUint64(b, uint64(at))
	b = binary.LittleEndian.AppendUint32(b, uint32(rec.SeverityNumber()))
	b = append(b, rec.EventName()...)
	b = appendContent(append(b, 0), rec.Body(), 0)
	for key, v := range rec.Attributes().All() {
		b = append(append(b, 0), key...)
		b = appendContent(append(b, 0), v, 0)
	}
	h := xxhash.Sum64(b)
	r.row.text = b[:0]
	if r.same == nil {
		r.same = map[uint64]uint64{}
	}
	known := len(r.same)
	r.same[h]++
	if len(r.same) == known { // one look-up where it is the first, as nearly always
		n := r.same[h] - 1
		h = xxhash.Sum64(binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, h), n))
	}
	return nonZero(h)
}

// appendContent writes a value so that values that differ are written
// differently: for a hash, which no text need be made for.
func appendContent(b []byte, v pcommon.Value, depth int) []byte {
	b = append(b, byte(v.Type()))
	switch v.Type() {
	case pcommon.ValueTypeInt:
		b = binary.LittleEndian.AppendUint64(b, uint64(v.Int()))
	case pcommon.ValueTypeDouble:
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(v.Double()))
	case pcommon.ValueTypeBool:
		b = strconv.AppendBool(b, v.Bool())
	case pcommon.ValueTypeStr:
		b = appendSized(b, v.Str())
	case pcommon.ValueTypeMap:
		b = binary.AppendUvarint(b, uint64(v.Map().Len()))
		if depth < maxDepth {
			for key, e := range v.Map().All() {
				b = appendContent(appendSized(b, key), e, depth+1)
			}
		}
	case pcommon.ValueTypeSlice:
		b = binary.AppendUvarint(b, uint64(v.Slice().Len()))
		if depth < maxDepth {
			for _, e := range v.Slice().All() {
				b = appendContent(b, e, depth+1)
			}
		}
	case pcommon.ValueTypeBytes:
		b = append(binary.AppendUvarint(b, uint64(v.Bytes().Len())), v.Bytes().AsRaw()...)
	}
	return b
}

func appendSized(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}
