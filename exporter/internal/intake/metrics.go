package intake

import (
	"cmp"
	"encoding/binary"
	"slices"
	"strconv"
	"strings"

	"github.com/cespare/xxhash/v2"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/otel-wandb/otel-wandb/exporter/internal/placement"
	"github.com/otel-wandb/otel-wandb/exporter/internal/run"
	"github.com/otel-wandb/otel-wandb/internal/semconv"
)

// Points is how metric points find their run.
type Points struct {
	Label string // in the keys of system metrics, unless they join by a machine
	// Join: they name no run, and look for those that are open.
	Join   bool
	Source *run.Source // where they come from; nil: their resource does not say
	// Program: they tell of a program, and are of its run only. Otherwise they
	// tell of a machine, and are of all runs on it.
	Program bool
}

// Metrics reads a request of metrics: one unit for the points of a resource
// that go the same way.
func Metrics(md pmetric.Metrics, opts *Options) []placement.Unit {
	return new(reader).metrics(md, opts)
}

func (r *reader) metrics(md pmetric.Metrics, opts *Options) []placement.Unit {
	r.opts = opts
	for _, rm := range md.ResourceMetrics().All() {
		attrs := rm.Resource().Attributes()
		r.resource(attrs)
		m := &metricReader{r: r, rank: rankLabel(&r.defs.resource), points: make([]run.Point, 0, pointsOf(rm))}
		m.resource = m.hashOf(attrs)
		for _, sm := range rm.ScopeMetrics().All() {
			r.scope(sm.Scope())
			m.beginScope(sm.Scope())
			for _, metric := range sm.Metrics().All() {
				m.metric(metric)
			}
		}
		m.end()
	}
	return r.units
}

func pointsOf(rm pmetric.ResourceMetrics) (n int) {
	for _, sm := range rm.ScopeMetrics().All() {
		for _, metric := range sm.Metrics().All() {
			switch metric.Type() {
			case pmetric.MetricTypeGauge:
				n += metric.Gauge().DataPoints().Len()
			case pmetric.MetricTypeSum:
				n += metric.Sum().DataPoints().Len()
			case pmetric.MetricTypeHistogram:
				n += metric.Histogram().DataPoints().Len()
			case pmetric.MetricTypeExponentialHistogram:
				n += metric.ExponentialHistogram().DataPoints().Len()
			case pmetric.MetricTypeSummary:
				n += metric.Summary().DataPoints().Len()
			}
		}
	}
	return n
}

// metricReader reads the metrics of one resource.
type metricReader struct {
	r        *reader
	rank     string
	resource uint64           // hash of the resource's attributes
	scope    uint64           // hash of the resource and the scope
	stamp    *placement.Stamp // of the scope under way
	ways     []*way
	drops    []run.Drop
	points   []run.Point // of the whole resource: in one piece
	scratch  []byte

	// The metric under way.
	name    string
	stream  uint64 // hash of the scope and the name
	system  bool
	program bool
	odd     string // what is wrong with it; said once a metric
}

// way is where points go.
type way struct {
	stamp   placement.Stamp
	named   bool // stamp says which run; otherwise they join
	program bool
	items   []run.Item
}

func (m *metricReader) beginScope(s pcommon.InstrumentationScope) {
	b := binary.LittleEndian.AppendUint64(m.scratch[:0], m.resource)
	b = appendSized(appendSized(b, s.Name()), s.Version())
	m.scratch = b
	at := xxhash.Sum64(b)
	m.scope = at ^ m.hashOf(s.Attributes())
	m.stamp = m.mark(nil)
}

