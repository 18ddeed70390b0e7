package syncing

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-wandb/otel-wandb/bridge"
	"github.com/otel-wandb/otel-wandb/internal/outbox"
	"github.com/otel-wandb/otel-wandb/internal/wandbtest"
)

// away is a collector that is not there.
type away struct{}

func (away) Export(context.Context, []byte) error { return errors.New("nobody is there") }
func (away) Shutdown(context.Context) error       { return nil }

// What a program could not give to its collector lies in the outbox. Sync puts it
// on its run, and the run goes up with the rest.
func TestTheOutboxIsAdopted(t *testing.T) {
	f := newFixture(t, wandbtest.Options{})
	dir := filepath.Join(f.dir, "wandb", "outbox", outbox.Name("http://localhost:4317"))
	b, err := bridge.New(bridge.WithSink(away{}), bridge.WithDir(dir), bridge.WithProject("demo"), bridge.WithErrorHandler(func(error) {}))
	require.NoError(t, err)
	_, run, err := bridge.StartTask(b.Context(t.Context()), "train", bridge.WithRunID("left"))
	require.NoError(t, err)
	for i := range 3 {
		run.Log(map[string]any{"at": fmt.Sprint(i)})
	}
	run.End(nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // the program has no time to wait
	assert.Error(t, b.Shutdown(ctx))
	require.NotZero(t, OutboxBytes(f.dir))

	r := f.sync(func(o *Options) { o.DryRun = true })
	assert.Contains(t, text(r), "bytes are in the outbox", "%s", text(r))
	assert.False(t, r.Complete, "what is in the outbox is at no W&B: %s", text(r))
	r = f.sync()
	assert.True(t, r.Complete, text(r))
	assert.NotZero(t, r.Adopted)
	f.whole("left", 3)
	assert.Zero(t, OutboxBytes(f.dir))
}
