package online

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-wandb/otel-wandb/exporter/internal/upload"
	"github.com/otel-wandb/otel-wandb/internal/runid"
	"github.com/otel-wandb/otel-wandb/internal/wandbtest"
)

// Of a run some telemetry names the key's default entity, and some none: two runs
// here, one at W&B. The later one stops and says so; in the end it goes behind.
func TestTwoRunsAreOneAtWandb(t *testing.T) {
	f := newFixture(t)
	named := *f
	named.later = time.Minute
	var err error
	named.folder, err = f.root.Folder(f.url, wandbtest.Entity)
	require.NoError(t, err)
	anonymous := f.key("r")
	entity := runid.Coordinates{Host: f.url, Entity: wandbtest.Entity, Project: "p", ID: "r"}
	lines := func(n int) {
		t.Helper()
		require.Eventually(t, func() bool {
			r, ok := f.server.Run("", "p", "r")
			return ok && len(r.History) == n
		}, patience, time.Millisecond)
	}
	refused := func(o *Online, key runid.Coordinates) {
		t.Helper()
		var failed error
		require.Eventually(t, func() bool {
			o.mu.Lock()
			defer o.mu.Unlock()
			failed = o.streams[key].failed
			return failed != nil
		}, patience, time.Millisecond)
		var failure *upload.Failure
		require.ErrorAs(t, failed, &failure)
		assert.ErrorContains(t, failed, anonymous.String())
		assert.ErrorContains(t, failed, wandbtest.Entity+"/p/r")
		assert.Contains(t, failure.Remedy(), "name the entity in all telemetry of a run, or in none")
	}

	first := f.begin("r", 3)
	o := f.online()
	o.Follow(anonymous, "", f.folder, f.logs("r"))
	lines(3)
	named.end(named.begin("r", 2), 9)
	o.Follow(entity, "", named.folder, named.logs("r")).Ended()
	refused(o, entity)
	o.Shutdown(t.Context())

	// After a restart the one that is there goes on, whoever comes first.
	o = f.online()
	o.Follow(entity, "", named.folder, named.logs("r")).Ended()
	s := o.Follow(anonymous, "", f.folder, f.logs("r"))
	refused(o, entity)
	f.end(first, 9)
	s.Ended()
	f.whole("r", 3)
	o.Shutdown(t.Context())

	o = f.online()
	o.TakeUp(f.root, nobody)
	f.wholeParts("r", 5)
	o.Shutdown(t.Context())
	assert.Empty(t, f.server.Violations())
	assert.Len(t, f.server.Runs(), 1)
}
