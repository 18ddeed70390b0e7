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
	shown   bool   // the summary has it
	touched bool   // changed since the last summary record
}

// known derives what follows from the path.
func (a *aggregate) known() {
	a.name = strings.Join(a.Path, ".")
	a.encoded = dotwandb.AppendPath(nil, a.Path...)
}

func sortByPath(list []*aggregate) {
	slices.SortFunc(list, func(a, b *aggregate) int { return slices.Compare(a.Path, b.Path) })
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

// item is the summary's entry of this metric under its definition; ok is false
// where it has none. Several words of the definition make one object: a value at
// the metric's own path replaces what stood there, whatever its shape, and
// nothing has to be removed before.
func (a *aggregate) item(def *MetricDef) (it dotwandb.Item, ok bool) {
	it = dotwandb.Item{Key: a.Path[0], Rest: a.Path[1:]}
	if a.HasSet && (!a.HasRows || !a.SetAt.Before(a.Last)) {
		it.JSON = a.Set
		return it, true
	}
	if def == nil {
		it.JSON = textOf(a.LastJSON, a.LastNum)
		return it, true
	}
	if slices.Contains(def.Summary, "none") {
		return it, false
	}
	object := []byte{'{'}
	for _, op := range summaryWords {
		text, known := a.word(op, def.Goal)
		if !known || !slices.Contains(def.Summary, op) {
			continue
		}
		if len(object) > 1 {
			object = append(object, ',')
		}
		object = append(object, `"`+op+`":`...)
		object = append(object, text...)
	}
	if len(object) == 1 {
		it.JSON = textOf(a.LastJSON, a.LastNum)
	} else {
		it.JSON = string(append(object, '}'))
	}
	return it, true
}

// summaryWords are the words of a definition that stand in the summary.
var summaryWords = []string{"min", "max", "mean", "best", "last", "first"}

// word is what one of them says; nothing of numbers where there were none.
func (a *aggregate) word(op, goal string) (text string, known bool) {
	switch op {
	case "last":
		return textOf(a.LastJSON, a.LastNum), true
	case "first":
		return textOf(a.FirstJSON, a.FirstNum), true
	}
	if a.Count == 0 {
		return "", false
	}
	switch {
	case op == "min", op == "best" && goal == "minimize":
		return textOf(a.MinJSON, a.Min), true
	case op == "max", op == "best" && goal == "maximize":
		return textOf(a.MaxJSON, a.Max), true
	case op == "mean":
		return floatJSON(a.Sum / float64(a.Count)), true
	}
	return "", false
}
