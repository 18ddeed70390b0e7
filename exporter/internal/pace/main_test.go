package pace

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/otel-wandb/otel-wandb/exporter/internal/dotwandb"
	"github.com/otel-wandb/otel-wandb/exporter/internal/upload"
	"github.com/otel-wandb/otel-wandb/internal/wandb"
	"github.com/otel-wandb/otel-wandb/internal/wandbtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fleet is many runs' uploaders, their scheduler and a server, on a clock of
// their own.
type fleet struct {
	*testing.T
	dir    string
	server *wandbtest.Server
	sched  *Scheduler
	client *wandb.Client
	gate   *Gate
	runs   []*run
	wg     sync.WaitGroup
	stop   context.CancelFunc

	mu      sync.Mutex // guards what follows
	notices []Notice
	down    bool // the server cannot be reached
	tries   int  // while it was
	errs    []error
}

// run is one run's log and uploader.
type run struct {
	f        *fleet
	id, log  string
	num      int64
	size     int64
	rows     int
	uploader *upload.Uploader
}

func newFleet(t *testing.T, runs int, opts wandbtest.Options, test func(f *fleet)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		f := &fleet{T: t, dir: dir, server: wandbtest.New(opts)}
		h, stop := f.server.InMemory()
		defer stop()
		inner := h.Transport
		h.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
			f.mu.Lock()
			down := f.down
			if down {
				f.tries++
			}
			f.mu.Unlock()
			if down {
				_ = r.Body.Close()
				return nil, errors.New("the server is down")
			}
			return inner.RoundTrip(r)
		})
		f.sched = New(Options{Notify: func(n Notice) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.notices = append(f.notices, n)
		}})
		f.gate = f.sched.For(wandbtest.URL, "test")
		creds, err := wandb.APIKey(wandbtest.Key, "the test")
		require.NoError(t, err)
		f.client, err = wandb.New(wandb.Options{BaseURL: wandbtest.URL, HTTP: h, Credentials: creds, Limiter: f.gate})
		require.NoError(t, err)
		for i := range runs {
			f.runs = append(f.runs, f.newRun(fmt.Sprintf("r%d", i)))
		}
		ctx, cancel := context.WithCancel(t.Context())
		f.stop = cancel
		for _, r := range f.runs {
			f.wg.Go(func() {
				if err := r.uploader.Run(ctx); err != nil && ctx.Err() == nil {
					f.mu.Lock()
					f.errs = append(f.errs, err)
					f.mu.Unlock()
				}
			})
		}
		test(f)
		cancel()
		f.wg.Wait()
		assert.Empty(t, f.errs)
		assert.Empty(t, f.server.Violations())
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

var began = time.Date(2026, 1, 2, 15, 4, 1, 0, time.UTC)

func (f *fleet) newRun(id string) *run {
	log := filepath.Join(f.dir, "wandb", "run-20260102_150401-"+id, "run-"+id+".wandb")
	require.NoError(f, os.MkdirAll(filepath.Dir(log), 0o777))
	r := &run{f: f, id: id, log: log}
	r.write(
		dotwandb.Record{Header: &dotwandb.Header{Producer: "0.1.0", MinConsumer: "0.70.0"}},
		dotwandb.Record{Run: &dotwandb.Run{ID: id, Project: "p", DisplayName: id, StartTime: began}},
	)
	r.row()
	r.uploader = upload.New(upload.Options{
		Client: f.client, Pacer: f.gate, Parts: []string{log}, Follow: true, Alive: true,
		Position: upload.PositionFile(filepath.Join(f.dir, "wandb"), wandbtest.URL, wandb.Path{Project: "p", Run: id}),
	})
	return r
}

func (r *run) write(records ...dotwandb.Record) {
	var b []byte
	if r.size == 0 {
		b = dotwandb.AppendFileHeader(b)
	}
	framer := dotwandb.NewFramer(r.size + int64(len(b)))
	for i := range records {
		r.num++
		records[i].Num = r.num
		b = framer.Append(b, records[i].Append(nil))
	}
	file, err := os.OpenFile(r.log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o666)
	require.NoError(r.f, err)
	defer file.Close()
	_, err = file.Write(b)
	require.NoError(r.f, err)
	r.size += int64(len(b))
	if r.uploader != nil {
		r.uploader.Wake()
	}
}

// row logs a row, whose one value is its step.
func (r *run) row() {
	step := strconv.Itoa(r.rows)
	r.write(dotwandb.Record{History: &dotwandb.History{Step: int64(r.rows), Items: []dotwandb.Item{
		{Key: "x", JSON: step}, {Key: "_step", JSON: step},
	}}})
	r.rows++
}

func (r *run) exit() { r.write(dotwandb.Record{Exit: &dotwandb.Exit{}}) }

// whole checks that W&B has each row once and in order, and never called a run
// crashed.
func (f *fleet) whole(state string, crashes int) {
	f.Helper()
	held := f.server.Runs()
	require.Len(f, held, len(f.runs))
	for _, h := range held {
		i, err := strconv.Atoi(h.ID[1:])
		require.NoError(f, err)
		require.Len(f, h.History, f.runs[i].rows, h.ID)
		for n, line := range h.History {
			require.Equal(f, n, line.Offset)
			require.Equal(f, fmt.Sprintf(`{"x":%d,"_step":%d}`, n, n), line.Text)
		}
		assert.Equal(f, state, h.State, h.ID)
		assert.Equal(f, crashes, h.Crashes, h.ID)
	}
}

// streamed are the times of file stream requests, by run, and how many were refused.
func (f *fleet) streamed() (byRun map[string][]time.Time, all []time.Time, refused int) {
	byRun = map[string][]time.Time{}
	for _, r := range f.server.Requests() {
		if r.Operation != "" {
			continue
		}
		if r.Status == http.StatusTooManyRequests {
			refused++
		}
		id := filepath.Base(filepath.Dir(r.Path))
		byRun[id] = append(byRun[id], r.Time)
		all = append(all, r.Time)
	}
	return byRun, all, refused
}

// most is how many of some times are within a window at most.
func most(times []time.Time, window time.Duration) (n int) {
	from := 0
	for i, t := range times {
		for t.Sub(times[from]) >= window {
			from++
		}
		n = max(n, i-from+1)
	}
	return n
}

// longest is the longest time between two.
func longest(times []time.Time) (d time.Duration) {
	for i := 1; i < len(times); i++ {
		d = max(d, times[i].Sub(times[i-1]))
	}
	return d
}
