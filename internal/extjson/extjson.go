// Package extjson reads the JSON that W&B speaks: JSON in which NaN, Infinity
// and -Infinity are bare tokens.
//
//	{"loss":NaN,"big":9007199254740993}   ─Decode──►  map[string]any
//	                                      ─Members─►  loss │NaN│  big │9007199254740993│
//
// The one idea: a value is either decoded, or kept as the text it came as.
// Config that only passes through keeps its text, so that no number changes on
// its way. Nothing here has state.
package extjson

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// maxDepth bounds the nesting, and so the stack.
const maxDepth = 1000

// Member is one key of an object and the text of its value.
type Member struct{ Key, Raw string }

// Members gives the top-level members of an object in their order. null is an
// object without members.
func Members(s string) ([]Member, error) {
	if strings.TrimSpace(s) == "null" {
		return nil, nil
	}
	var members []Member
	sc := scanner{s: s}
	sc.space()
	if !sc.at('{') {
		return nil, sc.fail("an object begins with {")
	}
	err := sc.object(0, func(key string) error {
		from := sc.i
		if _, err := sc.value(1, false); err != nil {
			return err
		}
		members = append(members, Member{Key: key, Raw: s[from:sc.i]})
		return nil
	})
	if err != nil {
		return nil, err
	}
	return members, sc.end()
}

// Get gives the text of a value deep in an object, and whether it is there.
func Get(s string, path ...string) (string, bool) {
	for _, key := range path {
		members, err := Members(s)
		if err != nil {
			return "", false
		}
		found := false
		for _, m := range members { // the last of equal keys wins
			if m.Key == key {
				s, found = m.Raw, true
			}
		}
		if !found {
			return "", false
		}
	}
	return s, true
}

// Decode decodes a value. Numbers are int64 where they are integers that fit,
// else float64; objects are map[string]any, arrays []any.
func Decode(s string) (any, error) {
	sc := scanner{s: s}
	sc.space()
	v, err := sc.value(0, true)
	if err != nil {
		return nil, err
	}
	return v, sc.end()
}

// DecodeObject decodes an object; null is nil.
func DecodeObject(s string) (map[string]any, error) {
	v, err := Decode(s)
	if err != nil || v == nil {
		return nil, err
	}
	m, ok := v.(map[string]any)
	if !ok {
		return nil, errors.New("not a JSON object")
	}
	return m, nil
}

// scanner walks s; i is where it is.
type scanner struct {
	s string
	i int
}

func (sc *scanner) fail(what string) error {
	return fmt.Errorf("not JSON at byte %d: %s", sc.i, what)
}

func (sc *scanner) space() {
	for sc.i < len(sc.s) && strings.IndexByte(" \t\r\n", sc.s[sc.i]) >= 0 {
		sc.i++
	}
}

// at consumes c if it is next.
func (sc *scanner) at(c byte) bool {
	if sc.i < len(sc.s) && sc.s[sc.i] == c {
		sc.i++
		return true
	}
	return false
}

func (sc *scanner) end() error {
	sc.space()
	if sc.i != len(sc.s) {
		return sc.fail("something follows the value")
	}
	return nil
}

// value consumes one value, and decodes it where keep is set.
func (sc *scanner) value(depth int, keep bool) (any, error) {
	if depth > maxDepth {
		return nil, sc.fail("nested too deeply")
	}
	switch {
	case sc.at('{'):
		var m map[string]any
		if keep {
			m = map[string]any{}
		}
		err := sc.object(depth, func(key string) error {
			v, err := sc.value(depth+1, keep)
			if err == nil && keep {
				m[key] = v
			}
			return err
		})
		return m, err
	case sc.at('['):
		return sc.array(depth, keep)
	case sc.i < len(sc.s) && sc.s[sc.i] == '"':
		return sc.text()
	default:
		return sc.word()
	}
}

// object consumes the rest of an object behind its brace; each consumes a value.
func (sc *scanner) object(depth int, each func(key string) error) error {
	if depth > maxDepth {
		return sc.fail("nested too deeply")
	}
	for first := true; ; first = false {
		sc.space()
		if first && sc.at('}') {
			return nil
		}
		key, err := sc.text()
		if err != nil {
			return err
		}
		sc.space()
		if !sc.at(':') {
			return sc.fail("a colon is missing")
		}
		sc.space()
		if err := each(key); err != nil {
			return err
		}
		sc.space()
		if sc.at('}') {
			return nil
		}
		if !sc.at(',') {
			return sc.fail("a comma or } is missing")
		}
	}
}

func (sc *scanner) array(depth int, keep bool) (any, error) {
	list := []any{}
	for first := true; ; first = false {
		sc.space()
		if first && sc.at(']') {
			return list, nil
		}
		v, err := sc.value(depth+1, keep)
		if err != nil {
			return nil, err
		}
		if keep {
			list = append(list, v)
		}
		sc.space()
		if sc.at(']') {
			return list, nil
		}
		if !sc.at(',') {
			return nil, sc.fail("a comma or ] is missing")
		}
	}
}

// text consumes a string literal.
func (sc *scanner) text() (string, error) {
	if sc.i >= len(sc.s) || sc.s[sc.i] != '"' {
		return "", sc.fail("a string is missing")
	}
	for j := sc.i + 1; j < len(sc.s); j++ {
		switch sc.s[j] {
		case '\\':
			j++
		case '"':
			var text string
			if err := json.Unmarshal([]byte(sc.s[sc.i:j+1]), &text); err != nil {
				return "", sc.fail("a bad string")
			}
			sc.i = j + 1
			return text, nil
		}
	}
	return "", sc.fail("a string without an end")
}

// word consumes a number or one of the tokens.
func (sc *scanner) word() (any, error) {
	from := sc.i
	for sc.i < len(sc.s) && strings.IndexByte(" \t\r\n,]}:", sc.s[sc.i]) < 0 {
		sc.i++
	}
	switch word := sc.s[from:sc.i]; word {
	case "null":
		return nil, nil
	case "true":
		return true, nil
	case "false":
		return false, nil
	case "NaN":
		return math.NaN(), nil
	case "Infinity", "Inf":
		return math.Inf(1), nil
	case "-Infinity", "-Inf":
		return math.Inf(-1), nil
	default:
		if !json.Valid([]byte(word)) { // Go's numbers are more than JSON's
			sc.i = from
			return nil, sc.fail("no value")
		}
		if n, err := strconv.ParseInt(word, 10, 64); err == nil {
			return n, nil
		}
		f, _ := strconv.ParseFloat(word, 64) // out of range: an infinity
		return f, nil
	}
}
