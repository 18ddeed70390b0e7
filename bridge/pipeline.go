package bridge

import (
	"github.com/otel-wandb/otel-wandb/bridge/internal/carrier"
)

// carriers is the export path that programs have.
type carriers struct{ *carrier.Pipeline }

func (c carriers) open(t streamTask) stream { return c.Open(carrier.Task(t)) }
