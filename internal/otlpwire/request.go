package otlpwire

import (
	"encoding/binary"

	"go.opentelemetry.io/otel/attribute"
)

const (
	requestResourceSpans = 1<<3 | 2
	resourceSpansOf      = 1<<3 | 2
	resourceSpansScopes  = 2<<3 | 2
	scopeSpansScope      = 1<<3 | 2
	scopeSpansSpans      = 2<<3 | 2
	scopeName            = 1<<3 | 2
	scopeVersion         = 2<<3 | 2

	spanTrace  = 1<<3 | 2
	spanID     = 2<<3 | 2
	spanParent = 4<<3 | 2
	spanName   = 5<<3 | 2
	spanKind   = 6 << 3
	spanStart  = 7<<3 | 1
	spanEnd    = 8<<3 | 1

	kindInternal = 1
	// idAndTimes is the size of a span's id, start and end.
	idAndTimes = 2 + 8 + 9 + 9
)

// spanFlags is the field flags, 16, a fixed32, as the SDK sets it: sampled, and
// known not to have a remote parent.
var spanFlags = []byte{16<<3&0x7f | 5 | 0x80, 1, 0x01, 0x01, 0, 0}

// Resource is the message Resource.
func Resource(attrs []attribute.KeyValue) []byte {
	var b []byte
	for _, kv := range attrs {
		b = Attribute(b, OfResource, string(kv.Key), kv.Value)
	}
	return b
}

// SpanHead appends what all spans of one kind share: trace, parent and name.
// The caller appends their attributes, with tag [OfSpan].
func SpanHead(b []byte, trace [16]byte, parent [8]byte, name string) []byte {
	b = append(b, spanTrace, byte(len(trace)))
	b = append(b, trace[:]...)
	b = append(b, spanParent, byte(len(parent)))
	b = append(b, parent[:]...)
	b = append(b, spanFlags...)
	b = appendText(b, spanName, name)
	return append(b, spanKind, kindInternal)
}

// Span is one span of a request.
type Span struct {
	Head       []byte // of SpanHead
	ID         [8]byte
	Start, End int64    // unix nanoseconds
	Events     [][]byte // each a number of whole events
}

func (s *Span) size() int {
	n := len(s.Head) + idAndTimes
	for _, e := range s.Events {
		n += len(e)
	}
	return n
}

// SpanOverhead is more than a span costs beyond its head and events.
const SpanOverhead = idAndTimes + 8

// Request appends a whole ExportTraceServiceRequest: spans of one resource and
// one scope.
func Request(b, resource []byte, scope, version string, spans []Span) []byte {
	var s []byte
	s = appendText(s, scopeName, scope)
	if version != "" {
		s = appendText(s, scopeVersion, version)
	}
	// Sizes first: moving megabytes to make room for a length would cost more.
	inScope := fieldSize(len(s))
	for i := range spans {
		inScope += fieldSize(spans[i].size())
	}
	inResource := fieldSize(len(resource)) + fieldSize(inScope)

	b = appendLength(b, requestResourceSpans, inResource)
	b = appendLength(b, resourceSpansOf, len(resource))
	b = append(b, resource...)
	b = appendLength(b, resourceSpansScopes, inScope)
	b = appendLength(b, scopeSpansScope, len(s))
	b = append(b, s...)
	for i := range spans {
		b = spans[i].append(b)
	}
	return b
}

func (s *Span) append(b []byte) []byte {
	b = appendLength(b, scopeSpansSpans, s.size())
	b = append(b, s.Head...)
	b = append(b, spanID, byte(len(s.ID)))
	b = append(b, s.ID[:]...)
	b = binary.LittleEndian.AppendUint64(append(b, spanStart), uint64(s.Start))
	b = binary.LittleEndian.AppendUint64(append(b, spanEnd), uint64(s.End))
	for _, e := range s.Events {
		b = append(b, e...)
	}
	return b
}

func appendLength(b []byte, tag byte, n int) []byte {
	return binary.AppendUvarint(append(b, tag), uint64(n))
}
