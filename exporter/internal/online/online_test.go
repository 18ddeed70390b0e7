package online

import (
	"context"
	"fmt"
	"net/http/httptest"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/otel-wandb/otel-wandb/exporter/internal/dotwandb"
	"github.com/otel-wandb/otel-wandb/exporter/internal/pace"
	"github.com/otel-wandb/otel-wandb/exporter/internal/runlog"
	"github.com/otel-wandb/otel-wandb/exporter/internal/upload"
	"github.com/otel-wandb/otel-wandb/internal/runid"
	"github.com/otel-wandb/otel-wandb/internal/wandb"
	"github.com/otel-wandb/otel-wandb/internal/wandbtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = time.Minute

// fixture is a W&B server and a folder of runs.
type fixture struct {
	*testing.T
	server *wandbtest.Server
	url    string
	root   *runlog.Root
	folder *runlog.Folder
	later  time.Duration // that runs begin
}

func newFixture(t *testing.T) *fixture {
	t.Setenv("NETRC", t.TempDir()+"/none")
	f := &fixture{T: t, server: wandbtest.New(wandbtest.Options{})}
	web := httptest.NewServer(f.server)
	t.Cleanup(func() { f.server.Close(); web.Close() })
	f.url = web.URL
	var err error
	f.root, err = runlog.OpenRoot(t.TempDir(), runlog.Options{Online: true})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, f.root.Close()) })
	f.folder, err = f.root.Folder("", "")
	require.NoError(t, err)
	return f
}

func (f *fixture) key(id string) runid.Coordinates {
	return runid.Coordinates{Host: f.url, Project: "p", ID: id}
}

func (f *fixture) online(change ...func(*Config)) *Online {
	ways := &Clients{
		Given: []Credential{{Host: f.url, APIKey: wandbtest.Key}}, Trusted: f.url,
		Base: wandb.Options{}, Pace: pace.New(pace.Options{Rate: 1000, GraphQLRate: 1000}),
	}
	cfg := Config{Way: ways.Way, Host: f.url}
	for _, c := range change {
		c(&cfg)
	}
	return New(cfg)
}

func nobody(*runlog.Folder, runid.Coordinates) string { return "" }

func record(num int64, r dotwandb.Record) []byte {
	r.Num = num
	return r.Append(nil)
}

// begin makes a part of a run with some rows.
func (f *fixture) begin(id string, rows int) *runlog.Part { return f.beginAt(id, rows, 0) }

// beginAt makes a part that goes on at a step.
func (f *fixture) beginAt(id string, rows, step int) *runlog.Part {
	f.Helper()
	start := time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC).Add(f.later)
	records := [][]byte{
		record(1, dotwandb.Record{Header: &dotwandb.Header{}}),
		record(2, dotwandb.Record{Run: &dotwandb.Run{Project: "p", ID: id, StartTime: start, DisplayName: "train"}}),
	}
	for i := range rows {
		records = append(records, record(int64(i)+3, dotwandb.Record{History: &dotwandb.History{
			Step: int64(step + i), Items: []dotwandb.Item{{Key: "loss", JSON: strconv.Itoa(i)}},
		}}))
	}
	part, err := f.folder.Create(id, start, records...)
	require.NoError(f, err)
	return part
}

// end writes a part's exit.
func (f *fixture) end(part *runlog.Part, num int) {
	f.Helper()
	require.NoError(f, part.Append(record(int64(num), dotwandb.Record{Exit: &dotwandb.Exit{}})))
	require.NoError(f, part.Finish())
}

// whole waits until W&B has a run to its end.
func (f *fixture) whole(id string, rows int) {
	f.Helper()
	require.Eventually(f, func() bool {
		r, ok := f.server.Run("", "p", id)
		return ok && r.State == "finished"
	}, patience, 5*time.Millisecond, "run %s", id)
	r, _ := f.server.Run("", "p", id)
	assert.Len(f, r.History, rows)
}

