// Package codec is how this module's own small files are encoded: CBOR, with
// strings as bytes, because span ids and text from telemetry need not be UTF-8.
package codec

import (
	"github.com/fxamacker/cbor/v2"
)

var (
	enc = must(cbor.EncOptions{String: cbor.StringToByteString, NaNConvert: cbor.NaNConvertNone, InfConvert: cbor.InfConvertNone}.EncMode())
	dec = must(cbor.DecOptions{
		ByteStringToString:  cbor.ByteStringToStringAllowed,
		FieldNameByteString: cbor.FieldNameByteStringAllowed,
		MaxArrayElements:    1 << 27,
		MaxMapPairs:         1 << 27,
	}.DecMode())
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err) // options are constants: a programmer's mistake
	}
	return v
}

// Marshal encodes v. It fails for types that cannot be encoded, never for values.
func Marshal(v any) ([]byte, error) { return enc.Marshal(v) }

// Unmarshal decodes b into v. It returns an error for bytes that are not what
// Marshal wrote for that type; it never panics.
func Unmarshal(b []byte, v any) error { return dec.Unmarshal(b, v) }
