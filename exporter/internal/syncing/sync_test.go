package syncing

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/otel-wandb/otel-wandb/exporter/internal/dotwandb"
	"github.com/otel-wandb/otel-wandb/exporter/internal/runlog"
	"github.com/otel-wandb/otel-wandb/exporter/internal/upload"
	"github.com/otel-wandb/otel-wandb/internal/runid"
	"github.com/otel-wandb/otel-wandb/internal/wandb"
	"github.com/otel-wandb/otel-wandb/internal/wandbtest"
)

const deleted = `{"errors":[{"message":"run b was previously created and deleted; try a new run name"}]}`

func text(r *Report) string {
	var b bytes.Buffer
	r.Text(&b, true)
	return b.String()
}

// What was written offline goes up whole; a second time there is nothing to say.
func TestSyncUploadsAndASecondOneSendsNothing(t *testing.T) {
	f := newFixture(t, wandbtest.Options{})
	f.offline("a", 3)
	f.offline("b", 0)
	f.offline("c", 40)
	assert.Empty(t, f.markers())

	r := f.sync()
	assert.Equal(t, map[string]Outcome{"demo/a": Uploaded, "demo/b": Uploaded, "demo/c": Uploaded}, outcomes(r))
	assert.True(t, r.Complete, text(r))
	f.whole("a", 3)
	f.whole("b", 0)
	f.whole("c", 40)
	assert.Len(t, f.markers(), 3, "wandb sync would send all of it again")
	assert.Contains(t, text(r), "demo/a: uploaded, 3 rows: "+f.url+"/standin-team/demo/runs/a")
	assert.NotContains(t, text(r), wandbtest.Key)

	before := len(f.server.Requests())
	r = f.sync()
	assert.True(t, r.Complete)
	assert.Equal(t, 3, r.count(There))
	assert.Len(t, f.server.Requests(), before)
	assert.Contains(t, text(r), "Nothing to do: all of it is at W&B.")

	r = f.sync(func(o *Options) { o.Dir = filepath.Join(f.dir, "wandb") })
	assert.Equal(t, 3, r.count(There), "the folder itself")
}

// A dry run says what would be sent, asks nobody, and writes nothing.
func TestDryRunSendsAndWritesNothing(t *testing.T) {
	f := newFixture(t, wandbtest.Options{})
	f.offline("a", 3)
	before := tree(t, f.dir)
	delete(f.env, "WANDB_API_KEY")
	r := f.sync(func(o *Options) { o.DryRun = true; o.Entity = "team" })
	assert.Empty(t, f.server.Requests())
	assert.Equal(t, before, tree(t, f.dir))
	assert.False(t, r.Complete)
	assert.Contains(t, text(r), "demo/a: 3 rows of 3 to send → "+f.url+"/team/demo/a\n")
	assert.Contains(t, text(r), "Nothing was sent. Next: otel-wandb sync")
}

func tree(t *testing.T, dir string) (list []string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		list = append(list, path)
		return err
	}))
	return list
}

// A run that W&B refuses does not keep the others; under a new id it goes up,
// for good.
func TestARefusedRunAmongGoodOnes(t *testing.T) {
	for _, tt := range []struct {
		name, endpoint string
		fault          wandbtest.Fault
	}{
		{"deleted", "UpsertBucket", wandbtest.Fault{Status: 409, Body: deleted}},
		{"gone meanwhile", wandbtest.FileStream, wandbtest.Fault{Status: 404}},
		{"at odds", wandbtest.FileStream, wandbtest.Fault{Status: 409}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t, wandbtest.Options{})
			f.offline("a", 2)
			f.offline("b", 5)
			f.offline("c", 2)
			one := func(o *Options) { o.Parallel = 1 }
			seen := false
			f.onRequest(func(*http.Request) { // b's is the request after the first run's last
				if a, _ := f.server.Run("", "demo", "a"); a.ExitCode != nil && !seen {
					seen = true
					f.server.Script(tt.endpoint, tt.fault)
				}
			})
			r := f.sync(one)
			require.True(t, seen)
			assert.Equal(t, map[string]Outcome{"demo/a": Uploaded, "demo/b": Stopped, "demo/c": Uploaded}, outcomes(r), text(r))
			assert.False(t, r.Complete)
			assert.Contains(t, text(r), "Next, for runs whose id W&B refuses: otel-wandb sync --new-id")
			f.whole("a", 2)
			f.whole("c", 2)

			f.before.Store(nil)
			f.server.Script(tt.endpoint, tt.fault) // again: sync gives it another id
			r = f.sync(one, func(o *Options) { o.NewID = true })
			assert.True(t, r.Complete, text(r))
			var id string
			for _, run := range f.server.Runs() {
				if strings.HasPrefix(run.ID, "b-") {
					id = run.ID
				}
			}
			require.NotEmpty(t, id, text(r))
			f.whole(id, 5)

			before := len(f.server.Requests())
			r = f.sync(func(o *Options) { o.NewID = true })
			assert.True(t, r.Complete, "the new id is remembered: %s", text(r))
			assert.Len(t, f.server.Requests(), before)
		})
	}
}