// What an earlier exporter left goes up: what it had not begun, what it had
// begun; not what is done, nor what was written to stay offline.
func TestTakeUp(t *testing.T) {
	f := newFixture(t)
	for i, id := range []string{"fresh", "done"} {
		part := f.begin(id, 3+i)
		f.end(part, 9)
	}
	o := f.online()
	o.Follow(f.key("done"), "", f.folder, f.logs("done")).Ended()
	f.whole("done", 4)
	o.Shutdown(t.Context())
	before := len(f.server.Requests())

	offline, err := runlog.OpenRoot(f.root.Dir(), runlog.Options{})
	require.NoError(t, err)
	home, err := offline.Folder("", "")
	require.NoError(t, err)
	g := *f
	g.folder = home
	g.end(g.begin("stays", 2), 9)
	require.NoError(t, offline.Close())

	o = f.online()
	o.TakeUp(f.root, nobody)
	f.whole("fresh", 3)
	o.Shutdown(t.Context())
	_, there := f.server.Run("", "p", "stays")
	assert.False(t, there)
	for _, r := range f.server.Requests()[before:] {
		assert.NotContains(t, r.Path, "/done/")
	}
}

func (f *fixture) logs(id string) (logs []string) {
	parts, err := f.folder.Parts(id)
	require.NoError(f, err)
	for _, dir := range parts {
		logs = append(logs, f.folder.Dir()+"/"+dir+"/run-"+id+".wandb")
	}
	return logs
}

// A run that was sent elsewhere by hand goes on there.
func TestWhereSyncSentIt(t *testing.T) {
	f := newFixture(t)
	f.end(f.begin("old", 3), 9)
	target := &upload.Target{Host: f.url, Run: wandb.Path{Project: "p", Run: "new"}, Before: []string{"old"}}
	require.NoError(t, target.Write(f.folder.Dir(), wandb.Path{Project: "p", Run: "old"}))
	o := f.online()
	o.TakeUp(f.root, nobody)
	f.whole("new", 3)
	o.Shutdown(t.Context())
	_, there := f.server.Run("", "p", "old")
	assert.False(t, there)
}

// A run that another program uploads is left to it, and taken over after.
func TestAnotherProgramUploads(t *testing.T) {
	f := newFixture(t)
	f.end(f.begin("r", 3), 9)
	unlock, err := f.folder.Lock(upload.LockKey(f.key("r").Key()))
	require.NoError(t, err)
	core, said := observer.New(zap.InfoLevel)
	o := f.online(func(c *Config) { c.Logger = zap.New(core) })
	o.retryLock = time.Millisecond
	o.Follow(f.key("r"), "", f.folder, f.logs("r")).Ended()
	require.Eventually(t, func() bool { return said.FilterMessageSnippet("another program uploads").Len() == 1 }, patience, time.Millisecond)
	assert.Empty(t, f.server.Runs())
	require.NoError(t, unlock())
	f.whole("r", 3)
	o.Shutdown(t.Context())
}

// Health hears of a run that W&B refuses, once, and others go on; what it lacks
// bounds nobody.
func TestRefused(t *testing.T) {
	f := newFixture(t)
	f.server.Script("UpsertBucket", wandbtest.Fault{Status: 404})
	var mu sync.Mutex
	var heard []error
	o := f.online(func(c *Config) {
		c.MaxBehind = 1
		c.Health = func(err error) { mu.Lock(); defer mu.Unlock(); heard = append(heard, err) }
	})
	f.end(f.begin("bad", 3), 9)
	o.Follow(f.key("bad"), "", f.folder, f.logs("bad")).Ended()
	require.Eventually(t, func() bool { return o.Gauges().Phases[upload.Stopped] == 1 }, patience, 5*time.Millisecond)
	f.end(f.begin("good", 2), 9)
	o.Follow(f.key("good"), "", f.folder, f.logs("good")).Ended()
	f.whole("good", 2)
	o.look()
	require.NoError(t, o.Full())
	o.Shutdown(t.Context())
	mu.Lock()
	defer mu.Unlock()
	require.Len(t, heard, 1)
	var failure *upload.Failure
	require.ErrorAs(t, heard[0], &failure)
	assert.Equal(t, "bad", failure.Run.Run)
}

