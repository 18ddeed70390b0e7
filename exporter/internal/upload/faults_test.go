package upload

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-wandb/otel-wandb/internal/wandb"
	"github.com/otel-wandb/otel-wandb/internal/wandbtest"
)

type fault = wandbtest.Fault

// faults are all that the stand-in can do to a request.
var faults = map[string]fault{
	"302": {Status: 302}, "400": {Status: 400}, "401": {Status: 401}, "403": {Status: 403}, "404": {Status: 404},
	"408": {Status: 408}, "409": {Status: 409}, "410": {Status: 410}, "413": {Status: 413}, "422": {Status: 422},
	"429": {Status: 429, RetryAfter: "90"}, "429 without a time": {Status: 429, Times: 3},
	"500": {Status: 500}, "501": {Status: 501}, "502": {Status: 502}, "503": {Status: 503}, "504": {Status: 504},
	"503 for hours": {Status: 503, Times: 300},
	"reset":         {Reset: true}, "resets": {Reset: true, Times: 60},
	"lost": {Lost: true}, "lost, often": {Lost: true, Times: 30},
	"stall": {Stall: true}, "malformed": {Malformed: true}, "malformed, often": {Malformed: true, Times: 5},
	"errors in a 200": {Errors: []string{"boom"}},
}

// passing are those of them that pass by themselves: no upload stops for them.
var passing = []string{
	"408", "429", "429 without a time", "500", "502", "503", "503 for hours", "504",
	"reset", "resets", "lost", "lost, often", "stall",
}

// place is a request of an upload: the nth to its endpoint.
type place struct {
	endpoint string
	nth      int
}

// requests are all that the upload of the sample's three parts makes: see
// TestTheMatrixIsWhole.
var requests = map[string]place{
	"features":      {"ServerFeaturesQuery", 1},
	"resume status": {"RunResumeStatus", 1},
	"first upsert":  {"UpsertBucket", 1},
	"lines":         {wandbtest.FileStream, 1},
	"alert":         {"NotifyScriptableRunAlert", 1},
	"files":         {"CreateRunFiles", 1},
	"last files":    {"CreateRunFiles", 2},
	"file":          {wandbtest.Storage, 1},
	"last file":     {wandbtest.Storage, 7},
	"artifact":      {"CreateArtifact", 1},
	"manifest":      {"CreateArtifactManifest", 1},
	"its files":     {"CreateArtifactFiles", 1},
	"its file":      {wandbtest.Storage, 3},
	"whole":         {"CreateArtifactManifest", 2},
	"its manifest":  {wandbtest.Storage, 4},
	"commit":        {"CommitArtifact", 1},
	"later upsert":  {"UpsertBucket", 2},
	"table's line":  {wandbtest.FileStream, 2},
	"more lines":    {wandbtest.FileStream, 3},
	"next part":     {"UpsertBucket", 3},
	"its lines":     {wandbtest.FileStream, 4},
	"tags there":    {"RunResumeStatus", 2},
	"tags":          {"UpsertBucket", 4},
	"last lines":    {wandbtest.FileStream, 5},
	"complete":      {wandbtest.FileStream, 6},
}

// ofArtifacts are the requests that make an artifact.
var ofArtifacts = map[string]bool{
	"CreateArtifact": true, "CreateArtifactManifest": true, "CreateArtifactFiles": true, "CommitArtifact": true,
}

// placeOf is where a request comes among those of its endpoint; counts has those
// before it.
func placeOf(r wandbtest.Request, counts map[string]int) place {
	endpoint := r.Operation
	switch {
	case strings.HasPrefix(r.Path, "/storage/"):
		endpoint = wandbtest.Storage
	case endpoint == "":
		endpoint = wandbtest.FileStream
	}
	counts[endpoint]++
	return place{endpoint, counts[endpoint]}
}

// threeParts are what the matrix uploads.
func (f *fixture) threeParts() {
	f.sample()
	f.second()
	opening := opening(start.Add(2*time.Minute), item{Key: "lr", JSON: "0.3"}, item{Key: "seed", JSON: "9007199254740993"})
	opening[1].Run.Tags = []string{"b"} // joined to those that people may have set
	f.write(3, opening...)
	f.write(3, summary("loss.min", "0.125", "t", tableText("media/table/t_1_0123.table.json"), "_step", "5", "_runtime", "5.5", "_wandb.runtime", "5"), row(6, "loss", "0.1"), line("third", true), exit(0))
}

// The matrix has every request that its upload makes.
func TestTheMatrixIsWhole(t *testing.T) {
	bubble(t, wandbtest.Options{}, func(f *fixture) {
		t := f.T
		f.threeParts()
		require.NoError(t, f.uploader(following).Run(t.Context()))
		made, counts := map[place]bool{}, map[string]int{}
		for _, r := range f.server.Requests() {
			if at := placeOf(r, counts); at.endpoint != wandbtest.Storage { // of files the first and the last do
				made[at] = true
			}
		}
		listed := map[place]bool{}
		for _, at := range requests {
			if at.endpoint != wandbtest.Storage {
				listed[at] = true
			}
		}
		assert.Equal(t, made, listed)
		last := f.server.Requests()[len(f.server.Requests())-1]
		assert.Contains(t, string(last.Body), `"complete":true,"exitcode":0`)
		assert.Equal(t, []string{"a", "b"}, f.whole(1).Tags)
	})
}

