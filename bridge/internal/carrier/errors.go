package carrier

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// What a Stream may answer. Errors say more; errors.Is finds these in them.
var (
	ErrValueTooLarge = errors.New("value too large")
	ErrRowTooLarge   = errors.New("row too large")
	ErrEmptyRow      = errors.New("row has no metric")
	ErrUnknownEvent  = errors.New("unknown event")
	ErrFull          = errors.New("the buffer for the collector is full")
	ErrEnded         = errors.New("the task has ended")
	ErrClosed        = errors.New("shut down")
)

// trouble is a kind of thing that is said once.
type trouble int

const (
	troubleFolder      trouble = iota // no files
	troubleWrite                      // a file takes no more
	troubleFull                       // rows are refused
	troubleUnreachable                // no answer
	troubleConfig                     // an answer that somebody must act on
	troubleRefused                    // a request that is never taken
	troubleSpool                      // reading or removing files
	troubleLeft                       // files of a killed process
	troubles                          // how many kinds there are
)

// reporter says each kind of trouble once: a program that logs a thousand rows
// a second must not say a thousand times what is wrong. It says it from a
// goroutine of its own: who listens may log, and we may hold the lock for that.
//
// ConcurrentSafe: a lock.
type reporter struct {
	queue chan error
	ended chan struct{}

	mu     sync.Mutex // guards both
	said   [troubles]bool
	closed bool
}

func newReporter(to func(error)) *reporter {
	r := &reporter{queue: make(chan error, troubles), ended: make(chan struct{})}
	go func() {
		defer close(r.ended)
		for err := range r.queue {
			to(err)
		}
	}()
	return r
}

func (r *reporter) once(kind trouble, format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || r.said[kind] {
		return
	}
	r.said[kind] = true
	r.queue <- fmt.Errorf(format, args...) // has room for one of each kind
}

// close waits until all is said, or ctx ends: who listens may be stuck.
func (r *reporter) close(ctx context.Context) {
	r.mu.Lock()
	if !r.closed {
		r.closed = true
		close(r.queue)
	}
	r.mu.Unlock()
	select {
	case <-r.ended:
	case <-ctx.Done():
	}
}
