package bridge

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/otel-wandb/otel-wandb/internal/runid"
	"github.com/otel-wandb/otel-wandb/internal/wandb"
)

// ErrStopped is the cause of a task's context that was cancelled because somebody
// pressed stop on the run's page: see [Run.Stopped].
var ErrStopped = errors.New("somebody stopped the run in W&B")

// Stops is what a [Sink] may have besides, if it hears from W&B: [Setup] and
// [New] then call OnStop once, before the first Export. The sink calls stopped
// for each run that somebody stopped there, from any goroutine, as often as it
// likes; it returns at once. Where host, entity or project are not known to the
// program, what the sink says counts.
type Stops interface {
	OnStop(stopped func(host, entity, project, runID string))
}

// Stopped is closed when somebody presses stop on the run's page in W&B. The
// task's context is cancelled then too, with [ErrStopped] as its cause: a
// program that minds its context needs nothing else.
//
//	select {
//	case <-run.Stopped():
//		return saveCheckpoint(context.WithoutCancel(ctx))
//	default:
//	}
//
// A program that writes runs by itself ([WithSink]) hears it from there. One
// that sends to a collector has to ask W&B: from the first call of Stopped on it
// does, every 15 s while the task runs, where WANDB_API_KEY or netrc has a key
// for the run's server, and it is uploaded as it grows. Otherwise, and for no
// run, the channel is never closed.
func (r *Run) Stopped() <-chan struct{} {
	if r == nil || r.stream == nil {
		return nil
	}
	r.bridge.ask(r)
	return r.stopped
}

// stoppable gives a task a context that a stop cancels. Nothing cancels it when
// the task ends: what the task has returned, a response that is still read,
// may live on under it. Its parent forgets it when it is garbage.
func stoppable(ctx context.Context) (context.Context, context.CancelCauseFunc) {
	inner, cancel := context.WithCancelCause(ctx)
	outer := &taskContext{inner}
	if time.Now().Before(bubbles) {
		return outer, cancel
	}
	runtime.AddCleanup(outer, func(cancel context.CancelCauseFunc) { cancel(nil) }, cancel)
	return outer, cancel
}

// bubbles are before this: testing/synctest begins in the year 2000. What is
// made in a bubble must not be closed by a cleanup, which is outside. Nor need
// it be: its test soon ends.
var bubbles = time.Date(2020, time.January, 1, 0, 0, 0, 0, time.UTC)

// taskContext is what a task is given, so that it can be seen when nobody has it
// any more; what is derived from it holds it too.
type taskContext struct{ context.Context }

// heard is called by whoever hears of a stop.
func (b *Bridge) heard(host, entity, project, id string) {
	for _, r := range b.openRuns() {
		c := r.coords
		if c.ID == id && agree(c.Entity, entity) && agree(c.Project, project) &&
			agree(c.Host, runid.Host(host)) {
			r.stop()
		}
	}
}

func agree(a, b string) bool { return a == "" || b == "" || a == b }

func (r *Run) stop() {
	r.stopOnce.Do(func() {
		r.cancel(fmt.Errorf("run %s, task %q: %w", r.coords, r.task, ErrStopped))
		close(r.stopped) // last: who sees it sees the cause too
	})
}

func (b *Bridge) openRuns() []*Run {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make([]*Run, 0, len(b.open))
	for r := range b.open {
		out = append(out, r)
	}
	return out
}

// opened and closed keep account of the tasks under way.
func (b *Bridge) opened(r *Run) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open == nil {
		b.open = map[*Run]struct{}{}
	}
	b.open[r] = struct{}{}
}

func (b *Bridge) closed(r *Run) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.open, r)
}

const (
	// askEvery is how often W&B is asked of one run, and askApart how far
	// questions are apart, however many runs there are.
	askEvery = 15 * time.Second
	askApart = time.Second
	// askTimeout is how long one question may take, with its repeats.
	askTimeout = 30 * time.Second
)

