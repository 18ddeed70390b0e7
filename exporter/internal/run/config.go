package run

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/otel-wandb/otel-wandb/exporter/internal/dotwandb"
)

// setting is one contribution to the config. Several may speak of one key; the
// later wins, and what a deciding owner says wins over other owners.
type setting struct {
	Path  []string `cbor:"1,keyasint"`
	JSON  string   `cbor:"2,keyasint"`
	Order Order    `cbor:"3,keyasint"`
	Owner SpanID   `cbor:"4,keyasint,omitempty"` // where an owner's attributes said it
	Base  bool     `cbor:"5,keyasint,omitempty"` // a default of the scope or resource
}

// config is the run's config as contributions. Rendering it gives the tree.
type config struct {
	settings map[string]*setting // by who said it, and the path
	bytes    int                 // of all values
}

// set records a contribution and tells whether it changed anything.
func (c *config) set(source string, s setting) bool {
	key := source + "\x01" + strings.Join(s.Path, "\x00")
	if old, ok := c.settings[key]; ok {
		if s.Order.Before(old.Order) || s.Order == old.Order && s.JSON <= old.JSON {
			return false
		}
	}
	if c.settings == nil {
		c.settings = map[string]*setting{}
	}
	if old := c.settings[key]; old != nil {
		c.bytes -= len(old.JSON)
	}
	c.bytes += len(s.JSON)
	c.settings[key] = &s
	return true
}

// render gives the top-level keys with their values, sorted by key. deciding
// tells which owners' words win over other owners'.
func (c *config) render(deciding func(SpanID) bool, extra ...setting) []dotwandb.Item {
	all := make([]*setting, 0, len(c.settings)+len(extra))
	for _, s := range c.settings {
		all = append(all, s)
	}
	rank := func(s *setting) int {
		switch {
		case s.Base:
			return 0
		case s.Owner != (SpanID{}) && !deciding(s.Owner):
			return 1
		default:
			return 2
		}
	}
	slices.SortFunc(all, func(a, b *setting) int {
		switch {
		case rank(a) != rank(b):
			return rank(a) - rank(b)
		case a.Order != b.Order:
			if a.Order.Before(b.Order) {
				return -1
			}
			return 1
		}
		return cmp.Or(slices.Compare(a.Path, b.Path), cmp.Compare(a.JSON, b.JSON))
	})
	for i := range extra {
		all = append(all, &extra[i])
	}
	root := map[string]any{}
	for _, s := range all {
		put(root, s.Path, s.JSON)
	}
	items := make([]dotwandb.Item, 0, len(root))
	for _, key := range slices.Sorted(maps.Keys(root)) {
		items = append(items, dotwandb.Item{Key: key, JSON: string(appendTree(nil, root[key]))})
	}
	return items
}

// put sets a leaf; what stood in the way, being earlier, goes.
func put(node map[string]any, path []string, leaf string) {
	for _, key := range path[:len(path)-1] {
		below, ok := node[key].(map[string]any)
		if !ok {
			below = map[string]any{}
			node[key] = below
		}
		node = below
	}
	node[path[len(path)-1]] = leaf
}

// appendTree writes maps with sorted keys; leaves are JSON already.
func appendTree(b []byte, v any) []byte {
	tree, ok := v.(map[string]any)
	if !ok {
		return append(b, v.(string)...)
	}
	b = append(b, '{')
	for i, key := range slices.Sorted(maps.Keys(tree)) {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, key)
		b = append(b, ':')
		b = appendTree(b, tree[key])
	}
	return append(b, '}')
}

func appendString(b []byte, s string) []byte {
	quoted, _ := json.Marshal(s) // a string always marshals
	return append(b, quoted...)
}

// dotted splits a config key at its dots: a dotted key nests. Empty segments
// stay part of their neighbour, so that no key is empty.
func dotted(key string) []string {
	parts := strings.Split(key, ".")
	if slices.Contains(parts, "") {
		return []string{key}
	}
	return parts
}