// Each fault at each kind of request: the upload survives it, or stops and says
// what to do, and when it is started again goes on. In the end W&B has each line
// once and in order.
func TestFaults(t *testing.T) {
	for request, at := range requests {
		for name, ft := range faults {
			if ft.Errors != nil && (at.endpoint == wandbtest.FileStream || at.endpoint == wandbtest.Storage) {
				continue // errors in a 200 are GraphQL's; another's 200 is one
			}
			t.Run(request+" "+name, func(t *testing.T) {
				bubble(t, wandbtest.Options{}, func(f *fixture) {
					t := f.T
					f.threeParts()
					ft.Nth = at.nth
					f.server.Script(at.endpoint, ft)
					stops := 0
					for {
						u := f.uploader(following)
						err := u.Run(t.Context())
						if err == nil {
							assert.Equal(t, Completed, u.Status().Phase)
							break
						}
						var failure *Failure
						require.ErrorAs(t, err, &failure)
						assert.False(t, wandb.IsTransient(err), "%v", err)
						assert.NotEmpty(t, failure.Remedy())
						require.ErrorContains(t, err, "p/r")
						assert.Equal(t, f.part(1)[:len(f.dir)], failure.Log[:len(f.dir)])
						assert.Equal(t, Stopped, u.Status().Phase)
						stops++
						require.Less(t, stops, 50)
					}
					alerts := 1
					for _, n := range f.notices {
						switch {
						case n.Kind == AlertRefused:
							alerts = 0
						case n.Kind == FileFailed && (at.endpoint == "CreateRunFiles" || at.endpoint == wandbtest.Storage || ofArtifacts[at.endpoint]):
						default:
							assert.Equal(t, Retrying, n.Kind, "%v", n.Err)
						}
					}
					assert.Equal(t, []string{"a", "b"}, f.whole(alerts).Tags)
					if at.endpoint != "ServerFeaturesQuery" {
						assert.Contains(t, f.held().ConfigJSON, `"artifacts":true`)
					}
					if slices.Contains(passing, name) {
						assert.Zero(t, stops)
					}
					counts, came := map[string]int{}, false
					for _, r := range f.server.Requests() {
						came = placeOf(r, counts) == at && (ft.Status == 0 || r.Status == ft.Status) || came
					}
					assert.True(t, came, "the fault")
				})
			})
		}
	}
}

// Each fault at what a run that says nothing sends: that it lives, and that it
// may soon be silent.
func TestFaultsOfSilence(t *testing.T) {
	for _, want := range []string{`{}`, `{"preempting":true}`} {
		for name, ft := range faults {
			if ft.Errors != nil {
				continue
			}
			t.Run(want+" "+name, func(t *testing.T) {
				bubble(t, wandbtest.Options{}, func(f *fixture) {
					t := f.T
					f.write(1, opening(start)...)
					f.write(1, row(0, "x", "1"))
					u := f.uploader(following)
					var hit place
					go func() {
						time.Sleep(50 * time.Second) // between two heartbeats
						counts := map[string]int{}
						for _, r := range f.server.Requests() {
							placeOf(r, counts)
						}
						hit = place{wandbtest.FileStream, counts[wandbtest.FileStream] + 1}
						f.server.Script(hit.endpoint, ft)
						if want != `{}` {
							u.Preempting()
						}
						time.Sleep(6 * time.Hour) // longer than any fault
						f.write(1, row(1, "x", "2"), exit(0))
					}()
					stops := 0
					for ; u.Run(t.Context()) != nil; stops++ {
						require.False(t, wandb.IsTransient(u.Status().Err), "%v", u.Status().Err)
						require.Less(t, stops, 2)
					}
					if slices.Contains(passing, name) {
						assert.Zero(t, stops)
					}
					counts := map[string]int{}
					for _, r := range f.server.Requests() {
						if placeOf(r, counts) == hit {
							assert.JSONEq(t, want, string(r.Body))
						}
					}
					f.whole(0)
				})
			})
		}
	}
}

// A stopped upload is a stopped upload: nothing more is sent until somebody
// starts it again.
func TestStopped(t *testing.T) {
	bubble(t, wandbtest.Options{}, func(f *fixture) {
		t := f.T
		f.sample()
		f.server.Script(wandbtest.FileStream, fault{Status: 403})
		u := f.uploader(following)
		err := u.Run(t.Context())
		require.ErrorIs(t, err, wandb.ErrForbidden)
		assert.ErrorContains(t, err, "give this key's user access")
		assert.Equal(t, err, u.Status().Err)
		n := len(f.server.Requests())
		time.Sleep(time.Hour)
		assert.Len(t, f.server.Requests(), n)
		require.NoError(t, u.Run(t.Context()), "the same uploader, again")
		f.whole(1)
	})
}

