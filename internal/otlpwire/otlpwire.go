// Package otlpwire writes the few messages of OTLP that a carrier is made of,
// straight to bytes: a row costs no message objects, and no walk over them.
//
//	ExportTraceServiceRequest
//	└ ResourceSpans ─ resource
//	  └ ScopeSpans ─ scope
//	    └ Span ─ head (ids, name, stamp) │ id, times │ events ◄─ appended as they happen
//
// Every function appends to a slice that its caller owns; nothing here has
// state. Text that is not UTF-8 is mended, because one such string would make
// strict receivers refuse the whole request.
package otlpwire

import (
	"encoding/binary"
	"math"
	"math/bits"
	"slices"
	"strings"
	"unicode/utf8"

	"go.opentelemetry.io/otel/attribute"
)

// Tag is a field of a message that holds a message or text: number and wire
// type, in one byte.
type Tag byte

// Where attributes and events stand.
const (
	OfEvent    Tag = 3<<3 | 2  // Span.Event.attributes
	OfSpan     Tag = 9<<3 | 2  // Span.attributes
	OfResource Tag = 1<<3 | 2  // Resource.attributes
	SpanEvent  Tag = 11<<3 | 2 // Span.events
)

const (
	key        = 1<<3 | 2 // KeyValue
	value      = 2<<3 | 2
	anyString  = 1<<3 | 2 // AnyValue
	anyBool    = 2 << 3
	anyInt     = 3 << 3
	anyDouble  = 4<<3 | 1
	anyArray   = 5<<3 | 2
	anyMap     = 6<<3 | 2
	anyBytes   = 7<<3 | 2
	element    = 1<<3 | 2 // ArrayValue.values, KeyValueList.values
	eventTime  = 1<<3 | 1
	eventName  = 2<<3 | 2
	doubleSize = 9
)

// Begin opens a message in field tag. [End] closes it, with the mark.
func Begin(b []byte, tag Tag) (_ []byte, mark int) {
	b = append(b, byte(tag))
	return b, len(b)
}

// End closes the message that began at mark: its length goes in front of it.
// Moving a row's few hundred bytes by one or two costs less than measuring the
// row first.
func End(b []byte, mark int) []byte {
	n := len(b) - mark
	if n < 0x80 {
		b = append(b, 0)
		copy(b[mark+1:], b[mark:mark+n])
		b[mark] = byte(n)
		return b
	}
	var length [binary.MaxVarintLen64]byte
	return slices.Insert(b, mark, length[:binary.PutUvarint(length[:], uint64(n))]...)
}

// BeginEvent opens a span event. Its name follows ([EventName]), then its
// attributes, then [EndEvent].
func BeginEvent(b []byte, unixNano int64) (_ []byte, mark int) {
	// Two bytes for the length: most rows have 128 bytes to 16 KiB.
	b = append(b, byte(SpanEvent), 0, 0, eventTime)
	return binary.LittleEndian.AppendUint64(b, uint64(unixNano)), len(b) - 1
}

// EventName appends an event's name.
func EventName(b []byte, name string) []byte { return appendText(b, eventName, name) }

// EndEvent closes the event that began at mark.
func EndEvent(b []byte, mark int) []byte {
	n := len(b) - mark
	if n >= 0x80 && n < 0x4000 {
		b[mark-2], b[mark-1] = byte(n)|0x80, byte(n>>7)
		return b
	}
	var length [binary.MaxVarintLen64]byte
	return slices.Replace(b, mark-2, mark, length[:binary.PutUvarint(length[:], uint64(n))]...)
}

// Attribute appends a key and its value.
func Attribute(b []byte, tag Tag, k string, v attribute.Value) []byte {
	switch v.Type() {
	case attribute.FLOAT64:
		b = scalar(b, tag, k, doubleSize)
		b = append(b, anyDouble)
		return binary.LittleEndian.AppendUint64(b, math.Float64bits(v.AsFloat64()))
	case attribute.INT64:
		return Int(b, tag, k, v.AsInt64())
	case attribute.BOOL:
		return Bool(b, tag, k, v.AsBool())
	case attribute.STRING:
		return String(b, tag, k, v.AsString())
	default:
		b, mark := Begin(b, tag)
		b = appendText(b, key, k)
		b, inner := Begin(b, value)
		b = appendValue(b, v)
		return End(End(b, inner), mark)
	}
}

// Int appends an attribute that is a whole number.
func Int(b []byte, tag Tag, k string, n int64) []byte {
	b = scalar(b, tag, k, 1+uvarintSize(uint64(n)))
	b = append(b, anyInt)
	return binary.AppendUvarint(b, uint64(n))
}

