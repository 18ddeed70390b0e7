package bridge

import (
	"context"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-wandb/otel-wandb/internal/wandb"
	"github.com/otel-wandb/otel-wandb/internal/wandbtest"
)

// hearing is a sink that hears from W&B.
type hearing struct {
	nowhere
	stopped func(host, entity, project, runID string)
}

func (h *hearing) OnStop(stopped func(host, entity, project, runID string)) { h.stopped = stopped }

func TestStopped_InProcess(t *testing.T) {
	h := &hearing{}
	p := newProgram(t, WithSink(h), WithProject("p"))
	ctx, run, err := StartTask(p.ctx, "train", WithRunID("r"))
	require.NoError(t, err)
	within, child, err := StartTask(ctx, "child")
	require.NoError(t, err)
	other, alone, err := StartTask(p.ctx, "other", WithRunID("s"))
	require.NoError(t, err)
	h.stopped("https://api.wandb.ai", "e", "q", "r") // another project's
	require.NoError(t, ctx.Err())
	h.stopped("https://api.wandb.ai", "e", "p", "r")
	h.stopped("https://api.wandb.ai", "e", "p", "r")
	for _, ctx := range []context.Context{ctx, within} {
		<-ctx.Done()
		require.ErrorIs(t, context.Cause(ctx), ErrStopped)
		assert.ErrorContains(t, context.Cause(ctx), "p/r")
	}
	<-run.Stopped()
	<-child.Stopped()
	require.NoError(t, other.Err())
	child.End(nil)
	run.End(nil)
	alone.End(nil)
	h.stopped("", "", "p", "s")
	assert.NoError(t, other.Err(), "nothing happens to what has ended")
	var none *Run
	assert.Nil(t, none.Stopped())
	assert.Empty(t, p.said())
}

// Through a collector W&B is asked: at once, and then every 15 s, of a run once.
func TestStopped_Asked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := wandbtest.New(wandbtest.Options{})
		http, end := server.InMemory()
		defer end()
		creds, err := wandb.APIKey(wandbtest.Key, "the test")
		require.NoError(t, err)
		client, err := wandb.New(wandb.Options{BaseURL: wandbtest.URL, Credentials: creds, HTTP: http})
		require.NoError(t, err)
		held, err := client.UpsertRun(t.Context(), wandb.Upsert{Run: wandb.Path{Entity: wandbtest.Entity, Project: "p", Run: "r"}})
		require.NoError(t, err)

		b, err := New(WithSink(nowhere{}), WithDir(""), WithTracerProvider(noTracing()), WithProject("p"), WithEntity(wandbtest.Entity),
			WithErrorHandler(func(err error) { assert.NoError(t, err) }))
		require.NoError(t, err)
		made := 0
		b.client = func(string) (*wandb.Client, error) { made++; return client, nil }
		ctx, run, err := StartTask(b.Context(context.Background()), "train", WithRunID("r"))
		require.NoError(t, err)
		for range 3 {
			run.Stopped()
		}
		time.Sleep(time.Minute)
		require.NoError(t, ctx.Err())
		require.NoError(t, client.StopRun(t.Context(), held))
		at := time.Now()
		<-run.Stopped()
		assert.LessOrEqual(t, time.Since(at), 15*time.Second)
		require.ErrorIs(t, context.Cause(ctx), ErrStopped)
		assert.Equal(t, 1, made)
		run.End(nil)
		require.NoError(t, b.Shutdown(context.Background()))
	})
}

// Where there is no key, nobody is asked, and nothing is said.
func TestStopped_NoKey(t *testing.T) {
	p := newProgramIn(t, map[string]string{"NETRC": t.TempDir() + "/none"})
	_, run, err := StartTask(p.ctx, "train")
	require.NoError(t, err)
	select {
	case <-run.Stopped():
		t.Error("stopped by nobody")
	default:
	}
	run.End(nil)
	require.NoError(t, p.Shutdown(t.Context()))
	assert.Empty(t, p.said())
}

// Tests of programs run in bubbles, where a context that is cancelled from
// outside ends the whole test program.
func TestATasksContextInABubble(t *testing.T) {
	br, err := New(WithSink(nowhere{}), WithDir(""), WithTracerProvider(noTracing()))
	require.NoError(t, err)
	defer func() { assert.NoError(t, br.Shutdown(context.Background())) }()
	synctest.Test(t, func(t *testing.T) {
		ctx, run, err := StartTask(br.Context(context.Background()), "task") // t.Context() is cancelled inside
		require.NoError(t, err)
		_, cancel := context.WithCancel(ctx)
		cancel()
		run.End(nil)
	})
	ran := make(chan struct{})
	runtime.AddCleanup(new([64]byte), func(ran chan struct{}) { close(ran) }, ran)
	runtime.GC()
	<-ran // and those of before have run, or died
}
