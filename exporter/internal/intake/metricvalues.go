package intake

import (
	"math"
	"strconv"
	"strings"

	"go.opentelemetry.io/collector/pdata/pmetric"
)

// number is a gauge's or a sum's reading. A delta is what it is: the change.
func (m *metricReader) number(p pmetric.NumberDataPoint, suffix string) {
	key, times := m.key("", suffix), 1.0
	if m.system {
		if own, factor, ok := wandbKey(m.name, p.Attributes()); ok {
			key, times = own, factor
		}
	}
	switch v := p.ValueType(); {
	case v == pmetric.NumberDataPointValueTypeInt && times == 1:
		m.r.row.next(key, nil).SetInt(p.IntValue())
	case v == pmetric.NumberDataPointValueTypeInt:
		m.r.row.next(key, nil).SetFloat(float64(p.IntValue()) * times)
	case v == pmetric.NumberDataPointValueTypeDouble:
		m.r.row.next(key, nil).SetFloat(p.DoubleValue() * times)
	}
}

// key is a key of the metric under way: W&B puts system. in front of system
// metrics itself.
func (m *metricReader) key(part, suffix string) string {
	name := m.name
	if m.system {
		name = strings.TrimPrefix(name, systemPrefix)
	}
	return name + part + suffix
}

func (m *metricReader) setInt(part, suffix string, n uint64) {
	key := m.key(part, suffix)
	if n > math.MaxInt64 {
		m.r.row.next(key, nil).SetFloat(float64(n))
		return
	}
	m.r.row.next(key, nil).SetInt(int64(n))
}

func (m *metricReader) setFloat(part, suffix string, f float64) {
	m.r.row.next(m.key(part, suffix), nil).SetFloat(f)
}

func (m *metricReader) histogram(p pmetric.HistogramDataPoint, suffix string) {
	h := histogram{}
	bounds, counts := p.ExplicitBounds(), p.BucketCounts()
	for i := range min(counts.Len(), bounds.Len()+1) {
		from, to := math.Inf(-1), math.Inf(1)
		if i > 0 {
			from = bounds.At(i - 1)
		}
		if i < bounds.Len() {
			to = bounds.At(i)
		}
		h.add(from, to, counts.At(i))
	}
	least, most := math.NaN(), math.NaN()
	if p.HasMin() {
		least = p.Min()
	}
	if p.HasMax() {
		most = p.Max()
	}
	m.distribution(&h, suffix, p.Count(), p.HasSum(), p.Sum(), least, most)
}

func (m *metricReader) exponential(p pmetric.ExponentialHistogramDataPoint, suffix string) {
	h := histogram{}
	width := math.Ldexp(1, -int(p.Scale())) // of a bucket, in powers of two
	edge := func(offset int32, i int) float64 { return math.Exp2((float64(offset) + float64(i)) * width) }
	down, up := p.Negative(), p.Positive()
	for i := down.BucketCounts().Len() - 1; i >= 0; i-- {
		h.add(-edge(down.Offset(), i+1), -edge(down.Offset(), i), down.BucketCounts().At(i))
	}
	if p.ZeroCount() > 0 || down.BucketCounts().Len() > 0 && up.BucketCounts().Len() > 0 {
		// The zeros' bin ends where its neighbours begin.
		from, to := -p.ZeroThreshold(), p.ZeroThreshold()
		if down.BucketCounts().Len() > 0 {
			from = -edge(down.Offset(), 0)
		}
		if up.BucketCounts().Len() > 0 {
			to = edge(up.Offset(), 0)
		}
		h.add(from, to, p.ZeroCount())
	}
	for i := range up.BucketCounts().Len() {
		h.add(edge(up.Offset(), i), edge(up.Offset(), i+1), up.BucketCounts().At(i))
	}
	least, most := math.NaN(), math.NaN()
	if p.HasMin() {
		least = p.Min()
	}
	if p.HasMax() {
		most = p.Max()
	}
	m.distribution(&h, suffix, p.Count(), p.HasSum(), p.Sum(), least, most)
}

