package upload

import (
	"fmt"

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
