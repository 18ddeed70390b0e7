package placement

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
		return true
	}
	return tr.rootAt != 0 && now-max(tr.rootAt, w.Arrived) >= int64(t.cfg.Settle)
}

// settleTrace takes the missing spans of due waiters as roots that never came.
func (t *Table) settleTrace(tr *trace, due func(*Waiter) bool) {
	for {
		// Listed first: waking changes the map, and to begin the walk anew each time
		// would take a million spans a million times.
		var ripe []SpanID
		for missing, waiters := range tr.waitOn {
			if n, ok := tr.nodes[missing]; ok && n.pending {
				continue // it waits itself, and will wake these
			}
			if anyDue(waiters, due) {
				ripe = append(ripe, missing)
			}
		}
		if len(ripe) == 0 {
			break
		}
		for _, missing := range ripe {
			n := tr.nodes[missing]
			if len(tr.waitOn[missing]) == 0 || n.pending {
				continue // woken by one before it
			}
			n.known, n.absent, n.parent = true, true, SpanID{}
			t.learn(tr, missing, n, nil)
			if _, kept := tr.nodes[missing]; !kept {
				t.links++ // even where links are full: the wait must end
			}
			tr.nodes[missing] = n
			t.wake(tr, missing)
		}
	}
	// What is left and due waits for tasks that wait for each other.
	for missing, waiters := range tr.waitOn {
		if n := tr.nodes[missing]; n.pending && anyDue(waiters, due) && tr.inCycle(missing) {
			t.breakCycle(tr, missing)
			t.settleTrace(tr, due)
			return
		}
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

// inCycle tells whether a pending task is its own ancestor.
func (tr *trace) inCycle(span SpanID) bool {
	at := tr.nodes[span].parent
	for range len(tr.nodes) + 1 {
		if at == span {
			return true
		}
		n, ok := tr.nodes[at]
		if !ok || !n.known || n.parent == (SpanID{}) {
			return false
		}
		at = n.parent
	}
	return false
}

// breakCycle refuses a task that is its own ancestor, so that the others of
// the circle are decided under it.
func (t *Table) breakCycle(tr *trace, span SpanID) {
	for missing, waiters := range tr.waitOn {
		for i, w := range waiters {
			if w.Subject.Span != span || w.Subject.Task == nil {
				continue
			}
			tr.waitOn[missing] = append(waiters[:i:i], waiters[i+1:]...)
			if len(tr.waitOn[missing]) == 0 {
				delete(tr.waitOn, missing)
			}
			d := t.announce(t.refuse(&Decision{Trace: tr.id, Span: span}, &w.Subject, RefusedCycle,
				"it is its own ancestor: mend the instrumentation that made it"))
			t.release(tr, w, d, d.Rule)
			n := tr.nodes[span]
			n.pending, n.d = false, d
			t.learnDecision(tr, span, n)
			t.wake(tr, span)
			return
		}
	}
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
			t.out.LinksEvicted += len(tr.nodes)
			t.forget(tr)
			return true
		}
	}
	return false
}

func (t *Table) forget(tr *trace) {
	t.links -= len(tr.nodes)
	t.recent.Remove(tr.elem)
	delete(t.traces, tr.id)
}
