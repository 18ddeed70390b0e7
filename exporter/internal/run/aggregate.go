package run

import (
	"math"
	"slices"
	"strings"

	"github.com/otel-wandb/otel-wandb/exporter/internal/dotwandb"
)

// aggregate is what the summary may need of one metric. It is kept from the
// first row on, so that a definition may come late.
type aggregate struct {
	Path      []string `cbor:"1,keyasint"` // as logged; more than one of a nested map
	First     Order    `cbor:"2,keyasint"`
	Last      Order    `cbor:"3,keyasint"`
	FirstJSON string   `cbor:"4,keyasint,omitempty"` // empty: FirstNum says it
	LastJSON  string   `cbor:"5,keyasint,omitempty"`
	FirstNum  float64  `cbor:"16,keyasint,omitempty"`
	LastNum   float64  `cbor:"17,keyasint,omitempty"`
	Count     int64    `cbor:"6,keyasint,omitempty"` // numbers that are not NaN
	Sum       float64  `cbor:"7,keyasint,omitempty"`
	Min       float64  `cbor:"8,keyasint,omitempty"`
	Max       float64  `cbor:"9,keyasint,omitempty"`
	// The texts keep integers beyond 2^53. Empty: Min and Max say it.
	MinJSON string `cbor:"10,keyasint,omitempty"`
	MaxJSON string `cbor:"11,keyasint,omitempty"`
	// Set is what was set explicitly, by attribute or event; it holds until a
	// later row.
	Set     string `cbor:"12,keyasint,omitempty"`
	SetAt   Order  `cbor:"13,keyasint"`
	HasRows bool   `cbor:"14,keyasint,omitempty"`
	HasSet  bool   `cbor:"15,keyasint,omitempty"`

	name    string // path joined with dots, for definitions
	encoded []byte // path as records have it
	shape   string // how it stands in the summary: the definition's word on it
	touched bool   // changed since the last summary record
}

// known derives what follows from the path.
func (a *aggregate) known() {
	a.name = strings.Join(a.Path, ".")
	a.encoded = dotwandb.AppendPath(nil, a.Path...)
}

func (a *aggregate) add(v *Value, o Order) {
	if !a.HasRows {
		a.HasRows = true
		a.First, a.FirstJSON, a.FirstNum = o, v.JSON, v.Num
		a.Last, a.LastJSON, a.LastNum = o, v.JSON, v.Num
	} else {
		if o.Before(a.First) {
			a.First, a.FirstJSON, a.FirstNum = o, v.JSON, v.Num
		}
		if !o.Before(a.Last) {
			a.Last, a.LastJSON, a.LastNum = o, v.JSON, v.Num
		}
	}
	if !v.Numeric || math.IsNaN(v.Num) {
		return // a NaN says nothing of least, most or mean
	}
	if a.Count == 0 || v.Num < a.Min || v.Num == a.Min && v.JSON != a.MinJSON && lessText(v.Text(), textOf(a.MinJSON, a.Min)) {
		a.Min, a.MinJSON = v.Num, v.JSON
	}
	if a.Count == 0 || v.Num > a.Max || v.Num == a.Max && v.JSON != a.MaxJSON && lessText(textOf(a.MaxJSON, a.Max), v.Text()) {
		a.Max, a.MaxJSON = v.Num, v.JSON
	}
	a.Count++
	a.Sum += v.Num
}

// lessText orders texts of numbers that are equal as floats, so that the order
// of arrival decides nothing.
func lessText(a, b string) bool {
	if len(a) != len(b) {
		return len(a) < len(b)
	}
	return a < b
}

func (a *aggregate) set(json string, o Order) bool {
	if a.HasSet && o.Before(a.SetAt) || a.HasSet && o == a.SetAt && json <= a.Set {
		return false
	}
	a.HasSet, a.Set, a.SetAt = true, json, o
	return true
}

// items are the summary's entries of this metric under its definition; none
// where it is defined as none.
func (a *aggregate) items(def *MetricDef) []dotwandb.Item {
	one := func(json string, below ...string) dotwandb.Item {
		return dotwandb.Item{Key: a.Path[0], Rest: append(slices.Clone(a.Path[1:]), below...), JSON: json}
	}
	if a.HasSet && (!a.HasRows || !a.SetAt.Before(a.Last)) {
		return []dotwandb.Item{one(a.Set)}
	}
	var ops []string
	if def != nil {
		ops = def.Summary
	}
	if slices.Contains(ops, "none") {
		return nil
	}
	var items []dotwandb.Item
	for _, op := range ops {
		switch {
		case op == "last":
			items = append(items, one(textOf(a.LastJSON, a.LastNum), op))
		case op == "first":
			items = append(items, one(textOf(a.FirstJSON, a.FirstNum), op))
		case a.Count == 0:
			// no numbers: nothing to say of them
		case op == "min", op == "best" && def.Goal == "minimize":
			items = append(items, one(textOf(a.MinJSON, a.Min), op))
		case op == "max", op == "best" && def.Goal == "maximize":
			items = append(items, one(textOf(a.MaxJSON, a.Max), op))
		case op == "mean":
			items = append(items, one(floatJSON(a.Sum/float64(a.Count)), op))
		}
	}
	if len(items) == 0 {
		return []dotwandb.Item{one(textOf(a.LastJSON, a.LastNum))}
	}
	return items
}
