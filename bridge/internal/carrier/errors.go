package carrier

import (
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
)

// reporter says each kind of trouble once: a program that logs a thousand rows
// a second must not say a thousand times what is wrong.
//
// ConcurrentSafe: a lock.
type reporter struct {
	to   func(error)
	mu   sync.Mutex
	said map[trouble]bool
}

func newReporter(to func(error)) *reporter {
	return &reporter{to: to, said: map[trouble]bool{}}
}

func (r *reporter) once(kind trouble, format string, args ...any) {
	r.mu.Lock()
	said := r.said[kind]
	r.said[kind] = true
	r.mu.Unlock()
	if !said {
		r.to(fmt.Errorf(format, args...))
	}
}
