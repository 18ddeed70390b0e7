package pace

import (
	"container/heap"
	"math"
	"time"
)

// class is what goes before what.
type class int

const (
	openings class = iota // a run's first
	ends                  // of runs, and what people wait for
	lines
	heartbeats
)

// waiter is one request that waits for its permit.
type waiter struct {
	place    *place
	class    class
	at       time.Time // not before
	key      time.Time // the earlier one of a class goes first
	deadline time.Time // zero without
	number   uint64    // the earlier one of a key
	credit   bool      // the permit stays at the place
	in       *queue    // later, first or rest; nil: it waits no more
	index    [2]int    // in there, and in due
	done     chan struct{}
}

// queue is a heap of waiters.
type queue struct {
	slot int // of their indexes
	less func(a, b *waiter) bool
	list []*waiter
}

func byTime(w, o *waiter) bool {
	return w.at.Before(o.at) || w.at.Equal(o.at) && w.number < o.number
}

func byDeadline(w, o *waiter) bool {
	return w.deadline.Before(o.deadline) || w.deadline.Equal(o.deadline) && w.number < o.number
}

func byClass(w, o *waiter) bool {
	switch {
	case w.class != o.class:
		return w.class < o.class
	case !w.key.Equal(o.key):
		return w.key.Before(o.key)
	}
	return w.number < o.number
}

func (q *queue) Len() int           { return len(q.list) }
func (q *queue) Less(i, j int) bool { return q.less(q.list[i], q.list[j]) }

func (q *queue) Swap(i, j int) {
	q.list[i], q.list[j] = q.list[j], q.list[i]
	q.list[i].index[q.slot], q.list[j].index[q.slot] = i, j
}

// Push is heap's.
func (q *queue) Push(x any) {
	w := x.(*waiter)
	w.index[q.slot] = len(q.list)
	q.list = append(q.list, w)
}

// Pop is heap's.
func (q *queue) Pop() any {
	last := len(q.list) - 1
	w := q.list[last]
	q.list[last] = nil
	q.list = q.list[:last]
	return w
}

func (q *queue) add(w *waiter)    { heap.Push(q, w) }
func (q *queue) remove(w *waiter) { heap.Remove(q, w.index[q.slot]) }

// head is the first, or nil.
func (q *queue) head() *waiter {
	if len(q.list) == 0 {
		return nil
	}
	return q.list[0]
}

// deadlines are the waiters that must be served in time, with a count of them by
// when that is, so that it is cheap to tell whether it can still be done.
type deadlines struct {
	queue
	counts map[int64]int // by deadline, in steps of grain
}

const grain = 10 * time.Second

func (d *deadlines) add(w *waiter) {
	d.queue.add(w)
	d.counts[w.deadline.UnixNano()/int64(grain)]++
}

func (d *deadlines) remove(w *waiter) {
	d.queue.remove(w)
	step := w.deadline.UnixNano() / int64(grain)
	if d.counts[step]--; d.counts[step] == 0 {
		delete(d.counts, step)
	}
}

// pressing tells which waiter must be next so that all are served in time at a
// rate; nil where there is time for others.
func (d *deadlines) pressing(now time.Time, rate float64) *waiter {
	if d.demand(now) >= rate {
		return d.head()
	}
	return nil
}

// demand is the rate at which all can just be served in time.
func (d *deadlines) demand(now time.Time) (rate float64) {
	head := d.head()
	if head == nil {
		return 0
	}
	sum := 0
	for step := head.deadline.UnixNano() / int64(grain); sum < d.Len(); step++ {
		if d.counts[step] == 0 {
			continue
		}
		sum += d.counts[step]
		left := time.Unix(0, step*int64(grain)).Sub(now) - grain // some to spare
		if left <= 0 {
			return math.Inf(1)
		}
		rate = max(rate, float64(sum+1)/left.Seconds())
	}
	return rate
}