// A run goes on after its end while its upload is just done, many times.
func TestPartsFollowConcurrentSafe(t *testing.T) {
	f := newFixture(t)
	o := f.online()
	var all sync.WaitGroup
	for r := range 5 {
		all.Go(func() {
			id := fmt.Sprint("r", r)
			for n := range 4 {
				part := f.beginAt(id, 2, 2*n)
				s := o.Follow(f.key(id), "", f.folder, f.logs(id))
				s.Grew()
				f.end(part, 9)
				s.Ended()
			}
		})
	}
	all.Wait()
	for r := range 5 {
		f.wholeParts(fmt.Sprint("r", r), 8)
	}
	o.Shutdown(t.Context())
	assert.Empty(t, f.server.Violations())
}

func (f *fixture) wholeParts(id string, rows int) {
	f.Helper()
	require.Eventually(f, func() bool {
		r, ok := f.server.Run("", "p", id)
		return ok && r.State == "finished" && len(r.History) == rows
	}, patience, 5*time.Millisecond, "run %s", id)
}

// A folder's host is what the configuration says; what was uploaded elsewhere
// before that changed stays there, and what began there goes on there.
func TestTheConfigurationHasAnotherHost(t *testing.T) {
	f := newFixture(t)
	f.end(f.begin("r", 3), 9)
	o := f.online()
	o.TakeUp(f.root, nobody)
	f.whole("r", 3)
	o.Shutdown(t.Context())
	o = f.online(func(c *Config) { c.Host = "https://new.example" })
	require.NoError(t, o.takeUp(f.root, nobody))
	assert.Empty(t, o.streams)
	f.end(f.beginAt("r", 2, 3), 9)
	require.NoError(t, o.takeUp(f.root, nobody))
	f.wholeParts("r", 5)
	o.Shutdown(t.Context())
}

// A folder below another host's that stands for no entity is none.
func TestNoEntityOnAnotherHost(t *testing.T) {
	f := newFixture(t)
	var err error
	f.folder, err = f.root.Folder(f.url, "default")
	require.NoError(t, err)
	f.end(f.begin("r", 3), 9)
	o := f.online(func(c *Config) { c.Host, c.Entity = "https://own.example", "mine" })
	o.TakeUp(f.root, nobody)
	f.whole("r", 3)
	o.Shutdown(t.Context())
	all := f.server.Runs()
	require.Len(t, all, 1)
	assert.Equal(t, wandbtest.Entity, all[0].Entity, "the key's own")
}

// Somebody follows a run whose end is there already: nothing is done over and over.
func TestFollowedAfterItsEnd(t *testing.T) {
	f := newFixture(t)
	f.end(f.begin("r", 3), 9)
	var asked atomic.Int64
	o := f.online(func(c *Config) {
		way := c.Way
		c.Way = func(key runid.Coordinates, client string) (*wandb.Client, upload.Pacer, error) {
			asked.Add(1)
			return way(key, client)
		}
	})
	o.retryLock = time.Hour
	s := o.Follow(f.key("r"), "", f.folder, f.logs("r"))
	f.whole("r", 3)
	require.Eventually(t, func() bool { s.mu.Lock(); defer s.mu.Unlock(); return s.up == nil }, patience, time.Millisecond)
	assert.LessOrEqual(t, asked.Load(), int64(2), "once, and once more for the news that it is followed")
	o.Shutdown(t.Context())
}

// What W&B has all of is not behind, also after a restart.
func TestBehindAfterARestart(t *testing.T) {
	f := newFixture(t)
	part := f.begin("r", 3)
	for range 2 {
		o := f.online()
		o.Follow(f.key("r"), "", f.folder, f.logs("r"))
		require.Eventually(t, func() bool {
			o.look()
			r, ok := f.server.Run("", "p", "r")
			return ok && len(r.History) == 3 && o.Gauges().Behind == 0
		}, patience, time.Millisecond)
		o.Shutdown(t.Context())
	}
	f.end(part, 9)
}

