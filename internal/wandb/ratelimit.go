package wandb

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// RateLimit is what an answer says is left, in units that only W&B knows.
type RateLimit struct {
	Remaining float64
	Reset     time.Duration // until all is there again
}

// rateLimitOf reads the RateLimit headers of an answer.
func rateLimitOf(h http.Header) (RateLimit, bool) {
	remaining, err1 := strconv.ParseFloat(h.Get("RateLimit-Remaining"), 64)
	reset, err2 := strconv.ParseFloat(h.Get("RateLimit-Reset"), 64)
	if err1 != nil || err2 != nil || remaining < 0 || !(reset >= 0 && reset < 1e9) {
		return RateLimit{}, false
	}
	return RateLimit{Remaining: remaining, Reset: time.Duration(reset * float64(time.Second))}, true
}

// Bounds of a limiter, in requests a second, and how it learns.
const (
	minRate      = 0.1
	maxRate      = 65536 // as good as no limit
	burst        = 10
	oldWeight    = 0.2
	learnFrom    = 5 // requests
	leastHorizon = time.Second
)

// limiter spreads requests over what W&B says is left.
//
// ConcurrentSafe: its lock.
type limiter struct {
	mu     sync.Mutex // guards everything below
	rate   float64    // requests a second
	tokens float64    // requests that may go at once; below 0 they are spoken for
	filled time.Time  // when tokens was right

	perUnit   float64 // requests that one unit pays for, as learned
	remaining float64 // at the last lesson
	ends      time.Time
	since     int // requests since the last lesson
}

func newLimiter(now time.Time) *limiter {
	return &limiter{rate: maxRate, tokens: burst, filled: now, perUnit: 1}
}

// wait holds a request back until it may go.
func (l *limiter) wait(ctx context.Context) error {
	l.mu.Lock()
	now := time.Now()
	l.tokens = min(burst, l.tokens+l.rate*now.Sub(l.filled).Seconds())
	l.filled = now
	l.tokens--
	l.since++
	d := time.Duration(-l.tokens / l.rate * float64(time.Second))
	l.mu.Unlock()
	if d <= 0 {
		return nil
	}
	return sleep(ctx, d)
}

// learn takes in what an answer says is left.
func (l *limiter) learn(r RateLimit) {
	if r.Reset <= leastHorizon {
		return // too short to tell a rate from
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	over := now.After(l.ends)
	if l.since < learnFrom && !over {
		return
	}
	units := r.Remaining / r.Reset.Seconds()
	seen := 0.0
	if used := l.remaining - r.Remaining; used >= 1 && !over {
		seen = float64(l.since) / used
	} else if units > 0 {
		seen = maxRate / units // nothing was used up, or all is back: go up
	}
	l.perUnit = oldWeight*l.perUnit + (1-oldWeight)*seen
	l.tokens = min(burst, l.tokens+l.rate*now.Sub(l.filled).Seconds())
	l.filled = now
	l.rate = min(max(l.perUnit*units, minRate), maxRate)
	l.remaining, l.ends, l.since = r.Remaining, now.Add(r.Reset), 0
}

// sleep waits, or ends with the context.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
