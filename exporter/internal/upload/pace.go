package upload

import (
	"context"
	"errors"
	"time"

	"github.com/otel-wandb/otel-wandb/internal/wandb"
)

// Kind is what a request is for.
type Kind int

// The kinds.
const (
	Ask       Kind = iota // a question that an upload begins with
	Upsert                // of the run's fields or config
	Lines                 // of the run's files
	Heartbeat             // nothing but that the run lives
	Alert
	Files // where they go; sending them there is no request to W&B
	End   // of the run, alone and last
)

func (k Kind) String() string {
	return [...]string{"question", "upsert", "lines", "heartbeat", "alert", "files", "end"}[k]
}

// Request is what a [Pacer] is told of a request before it is made.
type Request struct {
	Run  wandb.Path
	Kind Kind
	// Bytes of the log that wait, about: lines are a little longer.
	Bytes int64
	// Urgent requests carry what nothing is gained by collecting. An urgent
	// heartbeat says that the run may soon be silent for long.
	Urgent bool
	// Alive: the run's task lives, so W&B must hear of the run in time.
	Alive bool
	// Since the run's last file stream request.
	Since time.Duration
	// Woken ends a heartbeat's wait with ErrWoken: there may be lines to send,
	// which need not wait as long.
	Woken <-chan struct{}
}

// ErrWoken says that a wait was ended by Request.Woken.
var ErrWoken = errors.New("woken")

// Pacer says when a request may go. Wait returns then, or with the context's
// error. It is asked before anything is read of what is to be sent; each try then
// takes its permit from the client's [wandb.Limiter], which should be the same.
// It is asked again before each try that the client makes not by itself.
type Pacer interface {
	Wait(ctx context.Context, r Request) error
}

// Interval is a Pacer that collects lines for so long before it lets them go,
// and lets everything else go at once. It knows of no other runs.
type Interval time.Duration

// Wait waits until the interval since the last request is over.
func (i Interval) Wait(ctx context.Context, r Request) error {
	if r.Kind != Lines || r.Urgent {
		return context.Cause(ctx)
	}
	return sleep(ctx, time.Duration(i)-r.Since)
}

// sleep waits, or ends with the context.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return context.Cause(ctx)
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
