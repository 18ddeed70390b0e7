package runview

import (
	"encoding/json"
	"errors"
	"io"
	"math"
	"strconv"
	"strings"
)

// Numbers that stand for the tokens that W&B's JSON has and JSON has not. The
// decoder keeps a number's text, so this one is known when it comes out again;
// the infinities are too large for a float64, which makes them what they are.
const (
	nanNumber = "0e-777001"
	infNumber = "1e777001"
)

var tokens = []struct{ token, number string }{
	{"NaN", nanNumber},
	{"-Infinity", "-" + infNumber},
	{"Infinity", infNumber},
	{"-Inf", "-" + infNumber},
	{"Inf", infNumber},
}

// DecodeJSON decodes a value as W&B writes it, with NaN, Infinity and -Infinity
// as bare tokens. Numbers are int64 where they are integers that fit, else
// float64; objects are map[string]any.
func DecodeJSON(s string) (any, error) {
	d := json.NewDecoder(strings.NewReader(replaceTokens(s)))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the value")
	}
	return numbers(v), nil
}

// replaceTokens replaces the tokens outside of strings.
func replaceTokens(s string) string {
	if !strings.Contains(s, "NaN") && !strings.Contains(s, "Inf") {
		return s
	}
	var b strings.Builder
next:
	for i := 0; i < len(s); {
		if s[i] == '"' {
			end := i + stringLen(s[i:])
			b.WriteString(s[i:end])
			i = end
			continue
		}
		for _, t := range tokens {
			if strings.HasPrefix(s[i:], t.token) {
				b.WriteString(" " + t.number + " ") // spaces: 1NaN must not become a number
				i += len(t.token)
				continue next
			}
		}
		b.WriteByte(s[i])
		i++
	}
	return b.String()
}

// stringLen is the length of the string literal that s begins with.
func stringLen(s string) int {
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(s)
}

// numbers replaces the numbers in a decoded value, in place.
func numbers(v any) any {
	switch v := v.(type) {
	case json.Number:
		return number(string(v))
	case map[string]any:
		for k, x := range v {
			v[k] = numbers(x)
		}
	case []any:
		for i, x := range v {
			v[i] = numbers(x)
		}
	}
	return v
}

func number(s string) any {
	if s == nanNumber {
		return math.NaN()
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return n
	}
	f, _ := strconv.ParseFloat(s, 64) // out of range: an infinity, as wanted
	return f
}
