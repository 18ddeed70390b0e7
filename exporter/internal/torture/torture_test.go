// Package torture kills the real collector while it works, again and again, and
// then looks whether anything that was acknowledged is missing or there twice.
//
//	make torture N=20              # kills; TORTURE_SEED=… repeats their moments
package torture

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/otel-wandb/otel-wandb/exporter/internal/dotwandb"
	"github.com/otel-wandb/otel-wandb/exporter/internal/loadgen"
	"github.com/otel-wandb/otel-wandb/exporter/internal/runview"
	"github.com/otel-wandb/otel-wandb/internal/collectortest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// soon lets runs end as soon as they can: the test waits for it.
const soon = "yaml:exporters::wandb::finish::linger: 500ms"

func TestKilledUnderLoad(t *testing.T) {
	kills := envInt(t, "TORTURE_N", 3)
	seed := uint64(envInt(t, "TORTURE_SEED", int(time.Now().UnixNano()&0xffffff)))
	t.Logf("%d kills, seed %d: TORTURE_N=%d TORTURE_SEED=%d repeats it", kills, seed, kills, seed)
	rng := rand.New(rand.NewPCG(seed, 0))

	s := collectortest.Laptop(t, soon)
	l := newLoads(t, s.Addr, fmt.Sprintf("t%x", seed))
	l.heavy()
	c := s.Start(t)
	for i := range kills {
		// Also while it starts, and while it takes up what the last one left.
		atStart := i > 0 && rng.IntN(4) == 0
		after := time.Duration(rng.Int64N(int64(1500 * time.Millisecond)))
		if atStart {
			after /= 4
		} else {
			c.AwaitReady(t)
		}
		select {
		case <-time.After(after):
		case <-c.Exited():
			require.FailNow(t, "the collector ended by itself", "%v", c.State())
		}
		t.Logf("kill %d after %v, at start: %v; %d rows acknowledged", i+1, after.Round(time.Millisecond), atStart, l.count())
		c.Kill()
		c = s.Start(t)
	}
	c.AwaitReady(t)
	acked := l.finish(t)
	awaitClosed(t, s.Dir)
	c.Stop(t)

	parts := checkLogs(t, s.Dir)
	found, err := loadgen.RowsIn(s.Dir)
	require.NoError(t, err)
	require.NoError(t, acked.Check(found))
	n := 0
	for _, rows := range found {
		n += len(rows)
	}
	t.Logf("%d kills: %d rows acknowledged, each there once; %d rows in %d logs of %d runs", kills, acked.Count(), n, parts, len(found))
}

// What waits for its parent was acknowledged, too: the parent comes after the kill.
func TestWaitingSurvivesKill(t *testing.T) {
	s := collectortest.Laptop(t, soon)
	c := s.StartReady(t)
	rng := rand.New(rand.NewPCG(1, 2))
	acked := loadgen.Rows{}
	p, err := newPlain(s.Addr, rng, func(run string, first, last int64) error {
		acked.Add(run, first, last)
		return nil
	})
	require.NoError(t, err)
	defer p.conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), collectortest.Patience)
	defer cancel()

	tasks := []task{newTask("waits-0", rng), newTask("waits-1", rng)}
	for _, task := range tasks {
		for _, i := range rng.Perm(2 * plainSteps) {
			require.NoError(t, p.sendStep(ctx, task, i))
		}
	}
	found, err := loadgen.RowsIn(s.Dir)
	require.NoError(t, err)
	require.Empty(t, found, "the rows have no run yet")

	// Twice: what was taken up by a collector that is killed again is not lost either.
	for range 2 {
		c.Kill()
		c = s.StartReady(t)
	}
	for _, task := range tasks {
		require.NoError(t, p.sendRoot(ctx, task))
	}
	awaitClosed(t, s.Dir)
	c.Stop(t)
	require.Equal(t, len(tasks), checkLogs(t, s.Dir), "one log a run")
	found, err = loadgen.RowsIn(s.Dir)
	require.NoError(t, err)
	require.NoError(t, acked.Check(found))
	require.EqualValues(t, len(tasks)*2*plainSteps*rowsPerSpan, acked.Count())
}

// loads are all the senders. Each sends runs, whole ones, round after round,
// until it is told to finish; what was acknowledged is in a ledger.
type loads struct {
	done   atomic.Bool
	wg     sync.WaitGroup
	send   func(name string, options loadgen.Options)
	mu     sync.Mutex // guards everything below
	errs   []error
	ledger *loadgen.Ledger
	path   string
	rows   int64
}