// distribution gives a histogram's bins and its numbers. System metrics are
// numbers only.
func (m *metricReader) distribution(h *histogram, suffix string, count uint64, hasSum bool, sum, least, most float64) {
	if edges, counts := h.bins(least, most); !m.system && len(counts) > 0 {
		m.r.row.addText(m.key("", suffix), appendHistogram(nil, edges, counts))
	}
	m.setInt("/count", suffix, count)
	if hasSum {
		m.setFloat("/sum", suffix, sum)
	}
	if !math.IsNaN(least) {
		m.setFloat("/min", suffix, least)
	}
	if !math.IsNaN(most) {
		m.setFloat("/max", suffix, most)
	}
}

func (m *metricReader) summary(p pmetric.SummaryDataPoint, suffix string) {
	m.setInt("/count", suffix, p.Count())
	m.setFloat("/sum", suffix, p.Sum())
	for _, q := range p.QuantileValues().All() {
		part := "/p" + strconv.FormatFloat(q.Quantile()*100, 'g', 6, 64)
		switch q.Quantile() {
		case 0:
			part = "/min"
		case 1:
			part = "/max"
		}
		m.setFloat(part, suffix, q.Value())
	}
}

// histogram collects buckets, the lowest first. Bounds may be infinite, or, of
// senders that are odd, anything else.
type histogram struct {
	from, to []float64
	counts   []uint64
}

// maxMetricBins is how many bins W&B shows.
const maxMetricBins = 512

func (h *histogram) add(from, to float64, n uint64) {
	h.from, h.to, h.counts = append(h.from, from), append(h.to, to), append(h.counts, n)
}

// bins are the buckets with finite edges, each higher than the one before it:
// W&B draws no others. Empty ones at the ends are left out. least and most are
// NaN where they are not known.
func (h *histogram) bins(least, most float64) (edges []float64, counts []uint64) {
	first, last := 0, len(h.counts)
	for first < last && h.counts[first] == 0 {
		first++
	}
	for last > first && h.counts[last-1] == 0 {
		last--
	}
	if first == last {
		return nil, nil
	}
	low, high := h.from[first], h.to[last-1]
	if math.IsInf(low, -1) {
		low = outer(least, h.to[first], h.width(first+1), -1)
	}
	if math.IsInf(high, 1) {
		high = outer(most, h.from[last-1], h.width(last-2), 1)
	}
	if math.IsNaN(low) {
		return nil, nil
	}
	edges = append(edges, finite(low))
	for i := first; i < last; i++ {
		to := h.to[i]
		if i == last-1 {
			to = high
		}
		if to = finite(to); math.IsNaN(to) || to <= edges[len(edges)-1] {
			// No width: its values are the neighbour's.
			if len(counts) == 0 {
				edges[0] = min(edges[0], math.Nextafter(math.MaxFloat64, 0))
				to = math.Nextafter(edges[0], math.Inf(1))
			} else {
				counts[len(counts)-1] += h.counts[i]
				continue
			}
		}
		edges, counts = append(edges, to), append(counts, h.counts[i])
	}
	for len(counts) > maxMetricBins {
		edges, counts = halved(edges, counts)
	}
	return edges, counts
}

// width is that of a bucket; NaN where there is none.
func (h *histogram) width(i int) float64 {
	if i < 0 || i >= len(h.counts) {
		return math.NaN()
	}
	return h.to[i] - h.from[i]
}

// outer is the edge of a bucket that has none: the extreme where it is known and
// lies in the bucket, else as far from the inner edge as the neighbour is wide.
func outer(extreme, inner, width, sign float64) float64 {
	if math.IsInf(inner, 0) || math.IsNaN(inner) { // the only bucket
		if !math.IsNaN(extreme) {
			return extreme
		}
		return 0
	}
	if (extreme-inner)*sign > 0 {
		return extreme
	}
	if width = math.Abs(width); width == 0 || math.IsInf(width, 0) || math.IsNaN(width) {
		width = 1
	}
	return inner + sign*width
}

func finite(f float64) float64 { return max(-math.MaxFloat64, min(f, math.MaxFloat64)) }

// halved puts every two bins together.
func halved(edges []float64, counts []uint64) (outEdges []float64, outCounts []uint64) {
	outEdges = append(outEdges, edges[0])
	for i := 0; i < len(counts); i += 2 {
		n, to := counts[i], edges[i+1]
		if i+1 < len(counts) {
			n, to = n+counts[i+1], edges[i+2]
		}
		outEdges, outCounts = append(outEdges, to), append(outCounts, n)
	}
	return outEdges, outCounts
}
