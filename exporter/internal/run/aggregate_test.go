package run

import (
	"math"
	"math/rand"
	"testing"

	"github.com/stretchr/testify/assert"
)

func number(f float64) *Value {
	v := &Value{Key: "m"}
	v.SetFloat(f)
	return v
}

func TestAggregateOrderOfArrivalDecidesNothing(t *testing.T) {
	type value struct {
		v *Value
		o Order
	}
	var values []value
	for i, f := range []float64{3, 1, math.NaN(), math.Inf(1), 2, 1} {
		values = append(values, value{number(f), Order{Time: int64(i / 2), Src: "s", N: uint64(i)}})
	}
	// Integers that are one number as floats.
	for i, n := range []int64{MaxExact + 1, MaxExact} {
		v := intValue("m", n)
		values = append(values, value{&v, Order{Time: 9, N: uint64(i)}})
	}
	var want aggregate
	for _, v := range values {
		want.add(v.v, v.o)
	}
	assert.Equal(t, "3", textOf(want.FirstJSON, want.FirstNum))
	assert.Equal(t, "9007199254740992", textOf(want.LastJSON, want.LastNum))
	assert.Equal(t, "1", textOf(want.MinJSON, want.Min))
	assert.Equal(t, "Infinity", textOf(want.MaxJSON, want.Max))
	assert.EqualValues(t, 7, want.Count, "a NaN is no number to count")
	r := rand.New(rand.NewSource(1))
	for range 50 {
		r.Shuffle(len(values), func(i, j int) { values[i], values[j] = values[j], values[i] })
		var got aggregate
		for _, v := range values {
			got.add(v.v, v.o)
		}
		assert.Equal(t, want, got)
	}
}

func TestSummaryItems(t *testing.T) {
	at := func(n int64) Order { return Order{Time: n} }
	rows := func(a *aggregate) *aggregate {
		for i, f := range []float64{2, 4, 3} {
			a.add(number(f), at(int64(i)))
		}
		return a
	}
	fresh := func() *aggregate { return &aggregate{Path: []string{"m"}} }
	set := rows(fresh())
	set.set("100", at(9))
	old := rows(fresh())
	old.set("100", at(1))
	text := fresh()
	text.add(&Value{Key: "m", JSON: `"x"`}, at(1))
	for _, tt := range []struct {
		name string
		a    *aggregate
		def  *MetricDef
		want string // empty: it has none
	}{
		{"nothing defined: the last", rows(fresh()), nil, "3"},
		{"defined as none", rows(fresh()), &MetricDef{Summary: []string{"none"}}, ""},
		{"least, most and mean", rows(fresh()), &MetricDef{Summary: []string{"min", "max", "mean"}}, `{"min":2,"max":4,"mean":3}`},
		{"first and last, said twice", rows(fresh()), &MetricDef{Summary: []string{"last", "first", "last"}}, `{"last":3,"first":2}`},
		{"best of a goal", rows(fresh()), &MetricDef{Summary: []string{"best"}, Goal: "maximize"}, `{"best":4}`},
		{"best without a goal: the last", rows(fresh()), &MetricDef{Summary: []string{"best"}}, "3"},
		{"hidden, no word on the summary", rows(fresh()), &MetricDef{Hidden: true}, "3"},
		{"set after the last row", set, &MetricDef{Summary: []string{"min"}}, "100"},
		{"set before the last row", old, &MetricDef{Summary: []string{"min"}}, `{"min":2}`},
		{"no numbers, but a last", text, &MetricDef{Summary: []string{"min", "last"}}, `{"last":"x"}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := tt.a.item(tt.def)
			assert.Equal(t, tt.want != "", ok)
			assert.Equal(t, tt.want, got.JSON)
			assert.Equal(t, "m", got.Key)
		})
	}
}
