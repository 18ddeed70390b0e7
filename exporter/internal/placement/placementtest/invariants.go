package placementtest

import (
	"fmt"

	"github.com/otel-wandb/otel-wandb/exporter/internal/placement"
)

// What must hold in every case, after every step.

func (w *world) violated(format string, args ...any) {
	if w.broken == nil {
		w.broken = fmt.Errorf(format, args...)
	}
}

// stays: what has been placed stays placed.
func (w *world) stays(a *arrival, f found) {
	for _, before := range w.placed[a.name] {
		if before.decision == nil || f.decision == nil || w.heard[a.name] != a {
			continue
		}
		if before.decision.Run != f.decision.Run {
			w.violated("%s was %s and then is %s: what has been placed stays placed", a.name, before, f)
		}
	}
}

// ownerFirst: a task is placed before what is placed by it, so that it opens
// the run that the others are written to.
func (w *world) ownerFirst(a *arrival, s *placement.Subject, d *placement.Decision) {
	if s.Task != nil {
		w.tasks[s.Span] = true
	}
	if d == nil || d.Refused() || d.Span == (placement.SpanID{}) || s.Span == d.Span {
		return
	}
	if !w.tasks[d.Span] {
		w.violated("%s is placed by task %s, which is not placed itself yet", a.name, w.nameOf(d.Span))
	}
}

// check: what waits is counted, and the bounds hold.
func (w *world) check(out placement.Outcome) {
	if got, want := w.table.Waiting(), len(w.waiting); got != want {
		w.violated("the table says that %d units wait, and %d do", got, want)
	}
	if w.cfg.MaxWaiting > 0 && w.table.Waiting() > w.cfg.MaxWaiting {
		w.violated("%d units wait, %d may", w.table.Waiting(), w.cfg.MaxWaiting)
	}
	if w.table.Links() < 0 {
		w.violated("%d spans are remembered", w.table.Links())
	}
	for _, d := range out.Refused {
		if d.Text == "" {
			w.violated("span %s is refused (%s) without a word why", w.nameOf(d.Span), d.Reason)
		}
	}
}
