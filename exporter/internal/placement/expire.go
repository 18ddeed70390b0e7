package placement

import (
	"bytes"
	"slices"
)

// Expire does what only time can do: it settles waits whose ancestors will not
// come, and forgets traces nobody asks for. Call it every second or so.
func (t *Table) Expire(now int64) Outcome {
	return t.settle(now, false)
}

// Settle ends every wait, as if retention had passed: the end of all input.
func (t *Table) Settle(now int64) Outcome {
	return t.settle(now, true)
}

func (t *Table) settle(now int64, all bool) Outcome {
	var out Outcome
	t.out = &out
	if t.wait > 0 {
		for e := t.recent.Front(); e != nil; e = e.Next() {
			if tr := e.Value.(*trace); len(tr.waitOn) > 0 {
				t.settleTrace(tr, func(w *Waiter) bool { return all || t.due(now, tr, w) })
			}
		}
	}
	t.evict(now)
	t.out = nil
	return out
}

// due tells whether a waiter has waited long enough. The wait counts from the
// later of the root's arrival and its own: a batch's order decides nothing.
func (t *Table) due(now int64, tr *trace, w *Waiter) bool {
	if now-w.Arrived >= int64(t.cfg.Retention) {
		// Not just after a start: senders bring first what they kept meanwhile.
		return t.from == 0 || now-t.from >= int64(t.cfg.Settle)
	}
	return tr.rootAt != 0 && now-max(tr.rootAt, w.Arrived) >= int64(t.cfg.Settle)
}

// settleTrace ends the waits that are due: the spans they wait for will not
// come. Nothing of that is remembered: what comes later waits anew, and so may
// find the span after all.
func (t *Table) settleTrace(tr *trace, due func(*Waiter) bool) {
	// Listed first: releasing changes the map, and to begin the walk anew each time
	// would take a million spans a million times.
	var ripe []SpanID
	for missing, waiters := range tr.waitOn {
		if n, ok := tr.nodes.get(missing); ok && n.pending {
			continue // it waits itself, and will wake these
		}
		if anyDue(waiters, due) {
			ripe = append(ripe, missing)
		}
	}
	for _, missing := range ripe {
		t.giveUp(tr, missing, due)
	}
	// What is left and due waits for tasks that wait for each other.
	for missing, waiters := range tr.waitOn {
		if !tr.nodes.at(missing).pending || !anyDue(waiters, due) {
			continue
		}
		if least, ok := tr.circle(missing); ok {
			t.breakCircle(tr, least)
			t.settleTrace(tr, due)
			return
		}
	}
}

// giveUp places what is due and waits for missing as if nothing were above it.
func (t *Table) giveUp(tr *trace, missing SpanID, due func(*Waiter) bool) {
	waiters := tr.waitOn[missing]
	var over []*Waiter
	still := waiters[:0]
	for _, w := range waiters {
		if due(w) {
			over = append(over, w)
		} else {
			still = append(still, w)
		}
	}
	clear(waiters[len(still):])
	if len(still) == 0 {
		delete(tr.waitOn, missing)
	} else {
		tr.waitOn[missing] = still
	}
	for _, w := range over {
		if !w.Subject.isTask() {
			t.release(tr, w, nil, RuleParentMissing)
			continue
		}
		t.retryTask(tr, w, nil)
		t.wake(tr, w.Subject.Span)
	}
}

func anyDue(waiters []*Waiter, due func(*Waiter) bool) bool {
	for _, w := range waiters {
		if due(w) {
			return true
		}
	}
	return false
}

// circle tells whether a pending task is its own ancestor, and which of the
// pending tasks in that circle has the smallest id: in whatever order they came,
// the same one is refused.
func (tr *trace) circle(span SpanID) (least SpanID, ok bool) {
	least = span
	at := tr.nodes.at(span).parent
	mark, moves := span, 2 // as in lookup: the way may lead into a circle that span is not in
	for steps := 0; ; steps++ {
		if at == span {
			return least, true
		}
		n, ok := tr.nodes.get(at)
		if !ok || !n.known || n.parent == (SpanID{}) {
			return least, false
		}
		if n.pending && bytes.Compare(at[:], least[:]) < 0 {
			least = at
		}
		if at = n.parent; at == mark && at != span {
			return least, false
		}
		if steps == moves {
			mark, moves = at, 2*moves
		}
	}
}

// breakCircle refuses a task that is its own ancestor, so that the others of
// the circle are decided under it.
func (t *Table) breakCircle(tr *trace, span SpanID) {
	n := tr.nodes.at(span)
	for missing, waiters := range tr.waitOn {
		i := slices.IndexFunc(waiters, func(w *Waiter) bool { return w.Subject.Span == span && w.Subject.isTask() })
		if i < 0 {
			continue
		}
		w := waiters[i]
		if tr.waitOn[missing] = slices.Delete(waiters, i, i+1); len(waiters) == 1 {
			delete(tr.waitOn, missing)
		}
		n.d = t.announce(t.refuse(&Decision{Trace: tr.id, Span: span}, &w.Subject, RefusedCycle,
			"it is its own ancestor: mend the instrumentation that made it"))
		t.release(tr, w, n.d, n.d.Rule)
		break
	}
	n.pending = false // in any case: the circle must end
	t.store(tr, span, n, nil)
	t.wake(tr, span)
}

// openUnknown is placement.unknown_parent: open. Waits of tasks end at once.
func (t *Table) openUnknown() {
	for _, w := range t.out.Waiting {
		if w.Subject.Task == nil {
			continue
		}
		if tr := t.traces[w.Subject.Trace]; tr != nil && len(tr.waitOn) > 0 {
			t.settleTrace(tr, func(o *Waiter) bool { return o == w })
		}
	}
}

// evict forgets traces whose time is over. Those with waiters stay.
func (t *Table) evict(now int64) {
	for e := t.recent.Front(); e != nil; {
		tr := e.Value.(*trace)
		keep := int64(t.cfg.Links)
		if now-tr.touched < keep {
			return // all behind it were touched later
		}
		next := e.Next()
		if tr.decided {
			keep = max(keep, int64(t.cfg.Retention))
		}
		if len(tr.waitOn) == 0 && now-tr.touched >= keep {
			t.forget(tr)
		}
		e = next
	}
}

// makeRoom forgets the longest untouched trace that holds no waiter, and tells
// whether there was one besides keep.
func (t *Table) makeRoom(keep *trace) bool {
	const look = 64 // bounded work: with more waiting traces than this in front, refuse
	i := 0
	for e := t.recent.Front(); e != nil && i < look; e, i = e.Next(), i+1 {
		if tr := e.Value.(*trace); tr != keep && len(tr.waitOn) == 0 {
			t.out.LinksEvicted += tr.nodes.len()
			t.forget(tr)
			return true
		}
	}
	return false
}

func (t *Table) forget(tr *trace) {
	t.links -= tr.nodes.len()
	t.recent.Remove(tr.elem)
	delete(t.traces, tr.id)
}