// However often a sync is ended on the way, each line is at W&B once: whether
// W&B took the request that it ended in, and the answer was lost, or did not.
func TestEndedAtEveryRequest(t *testing.T) {
	f := newFixture(t, wandbtest.Options{})
	f.offline("a", 3)
	f.offline("b", 3)
	const syncs, requests = 80, 8 // enough of both to get to the end
	for n := range syncs {
		ctx, cancel := context.WithCancelCause(t.Context())
		var seen atomic.Int64
		f.onRequest(func(r *http.Request) {
			if seen.Add(1) != int64(1+n/2%requests) {
				return
			}
			if n%2 == 1 { // before the sync ends, so that no later one meets it half done
				f.server.ServeHTTP(httptest.NewRecorder(), r)
			}
			cancel(errors.New("ended"))
			panic(http.ErrAbortHandler) // no answer, however fast the server is
		})
		r, err := Sync(ctx, f.options(func(o *Options) { o.Parallel = 1 }))
		require.NoError(t, err)
		cancel(nil)
		if r.Complete {
			break
		}
		assert.Equal(t, "ended", r.Stopped)
		require.Less(t, n, syncs-1)
	}
	f.before.Store(nil)
	f.whole("a", 3)
	f.whole("b", 3)
}

// A run that is being written goes up as far as it is; later the rest does.
func TestARunThatIsNotFinished(t *testing.T) {
	f := newFixture(t, wandbtest.Options{})
	f.write(func(tr trace.Tracer) {
		_, parent := tr.Start(t.Context(), "wait")
		span := task(t.Context(), tr, "a", 2)
		span.End()
		parent.End()
	})
	// Its end is cut off, as if its program still wrote.
	logs, err := filepath.Glob(filepath.Join(f.dir, "wandb", "offline-*", "*.wandb"))
	require.NoError(t, err)
	require.Len(t, logs, 1)
	whole, err := os.ReadFile(logs[0])
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(logs[0], whole[:withoutExit(t, whole)], 0o600))

	r := f.sync()
	assert.Equal(t, Unfinished, r.Runs[0].Outcome, text(r))
	assert.False(t, r.Complete)
	assert.Contains(t, text(r), "demo/a: not finished, 2 rows sent")
	got, _ := f.server.Run("", "demo", "a")
	assert.Len(t, got.History, 2)
	assert.Nil(t, got.ExitCode)

	require.NoError(t, os.WriteFile(logs[0], whole, 0o600))
	r = f.sync()
	assert.True(t, r.Complete, text(r))
	f.whole("a", 2)
}

// withoutExit is where a log's exit record begins.
func withoutExit(t *testing.T, log []byte) int64 {
	t.Helper()
	r, err := dotwandb.NewReader(bytes.NewReader(log), dotwandb.Strict)
	require.NoError(t, err)
	for {
		at := r.Offset()
		b, err := r.Next()
		require.NoError(t, err)
		rec, err := dotwandb.Decode(b)
		require.NoError(t, err)
		if rec.Exit != nil {
			return at
		}
	}
}

