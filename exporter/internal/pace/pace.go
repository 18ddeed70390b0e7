package pace

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/otel-wandb/otel-wandb/exporter/internal/upload"
	"github.com/otel-wandb/otel-wandb/internal/wandb"
)

// Options of a scheduler. The zero value is what an exporter wants.
type Options struct {
	// Rate of a project's file streams where no answer has said what is allowed,
	// in requests a second: 1.5. It is taken for half of the allowance.
	Rate float64
	// GraphQLRate is likewise of a user's GraphQL: 10.
	GraphQLRate float64
	// Notify is told, a line each, when a lane is throttled and when that is over.
	// It may be called by any goroutine that uses the scheduler, and its timers'.
	Notify func(Notice)
}

// Notice is something to log, once for each time of throttling.
type Notice struct {
	Lane Lane
	Text string // what it is, with coordinates and a remedy
	Over bool
}

// Lane is what a scheduler does with the requests that W&B limits together.
type Lane struct {
	Host string
	// Project is the entity/project of file streams; "" with those of GraphQL.
	Project string
	Account string // of GraphQL

	Rate      float64       // requests a second that go at most
	Allowed   float64       // of those that W&B allows to all; a guess until it is Known
	Known     bool          // headers said it
	Remaining float64       // of W&B's units, where Known
	Resets    time.Duration // until W&B's window is over
	Interval  time.Duration // between requests of a run, of those that wait now
	Runs      int           // that were heard of lately
	Alive     int           // of them: W&B must hear of these
	Waiting   int           // requests
	Sent      int64         // permits given
	Refused   int64         // answers that asked to send less
	// ThrottledBy says what holds requests back longer than usual; "" nothing.
	ThrottledBy string
}

// Permits that may go at once at most, and how long a lane without runs is kept.
const (
	streamBurst  = 10
	graphQLBurst = 60
	keepLane     = time.Hour
)

// Scheduler paces all of an exporter's requests. Make it with New.
//
// ConcurrentSafe: its lock.
type Scheduler struct {
	opts Options

	mu      sync.Mutex // guards everything below, and all that lanes have
	lanes   map[laneKey]*lane
	numbers uint64 // of waiters
	swept   time.Time
	notices []Notice // to be told when the lock is free
}

// laneKey is host and project of file streams, or host and account of GraphQL.
type laneKey struct{ host, project, account string }

// New makes a scheduler.
func New(opts Options) *Scheduler {
	opts.Rate = cmp.Or(opts.Rate, 1.5)
	opts.GraphQLRate = cmp.Or(opts.GraphQLRate, 10)
	if opts.Notify == nil {
		opts.Notify = func(Notice) {}
	}
	return &Scheduler{opts: opts, lanes: map[laneKey]*lane{}}
}

// unlock gives the lock back and tells what is to be told.
func (s *Scheduler) unlock() {
	notices := s.notices
	s.notices = nil
	s.mu.Unlock()
	for _, n := range notices {
		s.opts.Notify(n)
	}
}

func (s *Scheduler) notify(l *lane, now time.Time, text string, over bool) {
	s.notices = append(s.notices, Notice{Lane: l.view(now), Text: text, Over: over})
}

// lane gives a lane, and forgets now and then what is not used.
func (s *Scheduler) lane(key laneKey, now time.Time) *lane {
	if now.Sub(s.swept) >= time.Minute {
		s.swept = now
		for k, l := range s.lanes {
			if !l.sweep(now) && k != key && l.throttled.IsZero() && now.Sub(l.filled) > keepLane {
				if l.timer != nil {
					l.timer.Stop()
				}
				delete(s.lanes, k)
			}
		}
	}
	l := s.lanes[key]
	if l == nil {
		guess := s.opts.Rate / leastShare
		b := newBudget(guess, max(1, min(guess, streamBurst)), streamBurst, now)
		if key.project == "" { // a run takes three to be opened, and several open at once
			b = newBudget(s.opts.GraphQLRate/leastShare, graphQLBurst, graphQLBurst, now)
		}
		l = newLane(s, key.host, key.project, key.account, b)
		s.lanes[key] = l
	}
	return l
}

// Lanes tells what is going on: for metrics, and for people.
func (s *Scheduler) Lanes() []Lane {
	s.mu.Lock()
	now := time.Now()
	var all []Lane
	for _, l := range s.lanes {
		all = append(all, l.view(now))
	}
	s.unlock()
	slices.SortFunc(all, func(a, b Lane) int {
		return cmp.Or(strings.Compare(a.Host, b.Host), strings.Compare(a.Project, b.Project), strings.Compare(a.Account, b.Account))
	})
	return all
}

