package upload

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-wandb/otel-wandb/internal/wandb"
)

// Runs of one project and id are opened one after another; what W&B calls a run is
// one upload's.
func TestNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n Names
		run := func(entity, id string) wandb.Path { return wandb.Path{Entity: entity, Project: "p", Run: id} }
		done, err := n.Open(t.Context(), "h", run("", "r"))
		require.NoError(t, err)
		for _, other := range []struct {
			host string
			run  wandb.Path
		}{{"h", run("", "s")}, {"g", run("", "r")}} {
			done, err := n.Open(t.Context(), other.host, other.run)
			require.NoError(t, err)
			done()
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		errs := make(chan error)
		go func() {
			_, err := n.Open(ctx, "h", run("e", "r"))
			errs <- err
		}()
		synctest.Wait()
		cancel(errKilled)
		require.ErrorIs(t, <-errs, errKilled)
		opened := make(chan func())
		go func() {
			done, _ := n.Open(t.Context(), "h", run("e", "r"))
			opened <- done
		}()
		synctest.Wait()
		require.NoError(t, n.Claim("h", run("e", "r"), "one"))
		done()
		(<-opened)()

		var twice *TwiceError
		require.ErrorAs(t, n.Claim("h", run("e", "r"), "two"), &twice)
		assert.Equal(t, TwiceError{At: run("e", "r"), Other: "one"}, *twice)
		require.NoError(t, n.Claim("h", run("e", "r"), "one"), "again")
		n.Release("h", run("e", "r"), "two")
		require.Error(t, n.Claim("h", run("e", "r"), "two"))
		n.Release("h", run("e", "r"), "one")
		require.NoError(t, n.Claim("h", run("e", "r"), "two"))
	})
}