// A run that a collector streams is its own.
func TestARunThatAnotherProgramUploads(t *testing.T) {
	f := newFixture(t, wandbtest.Options{})
	f.offline("a", 2)
	root, err := runlog.OpenRoot(f.dir, runlog.Options{})
	require.NoError(t, err)
	defer root.Close()
	folder, err := root.Folder("", "")
	require.NoError(t, err)
	key := runid.Coordinates{Host: "https://api.wandb.ai", Project: "demo", ID: "a"}
	unlock, err := folder.Lock(upload.LockKey(key.Key()))
	require.NoError(t, err)
	for _, dry := range []bool{true, false} {
		r := f.sync(func(o *Options) { o.DryRun = dry })
		assert.Equal(t, Busy, r.Runs[0].Outcome)
		assert.Contains(t, text(r), "demo/a: being uploaded by another program")
	}
	assert.Empty(t, f.server.Requests())
	require.NoError(t, unlock())
	r := f.sync()
	assert.True(t, r.Complete, text(r))
}

// What `wandb sync` uploaded, and what W&B's own client wrote, is not touched.
func TestOthersRunsAreLeftAlone(t *testing.T) {
	f := newFixture(t, wandbtest.Options{})
	f.offline("a", 2)
	logs, err := filepath.Glob(filepath.Join(f.dir, "wandb", "offline-*", "*.wandb"))
	require.NoError(t, err)
	require.NoError(t, runlog.MarkSynced(logs[0])) // as `wandb sync` does
	theirs := filepath.Join(f.dir, "wandb", "offline-run-20260102_030405-own")
	require.NoError(t, os.MkdirAll(theirs, 0o777))
	log := dotwandb.AppendFileHeader(nil)
	framer := dotwandb.NewFramer(dotwandb.FileHeaderSize)
	for i, rec := range []dotwandb.Record{
		{Header: &dotwandb.Header{Producer: "0.28", MinConsumer: "0.70.0"}},
		{Run: &dotwandb.Run{ID: "own", Project: "demo", StartTime: time.Unix(1767323045, 0)}},
		{Exit: &dotwandb.Exit{}},
	} {
		rec.Num = int64(i + 1)
		log = framer.Append(log, rec.Append(nil))
	}
	require.NoError(t, os.WriteFile(filepath.Join(theirs, "run-own.wandb"), log, 0o600))

	r := f.sync()
	assert.Equal(t, map[string]Outcome{"demo/a": Synced, "demo/own": Foreign}, outcomes(r))
	assert.False(t, r.Complete)
	assert.Contains(t, text(r), "wandb sync "+theirs)
	assert.Empty(t, f.server.Requests())
	require.NoError(t, runlog.MarkSynced(filepath.Join(theirs, "run-own.wandb")))
	assert.True(t, f.sync().Complete)

	// The marker does not say that all went well: W&B can be asked.
	r = f.sync(func(o *Options) { o.SkipSynced = false })
	assert.Equal(t, map[string]Outcome{"demo/a": Uploaded, "demo/own": Synced}, outcomes(r), text(r))
	f.whole("a", 2)
}

// Overrides hold for the runs that they were given for, from then on.
func TestOverrides(t *testing.T) {
	f := newFixture(t, wandbtest.Options{})
	f.offline("a", 2)
	there := func(o *Options) { o.Entity, o.Project = "team", "other" }
	require.True(t, f.sync(there).Complete)
	got, ok := f.server.Run("team", "other", "a")
	require.True(t, ok)
	assert.Len(t, got.History, 2)
	assert.Equal(t, 1, f.sync().count(There))
	assert.Len(t, f.server.Runs(), 1)
	r := f.sync(func(o *Options) { o.Project, o.SkipSynced = "third", false })
	assert.True(t, r.Complete, text(r))
	assert.Len(t, f.server.Runs(), 2)
	for _, name := range []func(*Options){func(o *Options) { o.Entity = "a/b" }, func(o *Options) { o.Project = ".." }} {
		o := Options{Dir: t.TempDir()}
		name(&o)
		_, err := Sync(t.Context(), o)
		assert.ErrorContains(t, err, "give one that W&B accepts")
	}
}

