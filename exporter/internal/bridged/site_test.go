package bridged

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-wandb/otel-wandb/exporter/internal/dotwandb"
	"github.com/otel-wandb/otel-wandb/exporter/internal/runview"
	"github.com/otel-wandb/otel-wandb/internal/collectortest"
)

// patience bounds waits for what does happen, on any machine.
const patience = time.Minute

// site is where one collector after another runs, and what they leave is read.
type site struct{ *collectortest.Site }

func newSite(t *testing.T, more ...string) *site {
	t.Helper()
	return &site{collectortest.Laptop(t, more...)}
}

func (s *site) endpoint() string { return "http://" + s.Addr }

// runsIn are the runs there are, by id.
func runsIn(t *testing.T, dir string) map[string]*runview.Run {
	t.Helper()
	parts, err := runview.List(dir)
	require.NoError(t, err)
	out := map[string]*runview.Run{}
	for key, group := range runview.Group(parts) {
		r, err := runview.Read(group, runview.Options{})
		require.NoError(t, err)
		require.NotContains(t, out, key.ID)
		out[key.ID] = r
	}
	return out
}

// glob finds files beside the runs' logs.
func (s *site) glob(t *testing.T, name string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(s.Dir, "wandb", "offline-run-*", name))
	require.NoError(t, err)
	return found
}

// ended waits until that many runs have ended: until then a marker stands beside
// each log.
func (s *site) ended(t *testing.T, n int) map[string]*runview.Run {
	t.Helper()
	poll := time.NewTicker(100 * time.Millisecond)
	defer poll.Stop()
	for deadline := time.Now().Add(patience); ; <-poll.C {
		logs, open := s.glob(t, "*.wandb"), s.glob(t, "*.synced")
		if len(logs) >= n && len(open) == 0 {
			return runsIn(t, s.Dir)
		}
		require.True(t, time.Now().Before(deadline), "%d logs, %d of them go on: %v", len(logs), len(open), open[:min(3, len(open))])
	}
}

// wantRows fails unless the rows of the run are those of these numbers, in order,
// each once.
func wantRows(t *testing.T, r *runview.Run, first, n int) {
	t.Helper()
	require.NotNil(t, r)
	require.Len(t, r.Rows, n)
	for i, row := range r.Rows {
		require.EqualValues(t, first+i, row.Values["row"], "row %d of the log", i)
	}
	require.NotContains(t, r.Summary, "otel.rows_missing")
	require.Zero(t, r.AfterExit, "what stands behind the exit W&B does not see")
}

// growth samples how long a run's log is, to know later when each of its records
// was there.
type growth struct {
	dir     string
	stop    chan struct{}
	stopped chan struct{}
	path    string
	samples []sample
}

type sample struct {
	at   time.Time
	size int64
}

const samplePause = 10 * time.Millisecond

func (s *site) watch(t *testing.T, runID string) *growth {
	g := &growth{dir: s.Dir, stop: make(chan struct{}), stopped: make(chan struct{})}
	go func() {
		defer close(g.stopped)
		tick := time.NewTicker(samplePause)
		defer tick.Stop()
		for {
			if g.path == "" {
				if found, _ := filepath.Glob(filepath.Join(g.dir, "wandb", "offline-run-*", "run-"+runID+".wandb")); len(found) == 1 {
					g.path = found[0]
				}
			}
			if info, err := os.Stat(g.path); err == nil {
				if n := len(g.samples); n == 0 || g.samples[n-1].size != info.Size() {
					g.samples = append(g.samples, sample{time.Now(), info.Size()})
				}
			}
			select {
			case <-tick.C:
			case <-g.stop:
				return
			}
		}
	}()
	t.Cleanup(g.end)
	return g
}

func (g *growth) end() {
	select {
	case <-g.stop:
	default:
		close(g.stop)
	}
	<-g.stopped
}

// delays are how long each row took from being logged to being seen in the log.
// at is the metric that says when it was logged.
func (g *growth) delays(t *testing.T) (delays []time.Duration) {
	t.Helper()
	g.end()
	f, err := os.Open(g.path)
	require.NoError(t, err)
	defer f.Close()
	r, err := dotwandb.NewReader(f, dotwandb.Strict)
	require.NoError(t, err)
	for at := 0; ; {
		data, err := r.Next()
		if errors.Is(err, io.EOF) {
			slices.Sort(delays)
			return delays
		}
		require.NoError(t, err)
		record, err := dotwandb.Decode(data)
		require.NoError(t, err)
		if record.History == nil {
			continue
		}
		for at < len(g.samples)-1 && g.samples[at].size < r.Offset() {
			at++
		}
		require.GreaterOrEqual(t, g.samples[at].size, r.Offset())
		for _, item := range record.History.Items {
			if item.Key == "at" {
				delays = append(delays, g.samples[at].at.Sub(time.Unix(0, atoi(t, item.JSON))))
			}
		}
	}
}