// Bool appends an attribute that is true or false.
func Bool(b []byte, tag Tag, k string, v bool) []byte {
	b = scalar(b, tag, k, 2)
	return append(b, anyBool, bit(v))
}

// String appends an attribute that is text.
func String(b []byte, tag Tag, k, v string) []byte {
	v = valid(v)
	b = scalar(b, tag, k, fieldSize(len(v)))
	return appendValid(b, anyString, v)
}

// Strings appends an attribute that is a list of texts.
func Strings(b []byte, tag Tag, k string, values []string) []byte {
	b, mark := Begin(b, tag)
	b = appendText(b, key, k)
	b, inner := Begin(b, value)
	b = appendStrings(b, values)
	return End(End(b, inner), mark)
}

// scalar appends what stands before a value whose size is known.
func scalar(b []byte, tag Tag, k string, size int) []byte {
	k = valid(k)
	if n := 2 + len(k) + 2 + size; n < 0x80 { // all lengths are one byte
		b = append(b, byte(tag), byte(n), key, byte(len(k)))
		b = append(b, k...)
		return append(b, value, byte(size))
	}
	b = append(b, byte(tag))
	b = binary.AppendUvarint(b, uint64(fieldSize(len(k))+fieldSize(size)))
	b = appendValid(b, key, k)
	b = append(b, value)
	return binary.AppendUvarint(b, uint64(size))
}

// appendValue appends the content of an AnyValue.
func appendValue(b []byte, v attribute.Value) []byte {
	switch v.Type() {
	case attribute.BOOL:
		return append(b, anyBool, bit(v.AsBool()))
	case attribute.INT64:
		return binary.AppendUvarint(append(b, anyInt), uint64(v.AsInt64()))
	case attribute.FLOAT64:
		return appendDouble(b, v.AsFloat64())
	case attribute.STRING:
		return appendText(b, anyString, v.AsString())
	case attribute.BYTESLICE:
		raw := v.AsByteSlice()
		b = binary.AppendUvarint(append(b, anyBytes), uint64(len(raw)))
		return append(b, raw...)
	case attribute.STRINGSLICE:
		return appendStrings(b, v.AsStringSlice())
	case attribute.BOOLSLICE:
		b, array := Begin(b, anyArray)
		for _, e := range v.AsBoolSlice() {
			b = append(b, element, 2, anyBool, bit(e))
		}
		return End(b, array)
	case attribute.INT64SLICE:
		b, array := Begin(b, anyArray)
		for _, e := range v.AsInt64Slice() {
			b = append(b, element, byte(1+uvarintSize(uint64(e))), anyInt)
			b = binary.AppendUvarint(b, uint64(e))
		}
		return End(b, array)
	case attribute.FLOAT64SLICE:
		b, array := Begin(b, anyArray)
		for _, e := range v.AsFloat64Slice() {
			b = appendDouble(append(b, element, doubleSize), e)
		}
		return End(b, array)
	case attribute.SLICE:
		b, array := Begin(b, anyArray)
		for _, e := range v.AsSlice() {
			var mark int
			b, mark = Begin(b, element)
			b = End(appendValue(b, e), mark)
		}
		return End(b, array)
	case attribute.MAP:
		b, list := Begin(b, anyMap)
		for _, e := range v.AsMap() {
			b = Attribute(b, element, string(e.Key), e.Value)
		}
		return End(b, list)
	default:
		return b // empty
	}
}

func appendStrings(b []byte, values []string) []byte {
	b, array := Begin(b, anyArray)
	for _, e := range values {
		e = valid(e)
		b = binary.AppendUvarint(append(b, element), uint64(fieldSize(len(e))))
		b = appendValid(b, anyString, e)
	}
	return End(b, array)
}

func appendDouble(b []byte, v float64) []byte {
	return binary.LittleEndian.AppendUint64(append(b, anyDouble), math.Float64bits(v))
}

func appendText(b []byte, tag byte, s string) []byte { return appendValid(b, tag, valid(s)) }

// appendValid is appendText for what has been looked at.
func appendValid(b []byte, tag byte, s string) []byte {
	b = append(b, tag)
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

func valid(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

func bit(v bool) byte {
	if v {
		return 1
	}
	return 0
}

// fieldSize is the size of a field with n bytes of content: tag, length, content.
func fieldSize(n int) int { return 1 + uvarintSize(uint64(n)) + n }

func uvarintSize(n uint64) int { return (bits.Len64(n|1) + 6) / 7 }