// A key goes to the server it belongs to, and one that is not known ends it.
func TestCredentials(t *testing.T) {
	for _, tt := range []struct {
		name string
		env  func(f *fixture)
		want string
	}{
		{"none", func(f *fixture) { delete(f.env, "WANDB_API_KEY") }, "set WANDB_API_KEY"},
		{"unknown", func(f *fixture) { f.env["WANDB_API_KEY"] = strings.Repeat("x", 40) }, "401 Unauthorized"},
		{"of no form", func(f *fixture) { f.env["WANDB_API_KEY"] = "short" }, "copy all of it"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t, wandbtest.Options{})
			f.offline("a", 1)
			f.offline("b", 1)
			tt.env(f)
			r := f.sync(func(o *Options) { o.Parallel = 1 })
			assert.False(t, r.Complete)
			assert.Contains(t, text(r), tt.want)
			assert.LessOrEqual(t, len(f.server.Requests()), 1, "no other run would fare better")
			f.env["WANDB_API_KEY"] = wandbtest.Key
			assert.True(t, f.sync().Complete)
		})
	}
	t.Run("of another server", func(t *testing.T) {
		f := newFixture(t, wandbtest.Options{})
		f.offline("a", 1)
		delete(f.env, "WANDB_BASE_URL")
		r := f.sync(func(o *Options) { o.BaseURL = f.url })
		assert.Contains(t, text(r), "set WANDB_BASE_URL="+f.url)
		assert.Empty(t, f.server.Requests())
	})
}

// A server that gives no good answer is left after a while.
func TestPatience(t *testing.T) {
	f := newFixture(t, wandbtest.Options{})
	f.offline("a", 1)
	f.server.Script("ServerFeaturesQuery", wandbtest.Fault{Status: 503, Times: 9})
	r := f.sync(func(o *Options) { o.Patience = time.Millisecond })
	assert.Equal(t, Left, r.Runs[0].Outcome)
	assert.Contains(t, text(r), "gave no good answer")
	assert.Contains(t, text(r), "--patience")
}

// The log says which server its run belongs to, when nothing else does any more.
func TestTheLogNamesItsServer(t *testing.T) {
	f := newFixture(t, wandbtest.Options{})
	f.host = f.url
	f.offline("a", 3)
	require.NoError(t, os.RemoveAll(filepath.Join(f.dir, "wandb", ".otel-wandb")))
	f.env["WANDB_BASE_URL"] = "https://elsewhere.example"
	r := f.sync(func(o *Options) { o.DryRun = true })
	require.Len(t, r.Runs, 1)
	assert.Equal(t, f.url, r.Runs[0].Host)
}

// W&B's own client resumes a run that was synced, and then the run goes on here
// too: what it wrote stays, and all the rest goes behind.
func TestSomebodyElseWentOn(t *testing.T) {
	f := newFixture(t, wandbtest.Options{})
	f.offline("a", 2)
	require.True(t, f.sync().Complete)

	creds, err := wandb.APIKey(wandbtest.Key, "the test")
	require.NoError(t, err)
	client, err := wandb.New(wandb.Options{BaseURL: f.url, Credentials: creds})
	require.NoError(t, err)
	r, err := client.ResumeStatus(t.Context(), wandb.Path{Project: "demo", Run: "a"})
	require.NoError(t, err)
	_, err = client.UpsertRun(t.Context(), wandb.Upsert{Run: r.Path, Config: `{"theirs":{"value":1},"_wandb":{"value":{"t":{"5":"0.28.0"}}}}`})
	require.NoError(t, err)
	var req wandb.StreamRequest
	require.NoError(t, req.Add(wandb.History, r.HistoryLines, `{"at":"2","_step":2}`))
	require.NoError(t, req.Add(wandb.Console, r.ConsoleLines, "their line"))
	req.Complete = true
	_, err = client.Stream(r.Path, false).Send(t.Context(), &req)
	require.NoError(t, err)

	f.write(func(tr trace.Tracer) {
		_, span := tr.Start(t.Context(), "train", trace.WithAttributes(attribute.String("wandb.run.mode", "auto"), attribute.String("wandb.run.id", "a")))
		for _, at := range []string{"3", "4"} {
			span.AddEvent("wandb.log", trace.WithAttributes(attribute.String("at", at)))
		}
		span.End()
	})
	report := f.sync()
	assert.True(t, report.Complete, text(report))
	assert.Equal(t, 2, report.Runs[0].Sent, "theirs are not the log's")
	assert.Equal(t, 4, report.Runs[0].Rows)
	f.whole("a", 5)
	got, _ := f.server.Run("", "demo", "a")
	assert.Equal(t, int64(1), got.Config()["theirs"])
	assert.Contains(t, got.Console[0].Text, "their line")
	for i, row := range got.Rows() {
		assert.Equal(t, int64(i), row["_step"])
	}
	assert.True(t, f.sync().Complete)
}
