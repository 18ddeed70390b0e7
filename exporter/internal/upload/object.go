package upload

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/otel-wandb/otel-wandb/exporter/internal/dotwandb"
	"github.com/otel-wandb/otel-wandb/internal/extjson"
)

// object is a JSON object whose values keep the text they came as: no number
// changes on its way. Keys keep their order.
type object struct {
	keys []string
	at   map[string]*node
}

// node is a value: its text, or an object that was reached into.
type node struct {
	raw  string
	kids *object
}

// parse takes an object apart, one level deep; what is none is empty.
func parse(text string) *object {
	o := &object{}
	members, err := extjson.Members(text)
	if err != nil {
		return o
	}
	for _, m := range members {
		o.put(m.Key, m.Raw)
	}
	return o
}

func (o *object) put(key, raw string) { o.node(key).raw, o.at[key].kids = raw, nil }

// node is the value of a key, made if it is not there.
func (o *object) node(key string) *node {
	n := o.at[key]
	if n == nil {
		if o.at == nil {
			o.at = map[string]*node{}
		}
		n = &node{}
		o.at[key] = n
		o.keys = append(o.keys, key)
	}
	return n
}

// inner is the object in a node; what else is there goes.
func (n *node) inner() *object {
	if n.kids == nil {
		n.kids, n.raw = parse(n.raw), ""
	}
	return n.kids
}

// set sets the value of an item.
func (o *object) set(it *dotwandb.Item, raw string) {
	key := it.Key
	for _, next := range it.Rest {
		o = o.node(key).inner()
		key = next
	}
	o.put(key, raw)
}

// unset removes the value of an item, and the objects that it leaves empty.
func (o *object) unset(it *dotwandb.Item) { o.cut(it.Key, it.Rest) }

func (o *object) cut(key string, rest []string) (was bool) {
	n := o.at[key]
	if n == nil {
		return false
	}
	if len(rest) > 0 {
		kids := n.kids
		if kids == nil {
			kids = parse(n.raw)
		}
		if !kids.cut(rest[0], rest[1:]) {
			return false
		}
		n.raw, n.kids = "", kids
		if len(kids.keys) > 0 {
			return true
		}
	}
	o.remove(key)
	return true
}

func (o *object) remove(key string) {
	if o.at[key] != nil {
		delete(o.at, key)
		o.keys = slices.DeleteFunc(o.keys, func(k string) bool { return k == key })
	}
}

// get is the text of a key's value, and whether it is there.
func (o *object) get(key string) (string, bool) {
	n := o.at[key]
	if n == nil {
		return "", false
	}
	return string(n.append(nil)), true
}

func (o *object) text() string { return string(o.append(nil)) }

// within is the text of as much as limit bytes hold, without the longest values,
// and the keys of those.
func (o *object) within(limit int) (text, without string) {
	if text = o.text(); len(text) <= limit {
		return text, ""
	}
	size := map[string]int{}
	for _, key := range o.keys {
		size[key] = len(appendQuoted(nil, key)) + len(o.at[key].append(nil)) + len(`:,`)
	}
	short := &object{keys: slices.Clone(o.keys), at: o.at}
	slices.SortStableFunc(short.keys, func(a, b string) int { return size[a] - size[b] })
	var long []string
	for total := len(text); total > limit && len(short.keys) > 0; {
		last := short.keys[len(short.keys)-1]
		short.keys = short.keys[:len(short.keys)-1]
		total -= size[last]
		long = append(long, fmt.Sprintf("%.200q", last))
	}
	return short.text(), strings.Join(long, ", ")
}

func (o *object) append(b []byte) []byte {
	b = append(b, '{')
	for i, key := range o.keys {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendQuoted(b, key), ':')
		b = o.at[key].append(b)
	}
	return append(b, '}')
}

func (n *node) append(b []byte) []byte {
	if n.kids != nil {
		return n.kids.append(b)
	}
	return append(b, n.raw...)
}

// appendQuoted writes a string as JSON, < and & as they are.
func appendQuoted(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= 0x7f {
			var text strings.Builder
			e := json.NewEncoder(&text)
			e.SetEscapeHTML(false)
			_ = e.Encode(s) // a string always encodes
			return append(b, strings.TrimSuffix(text.String(), "\n")...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

func quoted(s string) string { return string(appendQuoted(nil, s)) }

// fit is the value of an item as JSON that W&B reads; what is none becomes its
// own text, and ok false.
func fit(raw string) (text string, ok bool) {
	if _, err := extjson.Decode(raw); err != nil {
		return quoted(raw), false
	}
	if strings.ContainsAny(raw, "\n\r") { // between values: within strings they are escaped
		raw = strings.NewReplacer("\n", " ", "\r", " ").Replace(raw)
	}
	return raw, true
}
