package inprocess

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// park holds the requests that could not be written, and writes them again.
//
//	add ──► queue, bounded ──► loop: every request, oldest first ──► write
//	                             ▲ after 100 ms, 200 ms, … 5 s; at once for drain
//
// One goroutine tries, all in turn: a run that another program holds must not
// keep back the others.
type park struct {
	max    int64
	where  string
	write  func(*request) error
	handle func(error)

	mu      sync.Mutex // guards everything below
	queue   []*request // oldest first
	bytes   int64
	waits   Count
	refused Count
	seq     uint64
	why     error         // why the last try failed
	changed chan struct{} // closed when the queue gets shorter

	added   chan struct{} // there is something to try, later
	now     chan struct{} // try at once
	halt    chan struct{}
	stopped chan struct{}
}

// Delays between tries.
const (
	firstDelay = 100 * time.Millisecond
	lastDelay  = 5 * time.Second
)

func newPark(size int64, where string, write func(*request) error, handle func(error)) *park {
	p := &park{
		max: size, where: where, write: write, handle: handle,
		changed: make(chan struct{}), added: make(chan struct{}, 1), now: make(chan struct{}, 1),
		halt: make(chan struct{}), stopped: make(chan struct{}),
	}
	go p.loop()
	return p
}

// add takes a request that could not be written. Its error means that the
// request is lost, because too much waits already.
func (p *park) add(r *request, why error) error {
	p.mu.Lock()
	p.why = why
	if waits := p.bytes; waits+int64(len(r.body)) > p.max {
		p.refused = p.refused.add(r.count)
		p.mu.Unlock()
		return fmt.Errorf("wandb in process: %v lost: %d bytes wait for %s already, of %d that may (WithPark): mend what keeps it from being written: %w",
			r.count, waits, p.where, p.max, why)
	}
	first := len(p.queue) == 0
	p.seq++
	r.seq = p.seq
	p.queue = append(p.queue, r)
	p.bytes += int64(len(r.body))
	p.waits = p.waits.add(r.count)
	p.mu.Unlock()
	poke(p.added)
	if first {
		// Said once, not with every request that follows it.
		p.handle(fmt.Errorf("wandb in process: %s cannot be written; data wait in memory, and are tried again: %w", p.where, why))
	}
	return nil
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // it was told already
	}
}

func (p *park) loop() {
	defer close(p.stopped)
	timer := time.NewTimer(lastDelay)
	defer timer.Stop()
	timer.Stop()
	delay, armed := firstDelay, false
	for {
		select {
		case <-p.halt:
			return
		case <-p.added:
			if !armed {
				timer.Reset(delay)
				armed = true
			}
			continue
		case <-p.now:
			delay = firstDelay / 2
		case <-timer.C:
		}
		timer.Stop()
		armed = false
		if p.round() {
			delay = firstDelay
			continue
		}
		delay = min(2*delay, lastDelay)
		timer.Reset(delay)
		armed = true
	}
}

// round tries every request once, and tells whether nothing is left.
func (p *park) round() bool {
	p.mu.Lock()
	queue := slices.Clone(p.queue)
	p.mu.Unlock()
	for _, r := range queue {
		select {
		case <-p.halt:
			return false
		default:
		}
		err := p.write(r)
		p.mu.Lock()
		if err != nil {
			p.why = err
		} else {
			p.remove(r)
		}
		p.mu.Unlock()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.queue) == 0
}

// remove takes a request that was written out of the queue.
func (p *park) remove(r *request) {
	p.queue = slices.DeleteFunc(p.queue, func(q *request) bool { return q == r })
	p.bytes -= int64(len(r.body))
	p.waits = p.waits.sub(r.count)
	close(p.changed)
	p.changed = make(chan struct{})
}

// drain waits until all that is in the queue now is written, or says what is not.
func (p *park) drain(ctx context.Context) error {
	p.mu.Lock()
	last := p.seq
	p.mu.Unlock()
	for first := true; ; first = false {
		p.mu.Lock()
		done := len(p.queue) == 0 || p.queue[0].seq > last
		changed := p.changed
		p.mu.Unlock()
		if done {
			return nil
		}
		if first {
			poke(p.now)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return p.left(ctx.Err())
		}
	}
}

// left says what the queue holds, where it should be, and why it is not there.
func (p *park) left(cause error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.queue) == 0 {
		return fmt.Errorf("wandb in process: nothing waits for %s: %w", p.where, cause)
	}
	return fmt.Errorf("wandb in process: %v not written to %s, and lost when the program ends: %w: %w", p.waits, p.where, cause, p.why)
}

func (p *park) stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	return Stats{Parked: p.waits, ParkedBytes: p.bytes, Refused: p.refused}
}

// stop ends the goroutine. What waits stays where it is.
func (p *park) stop() {
	close(p.halt)
	<-p.stopped
}
