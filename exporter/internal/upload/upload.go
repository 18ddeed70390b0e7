package upload

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"github.com/otel-wandb/otel-wandb/internal/wandb"
)

// Uploader streams one run. Make it with New.
//
// ConcurrentSafe: all but Run, which is one goroutine's, by a lock.
type Uploader struct {
	opts  Options
	wake  chan struct{}
	state *state // Run's

	seen     int64    // the log's size when it gave no more; only a longer one is looked at
	damaged  bool     // the part's log gives no more whatever its size
	asked    bool     // W&B was asked in this Run, and knew nothing of the run
	attached position // then
	opened   func()   // gives the turn to open the run up; nil without it
	lastSent time.Time

	filesAfter time.Time // files had trouble: not before

	mu         sync.Mutex // guards everything below
	parts      []string   // oldest first
	alive      bool
	preempting bool
	finishing  bool
	hurry      context.CancelCauseFunc // of the waiting for a turn; nil while there is none
	status     Status
}

// New makes an uploader. It reads and sends nothing before Run.
func New(opts Options) *Uploader {
	opts.Heartbeat = cmp.Or(opts.Heartbeat, 30*time.Second)
	opts.Poll = cmp.Or(opts.Poll, time.Minute)
	if opts.Pacer == nil {
		opts.Pacer = Interval(15 * time.Second)
	}
	if opts.Notify == nil {
		opts.Notify = func(Notice) {}
	}
	if opts.Tried == nil {
		opts.Tried = func(*wandb.Error) {}
	}
	if opts.Claim == nil {
		opts.Claim = func(wandb.Path) error { return nil }
	}
	if opts.Opening == nil {
		opts.Opening = func(context.Context) (func(), error) { return func() {}, nil }
	}
	if opts.Sent == nil {
		opts.Sent = func(int) {}
	}
	u := &Uploader{opts: opts, wake: make(chan struct{}, 1), alive: opts.Alive}
	for _, part := range opts.Parts {
		u.AddPart(part)
	}
	return u
}

// Wake says that a log has grown.
func (u *Uploader) Wake() {
	select {
	case u.wake <- struct{}{}:
	default:
	}
}

// SetAlive says whether the run's task lives: only then silence is filled with
// heartbeats, without which W&B calls a run crashed after five minutes.
func (u *Uploader) SetAlive(alive bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.alive = alive
	u.Wake()
}

// Preempting tells W&B that the run may soon be silent for long.
func (u *Uploader) Preempting() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.preempting = true
	u.hasten()
}

// Finish makes Run send what there is without collecting, and return when
// nothing is left to send, as if it did not follow.
func (u *Uploader) Finish() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.finishing = true
	u.hasten()
}

// follows tells whether more may come that is waited for.
func (u *Uploader) follows() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.opts.Follow && !u.finishing
}

// Run uploads until the run has ended, or nothing is left to send, or the
// context ends, or W&B refuses: then the error is a *Failure. It may be called
// again; it goes on where it was.
func (u *Uploader) Run(ctx context.Context) error {
	err := u.run(wandb.OnRetry(ctx, u.tried))
	switch {
	case err == nil:
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	default:
		path, log := u.opts.Run, u.log(u.after(""))
		if u.state != nil {
			path, log = u.state.path(), u.log(u.state.Part)
		}
		failure := &Failure{Run: path, Log: log, Err: err}
		err = failure
		u.setStatus(func(s *Status) { s.Phase, s.Err = Stopped, err })
		u.stopped(failure)
	}
	return err
}

func (u *Uploader) run(ctx context.Context) error {
	u.state, u.seen, u.damaged, u.asked, u.lastSent = nil, 0, false, false, time.Time{}
	u.filesAfter = time.Time{}
	defer u.endOpening()
	if err := u.attach(ctx); err != nil {
		return err
	}
	for {
		more, err := u.step(ctx)
		var local *fs.PathError
		switch {
		case err == nil:
		case u.opts.Follow && errors.As(err, &local) && !errors.Is(err, fs.ErrNotExist):
			// This machine's trouble, such as too many open files.
			u.notify(Retrying, fmt.Errorf("upload of %s: %w", u.state.path(), err))
			if err := sleep(ctx, maxWait); err != nil {
				return err
			}
			more = true
		default:
			return err
		}
		if !more {
			return nil
		}
	}
}

// tried notes what the client tries again by itself. That W&B asks for less is no
// trouble: the pacer says so.
func (u *Uploader) tried(err *wandb.Error) {
	if !errors.Is(err, wandb.ErrRateLimited) {
		u.setStatus(func(s *Status) { s.Phase, s.Err = Hindered, err })
	}
	u.opts.Tried(err)
}

// step does the next thing; more is false when there is none.
func (u *Uploader) step(ctx context.Context) (more bool, err error) {
	s := u.state
	next := u.after(s.Part) // before the size: the part before it does not grow any more
	pending, err := u.pending()
	switch {
	case err != nil:
		return false, err
	case pending > 0 || !s.Done && (s.SummaryDirty || s.Exit == nil && len(s.Uploaded) > 0):
		return true, u.sendBatch(ctx, pending)
	case s.Exit == nil && u.filesDue():
		if u.follows() {
			return true, u.sendFiles(ctx)
		}
		return true, u.allFiles(ctx, false)
	case next != "":
		s.begin(next)
		u.seen, u.damaged = 0, false
		if s.Reopen {
			return true, u.reopen(ctx)
		}
		return true, nil
	case s.Done:
		u.setStatus(func(st *Status) { st.Phase = Completed })
		return false, nil
	case s.Exit != nil:
		return true, u.complete(ctx)
	case !u.follows():
		return false, nil
	}
	return true, u.idle(ctx)
}

// idle waits for the log to grow, and says that the run lives.
func (u *Uploader) idle(ctx context.Context) error {
	u.mu.Lock()
	alive, preempting := u.alive, u.preempting
	u.status.Phase = Waiting
	u.mu.Unlock()
	wait := u.opts.Poll
	if u.state.Upserted && (alive || preempting) {
		due := u.opts.Heartbeat - time.Since(u.lastSent)
		if due <= 0 || preempting {
			return u.heartbeat(ctx)
		}
		wait = min(wait, due)
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
	case <-u.wake:
	case <-ctx.Done():
	}
	return context.Cause(ctx)
}

// save writes the position down. That it cannot is no reason to stop.
func (u *Uploader) save() {
	s := u.state
	if err := errors.Join(s.pack().save(u.opts.Position), clearStop(u.opts.Position)); err != nil {
		u.notify(StateTrouble, err)
	}
	sent := s.sent()
	u.setStatus(func(st *Status) {
		st.Err, st.Path, st.Part, st.Offset = nil, s.Path, s.Part, s.Offset
		st.History, st.Events, st.Console = sent.History, sent.Events, sent.Console
		st.TooLong, st.BadValues, st.AlertsRefused, st.FilesFailed = s.TooLong, s.BadValues, s.AlertsRefused, s.FilesFailed
	})
}
