package upload

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-wandb/otel-wandb/internal/wandb"
	"github.com/otel-wandb/otel-wandb/internal/wandbtest"
)

// Who looks at the folder later is told why an upload stopped, until it goes on.
func TestAStoppedUploadSaysWhyOnDisk(t *testing.T) {
	const deleted = `{"errors":[{"message":"run r was previously created and deleted; try a new run name"}]}`
	for _, tt := range []struct {
		name, endpoint string
		fault          wandbtest.Fault
		gone           bool
		remedy         string
	}{
		{"a key that is not known", "ServerFeaturesQuery", wandbtest.Fault{Status: 401}, false, "WANDB_API_KEY"},
		{"an entity that is not there", "UpsertBucket", wandbtest.Fault{Status: 404}, false, "an entity must exist"},
		{"a deleted id", "UpsertBucket", wandbtest.Fault{Status: 409, Body: deleted}, true, "--new-id"},
		{"a run deleted meanwhile", wandbtest.FileStream, wandbtest.Fault{Status: 404}, true, "--new-id"},
		{"another writer", wandbtest.FileStream, wandbtest.Fault{Status: 409}, true, "--new-id"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, wandbtest.Options{}, func(f *fixture) {
				t := f.T
				f.sample()
				f.server.Script(tt.endpoint, tt.fault)
				err := f.uploader().Run(t.Context())
				var failure *Failure
				require.ErrorAs(t, err, &failure)
				assert.Equal(t, tt.gone, failure.Gone())

				s, err := ReadStop(f.position())
				require.NoError(t, err)
				require.NotNil(t, s)
				assert.Equal(t, failure.Error(), s.Error)
				assert.Contains(t, s.Remedy, tt.remedy)
				assert.Equal(t, tt.gone, s.Gone)
				assert.False(t, s.Time.IsZero())
				found, err := List(filepath.Join(f.dir, "wandb"))
				require.NoError(t, err)
				require.Len(t, found, 1)
				assert.Equal(t, wandb.Path{Project: "p", Run: "r"}, found[0].Asked)
				assert.Equal(t, f.position(), found[0].Position)
				assert.Equal(t, wandbtest.URL, found[0].Host)
				assert.Equal(t, s, found[0].Stop)
				b, err := os.ReadFile(stopFile(f.position()))
				require.NoError(t, err)
				assert.NotContains(t, string(b), wandbtest.Key)

				require.NoError(t, f.uploader().Run(t.Context()), "it goes on")
				s, err = ReadStop(f.position())
				require.NoError(t, err)
				assert.Nil(t, s)
				f.whole(1)
			})
		})
	}
}

// How far an upload is can be read from outside.
func TestProgressOfAPosition(t *testing.T) {
	bubble(t, wandbtest.Options{}, func(f *fixture) {
		t := f.T
		p, err := ReadProgress(f.position())
		require.NoError(t, err)
		assert.Nil(t, p, "it has not begun")

		f.sample()
		ctx, kill := context.WithCancelCause(t.Context())
		f.killAt(5, true, kill)
		require.ErrorIs(t, f.uploader().Run(ctx), errKilled)
		p, err = ReadProgress(f.position())
		require.NoError(t, err)
		assert.Equal(t, wandbtest.URL, p.Host)
		assert.False(t, p.Done)

		f.intercept = nil
		require.NoError(t, f.uploader().Run(t.Context()))
		p, err = ReadProgress(f.position())
		require.NoError(t, err)
		assert.Equal(t, Progress{
			Host: wandbtest.URL, Asked: wandb.Path{Project: "p", Run: "r"},
			Path: wandb.Path{Entity: wandbtest.Entity, Project: "p", Run: "r"}, There: true,
			History: 3, Events: 2, Console: 3, Part: p.Part, Offset: p.Offset, Done: true,
		}, *p)

		require.NoError(t, os.WriteFile(f.position(), []byte("what is this"), 0o600))
		_, err = ReadProgress(f.position())
		assert.ErrorContains(t, err, f.position())
	})
}

// A target is kept as it was given, by what the log calls the run.
func TestTargets(t *testing.T) {
	dir, log := t.TempDir(), wandb.Path{Entity: "e", Project: "p", Run: "r"}
	got, err := ReadTarget(dir, log)
	require.NoError(t, err)
	assert.Nil(t, got)
	want := &Target{Host: wandbtest.URL, Run: wandb.Path{Entity: "e", Project: "p", Run: "r-2"}, Before: []string{"r"}}
	require.NoError(t, want.Write(dir, log))
	got, err = ReadTarget(dir, log)
	require.NoError(t, err)
	assert.Equal(t, want, got)
	got, err = ReadTarget(dir, wandb.Path{Project: "p", Run: "r"})
	require.NoError(t, err)
	assert.Nil(t, got, "another run")

	require.NoError(t, os.WriteFile(targetFile(dir, log), []byte("{"), 0o600))
	_, err = ReadTarget(dir, log)
	assert.ErrorContains(t, err, "remove it", "a guess would send rows to two places")
	assert.NotEqual(t, LockKey("h\x00e\x00p\x00r"), LockKey("h\x00e\x00p\x00q"))
	assert.Equal(t, LockKey("h\x00e\x00p\x00r"), LockKey("\x00e\x00p\x00r"))
}

// An upload that the client tries again and again says so at once, not when it
// gives up after a week.
func TestTriesAreTold(t *testing.T) {
	bubble(t, wandbtest.Options{}, func(f *fixture) {
		t := f.T
		f.sample()
		f.server.Script(wandbtest.FileStream, fault{Status: 503, Times: 3}, fault{Status: 429, Nth: 4})
		var phases []Phase
		var u *Uploader
		u = f.uploader(func(o *Options) {
			o.Tried = func(err *wandb.Error) {
				assert.ErrorContains(t, err, "p/r")
				phases = append(phases, u.Status().Phase)
				u.setStatus(func(s *Status) { s.Phase = Sending })
			}
		})
		require.NoError(t, u.Run(t.Context()))
		assert.Equal(t, []Phase{Hindered, Hindered, Hindered, Sending}, phases)
		assert.Equal(t, Completed, u.Status().Phase)
		f.whole(1)
	})
}
