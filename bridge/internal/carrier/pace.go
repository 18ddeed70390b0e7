package carrier

import "time"

const (
	// slowest is how far requests move apart while little happens: one a second
	// for three days would be a quarter of a million spans.
	slowest = 15 * time.Second
	// little is how many events a second are worth a request a second.
	little = 2
)

// pace says when the next request is due. The first event after a silence waits
// no longer than the shortest gap; a trickle is collected.
type pace struct {
	least, most time.Duration
	gap         time.Duration // from one request to the next, for now
	last        time.Time     // request
	first       time.Time     // something to send since
}

// wait is how long what there is to send has to wait.
func (p *pace) wait(now time.Time) time.Duration {
	if p.first.IsZero() {
		p.first = now
	}
	due := p.first.Add(p.least)
	if next := p.last.Add(p.gap); next.After(due) {
		due = next
	}
	return max(due.Sub(now), 0)
}

// sent says that a request with so many events went.
func (p *pace) sent(now time.Time, events int) {
	if float64(events) < little*p.gap.Seconds() {
		p.gap = min(2*p.gap, p.most)
	} else {
		p.gap = p.least
	}
	p.hurried(now)
}

// hurried says that a request went before its time: it tells nothing of how much
// happens.
func (p *pace) hurried(now time.Time) { p.last, p.first = now, time.Time{} }
