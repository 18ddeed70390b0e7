package otlpwire

import (
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"go.opentelemetry.io/otel/attribute"
)

// decode reads a request with the decoder of the collector.
func decode(t *testing.T, b []byte) ptrace.Traces {
	t.Helper()
	r := ptraceotlp.NewExportRequest()
	require.NoError(t, r.UnmarshalProto(b))
	return r.Traces()
}

// decodeEvent gives the one event of a span that holds only that.
func decodeEvent(t *testing.T, event []byte) ptrace.SpanEvent {
	t.Helper()
	td := decode(t, Request(nil, nil, "s", "", []Span{{Events: [][]byte{event}}}))
	span := td.ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(0)
	require.Equal(t, 1, span.Events().Len())
	return span.Events().At(0)
}

func TestAttributesAreWhatTheCollectorReads(t *testing.T) {
	long := strings.Repeat("x", 20_000)
	for _, tt := range []struct {
		name string
		in   attribute.Value
		want any
	}{
		{"float", attribute.Float64Value(0.25), 0.25},
		{"infinity", attribute.Float64Value(math.Inf(-1)), math.Inf(-1)},
		{"zero", attribute.IntValue(0), int64(0)},
		{"negative", attribute.Int64Value(-1), int64(-1)},
		{"least", attribute.Int64Value(math.MinInt64), int64(math.MinInt64)},
		{"true", attribute.BoolValue(true), true},
		{"false", attribute.BoolValue(false), false},
		{"text", attribute.StringValue("grün 🚀"), "grün 🚀"},
		{"no text", attribute.StringValue(""), ""},
		{"long text", attribute.StringValue(long), long},
		{"text that is not UTF-8 is mended", attribute.StringValue("a\xffb"), "a\uFFFDb"},
		{"bytes", attribute.ByteSliceValue([]byte{0, 255}), []byte{0, 255}},
		{"bools", attribute.BoolSliceValue([]bool{true, false}), []any{true, false}},
		{"ints", attribute.Int64SliceValue([]int64{-1, 300}), []any{int64(-1), int64(300)}},
		{"floats", attribute.Float64SliceValue([]float64{1, 2}), []any{1.0, 2.0}},
		{"texts", attribute.StringSliceValue([]string{"a", "", "b\xff"}), []any{"a", "", "b\uFFFD"}},
		{"no texts", attribute.StringSliceValue(nil), []any{}},
		{"mixed", attribute.SliceValue(attribute.IntValue(1), attribute.StringValue("x")), []any{int64(1), "x"}},
		{
			"nested", attribute.MapValue(attribute.Int("n", 1), attribute.KeyValue{Key: "m", Value: attribute.MapValue(attribute.String("t", long))}),
			map[string]any{"n": int64(1), "m": map[string]any{"t": long}},
		},
		{"empty", attribute.Value{}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, mark := BeginEvent(nil, 42)
			b = EventName(b, "e")
			b = Attribute(b, OfEvent, "k\xff", tt.in)
			b = EndEvent(b, mark)
			e := decodeEvent(t, b)
			assert.Equal(t, "e", e.Name())
			assert.Equal(t, pcommon.Timestamp(42), e.Timestamp())
			assert.Equal(t, map[string]any{"k\uFFFD": tt.want}, e.Attributes().AsRaw())
		})
	}
}

// Keys and events of every length around those where lengths take another byte.
func TestLengthsOfAllSizes(t *testing.T) {
	for _, n := range []int{0, 1, 100, 107, 108, 109, 110, 111, 112, 113, 114, 115, 127, 128, 129, 16_300, 16_384, 20_000, 2 << 20} {
		k := strings.Repeat("k", n)
		b, mark := BeginEvent([]byte{}, 42)
		b = Attribute(EventName(b, "e"), OfEvent, k, attribute.Float64Value(0.5))
		b = Attribute(b, OfEvent, "after", attribute.BoolValue(true))
		e := decodeEvent(t, EndEvent(b, mark))
		assert.Equal(t, map[string]any{k: 0.5, "after": true}, e.Attributes().AsRaw(), n)
	}
	// The length of the event itself: everything between 16,256 and 16,512 bytes, and around 128.
	for _, from := range []int{60, 16_256} {
		for n := range 256 {
			text := strings.Repeat("t", from+n)
			b, mark := BeginEvent([]byte{}, 42)
			b = String(EventName(b, "e"), OfEvent, "k", text)
			e := decodeEvent(t, EndEvent(b, mark))
			require.Equal(t, map[string]any{"k": text}, e.Attributes().AsRaw(), from+n)
		}
	}
}

func TestRequestHoldsItsSpans(t *testing.T) {
	head := SpanHead(nil, [16]byte{1, 2}, [8]byte{3}, "carrier")
	head = Bool(head, OfSpan, "carrier", true)
	head = Strings(head, OfSpan, "tags", []string{"a", "b"})
	var events []byte
	for i := range 3 {
		var mark int
		events, mark = BeginEvent(events, int64(i))
		events = EndEvent(Int(EventName(events, "e"), OfEvent, "i", int64(i)), mark)
	}
	resource := Resource([]attribute.KeyValue{attribute.String("service.name", "train")})
	td := decode(t, Request([]byte{}, resource, "scope", "v1", []Span{
		{Head: head, ID: [8]byte{9}, Start: 7, End: 8, Events: [][]byte{events, events}},
		{Head: head, ID: [8]byte{10}},
	}))

	rs := td.ResourceSpans().At(0)
	assert.Equal(t, map[string]any{"service.name": "train"}, rs.Resource().Attributes().AsRaw())
	assert.Equal(t, "scope", rs.ScopeSpans().At(0).Scope().Name())
	assert.Equal(t, "v1", rs.ScopeSpans().At(0).Scope().Version())
	spans := rs.ScopeSpans().At(0).Spans()
	require.Equal(t, 2, spans.Len())
	s := spans.At(0)
	assert.Equal(t, pcommon.TraceID{1, 2}, s.TraceID())
	assert.Equal(t, pcommon.SpanID{9}, s.SpanID())
	assert.Equal(t, pcommon.SpanID{3}, s.ParentSpanID())
	assert.Equal(t, "carrier", s.Name())
	assert.Equal(t, ptrace.SpanKindInternal, s.Kind())
	assert.Equal(t, uint32(0x101), s.Flags())
	assert.Equal(t, pcommon.Timestamp(7), s.StartTimestamp())
	assert.Equal(t, pcommon.Timestamp(8), s.EndTimestamp())
	assert.Equal(t, map[string]any{"carrier": true, "tags": []any{"a", "b"}}, s.Attributes().AsRaw())
	assert.Equal(t, 6, s.Events().Len())
	assert.Equal(t, pcommon.SpanID{10}, spans.At(1).SpanID())
}
