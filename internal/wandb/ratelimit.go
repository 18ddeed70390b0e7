package wandb

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// Call is what a [Limiter] is told of a request.
type Call struct {
	Op  string // as in an Error
	Run string // entity/project/run, where it is about one
	// Project is the entity/project that a file stream request is for. Without,
	// it is a GraphQL request, which W&B limits by user and not by project.
	Project string
}

// Outcome is what came of one try.
type Outcome struct {
	Status     int           // 0: no answer came
	Limit      *RateLimit    // if the answer says it
	RetryAfter time.Duration // that the answer asks for; below 0: it does not
}

// Limiter has the say over every try of every request to W&B itself, retries
// included. Files to signed URLs and the exchange of tokens are not its matter.
type Limiter interface {
	// Permit returns when the try may go, or with the context's error.
	Permit(ctx context.Context, c Call) error
	// Learn takes in what came of a try that Permit let go, once for each.
	Learn(c Call, o Outcome)
}

// outcomeOf reads the headers of an answer.
func outcomeOf(resp *http.Response, now time.Time) Outcome {
	o := Outcome{Status: resp.StatusCode, RetryAfter: -1}
	if limit, ok := rateLimitOf(resp.Header); ok {
		o.Limit = &limit
	}
	if d, ok := parseRetryAfter(resp.Header.Get("Retry-After"), now); ok {
		o.RetryAfter = d
	}
	return o
}

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

// limiters are the Limiter of a client that is alone, as W&B's own client has
// it: one a project, for file streams only.
//
// ConcurrentSafe: its lock.
type limiters struct {
	mu sync.Mutex // guards of
	of map[string]*limiter
}

func (l *limiters) get(project string) *limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.of[project] == nil {
		l.of[project] = newLimiter(time.Now())
	}
	return l.of[project]
}

// Permit waits for a file stream request's turn.
func (l *limiters) Permit(ctx context.Context, c Call) error {
	if c.Project == "" {
		return nil
	}
	return l.get(c.Project).wait(ctx)
}

// Learn takes in the headers of a file stream's answer.
func (l *limiters) Learn(c Call, o Outcome) {
	if c.Project != "" && o.Limit != nil {
		l.get(c.Project).learn(*o.Limit)
	}
}

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
