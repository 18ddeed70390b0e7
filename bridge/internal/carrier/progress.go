package carrier

import (
	"context"
	"sync"
)

// progress counts events from the spool's entry to their acknowledgement. The
// spool is in order, so two numbers say it all.
//
// ConcurrentSafe: a lock.
type progress struct {
	mu      sync.Mutex
	taken   uint64        // by the writer: in the spool, or about to be
	done    uint64        // acknowledged or put aside
	changed chan struct{} // closed, and made anew, when done grows
}

func (g *progress) init() { g.changed = make(chan struct{}) }

func (g *progress) take(n int) uint64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.taken += uint64(n)
	return g.taken
}

func (g *progress) finish(n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.done += uint64(n)
	close(g.changed)
	g.changed = make(chan struct{})
}

// wait returns when target events are done; else how many are.
func (g *progress) wait(ctx context.Context, target uint64) (done uint64, err error) {
	for {
		g.mu.Lock()
		done, changed := g.done, g.changed
		g.mu.Unlock()
		if done >= target {
			return done, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return done, context.Cause(ctx)
		}
	}
}

func (g *progress) logged() uint64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.taken
}

func (g *progress) finished() uint64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.done
}

func (g *progress) catchUp() {
	g.mu.Lock()
	missing := g.taken - g.done
	g.mu.Unlock()
	g.finish(int(missing))
}
