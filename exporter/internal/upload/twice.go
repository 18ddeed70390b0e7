package upload

import (
	"context"
	"fmt"
	"sync"

	"github.com/otel-wandb/otel-wandb/internal/wandb"
)

// TwiceError says that two runs here are one at W&B, and that the other one is
// not done: both would number their lines by themselves.
type TwiceError struct {
	At    wandb.Path // what W&B calls it
	Other string     // what the other one is called here
}

func (e *TwiceError) Error() string {
	return fmt.Sprintf("W&B calls it %s, and so it does run %s, whose upload is not done: two would overwrite each other", e.At, e.Other)
}

// Remedy is what a person can do about it.
func (e *TwiceError) Remedy() string {
	return "name the entity in all telemetry of a run, or in none. When the other one has ended, otel-wandb sync puts the rest of this one behind it"
}

// Writes tells whether an upload has lines at the run that W&B calls at, and is
// not done with it.
func (p *Progress) Writes(at wandb.Path) bool { return p != nil && p.There && !p.Done && p.Path == at }

// Names has each run at W&B written to by one upload of this program: what a run is
// called here need not be what W&B calls it, which fills in the key's default entity.
// The zero value is ready to use.
//
// ConcurrentSafe: by a lock.
type Names struct {
	mu      sync.Mutex
	opening map[atHost]chan struct{} // closed when that is over
	runs    map[atHost]string        // what they are called here
}

type atHost struct {
	host string
	run  wandb.Path
}

// Open waits until no other run of that project and id is being opened: until then
// nobody knows whether W&B calls them the same.
func (n *Names) Open(ctx context.Context, host string, run wandb.Path) (done func(), err error) {
	at := atHost{host, wandb.Path{Project: run.Project, Run: run.Run}}
	for {
		n.mu.Lock()
		before := n.opening[at]
		if before == nil {
			over := make(chan struct{})
			if n.opening == nil {
				n.opening = map[atHost]chan struct{}{}
			}
			n.opening[at] = over
			n.mu.Unlock()
			return func() {
				n.mu.Lock()
				defer n.mu.Unlock()
				delete(n.opening, at)
				close(over)
			}, nil
		}
		n.mu.Unlock()
		select {
		case <-before:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// Claim gives a run at W&B to one here, until it is released; an error is a
// *TwiceError.
func (n *Names) Claim(host string, at wandb.Path, here string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	key := atHost{host, at}
	if other, ok := n.runs[key]; ok && other != here {
		return &TwiceError{At: at, Other: other}
	}
	if n.runs == nil {
		n.runs = map[atHost]string{}
	}
	n.runs[key] = here
	return nil
}

// Release lets others have what W&B calls at.
func (n *Names) Release(host string, at wandb.Path, here string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if key := (atHost{host, at}); n.runs[key] == here {
		delete(n.runs, key)
	}
}
