package syncing

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/otel-wandb/otel-wandb/exporter/internal/upload"
	"github.com/otel-wandb/otel-wandb/internal/wandb"
	"github.com/otel-wandb/otel-wandb/internal/wandbtest"
)

// project writes a run of an id in a project, and of an entity.
func (f *fixture) project(entity, project, id string, rows int) {
	f.Helper()
	f.write(func(tr trace.Tracer) {
		_, span := tr.Start(f.Context(), "train", trace.WithAttributes(
			attribute.String("wandb.run.mode", "auto"), attribute.String("wandb.run.id", id),
			attribute.String("wandb.entity", entity), attribute.String("wandb.project", project),
		))
		for i := range rows {
			span.AddEvent("wandb.log", trace.WithAttributes(attribute.String("at", fmt.Sprint(i))))
		}
		span.End()
	})
}

// Runs of equal ids are of two projects, and are sent to one: the later is refused
// by name before anything of it is sent, or gets an id of its own.
func TestTwoRunsToOnePlace(t *testing.T) {
	for _, newID := range []bool{false, true} {
		t.Run(fmt.Sprintf("new id=%t", newID), func(t *testing.T) {
			f := newFixture(t, wandbtest.Options{})
			f.project("", "one", "a", 2)
			f.project("", "two", "a", 3)
			f.project("", "two", "b", 1)
			there := func(o *Options) { o.Project, o.NewID = "demo", newID }
			dry := f.sync(there, func(o *Options) { o.DryRun = true })
			r := f.sync(there)
			f.whole("a", 2)
			f.whole("b", 1)
			if !newID {
				want := map[string]Outcome{"one/a": Uploaded, "two/a": Left, "two/b": Uploaded}
				assert.Equal(t, want, outcomes(r), text(r))
				assert.Equal(t, Left, outcomes(dry)["two/a"])
				assert.False(t, r.Complete)
				assert.Contains(t, text(r), "two/a: not uploaded to its end, 0 rows sent: run one/a in "+filepath.Join(f.dir, "wandb")+" goes to the same place, "+f.url+"/demo/a")
				assert.Contains(t, text(r), "--new-id")
				before := len(f.server.Requests())
				assert.Equal(t, Left, outcomes(f.sync(there))["two/a"], "a second time, with the first one there")
				assert.Len(t, f.server.Requests(), before)
				r = f.sync()
				assert.True(t, r.Complete, "to its own place: %s", text(r))
				got, _ := f.server.Run("", "two", "a")
				assert.Len(t, got.History, 3)
				return
			}
			assert.Contains(t, text(dry), "it gets a new id: run one/a has this one")
			assert.True(t, r.Complete, text(r))
			var rows []int
			for _, run := range f.server.Runs() {
				if strings.HasPrefix(run.ID, "a") {
					rows = append(rows, len(run.History))
				}
			}
			assert.ElementsMatch(t, []int{2, 3}, rows)
			assert.True(t, f.sync(there).Complete, "the new id is remembered")
			assert.Len(t, f.server.Runs(), 3)
		})
	}
}

// A run that names the key's default entity and one that names none are two here,
// and one at W&B: one goes behind the other, and never both at once.
func TestTwoRunsAreOneAtWandb(t *testing.T) {
	f := newFixture(t, wandbtest.Options{})
	f.host = f.url
	f.project("", "demo", "a", 2)
	f.project(wandbtest.Entity, "demo", "a", 3)
	r := f.sync(func(o *Options) { o.Parallel = 1 })
	if !r.Complete {
		t.Log(text(r))
	}
	got, _ := f.server.Run("", "demo", "a")
	assert.Len(t, got.History, 5)
	assert.Empty(t, f.server.Violations())

	f = newFixture(t, wandbtest.Options{})
	f.host = f.url
	f.project("", "demo", "a", 2)
	f.project(wandbtest.Entity, "demo", "a", 3)
	for range 3 {
		r = f.sync() // both at once: one of them may be refused
		if !r.Complete {
			assert.Contains(t, text(r), "whose upload is not done: two would overwrite each other")
		}
	}
	assert.True(t, r.Complete)
	got, _ = f.server.Run("", "demo", "a")
	assert.Len(t, got.History, 5)
	assert.Empty(t, f.server.Violations())
}

// Of a run that is open and whose upload began, another place is no use: it stays,
// is said to, and goes there when it has ended.
func TestAnOpenRunStaysWhereItsUploadBegan(t *testing.T) {
	f := newFixture(t, wandbtest.Options{})
	f.offline("a", 2)
	logs, err := filepath.Glob(filepath.Join(f.dir, "wandb", "offline-*", "*.wandb"))
	require.NoError(t, err)
	whole, err := os.ReadFile(logs[0])
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(logs[0], whole[:withoutExit(t, whole)], 0o600))
	require.Equal(t, Unfinished, f.sync().Runs[0].Outcome)

	there := func(o *Options) { o.Entity = "team" }
	for _, dry := range []bool{true, false} {
		r := f.sync(there, func(o *Options) { o.DryRun = dry })
		assert.Contains(t, text(r), "it stays where it is")
		assert.False(t, r.Complete)
	}
	assert.Len(t, f.server.Runs(), 1)
	target, err := upload.ReadTarget(filepath.Join(f.dir, "wandb"), wandb.Path{Project: "demo", Run: "a"})
	require.NoError(t, err)
	assert.Empty(t, target.Run.Entity)

	require.NoError(t, os.WriteFile(logs[0], whole, 0o600))
	assert.True(t, f.sync(there).Complete)
	got, ok := f.server.Run("team", "demo", "a")
	require.True(t, ok)
	assert.Len(t, got.History, 2)
}
