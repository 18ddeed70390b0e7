package upload

import (
	"context"
	"errors"
	"time"

	"github.com/otel-wandb/otel-wandb/internal/wandb"
)

// errHasten ends a wait for a turn that has become urgent.
var errHasten = errors.New("it is urgent now")

// hasten wakes Run, also from waiting for its turn. The lock is held.
func (u *Uploader) hasten() {
	if u.hurry != nil {
		u.hurry(errHasten)
	}
	u.Wake()
}

// turn asks the pacer.
func (u *Uploader) turn(ctx context.Context, kind Kind, pending int64, urgent bool) error {
	for {
		waiting, done := context.WithCancelCause(ctx)
		u.mu.Lock()
		urgent = urgent || u.preempting || u.finishing
		alive := u.alive
		u.hurry = done
		u.mu.Unlock()
		err := u.opts.Pacer.Wait(waiting, Request{
			Run: u.state.path(), Kind: kind, Bytes: pending, Urgent: urgent, Alive: alive,
			Since: time.Since(u.lastSent), Woken: u.wake,
		})
		again := err != nil && errors.Is(context.Cause(waiting), errHasten)
		done(nil)
		u.mu.Lock()
		u.hurry = nil
		if err == nil {
			u.status.Phase = Sending
		}
		u.mu.Unlock()
		if !again {
			return err
		}
	}
}

// Bounds of the waiting between tries, each of which is many of the client's.
const (
	firstWait = 2 * time.Second
	maxWait   = time.Minute
)

// try does what may fail for a while, for as long as that takes.
func (u *Uploader) try(ctx context.Context, kind Kind, do func() error) error {
	for wait := firstWait; ; wait = min(2*wait, maxWait) {
		err := do()
		if err == nil || ctx.Err() != nil || !wandb.IsTransient(err) {
			return err
		}
		u.setStatus(func(s *Status) { s.Phase, s.Err = Hindered, err })
		u.notify(Retrying, err)
		if err := sleep(ctx, wait); err != nil {
			return err
		}
		if err := u.turn(ctx, kind, 0, true); err != nil {
			return err
		}
	}
}
