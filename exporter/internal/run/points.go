package run

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/cespare/xxhash/v2"

	"github.com/otel-wandb/otel-wandb/exporter/internal/dotwandb"
)

// pendingPoint is a metric's data point of the request under way: points of one
// resource and second are one row, or one sample of system metrics.
type pendingPoint struct {
	ctx  *Context
	item *Item

	second int64
	group  int // of its row
}

// Bounds of what metrics make of a run. Attributes of points are part of a key,
// and so it takes one careless attribute to make a key of every point.
const (
	maxPointKeys  = 10_000  // metrics of the history: beyond, points make no new ones
	maxSystemKeys = 10_000  // likewise of system metrics
	maxPointRow   = 1 << 20 // bytes of one row, about: more go to the next
)

// hearsPoints tells whether metric points are a sign of life. Those of a
// machine are none of the program's, and after the tasks' end they say nothing
// any more: metrics go on for ever.
func (s *State) hearsPoints(ctx *Context) bool {
	return !ctx.Joined && (!s.Open() || len(s.owners) == 0 || s.endOf() == 0)
}

// endOf is when the run's tasks had all ended, unix ns; 0: they have not.
func (s *State) endOf() (end int64) {
	for _, o := range deciding(s.owners) {
		if !o.ended() {
			return 0
		}
		end = max(end, o.end())
	}
	return end
}

// pointsOf is between which times points are the run's, unix ns.
//
// A program's metrics may go on after its tasks, and would open part after part;
// but its last reading, when it shuts down, comes a little after the end of the
// last task, and is often the only one. What joins and was read before the first
// task started came late, and is of whatever ran then.
func (s *State) pointsOf(ctx *Context) (from, to int64) {
	from, to = math.MinInt64, math.MaxInt64
	if end := s.endOf(); end != 0 {
		to = end + int64(s.cfg.Linger)
	}
	if !ctx.Joined {
		return from, to
	}
	for _, o := range s.owners {
		if o.Start != 0 && (from == math.MinInt64 || o.Start < from) {
			from = o.Start
		}
	}
	return from, to
}

// pointGroup is what points have in common that are one row.
type pointGroup struct {
	second   int64
	system   bool
	resource uint64
	label    string
	owner    SpanID
}

// writePoints writes the request's points: the earliest second first, and of one
// second in the order in which the request has them.
func (s *State) writePoints(a *Applied) {
	if len(s.points) == 0 {
		return
	}
	groups := map[pointGroup]int{}
	for i := range s.points {
		p := &s.points[i]
		g := pointGroup{
			second: p.item.Order.Time / 1e9, system: p.item.Point.System, resource: p.item.Point.Resource,
			label: p.ctx.Label, owner: p.ctx.OwnerSpan,
		}
		n, ok := groups[g]
		if !ok {
			n = len(groups)
			groups[g] = n
		}
		p.second, p.group = g.second, n
	}
	slices.SortStableFunc(s.points, func(p, q pendingPoint) int {
		return cmp.Or(
			cmp.Compare(p.second, q.second), cmp.Compare(p.group, q.group), cmp.Compare(p.item.Order.Time, q.item.Order.Time),
		)
	})
	row := pointRow{s: s, keys: map[string]struct{}{}}
	for i := range s.points {
		p := &s.points[i]
		if i > 0 && s.points[i-1].group != p.group || row.has(p) || row.size > maxPointRow {
			row.write(a)
		}
		row.add(p)
	}
	row.write(a)
	if row.refused > 0 {
		a.drop(DropTooManyKeys, row.refused, fmt.Sprintf(
			"run %q: its metrics have more than %d keys, of which %q would be one more: points of new ones are left out; take attributes of many values off them, or whole metrics out, by a view of the SDK or a processor of the collector",
			s.Key, maxPointKeys, row.example))
	}
	clear(s.points)
	s.points = s.points[:0]
}

// pointRow collects points that are one row.
type pointRow struct {
	s      *State
	points []*pendingPoint
	keys   map[string]struct{} // of points
	fresh  int                 // keys of it that the run has not heard of
	size   int

	refused int
	example string
}

// has tells whether the row has a key of the point already: the stream's next
// point is another row's.
func (r *pointRow) has(p *pendingPoint) bool {
	for i := range p.item.Point.Values {
		if _, ok := r.keys[p.item.Point.Values[i].Key]; ok {
			return true
		}
	}
	return false
}

func (r *pointRow) add(p *pendingPoint) {
	for i := range p.item.Point.Values {
		if v := &p.item.Point.Values[i]; !r.takes(v.Key, p.item.Point.System) {
			r.refused++
			r.example = v.Key
			return
		}
	}
	r.points = append(r.points, p)
	for i := range p.item.Point.Values {
		v := &p.item.Point.Values[i]
		r.keys[v.Key] = struct{}{}
		r.size += len(v.Key) + max(len(v.JSON), numberSize)
	}
}

// takes tells whether the run may have the key.
func (r *pointRow) takes(key string, system bool) bool {
	s := r.s
	if !system {
		if s.metrics[key] != nil {
			return true
		}
		r.fresh++
		return len(s.metrics)+r.fresh <= maxPointKeys
	}
	h := xxhash.Sum64String(key)
	if _, ok := s.system[h]; ok {
		return true
	}
	if len(s.system) >= maxSystemKeys {
		return false
	}
	if s.system == nil {
		s.system = map[uint64]struct{}{}
	}
	s.system[h] = struct{}{}
	return true
}

func (r *pointRow) write(a *Applied) {
	if len(r.points) > 0 {
		if r.points[0].item.Point.System {
			r.writeStats()
		} else {
			r.writeHistory(a)
		}
		a.Points += len(r.points)
	}
	r.points, r.fresh, r.size = r.points[:0], 0, 0
	clear(r.keys)
}

func (r *pointRow) writeHistory(a *Applied) {
	first, last := r.points[0], r.points[len(r.points)-1]
	it := &Item{Kind: KindRow, ID: first.item.ID, Order: first.item.Order, Row: &Row{}}
	it.Order.Time = last.item.Order.Time
	row := pendingRow{ctx: first.ctx, item: it}
	for _, p := range r.points {
		it.Row.Values = append(it.Row.Values, p.item.Point.Values...)
	}
	if first.item.Order.Time != it.Order.Time {
		// Each value keeps its own place in time, which the note says.
		row.more = &merged{values: it.Row.Values, order: it.Order}
		for _, p := range r.points {
			row.more.items = append(row.more.items, &Item{
				Kind: KindRow, ID: p.item.ID, Order: p.item.Order, Row: &Row{Values: p.item.Point.Values},
			})
		}
		r.s.writeRow(&row, a)
		return
	}
	r.s.writeRow(&row, a)
	for _, p := range r.points[1:] {
		r.s.note.id(p.item)
	}
}

func (r *pointRow) writeStats() {
	last := r.points[len(r.points)-1]
	stats := &dotwandb.Stats{Time: unixTime(last.item.Order.Time)}
	label := last.ctx.Label
	if label != "" {
		label = "/l:" + label
	}
	for _, p := range r.points {
		for i := range p.item.Point.Values {
			v := &p.item.Point.Values[i]
			stats.Items = append(stats.Items, dotwandb.Item{Key: v.Key + label, JSON: v.Text()})
		}
		r.s.note.id(p.item)
	}
	r.s.emit(&dotwandb.Record{Stats: stats})
}
