package placement

// Waits gives each unit that waits, with the span that must be known first: for
// what waits for a task that waits itself, the span that this one waits for.
func (t *Table) Waits(yield func(w *Waiter, missing SpanID) bool) {
	for e := t.recent.Front(); e != nil; e = e.Next() {
		tr := e.Value.(*trace)
		above := map[SpanID]SpanID{} // of tasks that wait
		for missing, waiters := range tr.waitOn {
			for _, w := range waiters {
				if w.Subject.isTask() {
					above[w.Subject.Span] = missing
				}
			}
		}
		for missing, waiters := range tr.waitOn {
			last := missing
			for range above { // a bound: tasks may wait for each other
				up, ok := above[last]
				if !ok {
					break
				}
				last = up
			}
			for _, w := range waiters {
				if !yield(w, last) {
					return
				}
			}
		}
	}
}
