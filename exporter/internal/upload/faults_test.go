package upload

import (
	"context"
	"fmt"
	"os"
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
	"429": {Status: 429, RetryAfter: "90"}, "500": {Status: 500}, "501": {Status: 501}, "503": {Status: 503},
	"503 for hours": {Status: 503, Times: 300},
	"reset":         {Reset: true}, "resets": {Reset: true, Times: 60},
	"lost": {Lost: true}, "lost, often": {Lost: true, Times: 30},
	"stall": {Stall: true}, "malformed": {Malformed: true}, "malformed, often": {Malformed: true, Times: 5},
	"errors in a 200": {Errors: []string{"boom"}},
}

// requests are all kinds that an upload makes, by endpoint and how many of it
// come before.
var requests = map[string]struct {
	endpoint string
	nth      int
}{
	"features":      {"ServerFeaturesQuery", 1},
	"resume status": {"RunResumeStatus", 1},
	"first upsert":  {"UpsertBucket", 1},
	"later upsert":  {"UpsertBucket", 2},
	"next part":     {"UpsertBucket", 3},
	"lines":         {wandbtest.FileStream, 1},
	"more lines":    {wandbtest.FileStream, 2},
	"last lines":    {wandbtest.FileStream, 3},
	"complete":      {wandbtest.FileStream, 4},
	"alert":         {"NotifyScriptableRunAlert", 1},
}

// Each fault at each kind of request: the upload survives it, or stops and says
// what to do, and when it is started again goes on. In the end W&B has each line
// once and in order.
func TestFaults(t *testing.T) {
	for request, at := range requests {
		for name, ft := range faults {
			if ft.Errors != nil && at.endpoint == wandbtest.FileStream {
				continue // errors in a 200 are GraphQL's; a file stream's 200 is one
			}
			t.Run(request+" "+name, func(t *testing.T) {
				bubble(t, wandbtest.Options{}, func(f *fixture) {
					t := f.T
					f.sample()
					f.second()
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
						if n.Kind == AlertRefused {
							alerts = 0
						} else {
							assert.Equal(t, Retrying, n.Kind, "%v", n.Err)
						}
					}
					f.whole(alerts)
					made := 0
					for _, r := range f.server.Requests() {
						if r.Operation == at.endpoint || r.Operation == "" && at.endpoint == wandbtest.FileStream {
							made++
						}
					}
					assert.GreaterOrEqual(t, made, at.nth, "the fault has come")
				})
			})
		}
	}
}

// Each fault at the heartbeats of a run that says nothing.
func TestFaultsOfHeartbeats(t *testing.T) {
	for name, ft := range faults {
		if ft.Errors != nil {
			continue
		}
		t.Run(name, func(t *testing.T) {
			bubble(t, wandbtest.Options{}, func(f *fixture) {
				t := f.T
				f.write(1, opening(start)...)
				f.write(1, row(0, "x", "1"))
				ft.Nth = 3
				f.server.Script(wandbtest.FileStream, ft)
				go func() {
					time.Sleep(6 * time.Hour) // longer than any fault
					f.write(1, row(1, "x", "2"), exit(0))
				}()
				for stops := 0; ; stops++ {
					err := f.uploader(following).Run(t.Context())
					if err == nil {
						break
					}
					require.False(t, wandb.IsTransient(err), "%v", err)
					require.Less(t, stops, 2)
				}
				f.whole(0)
			})
		})
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
		assert.LessOrEqual(t, len(f.server.Requests()), 15)
		sum := 0
		for _, n := range asked {
			sum += n
		}
		assert.Equal(t, len(f.server.Requests()), sum)
	})
}
