package dotwandb

import (
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// Item is one value of config, summary, history or stats, by its path: Key,
// and for a value inside of nested maps Rest. JSON is the value in W&B's JSON,
// in which NaN, Infinity and -Infinity are bare tokens.
type Item struct {
	Key  string
	Rest []string
	JSON string
}

// Field numbers that the items of all four messages share.
const (
	itemKey    = 1
	itemNested = 2
	itemJSON   = 16
)

// appendItem writes the path as nested_key, the form W&B's core writes in
// history; with flat, a path of one element as key, the form of config.
func appendItem(dst []byte, num protowire.Number, it *Item, flat bool) []byte {
	dst, body := open(dst, num)
	if flat && len(it.Rest) == 0 {
		dst = appendString(dst, itemKey, it.Key)
	} else {
		dst = appendElement(dst, itemNested, it.Key)
		for _, k := range it.Rest {
			dst = appendElement(dst, itemNested, k)
		}
	}
	dst = appendString(dst, itemJSON, it.JSON)
	return shut(dst, body)
}

func appendItems(dst []byte, num protowire.Number, items []Item, flat bool) []byte {
	for i := range items {
		dst = appendItem(dst, num, &items[i], flat)
	}
	return dst
}

func decodeItem(items []Item, b []byte) ([]Item, error) {
	var it Item
	nested := 0
	err := walk(b, func(f field) error {
		switch f.num {
		case itemKey:
			if nested == 0 {
				it.Key = f.text()
			}
		case itemNested:
			if nested == 0 {
				it.Key = f.text()
			} else {
				it.Rest = append(it.Rest, f.text())
			}
			nested++
		case itemJSON:
			it.JSON = f.text()
		}
		return nil
	})
	return append(items, it), err
}

// History is one row.
type History struct {
	Items []Item
	Step  int64
}

func (h *History) append(dst []byte) []byte {
	return appendStep(appendItems(dst, 1, h.Items, false), h.Step)
}

func (h *History) decode(b []byte) error {
	return walk(b, func(f field) (err error) {
		switch f.num {
		case 1:
			h.Items, err = decodeItem(h.Items, f.body)
		case 2:
			err = walk(f.body, func(f field) error {
				if f.num == 1 {
					h.Step = f.int()
				}
				return nil
			})
		}
		return err
	})
}

// A history row is the record there is by far the most of. So it can also be
// written in pieces, by who has its values as numbers, without Items between:
//
//	dst, row := OpenRow(dst)
//	dst, item := OpenItem(dst, path) // for each value
//	dst = append(dst, "0.5"...)
//	dst = ShutItem(dst, item)
//	dst = ShutRow(dst, row, step)
//
// It is then a record without Num: see AppendNum.

// RowMark is where an open row begins.
type RowMark struct{ body int }

// ItemMark is where the JSON of an open item begins, and the item.
type ItemMark struct{ body, json int }

// AppendPath appends the encoded path of an item, for OpenItem.
func AppendPath(dst []byte, path ...string) []byte {
	for _, key := range path {
		dst = appendElement(dst, itemNested, key)
	}
	return dst
}

// AppendText appends text as records may have it: with U+FFFD for what is not UTF-8.
func AppendText(dst []byte, s string) []byte { return append(dst, validText(s)...) }

// OpenRow begins a record that is a row.
func OpenRow(dst []byte) ([]byte, RowMark) {
	dst, body := open(dst, typeHistory)
	return dst, RowMark{body}
}

// OpenItem begins an item. Its JSON is appended next, and must be UTF-8.
func OpenItem(dst, path []byte) ([]byte, ItemMark) {
	dst, body := open(dst, 1)
	dst, json := open(append(dst, path...), itemJSON)
	return dst, ItemMark{body, json}
}

// ShutItem ends an item.
func ShutItem(dst []byte, m ItemMark) []byte { return shut(shut(dst, m.json), m.body) }

// ShutRow ends a row.
func ShutRow(dst []byte, m RowMark, step int64) []byte {
	return shut(appendStep(dst, step), m.body)
}

func appendStep(dst []byte, step int64) []byte {
	dst, body := open(dst, 2) // always there, empty for step 0
	return shut(appendInt(dst, 1, step), body)
}

// Summary sets and removes keys of the run's summary.
type Summary struct{ Update, Remove []Item }

func (s *Summary) append(dst []byte) []byte {
	dst = appendItems(dst, 1, s.Update, false)
	return appendItems(dst, 2, s.Remove, false)
}

func (s *Summary) decode(b []byte) error { return decodeChange(b, &s.Update, &s.Remove) }

// Config sets and removes keys of the run's config.
type Config struct{ Update, Remove []Item }

func (c *Config) append(dst []byte) []byte {
	dst = appendItems(dst, 1, c.Update, true)
	return appendItems(dst, 2, c.Remove, true)
}

func (c *Config) decode(b []byte) error { return decodeChange(b, &c.Update, &c.Remove) }

func decodeChange(b []byte, update, remove *[]Item) error {
	return walk(b, func(f field) (err error) {
		switch f.num {
		case 1:
			*update, err = decodeItem(*update, f.body)
		case 2:
			*remove, err = decodeItem(*remove, f.body)
		}
		return err
	})
}

// Stats are system metrics of a moment. Keys have no "system." in front, and
// no nesting: W&B adds the prefix when it uploads.
type Stats struct {
	Time  time.Time
	Items []Item
}

func (s *Stats) append(dst []byte) []byte {
	dst = appendTime(dst, 2, s.Time)
	for i := range s.Items {
		it := Item{Key: s.Items[i].Key, JSON: s.Items[i].JSON} // StatsItem has no nested_key
		dst = appendItem(dst, 3, &it, true)
	}
	return dst
}

func (s *Stats) decode(b []byte) error {
	return walk(b, func(f field) (err error) {
		switch f.num {
		case 2:
			s.Time, err = f.time()
		case 3:
			s.Items, err = decodeItem(s.Items, f.body)
		}
		return err
	})
}