// asker asks W&B whether runs were stopped: of each run once, however many of
// its tasks want to know.
type asker struct {
	bridge *Bridge
	wake   chan struct{}
	cancel context.CancelFunc
	ended  chan struct{}

	mu  sync.Mutex // guards due
	due map[runid.Coordinates]time.Time
}

// ask begins to ask of a task's run, until the task ends.
func (b *Bridge) ask(r *Run) {
	if b.stops || !r.Recording() {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.down {
		return
	}
	a := b.asker
	if a == nil {
		a = &asker{bridge: b, wake: make(chan struct{}, 1), ended: make(chan struct{}), due: map[runid.Coordinates]time.Time{}}
		var ctx context.Context
		ctx, a.cancel = context.WithCancel(context.Background())
		b.asker = a
		go a.loop(ctx)
	}
	a.add(r.coords)
}

func (a *asker) add(c runid.Coordinates) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, known := a.due[c]; known {
		return
	}
	a.due[c] = time.Time{}
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// next is the run that has waited longest, and until when it shall.
func (a *asker) next() (c runid.Coordinates, due time.Time, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for k, t := range a.due {
		if !ok || t.Before(due) {
			c, due, ok = k, t, true
		}
	}
	return c, due, ok
}

func (a *asker) set(c runid.Coordinates, due time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if due.IsZero() {
		delete(a.due, c)
		return
	}
	a.due[c] = due
}

func (a *asker) loop(ctx context.Context) {
	defer close(a.ended)
	clients := map[string]*wandb.Client{} // by host; nil: no key, or none that is any good
	last := time.Time{}
	for {
		c, due, ok := a.next()
		wait := time.Hour // for what wakes it
		if ok {
			wait = max(time.Until(due), time.Until(last.Add(askApart)))
		}
		if wait > 0 {
			timer := time.NewTimer(wait)
			select {
			case <-timer.C:
			case <-a.wake:
			case <-ctx.Done():
			}
			timer.Stop()
			if ctx.Err() != nil {
				return
			}
			continue
		}
		last = time.Now()
		client, known := clients[c.Host]
		if !known {
			client = a.client(c.Host)
			clients[c.Host] = client
		}
		switch again, usable := a.ask(ctx, client, c); {
		case !usable:
			clients[c.Host] = nil
			fallthrough
		case !again:
			a.set(c, time.Time{})
		default:
			a.set(c, time.Now().Add(askEvery))
		}
	}
}

func (a *asker) client(host string) *wandb.Client {
	client, err := a.bridge.client(host)
	if err != nil {
		a.bridge.report(fmt.Errorf("wandb bridge: W&B is not asked whether runs were stopped: %w", err))
	}
	return client
}

// ask asks once. again: it may be stopped yet.
func (a *asker) ask(ctx context.Context, client *wandb.Client, c runid.Coordinates) (again, usable bool) {
	if client == nil {
		return false, false
	}
	here := 0
	for _, r := range a.bridge.openRuns() {
		if r.coords == c {
			here++
		}
	}
	if here == 0 {
		return false, true // its tasks have ended
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	stopped, err := client.Stopped(ctx, wandb.Path{Entity: c.Entity, Project: c.Project, Run: c.ID})
	switch {
	case errors.Is(err, wandb.ErrUnauthorized), errors.Is(err, wandb.ErrForbidden):
		a.bridge.report(fmt.Errorf("wandb bridge: W&B is not asked whether run %s was stopped: %w", c, err))
		return false, false
	case err != nil:
		return true, true // not uploaded yet, or W&B has trouble: later
	}
	if stopped {
		a.bridge.heard(c.Host, c.Entity, c.Project, c.ID)
	}
	return !stopped, true
}

// newClient asks as whom the environment names; nil where it names nobody.
func newClient(env func(string) string, host string) (*wandb.Client, error) {
	host = cmp.Or(host, env(envHost))
	creds, _, err := wandb.Find(wandb.Lookup{BaseURL: host, Getenv: env})
	if err != nil || creds.IsZero() {
		return nil, err
	}
	return wandb.New(wandb.Options{BaseURL: host, Credentials: creds, UserAgent: "otel-wandb-bridge"})
}
