package lsview

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Series is one metric over all rows of a run, at a width that does not grow.
type Series struct {
	Name  string  `json:"name"`
	Count int     `json:"count"`
	Last  Figure  `json:"last"`
	Min   float64 `json:"min"` // of the finite values
	Max   float64 `json:"max"`
	Line  string  `json:"sparkline"`

	buckets []bucket
	per     int // values a bucket takes
}

// Figure is a number that may be NaN or infinite, which JSON has only as text.
type Figure float64

// MarshalJSON writes what JSON has no number for as "NaN", "+Inf" or "-Inf".
func (f Figure) MarshalJSON() ([]byte, error) {
	text := strconv.FormatFloat(float64(f), 'g', -1, 64)
	if v := float64(f); math.IsNaN(v) || math.IsInf(v, 0) {
		text = strconv.Quote(text)
	}
	return []byte(text), nil
}

type bucket struct {
	sum float64
	n   int
}

// width is how many characters a sparkline has at most. Twice as many buckets
// are kept, so that after each halving at least as many are full.
const width = 20

// add takes the next value. When all buckets are full, each two become one that
// takes twice as many.
func (s *Series) add(v float64) {
	s.Last = Figure(v)
	if math.IsNaN(v) || math.IsInf(v, 0) {
		s.Count++
		return // a gap
	}
	if s.per == 0 {
		s.per, s.Min, s.Max = 1, v, v
	}
	s.Count++
	s.Min, s.Max = min(s.Min, v), max(s.Max, v)
	if n := len(s.buckets); n > 0 && s.buckets[n-1].n < s.per {
		s.buckets[n-1].sum += v
		s.buckets[n-1].n++
		return
	}
	if len(s.buckets) == 2*width {
		for i := range width {
			a, b := s.buckets[2*i], s.buckets[2*i+1]
			s.buckets[i] = bucket{a.sum + b.sum, a.n + b.n}
		}
		s.buckets = s.buckets[:width]
		s.per *= 2
	}
	s.buckets = append(s.buckets, bucket{v, 1})
}

var bars = []rune("▁▂▃▄▅▆▇█")

// Spark draws the series. A series that never changes is a line at the bottom.
func (s *Series) Spark() string {
	b := s.buckets
	step := 1
	if len(b) > width {
		step = 2
	}
	var means []float64
	for i := 0; i < len(b); i += step {
		var sum bucket
		for _, x := range b[i:min(i+step, len(b))] {
			sum.sum, sum.n = sum.sum+x.sum, sum.n+x.n
		}
		means = append(means, sum.sum/float64(sum.n))
	}
	if len(means) == 0 {
		return ""
	}
	least, most := slices.Min(means), slices.Max(means)
	var out strings.Builder
	for _, m := range means {
		i := 0
		if most > least {
			// Halves first: the difference of two large numbers may not fit.
			i = int((m/2 - least/2) / (most/2 - least/2) * float64(len(bars)-1))
		}
		out.WriteRune(bars[min(max(i, 0), len(bars)-1)])
	}
	return out.String()
}

// maxMetrics bounds the metrics of a run that are followed.
const maxMetrics = 1000

// metrics follow all metrics of a run.
type metrics struct {
	by   map[string]*Series
	more int // values of metrics beyond the bound
}

// row takes a row's numbers. What W&B keeps for itself, and rich values such as
// histograms, which say what they are in _type, are no metrics.
func (m *metrics) row(prefix string, values map[string]any) {
	for key, v := range values {
		if prefix == "" && strings.HasPrefix(key, "_") {
			continue
		}
		switch v := v.(type) {
		case int64:
			m.add(prefix+key, float64(v))
		case float64:
			m.add(prefix+key, v)
		case map[string]any:
			if _, rich := v["_type"]; !rich {
				m.row(prefix+key+".", v)
			}
		}
	}
}

func (m *metrics) add(name string, v float64) {
	s := m.by[name]
	if s == nil {
		if len(m.by) == maxMetrics {
			m.more++
			return
		}
		s = &Series{Name: name}
		m.by[name] = s
	}
	s.add(v)
}

func (m *metrics) sorted() []*Series {
	var all []*Series
	for _, s := range m.by {
		s.Line = s.Spark()
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b *Series) int { return cmp.Compare(a.Name, b.Name) })
	return all
}
