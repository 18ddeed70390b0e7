package torture

import (
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-wandb/otel-wandb/exporter/internal/loadgen"
	"github.com/otel-wandb/otel-wandb/internal/collectortest"
)

// TestSoak runs one collector under mixed load of runs that come and go, and
// looks at what it holds: with what is remembered of traces bounded, nothing
// may grow. The short form only finds what grows fast.
func TestSoak(t *testing.T) {
	long := 6 * time.Second
	if value := os.Getenv("SOAK"); value != "" {
		var err error
		long, err = time.ParseDuration(value)
		require.NoError(t, err, "SOAK")
	}
	atRest := collectortest.Laptop(t).StartReady(t).Quit(t)

	// Ended traces are kept for an hour, so that a late span finds its run: here
	// for seconds, to see the rest.
	s := collectortest.Laptop(t, soon,
		"yaml:exporters::wandb::placement::links: 10s", "yaml:exporters::wandb::placement::retention: 20s",
		"yaml:exporters::wandb::placement::settle: 5s")
	c := s.StartReady(t)
	l := newLoads(t, s.Addr, "soak")
	var memory []int64
	var files []int
	sample := time.NewTicker(long / 60)
	defer sample.Stop()
	for end := time.Now().Add(long); time.Now().Before(end); {
		select {
		case <-sample.C:
			memory, files = append(memory, c.RSS(t)), append(files, c.Files(t))
		case <-c.Exited():
			require.FailNow(t, "the collector ended by itself", "%v", c.State())
		}
	}
	acked := l.finish(t)
	awaitClosed(t, s.Dir)

	third := len(memory) / 3
	before, after := median(memory[third:2*third]), median(memory[2*third:])
	t.Logf("%v, %d rows: memory %.1f MiB, then %.1f MiB, most %.1f MiB; files %d, then %d, most %d",
		long, acked.Count(), mib(before), mib(after), mib(slices.Max(memory)),
		median(files[third:2*third]), median(files[2*third:]), slices.Max(files))
	if long >= 4*time.Minute { // ended runs stay in memory for a minute: before, it grows
		assert.Less(t, float64(after), float64(before)*1.1+8<<20, "memory grows")
	}
	assert.Less(t, mib(slices.Max(memory)), 512.0, "memory")
	assert.Less(t, slices.Max(files), 400, "open files")

	left := c.Quit(t) // the senders' connections are closed
	t.Logf("goroutines: %d of an idle collector, %d after the load", atRest, left)
	assert.LessOrEqual(t, left, atRest+4, "goroutines are left over")

	found, err := loadgen.RowsIn(s.Dir)
	require.NoError(t, err)
	require.NoError(t, acked.Check(found))
	checkLogs(t, s.Dir)
}

func mib(n int64) float64 { return float64(n) / (1 << 20) }

func median[T int | int64](values []T) T {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}