func (l *lane) view(now time.Time) Lane {
	rate := l.rate(now, l.need(now))
	v := Lane{
		Host: l.host, Project: l.project, Account: l.account,
		Rate: rate, Allowed: l.allowed(now), Known: l.known,
		Interval: l.interval(rate), Runs: len(l.places), Alive: l.alive,
		Waiting: l.later.Len() + l.first.Len() + l.rest.Len(),
		Sent:    l.sent, Refused: l.refused, ThrottledBy: l.why(now),
	}
	if l.known {
		v.Remaining, v.Resets = l.remaining(), max(0, l.ends.Sub(now))
	}
	return v
}

// For gives the gate of a host, as in a client's base URL, and of the user whose
// credentials the client has: account is any name for them, the same for the
// same ones, and not a secret.
func (s *Scheduler) For(host, account string) *Gate { return &Gate{s, host, account} }

// Gate lets one client's requests go: for its uploaders and for itself.
//
// ConcurrentSafe: immutable.
type Gate struct {
	s             *Scheduler
	host, account string
}

var (
	_ upload.Pacer  = (*Gate)(nil)
	_ wandb.Limiter = (*Gate)(nil)
)

func classOf(r upload.Request, p *place) class {
	switch {
	case r.Kind == upload.End || r.Kind == upload.Heartbeat && r.Urgent:
		return ends
	case r.Kind == upload.Heartbeat:
		return heartbeats
	case !p.opened:
		return openings
	}
	return lines
}

// Wait waits for the turn of an uploader's request, and takes the permit for the
// first try of one to the file stream.
func (g *Gate) Wait(ctx context.Context, r upload.Request) error {
	switch r.Kind {
	case upload.Lines, upload.Heartbeat, upload.End:
	default:
		return context.Cause(ctx) // the client waits itself: nothing is read for it
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	g.s.mu.Lock()
	now := time.Now()
	l := g.s.lane(laneKey{host: g.host, project: r.Run.Entity + "/" + r.Run.Project}, now)
	p := l.place(r.Run.String(), now)
	l.setAlive(p, r.Alive)
	p.last, p.ending = classOf(r, p), r.Kind == upload.End
	if p.hasCredit(now) {
		g.s.unlock()
		return nil
	}
	w := &waiter{place: p, class: p.last, credit: true}
	l.join(w, r.Urgent, now)
	g.s.unlock()
	woken := r.Woken
	if r.Kind != upload.Heartbeat {
		woken = nil
	}
	return g.wait(ctx, l, w, woken)
}

// wait waits for a waiter's permit.
func (g *Gate) wait(ctx context.Context, l *lane, w *waiter, woken <-chan struct{}) error {
	var err error
	select {
	case <-w.done:
		return nil
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-woken:
		err = upload.ErrWoken
	}
	g.s.mu.Lock()
	l.cancel(w, time.Now())
	g.s.unlock()
	return err
}

// key is the lane of a call.
func (g *Gate) key(c wandb.Call) laneKey {
	if c.Project == "" {
		return laneKey{host: g.host, account: g.account}
	}
	return laneKey{host: g.host, project: c.Project}
}

// Permit waits for a try's permit: the one that Wait took, or another.
func (g *Gate) Permit(ctx context.Context, c wandb.Call) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	g.s.mu.Lock()
	now := time.Now()
	l := g.s.lane(g.key(c), now)
	p := l.place(c.Run, now)
	if p.hasCredit(now) {
		p.credit = time.Time{}
		l.fly(p)
		g.s.unlock()
		return nil
	}
	w := &waiter{place: p, class: p.last}
	if c.Project == "" {
		switch {
		case !p.opened:
			w.class, w.key = openings, stage(c.Op)
		case c.Op == "NotifyScriptableRunAlert":
			w.class = ends
		}
	}
	l.join(w, true, now)
	g.s.unlock()
	return g.wait(ctx, l, w, nil)
}

// stage orders what opens runs: those that are nearly open go on, so that some
// are open soon, not all late.
func stage(op string) time.Time {
	switch op {
	case "UpsertBucket":
		return time.Unix(0, 0)
	case "RunResumeStatus":
		return time.Unix(1, 0)
	}
	return time.Unix(2, 0)
}

// Learn takes in what came of a try.
func (g *Gate) Learn(c wandb.Call, o wandb.Outcome) {
	g.s.mu.Lock()
	defer g.s.unlock()
	now := time.Now()
	l := g.s.lane(g.key(c), now)
	p := l.place(c.Run, now)
	p.flying = max(0, p.flying-1)
	if l.learn(now, o) {
		l.refused++
	}
	if o.Status >= 200 && o.Status < 300 {
		p.heard = now
		p.opened = p.opened || c.Project != "" || c.Op == "UpsertBucket"
		if c.Project != "" && p.ending {
			l.leave(c.Run)
		}
	}
	l.pump(now)
}
