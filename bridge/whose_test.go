package bridge

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-wandb/otel-wandb/internal/wandb"
	"github.com/otel-wandb/otel-wandb/internal/wandbtest"
)

// Where no entity is configured W&B is asked for the key's own, once, and the
// run's page is known from then on.
func TestURL_TheEntityIsAskedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := wandbtest.New(wandbtest.Options{})
		http, end := server.InMemory()
		defer end()
		defer server.Close()
		p := newProgram(t, WithProject("p"))
		creds, err := wandb.APIKey(wandbtest.Key, "the test")
		require.NoError(t, err)
		client, err := wandb.New(wandb.Options{BaseURL: wandbtest.URL, HTTP: http, Credentials: creds})
		require.NoError(t, err)
		p.whose.client = func(string) (*wandb.Client, error) { return client, nil }
		_, run, err := StartTask(p.ctx, "train", WithRunID("r"))
		require.NoError(t, err)
		assert.NotContains(t, run.URL(), "/runs/", "nobody waits")
		synctest.Wait()
		assert.Contains(t, run.URL(), "/"+wandbtest.Entity+"/p/runs/r")
		_, second, err := StartTask(p.ctx, "second", WithRunID("s"))
		require.NoError(t, err)
		assert.Contains(t, second.URL(), "/"+wandbtest.Entity+"/p/runs/s")
		assert.Len(t, server.Requests(), 1)
		second.End(nil)
		run.End(nil)
		require.NoError(t, p.Shutdown(t.Context()))
	})
}

// Without a key the page is W&B's front.
func TestURL_WithoutAKey(t *testing.T) {
	p := newProgram(t, WithProject("p"))
	p.whose.client = func(string) (*wandb.Client, error) { return nil, nil }
	_, run, err := StartTask(p.ctx, "train", WithRunID("r"))
	require.NoError(t, err)
	assert.NotContains(t, run.URL(), "/runs/")
	run.End(nil)
}