// W&B is away for a day: nothing is lost, and no run is given up.
func TestADayWithoutWandb(t *testing.T) {
	bubble(t, wandbtest.Options{}, func(f *fixture) {
		t := f.T
		f.write(1, opening(start)...)
		u := f.uploader(following)
		done := make(chan error)
		go func() { done <- u.Run(t.Context()) }()
		synctest.Wait()
		f.server.Script(wandbtest.GraphQL, fault{Status: 503, Times: 200}) // not for ever: it is tried once a minute
		f.server.Script(wandbtest.FileStream, fault{Reset: true, Times: 1440})
		for step := range 24 {
			f.write(1, row(int64(step), "x", "1"), setConfig("c", fmt.Sprint(step)))
			u.Wake()
			time.Sleep(time.Hour)
		}
		f.write(1, exit(0))
		require.NoError(t, <-done)
		f.whole(0)
		require.NotEmpty(t, f.notices)
		assert.Equal(t, Retrying, f.notices[0].Kind)
	})
}

// Whatever is wrong with the position file, the upload goes on.
func TestPositionTrouble(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, path string){
		"empty":   func(t *testing.T, path string) { require.NoError(t, os.WriteFile(path, nil, 0o600)) },
		"garbage": func(t *testing.T, path string) { require.NoError(t, os.WriteFile(path, []byte("garbage"), 0o600)) },
		"a directory": func(t *testing.T, path string) {
			require.NoError(t, os.Remove(path))
			require.NoError(t, os.Mkdir(path, 0o700))
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, wandbtest.Options{}, func(f *fixture) {
				t := f.T
				f.sample()
				ctx, kill := context.WithCancelCause(t.Context())
				f.killAt(6, false, kill)
				require.ErrorIs(t, f.uploader().Run(ctx), errKilled)
				f.intercept = nil
				spoil(t, f.position())
				f.notices = nil
				require.NoError(t, f.uploader().Run(t.Context()))
				require.NotEmpty(t, f.notices)
				assert.Equal(t, StateTrouble, f.notices[0].Kind)
				assert.ErrorContains(t, f.notices[0].Err, "p/r")
				f.whole(1)
			})
		})
	}
}

// What the position was of is not another server's.
func TestPositionOfAnotherRun(t *testing.T) {
	bubble(t, wandbtest.Options{}, func(f *fixture) {
		t := f.T
		f.sample()
		require.NoError(t, f.uploader().Run(t.Context()))
		require.NoError(t, f.uploader(func(o *Options) { o.Run.Project = "copy" }).Run(t.Context()))
		got, ok := f.server.Run("", "copy", "r")
		require.True(t, ok)
		assert.Len(t, got.History, 3)
		assert.Empty(t, f.server.Violations())
	})
}

// A log that is gone stops the upload and says so.
func TestLogGone(t *testing.T) {
	bubble(t, wandbtest.Options{}, func(f *fixture) {
		t := f.T
		f.write(1, opening(start)...)
		require.NoError(t, f.uploader().Run(t.Context()))
		require.NoError(t, os.Remove(f.part(1)))
		f.write(2, opening(start.Add(time.Minute))...)
		err := f.uploader().Run(t.Context())
		require.ErrorIs(t, err, os.ErrNotExist)
		var failure *Failure
		require.ErrorAs(t, err, &failure)
		assert.Contains(t, failure.Remedy(), "put the log back")
	})
}

// pacerFunc is a pacer in a function.
type pacerFunc func(ctx context.Context, r Request) error

func (p pacerFunc) Wait(ctx context.Context, r Request) error { return p(ctx, r) }

// The pacer is asked before each request, and what comes while it lets wait goes
// with the same one.
func TestPacer(t *testing.T) {
	bubble(t, wandbtest.Options{}, func(f *fixture) {
		t := f.T
		f.write(1, opening(start)...)
		asked := map[Kind]int{}
		u := f.uploader(following, func(o *Options) {
			o.Pacer = pacerFunc(func(ctx context.Context, r Request) error {
				asked[r.Kind]++
				assert.Equal(t, "p", r.Run.Project)
				return sleep(ctx, time.Minute)
			})
		})
		done := make(chan error)
		go func() { done <- u.Run(t.Context()) }()
		for step := range 600 {
			f.write(1, row(int64(step), "x", "1"))
			u.Wake()
			time.Sleep(time.Second)
		}
		f.write(1, exit(0))
		u.Wake()
		require.NoError(t, <-done)
		f.whole(0)
		assert.Equal(t, 2, asked[Ask])
		assert.Equal(t, 1, asked[Upsert])
		assert.Equal(t, 2, asked[Files])
		requests, sum := 0, 0
		for _, r := range f.server.Requests() {
			if !strings.HasPrefix(r.Path, "/storage/") { // which has no budget
				requests++
			}
		}
		assert.LessOrEqual(t, requests, 15)
		for _, n := range asked {
			sum += n
		}
		assert.Equal(t, requests, sum)
	})
}
