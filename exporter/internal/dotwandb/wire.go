package dotwandb

import (
	"encoding/binary"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// Encoding. Zero values are not written, as proto3 has it.

func appendInt(dst []byte, num protowire.Number, v int64) []byte {
	if v == 0 {
		return dst
	}
	return protowire.AppendVarint(protowire.AppendTag(dst, num, protowire.VarintType), uint64(v))
}

func appendBool(dst []byte, num protowire.Number, v bool) []byte {
	if !v {
		return dst
	}
	return appendInt(dst, num, 1)
}

func appendString(dst []byte, num protowire.Number, s string) []byte {
	if s == "" {
		return dst
	}
	return appendElement(dst, num, s)
}

// appendElement writes a string even when it is empty, as repeated fields need.
// Text comes from telemetry, and one byte that is not UTF-8 makes W&B's reader
// refuse the record and all behind it: such bytes become U+FFFD.
func appendElement(dst []byte, num protowire.Number, s string) []byte {
	return protowire.AppendString(protowire.AppendTag(dst, num, protowire.BytesType), validText(s))
}

func validText(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// open begins a nested message and shut ends it: a byte is kept for the
// length, and a body of more than 127 bytes is moved up by what its length
// needs. That is one pass over the fields, where adding up sizes first is two
// that must agree.
func open(dst []byte, num protowire.Number) (grown []byte, body int) {
	dst = append(protowire.AppendTag(dst, num, protowire.BytesType), 0)
	return dst, len(dst)
}

func shut(dst []byte, body int) []byte {
	size := len(dst) - body
	if size < 0x80 {
		dst[body-1] = byte(size)
		return dst
	}
	if more := protowire.SizeVarint(uint64(size)) - 1; more > 0 {
		var zero [binary.MaxVarintLen64]byte
		dst = append(dst, zero[:more]...)
		copy(dst[body+more:], dst[body:body+size])
	}
	binary.PutUvarint(dst[body-1:], uint64(size))
	return dst
}

func appendTime(dst []byte, num protowire.Number, t time.Time) []byte {
	if t.IsZero() {
		return dst
	}
	dst, body := open(dst, num)
	dst = appendInt(dst, 1, t.Unix())
	dst = appendInt(dst, 2, int64(t.Nanosecond()))
	return shut(dst, body)
}

// appendFlags writes a message of bools that are numbered from 1; nothing when none is set.
func appendFlags(dst []byte, num protowire.Number, flags ...bool) []byte {
	dst, body := open(dst, num)
	for i, set := range flags {
		dst = appendBool(dst, protowire.Number(i+1), set)
	}
	if len(dst) == body {
		return dst[:body-1-protowire.SizeTag(num)]
	}
	return shut(dst, body)
}

// Decoding. Unknown fields and fields of another wire type than expected are
// passed over, as protobuf has it; only malformed bytes are errors.

type field struct {
	num  protowire.Number
	typ  protowire.Type
	n    uint64 // of a varint
	body []byte // of a string or message; aliases the input
}

func (f field) text() string { return string(f.body) }
func (f field) bool() bool   { return f.n != 0 }
func (f field) int() int64   { return int64(f.n) }
func (f field) int32() int32 { return int32(f.n) }

func (f field) time() (time.Time, error) {
	var sec, nsec int64
	err := walk(f.body, func(f field) error {
		switch f.num {
		case 1:
			sec = f.int()
		case 2:
			nsec = f.int()
		}
		return nil
	})
	// Years 1 to 9999, as protobuf has it: beyond, a time cannot be compared.
	sec = min(max(sec, -62135596800), 253402300799)
	return time.Unix(sec, min(max(nsec, 0), 999_999_999)).UTC(), err
}

func (f field) flags(into ...*bool) error {
	return walk(f.body, func(f field) error {
		if i := int(f.num) - 1; i < len(into) {
			*into[i] = f.bool()
		}
		return nil
	})
}

// walk calls each with every field of message b.
func walk(b []byte, each func(field) error) error {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return fmt.Errorf("field tag: %w", protowire.ParseError(n))
		}
		b = b[n:]
		f := field{num: num, typ: typ}
		switch typ {
		case protowire.VarintType:
			f.n, n = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			f.body, n = protowire.ConsumeBytes(b)
		default:
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return fmt.Errorf("field %d: %w", num, protowire.ParseError(n))
		}
		b = b[n:]
		if err := each(f); err != nil {
			return fmt.Errorf("field %d: %w", num, err)
		}
	}
	return nil
}
