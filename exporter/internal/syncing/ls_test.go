package syncing

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-wandb/otel-wandb/exporter/internal/lsview"
	"github.com/otel-wandb/otel-wandb/internal/wandbtest"
)

func (f *fixture) ls() (*lsview.Run, string) {
	f.Helper()
	l, err := lsview.List(f.dir, lsview.Options{Now: time.Now()})
	require.NoError(f, err)
	require.Len(f, l.Runs, 1)
	assert.Empty(f, l.Problems)
	var b bytes.Buffer
	lsview.View{Listing: l, Now: time.Now()}.Text(&b)
	return l.Runs[0], b.String()
}

// ls says what W&B has, why it has no more, and the command that goes on.
func TestLsShowsUploads(t *testing.T) {
	f := newFixture(t, wandbtest.Options{})
	f.offline("b", 4)
	r, _ := f.ls()
	assert.Nil(t, r.AtWandb, "no upload")
	assert.Equal(t, lsview.Sync, r.Upload)

	ctx, cancel := context.WithCancelCause(t.Context())
	var seen atomic.Int64
	f.onRequest(func(*http.Request) {
		if seen.Add(1) == 4 {
			cancel(errors.New("ended"))
			panic(http.ErrAbortHandler) // no answer, however fast the server is
		}
	})
	_, err := Sync(ctx, f.options())
	require.NoError(t, err)
	f.before.Store(nil)
	r, said := f.ls()
	assert.Equal(t, lsview.Behind, r.Upload, said)
	assert.Equal(t, []string{"otel-wandb sync " + r.Parts[0].Dir}, r.Commands, "wandb sync would double what is there")
	assert.Contains(t, said, "at W&B: 0 of 4 rows")
	assert.Positive(t, r.AtWandb.Behind)

	f.server.Script("UpsertBucket", wandbtest.Fault{Status: 409, Body: deleted})
	f.server.Script(wandbtest.FileStream, wandbtest.Fault{Status: 409})
	require.False(t, f.sync().Complete)
	r, said = f.ls()
	assert.Equal(t, lsview.Halted, r.Upload, said)
	assert.Equal(t, []string{"otel-wandb sync --new-id " + r.Parts[0].Dir}, r.Commands)
	assert.Contains(t, said, "409 Conflict")

	require.True(t, f.sync(func(o *Options) { o.Dir = r.Parts[0].Dir; o.NewID = true }).Complete)
	r, said = f.ls()
	assert.Equal(t, lsview.Uploaded, r.Upload, said)
	assert.Contains(t, said, "at W&B: 4 of 4 rows · "+f.url)
	assert.Contains(t, said, "Nothing to do: all of it is at W&B.")
}
