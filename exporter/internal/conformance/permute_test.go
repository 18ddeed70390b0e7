package conformance

import (
	"fmt"
	"math/rand/v2"
	"slices"

	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// variant is one way to play a case.
type variant struct {
	name string
	// kinds are the liberties it takes; a case may be exempt from one.
	kinds   []string
	restart bool
	// permute changes the requests between two waits.
	permute func(r *rand.Rand, requests []step) []step
}

const (
	byOrder   = "order"   // requests, or items within them, change places
	bySplit   = "split"   // requests are cut up or put together
	byRepeat  = "repeat"  // things come twice
	byRestart = "restart" // the exporter is started anew
)

var variants = []variant{
	{name: "reversed", kinds: []string{byOrder}, permute: func(_ *rand.Rand, s []step) []step {
		s = mapSteps(s, func(s step) []step {
			items := explode(s)
			slices.Reverse(items)
			return []step{together(items)}
		})
		slices.Reverse(s)
		return s
	}},
	{name: "requests shuffled", kinds: []string{byOrder}, permute: shuffled},
	{name: "one item a request", kinds: []string{bySplit}, permute: func(_ *rand.Rand, s []step) []step { return mapSteps(s, explode) }},
	{name: "one item a request, reversed", kinds: []string{bySplit, byOrder}, permute: func(_ *rand.Rand, s []step) []step {
		s = mapSteps(s, explode)
		slices.Reverse(s)
		return s
	}},
	{name: "one item a request, shuffled 1", kinds: []string{bySplit, byOrder}, permute: splitShuffled},
	{name: "one item a request, shuffled 2", kinds: []string{bySplit, byOrder}, permute: splitShuffled},
	{name: "one item a request, shuffled 3", kinds: []string{bySplit, byOrder}, permute: splitShuffled},
	{name: "regrouped 1", kinds: []string{bySplit, byOrder}, permute: regrouped},
	{name: "regrouped 2", kinds: []string{bySplit, byOrder}, permute: regrouped},
	{name: "all twice", kinds: []string{byRepeat}, permute: func(_ *rand.Rand, s []step) []step { return append(slices.Clone(s), s...) }},
	{name: "each twice", kinds: []string{byRepeat}, permute: func(_ *rand.Rand, s []step) []step {
		return mapSteps(s, func(s step) []step { return []step{s, s} })
	}},
	{name: "twice, one item a request, shuffled", kinds: []string{byRepeat, bySplit, byOrder}, permute: func(r *rand.Rand, s []step) []step {
		s = mapSteps(s, explode)
		return shuffled(r, append(slices.Clone(s), s...))
	}},
	{name: "restarts", kinds: []string{byRestart}, restart: true, permute: func(_ *rand.Rand, s []step) []step { return s }},
	{name: "restarts, one item a request, shuffled", kinds: []string{byRestart, bySplit, byOrder}, restart: true, permute: splitShuffled},
}

// allVariants are the variants and n more in random order, every other one with
// repeats, and every fourth with restarts.
func allVariants(n int) []variant {
	all := slices.Clone(variants)
	for i := range n {
		v := variant{name: fmt.Sprint("random ", i), kinds: []string{bySplit, byOrder}, permute: regrouped}
		if i%2 == 1 {
			v.kinds = append(v.kinds, byRepeat)
			// Requests are repeated, never items within one: there, equal log records are two.
			v.permute = func(r *rand.Rand, s []step) []step {
				s = regrouped(r, s)
				return shuffled(r, append(slices.Clone(s), s...))
			}
		}
		if i%4 >= 2 {
			v.kinds, v.restart = append(v.kinds, byRestart), true
		}
		all = append(all, v)
	}
	return all
}

func mapSteps(steps []step, f func(step) []step) (out []step) {
	for _, s := range steps {
		out = append(out, f(s)...)
	}
	return out
}

func shuffled(r *rand.Rand, steps []step) []step {
	steps = slices.Clone(steps)
	r.Shuffle(len(steps), func(i, j int) { steps[i], steps[j] = steps[j], steps[i] })
	return steps
}

func splitShuffled(r *rand.Rand, s []step) []step { return shuffled(r, mapSteps(s, explode)) }

// regrouped shuffles all items and makes requests of up to four of a kind.
func regrouped(r *rand.Rand, s []step) (out []step) {
	items := splitShuffled(r, s)
	for len(items) > 0 {
		n := 1
		for n < len(items) && n < 1+r.IntN(4) && items[n].kind() == items[0].kind() {
			n++
		}
		out = append(out, together(items[:n]))
		items = items[n:]
	}
	return out
}

// kind is what a request holds: only one kind of thing.
func (s step) kind() string {
	switch {
	case s.traces != nil:
		return "traces"
	case s.logs != nil:
		return "logs"
	}
	return "metrics"
}

// explode makes a request of each item.
func explode(s step) (out []step) {
	if s.traces != nil {
		for _, rs := range s.traces.ResourceSpans().All() {
			for _, ss := range rs.ScopeSpans().All() {
				for _, span := range ss.Spans().All() {
					td := ptrace.NewTraces()
					toRS := td.ResourceSpans().AppendEmpty()
					rs.Resource().CopyTo(toRS.Resource())
					toSS := toRS.ScopeSpans().AppendEmpty()
					ss.Scope().CopyTo(toSS.Scope())
					span.CopyTo(toSS.Spans().AppendEmpty())
					out = append(out, step{traces: &td})
				}
			}
		}
		return out
	}
	if s.metrics != nil {
		for _, rm := range s.metrics.ResourceMetrics().All() {
			for _, sm := range rm.ScopeMetrics().All() {
				for _, metric := range sm.Metrics().All() {
					md := pmetric.NewMetrics()
					toRM := md.ResourceMetrics().AppendEmpty()
					rm.Resource().CopyTo(toRM.Resource())
					toSM := toRM.ScopeMetrics().AppendEmpty()
					sm.Scope().CopyTo(toSM.Scope())
					metric.CopyTo(toSM.Metrics().AppendEmpty())
					out = append(out, step{metrics: &md})
				}
			}
		}
		return out
	}
	for _, rl := range s.logs.ResourceLogs().All() {
		for _, sl := range rl.ScopeLogs().All() {
			for _, record := range sl.LogRecords().All() {
				ld := plog.NewLogs()
				toRL := ld.ResourceLogs().AppendEmpty()
				rl.Resource().CopyTo(toRL.Resource())
				toSL := toRL.ScopeLogs().AppendEmpty()
				sl.Scope().CopyTo(toSL.Scope())
				record.CopyTo(toSL.LogRecords().AppendEmpty())
				out = append(out, step{logs: &ld})
			}
		}
	}
	return out
}

// together makes one request of several of a kind.
func together(steps []step) step {
	if steps[0].traces != nil {
		td := ptrace.NewTraces()
		for _, s := range steps {
			for _, rs := range s.traces.ResourceSpans().All() {
				rs.CopyTo(td.ResourceSpans().AppendEmpty())
			}
		}
		return step{traces: &td}
	}
	if steps[0].metrics != nil {
		md := pmetric.NewMetrics()
		for _, s := range steps {
			for _, rm := range s.metrics.ResourceMetrics().All() {
				rm.CopyTo(md.ResourceMetrics().AppendEmpty())
			}
		}
		return step{metrics: &md}
	}
	ld := plog.NewLogs()
	for _, s := range steps {
		for _, rl := range s.logs.ResourceLogs().All() {
			rl.CopyTo(ld.ResourceLogs().AppendEmpty())
		}
	}
	return step{logs: &ld}
}

// apply permutes between waits, never across one.
func (v *variant) apply(r *rand.Rand, steps []step) (out []step) {
	var requests []step
	flush := func() {
		if len(requests) > 0 {
			out = append(out, v.permute(r, requests)...)
		}
		requests = nil
	}
	for _, s := range steps {
		if s.wait > 0 {
			flush()
			out = append(out, s)
			continue
		}
		requests = append(requests, s)
	}
	flush()
	return out
}
