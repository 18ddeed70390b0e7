package engine

import (
	"context"

	"github.com/otel-wandb/otel-wandb/exporter/internal/run"
	"github.com/otel-wandb/otel-wandb/exporter/internal/runlog"
	"github.com/otel-wandb/otel-wandb/internal/runid"
)

type clientKey struct{}

// WithClient says who sends a request, where senders are authenticated: a run is
// written by the client that opened it, and by no other. The name is kept in the
// run's log: give a hash where it tells something about a person.
func WithClient(ctx context.Context, client string) context.Context {
	return context.WithValue(ctx, clientKey{}, client)
}

func clientOf(ctx context.Context) string {
	client, _ := ctx.Value(clientKey{}).(string)
	return client
}

// unknownClient is nobody's name: a run of whose client nothing is known is not
// uploaded with another's key.
const unknownClient = "?"

// clientOfRun is who opened a run, as its state file says.
func clientOfRun(folder *runlog.Folder, key runid.Coordinates) string {
	b, _, err := folder.ReadState(key.Key())
	if err != nil {
		return unknownClient
	}
	client, _ := run.CheckpointClient(b)
	return client
}