// Shutdown ends in time whatever W&B does.
func TestShutdownIsBounded(t *testing.T) {
	f := newFixture(t)
	stall := make([]wandbtest.Fault, 100)
	for i := range stall {
		stall[i] = wandbtest.Fault{Status: 503}
	}
	f.server.Script("ServerFeaturesQuery", stall...)
	o := f.online()
	f.begin("r", 3)
	o.Follow(f.key("r"), "", f.folder, f.logs("r"))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	o.Shutdown(ctx)
	assert.Less(t, time.Since(began), 10*time.Second)
}

// Each host gets the credentials that belong to it, and no other.
func TestCredentialsStayWithTheirHost(t *testing.T) {
	t.Setenv("NETRC", t.TempDir()+"/none")
	const a, b, c = "https://a.example", "https://b.example", "https://c.example"
	t.Setenv("WANDB_BASE_URL", b)
	t.Setenv("WANDB_API_KEY", wandbtest.Key)
	ways := &Clients{
		Trusted: a, Pace: pace.New(pace.Options{}),
		Given: []Credential{
			{Host: a, Entity: "team", APIKey: "local-1111111111111111111111111111111111111111"},
			{Host: a, APIKey: "local-2222222222222222222222222222222222222222"},
		},
	}
	for name, tt := range map[string]struct {
		host, entity string
		ok           bool
	}{
		"the server's key":            {a, "ada", true},
		"the entity's key":            {a, "team", true},
		"the environment's":           {b, "", true},
		"another host has none":       {c, "", false},
		"nor does a team's name help": {c, "team", false},
	} {
		t.Run(name, func(t *testing.T) {
			client, pacer, err := ways.Way(runid.Coordinates{Host: tt.host, Entity: tt.entity}, "")
			if !tt.ok {
				require.ErrorContains(t, err, "no credentials for "+tt.host)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tt.host, client.BaseURL())
			assert.NotNil(t, pacer)
		})
	}
	_, one, err := ways.Way(runid.Coordinates{Host: a, Entity: "ada"}, "")
	require.NoError(t, err)
	_, again, err := ways.Way(runid.Coordinates{Host: a, Entity: "ada"}, "")
	require.NoError(t, err)
	assert.Same(t, one, again)
}

// W&B's own client resumes a run after its end, and then the run goes on here too:
// what it wrote stays, and all the rest goes behind.
func TestSomebodyElseWentOn(t *testing.T) {
	f := newFixture(t)
	o := f.online()
	f.end(f.begin("r", 2), 9)
	o.Follow(f.key("r"), "", f.folder, f.logs("r")).Ended()
	f.whole("r", 2)

	creds, err := wandb.APIKey(wandbtest.Key, "the test")
	require.NoError(t, err)
	client, err := wandb.New(wandb.Options{BaseURL: f.url, Credentials: creds})
	require.NoError(t, err)
	r, err := client.ResumeStatus(t.Context(), wandb.Path{Project: "p", Run: "r"})
	require.NoError(t, err)
	_, err = client.UpsertRun(t.Context(), wandb.Upsert{Run: r.Path, Config: `{"theirs":{"value":1},"_wandb":{"value":{"t":{"5":"0.28.0"}}}}`})
	require.NoError(t, err)
	var req wandb.StreamRequest
	for i := range 3 {
		require.NoError(t, req.Add(wandb.History, r.HistoryLines+i, fmt.Sprintf(`{"theirs":%d,"_step":%d}`, i, r.NextStep+int64(i))))
	}
	_, err = client.Stream(r.Path, false).Send(t.Context(), &req)
	require.NoError(t, err)

	part := f.beginAt("r", 2, 2)
	s := o.Follow(f.key("r"), "", f.folder, f.logs("r"))
	f.end(part, 9)
	s.Ended()
	f.wholeParts("r", 7)
	o.Shutdown(t.Context())
	got, _ := f.server.Run("", "p", "r")
	assert.Equal(t, int64(1), got.Config()["theirs"])
	for i, row := range got.Rows() {
		_, theirs := row["theirs"]
		assert.Equal(t, i >= 2 && i < 5, theirs, "row %d", i)
	}
	assert.Empty(t, f.server.Violations())
}