// mark is the run that the nearest of point, scope and resource names: by a
// stamp, or by an id alone, which asks for it. nil: none does.
func (m *metricReader) mark(point *attributes) *placement.Stamp {
	r := m.r
	for _, from := range []*attributes{point, &r.defs.scope, &r.defs.resource} {
		switch {
		case from == nil, !from.hasOwner && from.asked.ID == "":
			continue
		case from.hasOwner:
			owner, ok := spanID(from.owner)
			if ok && from.asked.ID != "" {
				return &placement.Stamp{Run: from.asked, Owner: owner, Start: from.start}
			}
			if len(m.drops) == 0 { // once a resource
				m.drops = append(m.drops, run.Drop{
					Reason: DropBadStamp, Items: 1,
					Text: "a stamp on metrics is malformed (" + semconv.RunOwner + "=" + clip(from.owner) + ", " + semconv.RunID + "=" + clip(from.asked.ID) +
						"): it is ignored; stamp with the owner's 16 hex digits and the run's id, or give the id alone",
				})
			}
		default:
			asked := from.asked
			if scope := &r.defs.scope.asked; from == point {
				asked.Host, asked.Entity, asked.Project = cmp.Or(asked.Host, scope.Host), cmp.Or(asked.Entity, scope.Entity), cmp.Or(asked.Project, scope.Project)
			}
			return &placement.Stamp{Run: asked}
		}
	}
	return nil
}

func (m *metricReader) metric(metric pmetric.Metric) {
	m.name, m.odd = bounded(cleanKey(metric.Name()), maxMetricName), ""
	m.system = hasPrefix(m.name, systemPrefixes)
	m.program = !m.system || strings.HasPrefix(m.name, processPrefix)
	m.scratch = binary.LittleEndian.AppendUint64(m.scratch[:0], m.scope)
	m.scratch = append(m.scratch, m.name...)
	m.stream = xxhash.Sum64(m.scratch)

	switch metric.Type() {
	case pmetric.MetricTypeGauge:
		m.numbers(metric.Gauge().DataPoints())
	case pmetric.MetricTypeSum:
		m.numbers(metric.Sum().DataPoints())
	case pmetric.MetricTypeHistogram:
		for _, p := range metric.Histogram().DataPoints().All() {
			m.point(p.Timestamp(), p.Flags(), p.Attributes(), func(suffix string) { m.histogram(p, suffix) })
		}
	case pmetric.MetricTypeExponentialHistogram:
		for _, p := range metric.ExponentialHistogram().DataPoints().All() {
			m.point(p.Timestamp(), p.Flags(), p.Attributes(), func(suffix string) { m.exponential(p, suffix) })
		}
	case pmetric.MetricTypeSummary:
		for _, p := range metric.Summary().DataPoints().All() {
			m.point(p.Timestamp(), p.Flags(), p.Attributes(), func(suffix string) { m.summary(p, suffix) })
		}
	default:
		m.wrong(DropBadMetric, "has no data, or data of a kind that is not known yet: a newer version of this exporter may know it")
	}
}

func (m *metricReader) numbers(list pmetric.NumberDataPointSlice) {
	for _, p := range list.All() {
		m.point(p.Timestamp(), p.Flags(), p.Attributes(), func(suffix string) { m.number(p, suffix) })
	}
}

// wrong drops a point, or a metric, and says it once a metric.
func (m *metricReader) wrong(reason, what string) {
	if m.odd == reason {
		m.drops[len(m.drops)-1].Items++
		return
	}
	m.odd = reason
	m.drops = append(m.drops, run.Drop{Reason: reason, Items: 1, Text: "metric " + clip(m.name) + " " + what})
}

// point reads one data point. values adds what it says, under keys that end in
// the suffix that its attributes make.
func (m *metricReader) point(at pcommon.Timestamp, flags pmetric.DataPointFlags, attrs pcommon.Map, values func(suffix string)) {
	switch {
	case flags.NoRecordedValue():
		return // says only that there is none
	case m.name == "":
		m.wrong(DropBadAttribute, "has no name: name it")
		return
	case m.name[0] == '_':
		m.wrong(DropReservedKey, "begins with _, which W&B keeps for itself: rename it")
		return
	case at == 0:
		m.wrong(DropBadMetric, "has a point without a time: it would be another one each time it is sent again")
		return
	}
	stamp, own := m.stamp, false
	for key := range attrs.All() {
		own = own || strings.HasPrefix(key, semconv.Prefix)
	}
	if own {
		a := m.r.attributes(attrs)
		stamp = m.mark(&a)
	}
	values(m.suffix(attrs))
	got := m.r.row.take()
	if len(got) == 0 {
		m.wrong(DropBadMetric, "has a point without a value: it is no reading")
		return
	}
	b := binary.LittleEndian.AppendUint64(m.scratch[:0], m.stream)
	b = binary.LittleEndian.AppendUint64(b, uint64(at))
	m.scratch = b
	identity := nonZero(xxhash.Sum64(b) ^ mix(m.hashOf(attrs)))

	m.points = append(m.points, run.Point{Resource: m.resource, System: m.system, Values: got})
	w := m.way(stamp)
	w.items = append(w.items, run.Item{
		Kind:  run.KindPoint,
		ID:    run.ID{Hash: identity, Point: true},
		Order: run.Order{Time: int64(at), N: identity},
		Point: &m.points[len(m.points)-1],
	})
}