func newLoads(t *testing.T, addr, session string) *loads {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "ledger"))
	require.NoError(t, err)
	l := &loads{ledger: loadgen.NewLedger(file), path: file.Name()}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(func() {
		cancel()
		l.wg.Wait()
		assert.NoError(t, file.Close())
	})
	l.send = func(name string, options loadgen.Options) {
		options.Addr, options.Acked = addr, l.acked
		l.rounds(func(round int) error {
			options := options
			options.Session = fmt.Sprintf("%s-%s-%d", session, name, round)
			_, err := loadgen.Run(ctx, options)
			return err
		}, func() error { return nil })
	}
	for name, options := range map[string]loadgen.Options{
		"carriers": {Kind: loadgen.CarrierRows, Items: 1500, PerRequest: 10, Runs: 5, Clients: 2, Rate: 1000, Lifecycle: true},
		"gateway":  {Kind: loadgen.CarrierRows, Items: 4000, PerRequest: 64, Runs: 24, RunsPerRequest: 8, Rate: 3000, Lifecycle: true},
		"records":  {Kind: loadgen.LogRows, Items: 3000, PerRequest: 32, Runs: 3, Clients: 3, Rate: 2000, Lifecycle: true},
		"shared":   {Kind: loadgen.CarrierRows, Items: 2000, PerRequest: 16, Runs: 1, Clients: 4, Rate: 1500, Lifecycle: true},
		"nothing":  {Kind: loadgen.Unmarked, Items: 4000, PerRequest: 256, Rate: 3000},
	} {
		l.send(name, options)
	}
	for client := range 2 {
		p, err := newPlain(addr, rand.New(rand.NewPCG(uint64(client), 7)), l.acked)
		require.NoError(t, err)
		l.rounds(func(round int) error {
			return p.send(ctx, newTask(fmt.Sprintf("%s-plain%d-%d", session, client, round), p.rng))
		}, p.conn.Close)
	}
	return l
}

// heavy sends large requests back to back: most kills tear an append.
func (l *loads) heavy() {
	l.send("heavy", loadgen.Options{Kind: loadgen.CarrierRows, Items: 40_000, PerRequest: 4000, Runs: 2, Clients: 2, Lifecycle: true})
}

func (l *loads) rounds(send func(round int) error, end func() error) {
	l.wg.Go(func() {
		var err error
		for round := 0; !l.done.Load() && err == nil; round++ {
			err = send(round)
		}
		if err = errors.Join(err, end()); err != nil {
			l.mu.Lock()
			l.errs = append(l.errs, err)
			l.mu.Unlock()
		}
	})
}

func (l *loads) acked(run string, first, last int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rows += last - first + 1
	return l.ledger.Acked(run, first, last)
}

func (l *loads) count() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rows
}

// finish lets each sender end its round, and gives what was acknowledged.
func (l *loads) finish(t *testing.T) loadgen.Rows {
	t.Helper()
	l.done.Store(true)
	ended := make(chan struct{})
	go func() {
		l.wg.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(collectortest.Patience):
		require.FailNow(t, "the senders are not done", "after %s", collectortest.Patience)
	}
	require.NoError(t, errors.Join(l.errs...))
	file, err := os.Open(l.path)
	require.NoError(t, err)
	defer file.Close()
	rows, err := loadgen.ReadLedger(file)
	require.NoError(t, err)
	require.Equal(t, l.count(), rows.Count(), "the ledger says what was acknowledged")
	return rows
}

// awaitClosed waits until no log goes on: until then its marker stands beside it.
// What a kill left half made, in a hidden folder, has one, too, and is no log.
func awaitClosed(t *testing.T, dir string) {
	t.Helper()
	var open []string
	closed := func() bool {
		parts, err := runview.List(dir)
		open = nil
		for _, part := range parts {
			if part.Synced {
				open = append(open, part.Path)
			}
		}
		return err == nil && len(open) == 0
	}
	poll := time.NewTicker(100 * time.Millisecond)
	defer poll.Stop()
	for deadline := time.Now().Add(collectortest.Patience); !closed(); <-poll.C {
		require.True(t, time.Now().Before(deadline), "%d logs go on: %v", len(open), open[:min(5, len(open))])
	}
}

// checkLogs reads every log as W&B does, to its end, and gives how many there are.
func checkLogs(t *testing.T, dir string) int {
	t.Helper()
	parts, err := runview.List(dir)
	require.NoError(t, err)
	for key, group := range runview.Group(parts) {
		last := int64(-1)
		for i, part := range group {
			exits, steps := readLog(t, part.Path)
			assert.Equal(t, []int32{0}, exits, "run %v, part %d of %d, %s: its exits", key, i+1, len(group), part.Path)
			for _, step := range steps {
				if !assert.Greater(t, step, last, "run %v, %s: steps grow", key, part.Path) {
					break
				}
				last = step
			}
			if i > 0 {
				assert.True(t, part.Start.After(group[i-1].Start), "run %v: parts have times in their order", key)
			}
		}
	}
	return len(parts)
}

func readLog(t *testing.T, path string) (exits []int32, steps []int64) {
	t.Helper()
	file, err := os.Open(path)
	require.NoError(t, err)
	defer file.Close()
	r, err := dotwandb.NewReader(file, dotwandb.Strict)
	require.NoError(t, err, path)
	for num := int64(1); ; num++ {
		b, err := r.Next()
		if errors.Is(err, io.EOF) {
			return exits, steps
		}
		require.NoError(t, err, path)
		rec, err := dotwandb.Decode(b)
		require.NoError(t, err, path)
		require.Empty(t, exits, "%s: record %d stands behind the exit", path, num)
		require.Equal(t, num, rec.Num, "%s: records count without gaps", path)
		switch {
		case rec.Exit != nil:
			exits = append(exits, rec.Exit.Code)
		case rec.History != nil:
			steps = append(steps, rec.History.Step)
		}
	}
}

func envInt(t *testing.T, name string, or int) int {
	t.Helper()
	value := os.Getenv(name)
	if value == "" {
		return or
	}
	n, err := strconv.Atoi(value)
	require.NoError(t, err, name)
	return n
}
