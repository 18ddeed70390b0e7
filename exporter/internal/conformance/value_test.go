package conformance

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
)

// object is a JSON object that keeps the order in which it was written.
type object []member

type member struct {
	key   string
	value any
}

func (o object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, m := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(plain(m.key))
		b.WriteByte(':')
		b.Write(plain(m.value))
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// plain is JSON without the escapes that HTML needs.
func plain(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err) // what the language makes always encodes
	}
	return bytes.TrimSpace(b.Bytes())
}

// Values that JSON has no word for.
type (
	emptyValue struct{}
	bytesValue string // base64
	special    string // NaN, Infinity, -Infinity
)

// MarshalJSON is how expectations say it.
func (s special) MarshalJSON() ([]byte, error) {
	return fmt.Appendf(nil, `{"$number":%q}`, string(s)), nil
}

var (
	isInt   = regexp.MustCompile(`^-?[0-9]+$`)
	isFloat = regexp.MustCompile(`^-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?$`)
)

// literal reads a value of the language.
func literal(s string) (any, error) {
	switch {
	case s == "true", s == "false":
		return s == "true", nil
	case s == "NaN", s == "Infinity", s == "-Infinity":
		return special(s), nil
	case s == "empty":
		return emptyValue{}, nil
	case strings.HasPrefix(s, "bytes:"):
		return bytesValue(s[len("bytes:"):]), nil
	case isInt.MatchString(s), isFloat.MatchString(s):
		return json.Number(s), nil
	case s != "" && strings.ContainsRune(`"[{`, rune(s[0])):
		d := json.NewDecoder(strings.NewReader(s))
		d.UseNumber()
		v, err := ordered(d)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s, err)
		}
		if _, err := d.Token(); !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("%s: something follows the value", s)
		}
		return v, nil
	}
	return s, nil
}

func ordered(d *json.Decoder) (any, error) {
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t {
	case json.Delim('{'):
		o := object{}
		for d.More() {
			key, err := d.Token()
			if err != nil {
				return nil, err
			}
			v, err := ordered(d)
			if err != nil {
				return nil, err
			}
			o = append(o, member{key.(string), v})
		}
		_, err = d.Token()
		return o, err
	case json.Delim('['):
		a := []any{}
		for d.More() {
			v, err := ordered(d)
			if err != nil {
				return nil, err
			}
			a = append(a, v)
		}
		_, err = d.Token()
		return a, err
	}
	if t == nil {
		return emptyValue{}, nil
	}
	return t, nil
}

// anyValue is a literal as OTLP's AnyValue.
func anyValue(v any) object {
	switch v := v.(type) {
	case string:
		return object{{"stringValue", v}}
	case bool:
		return object{{"boolValue", v}}
	case special:
		return object{{"doubleValue", string(v)}}
	case bytesValue:
		return object{{"bytesValue", string(v)}}
	case json.Number:
		if isInt.MatchString(string(v)) {
			return object{{"intValue", string(v)}}
		}
		return object{{"doubleValue", v}}
	case []any:
		values := []any{}
		for _, e := range v {
			values = append(values, anyValue(e))
		}
		return object{{"arrayValue", object{{"values", values}}}}
	case object:
		values := []any{}
		for _, m := range v {
			values = append(values, object{{"key", m.key}, {"value", anyValue(m.value)}})
		}
		return object{{"kvlistValue", object{{"values", values}}}}
	}
	return object{} // empty
}

// number is a JSON number as all comparisons see it: integers whole, floats to
// 12 digits.
func number(n json.Number) any {
	if i, err := strconv.ParseInt(string(n), 10, 64); err == nil {
		return i
	}
	f, err := n.Float64()
	if err != nil {
		return string(n)
	}
	return float(f)
}

func float(f float64) any {
	if i := int64(f); float64(i) == f && i > -1<<53 && i < 1<<53 {
		return i
	}
	return json.Number(strconv.FormatFloat(f, 'g', 15, 64))
}