func (m *metricReader) way(stamp *placement.Stamp) *way {
	want := way{named: stamp != nil, program: m.program}
	if stamp != nil {
		want.stamp, want.program = *stamp, false // whose they are is said: no matter of what they tell
	}
	for _, w := range m.ways {
		if w.named == want.named && w.program == want.program && w.stamp == want.stamp {
			return w
		}
	}
	m.ways = append(m.ways, &want)
	return &want
}

// end makes the resource's units.
func (m *metricReader) end() {
	r := m.r
	if len(m.ways) == 0 && len(m.drops) > 0 {
		m.way(m.stamp)
	}
	for i, w := range m.ways {
		p := &Payload{Items: w.items, Points: &Points{Label: m.rank}}
		if i == 0 {
			p.Drops = m.drops
		}
		s := placement.Subject{Name: metricsOf, Holds: true, Resource: r.defs.place}
		if w.named {
			s.Stamp = &w.stamp
		} else {
			p.Points.Join, p.Points.Source, p.Points.Program = true, r.defs.source, w.program
		}
		r.units = append(r.units, placement.Unit{Subject: s, Payload: p})
	}
}

// metricsOf stands for a span's name in messages.
const metricsOf = "metrics"

// HostLabel is how machines are told apart in the keys of system metrics, where
// these join by a key of the machine.
func HostLabel(from *run.Source, key int) string {
	return plainText(cmp.Or(from.HostName, from.Key(key)))
}

// rankLabel is how ranks are told apart in the keys of system metrics.
func rankLabel(resource *attributes) string {
	switch {
	case resource.hasRank:
		return "rank-" + strconv.Itoa(resource.ranks.Rank)
	case resource.hasWorker:
		return "worker-" + strconv.Itoa(resource.ranks.Worker)
	}
	return ""
}

// hashOf is a hash of attributes in whatever order.
func (m *metricReader) hashOf(attrs pcommon.Map) (sum uint64) {
	for key, v := range attrs.All() {
		m.scratch = appendContent(appendSized(m.scratch[:0], key), v, 0)
		sum += xxhash.Sum64(m.scratch)
	}
	return sum
}

// mix spreads a sum of hashes, so that two hashes do not cancel out.
func mix(h uint64) uint64 {
	return xxhash.Sum64(binary.LittleEndian.AppendUint64(nil, h))
}

// Bounds of keys, in bytes.
const (
	maxMetricName = 512
	maxSuffix     = 256
)

// suffix is what a point's attributes add to its key: "/k=v,k2=v2", sorted.
func (m *metricReader) suffix(attrs pcommon.Map) string {
	var pairs []string
	for key, v := range attrs.All() {
		if !strings.HasPrefix(key, semconv.Prefix) {
			pairs = append(pairs, key+"="+v.AsString())
		}
	}
	if len(pairs) == 0 {
		return ""
	}
	slices.Sort(pairs)
	return "/" + bounded(plainText(strings.Join(pairs, ",")), maxSuffix)
}

// plainText is valid text without control characters.
func plainText(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '_'
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
}

// bounded cuts what is too long, and keeps what differs different.
func bounded(s string, n int) string {
	if len(s) <= n {
		return s
	}
	const tail = 9 // "~" and 8 hex digits
	h := strconv.FormatUint(xxhash.Sum64String(s)>>32|1<<32, 16)[1:]
	return strings.ToValidUTF8(s[:n-tail], "") + "~" + h
}
