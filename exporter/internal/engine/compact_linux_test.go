package engine

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-wandb/otel-wandb/exporter/internal/loadgen"
)

// What waits survives the journal's compaction, kills before and after it, and
// that half of it is placed meanwhile.
func TestWaitingSurvivesCompaction(t *testing.T) {
	usual := snapshotAfter
	snapshotAfter = 16 << 10 // nearly every tick
	t.Cleanup(func() { snapshotAfter = usual })
	rng := rand.New(rand.NewPCG(4, 2))
	c, parent := newClock(), t.TempDir()
	dir := filepath.Join(parent, "0")
	e := start(t, dir, c)
	acked := loadgen.Rows{}
	var programs []*program
	for i := range 30 {
		programs = append(programs, newProgram(byte(i+1), fmt.Sprintf("run-%d", i)))
	}
	next := map[string]int64{}
	placed := 0
	for round := range 120 {
		p := programs[rng.IntN(len(programs))]
		n := next[p.run]
		if rng.IntN(2) == 0 {
			mustSend(t, e, p.child(c.Now(), uint64(n)+1, n, n+20))
		} else {
			mustSend(t, e, p.under(p.mid(), c.Now(), uint64(n)+1, n, n+20))
		}
		acked.Add(p.run, n, n+19)
		next[p.run] = n + 20
		if round%5 == 4 && placed < len(programs)/2 {
			mustSend(t, e, programs[placed].between(c.Now()))
			mustSend(t, e, programs[placed].task(c.Now()))
			placed++
		}
		c.Add(100 * time.Millisecond)
		e.Tick()
		if round%20 == 19 { // as after a kill: a copy of what is there
			copied := filepath.Join(parent, fmt.Sprint(round))
			require.NoError(t, os.CopyFS(copied, os.DirFS(dir)))
			require.NoError(t, e.Shutdown(context.Background()))
			dir = copied
			e = start(t, dir, c)
		}
	}
	size, live := e.place.journal.Size()
	require.Positive(t, e.Waiting())
	require.Less(t, size, live+int64(256<<10), "the journal holds little more than what waits")
	for _, p := range programs {
		mustSend(t, e, p.between(c.Now()))
		mustSend(t, e, p.task(c.Now()))
	}
	require.Zero(t, e.Waiting())
	c.Add(10 * time.Second)
	e.Tick()
	require.NoError(t, e.Shutdown(context.Background()))
	requireRows(t, dir, acked)
	onDisk(t, dir)
}
