package upload

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/otel-wandb/otel-wandb/exporter/internal/dotwandb"
	"github.com/otel-wandb/otel-wandb/internal/wandb"
)

// firstBatch bounds what is read for the request that opens a run, about: it is
// held while the run is opened, and what comes first shall be there soon.
const firstBatch = 256 << 10

// sendBatch reads what there is and brings it to W&B. The log is read when the
// request may go: so it carries all that came while it waited.
func (u *Uploader) sendBatch(ctx context.Context, pending int64) error {
	s := u.state
	// A run has no file stream, nor a project that is known by its name, before
	// its first upsert. So it waits for that, and then for its lines' turn.
	opening, urgent := !s.Upserted, !u.follows() || pending >= wandb.MaxRequest
	kind := Lines
	switch {
	case opening:
		kind = Upsert
	case !urgent && u.onlySummary(pending):
		kind = Heartbeat // it is the last that anybody waits for: rows of busy runs go first
	}
	if err := u.turn(ctx, kind, pending, opening || urgent); err != nil {
		if errors.Is(err, ErrWoken) {
			return nil // the log may say more now
		}
		return err
	}
	b, err := u.read()
	if err != nil {
		return err
	}
	s.finish(b)
	b.Uploaded = s.Uploaded
	if b.IsHeartbeat() && b.alert == nil && !s.dirty() {
		return nil // nothing for W&B
	}
	if s.dirty() {
		if again, err := u.upsert(ctx); err != nil || again {
			return err
		}
	}
	if !b.IsHeartbeat() {
		if opening {
			if err := u.turn(ctx, Lines, pending, urgent); err != nil {
				return err
			}
		}
		if err := u.send(ctx, &b.StreamRequest, Lines); err != nil {
			return err
		}
	}
	if b.alert != nil {
		if err := u.alert(ctx, b.alert); err != nil {
			return err
		}
	}
	u.save()
	if s.Exit != nil {
		return nil // all files are sent then
	}
	return u.sendFiles(ctx)
}

// send sends a request whose turn it is.
func (u *Uploader) send(ctx context.Context, r *wandb.StreamRequest, kind Kind) error {
	s := u.state
	u.mu.Lock()
	r.Preempting = u.preempting
	u.mu.Unlock()
	stream := u.opts.Client.Stream(s.Path, false)
	var answer wandb.StreamAnswer
	err := u.try(ctx, kind, func() (err error) {
		answer, err = stream.Send(ctx, r)
		return err
	})
	if err != nil {
		return err
	}
	u.lastSent = time.Now()
	s.Uploaded = s.Uploaded[len(r.Uploaded):]
	u.opts.Sent(r.Lines())
	u.mu.Lock()
	if r.Preempting {
		u.preempting = false
	}
	first := answer.Stopped && !u.status.StopAsked
	u.status.StopAsked = u.status.StopAsked || answer.Stopped
	u.mu.Unlock()
	if first {
		u.notify(StopAsked, fmt.Errorf("%s: somebody asked at W&B that the run stop", s.Path))
	}
	return nil
}

// heartbeat says that the run lives, if there are no lines to say so by the time
// that it may: then the turn is theirs.
func (u *Uploader) heartbeat(ctx context.Context) error {
	if err := u.turn(ctx, Heartbeat, 0, false); err != nil {
		if errors.Is(err, ErrWoken) {
			return nil
		}
		return err
	}
	u.mu.Lock()
	due := u.alive || u.preempting
	u.mu.Unlock()
	if pending, err := u.pending(); err != nil || pending > 0 || !due {
		return err
	}
	return u.send(ctx, &wandb.StreamRequest{}, Heartbeat)
}

func (u *Uploader) alert(ctx context.Context, a *dotwandb.Alert) error {
	s := u.state
	if err := u.turn(ctx, Alert, 0, true); err != nil {
		return err
	}
	err := u.try(ctx, Alert, func() error {
		return u.opts.Client.Alert(ctx, s.Path, wandb.Alert{Title: a.Title, Text: a.Text, Level: a.Level, Wait: a.Wait})
	})
	if errors.Is(err, wandb.ErrRefused) || errors.Is(err, wandb.ErrTooLarge) {
		// It is about this alert. Rows behind it must not wait for it for ever.
		s.AlertsRefused++
		u.notify(AlertRefused, fmt.Errorf("%s: alert %q: %w", s.Path, a.Title, err))
		return nil
	}
	return err
}

// complete ends the run at W&B. It goes alone and last, when W&B has all else,
// so that it is the same request however often it is sent. Of a run that crashed
// there is none: W&B calls it crashed when it hears no more of it.
func (u *Uploader) complete(ctx context.Context) error {
	s := u.state
	if err := u.lastFiles(ctx); err != nil {
		return err
	}
	silent := s.Exit.NotComplete || s.Exit.Code == dotwandb.ExitCrashed // no request says that it ends
	if silent && len(s.Uploaded) > 0 {
		if err := u.turn(ctx, Lines, 0, true); err != nil {
			return err
		}
		if err := u.send(ctx, &wandb.StreamRequest{Uploaded: s.Uploaded}, Lines); err != nil {
			return err
		}
	}
	switch {
	case s.Exit.NotComplete:
	case s.Exit.Code == dotwandb.ExitCrashed:
		u.announce(Ended, dotwandb.ExitCrashed)
	default:
		r := &wandb.StreamRequest{Uploaded: s.Uploaded, Complete: true, ExitCode: int(s.Exit.Code)}
		if err := u.turn(ctx, End, 0, true); err != nil {
			return err
		}
		if err := u.send(ctx, r, End); err != nil {
			return err
		}
		u.announce(Ended, r.ExitCode)
	}
	s.Done = true
	u.save()
	return nil
}
