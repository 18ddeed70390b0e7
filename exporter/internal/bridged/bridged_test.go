// Package bridged holds the public bridge against the real collector: a million
// rows, a collector that is killed, a program that is killed, a thousand tasks
// at once.
//
//	make million                   # the long forms
package bridged

import (
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// soon lets runs end as soon as they can: the tests wait for it.
const soon = "yaml:exporters::wandb::finish::linger: 500ms"

// long says whether the long forms are wanted.
func long() bool { return os.Getenv("BRIDGED_LONG") != "" }

func pick[T any](short, whole T) T {
	if long() {
		return whole
	}
	return short
}

func atoi(t *testing.T, s string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(s, 10, 64)
	require.NoError(t, err)
	return n
}

func ms(d time.Duration) time.Duration { return d.Round(time.Millisecond) }

// Rows are live while the task runs, at a pace that a collector on this machine
// keeps, and the program holds none of them.
func TestAMillionRows(t *testing.T) {
	rows := pick(50_000, 1_000_000)
	for _, tt := range []struct {
		name  string
		never bool
		pause time.Duration // after 100 rows
	}{
		{"steady", false, 10 * time.Millisecond},
		{"sampled-away", true, 10 * time.Millisecond},
		{"at-once", false, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSite(t, soon)
			s.StartReady(t)
			watch := s.watch(t, tt.name)
			r := run(t, orders{
				Endpoint: s.endpoint(), Dir: t.TempDir(), Run: tt.name, Rows: rows,
				Burst: 100, Pause: tt.pause, NeverSample: tt.never, Linger: 2 * time.Second,
			}).end(t)
			got := s.ended(t, 1)[tt.name]
			wantRows(t, got, 0, rows)
			assert.Len(t, got.Parts, 1)
			if assert.NotNil(t, got.Exit) {
				assert.Zero(t, *got.Exit)
			}
			delays := watch.delays(t)
			require.Len(t, delays, rows)
			p50, p99, most := delays[rows/2], delays[rows*99/100], delays[rows-1]
			t.Logf("%s: %d rows in %v (%.0f a second), the end in %v; in the log after %v (p50), %v (p99), %v (most); heap %.1f MB at most, %.1f MB before",
				tt.name, rows, ms(r.Took), float64(rows)/r.Took.Seconds(), ms(r.Ended), ms(p50), ms(p99), ms(most),
				float64(r.HeapMost)/1e6, float64(r.HeapBase)/1e6)
			assert.Less(t, r.HeapMost-r.HeapBase, int64(48<<20), "the program keeps rows")
			if tt.pause > 0 {
				// Beside other tests a machine may be busy.
				assert.Less(t, pick(p50, p99), 2*time.Second)
			}
		})
	}
}

// A collector that is killed while rows flow, and again before the end.
func TestTheCollectorIsKilled(t *testing.T) {
	away := pick(2*time.Second, 10*time.Second)
	// 2,000 rows a second, for three times as long as the collector is away.
	rows := int(3 * 2000 * away.Seconds())
	s := newSite(t, soon)
	c := s.StartReady(t)
	p := run(t, orders{Endpoint: s.endpoint(), Dir: t.TempDir(), Run: "killed", Rows: rows, Burst: 20, Pause: 10 * time.Millisecond})
	p.until(t, rows/6)
	c.Kill()
	killed := time.Now()
	for time.Since(killed) < away {
		require.True(t, p.next(t))
	}
	before := len(p.marks)
	c = s.StartReady(t)
	require.Greater(t, p.marks[before-1].n, rows/3, "rows flowed meanwhile")

	// The end comes while it is away again.
	p.until(t, rows*9/10)
	c.Kill()
	p.until(t, rows)
	time.Sleep(away)
	require.Nil(t, p.report)
	s.StartReady(t)
	r := p.end(t)
	assert.GreaterOrEqual(t, r.Ended, away-time.Second, "it waited for the collector")

	got := s.ended(t, 1)["killed"]
	wantRows(t, got, 0, rows)
	require.NotNil(t, got.Exit)
	assert.Zero(t, *got.Exit)
	for i, part := range got.Parts {
		require.NotNil(t, part.Exit, "part %d", i)
		assert.Zero(t, *part.Exit, "part %d", i)
	}
	assert.Len(t, got.Parts, 1, "the run went on where it was")
	t.Logf("%d rows, each once; the collector away for %v twice; the end took %v", rows, away, ms(r.Ended))
}

// A program that is killed: what it logged 200 ms before is there once another
// program uses its folder, and its run goes on, or ends as crashed.
func TestTheProgramIsKilled(t *testing.T) {
	const apart, more = 1_000_000, 1000
	// Killed before its first heartbeat, which is after a minute, a program counts
	// as one without any.
	const silence = "yaml:exporters::wandb::run::abandon_after: 4s"
	for _, tt := range []struct {
		name  string
		away  bool // the collector, until the program is dead
		next  orders
		first int32 // exit code of the killed program's run
	}{
		{"the next attempt goes on", false, orders{Run: "first", Attempt: 2}, 0},
		{"likewise, the collector was away", true, orders{Run: "first", Attempt: 2}, 0},
		// Who does not number attempts leaves it open whether the first goes on.
		{"an attempt without a number goes on", false, orders{Run: "first"}, 254},
		{"another run follows", false, orders{Run: "second"}, 254},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, soon, silence)
			if !tt.away {
				s.StartReady(t)
			}
			o := orders{Endpoint: s.endpoint(), Dir: t.TempDir(), Run: "first", Rows: apart, Burst: 10, Pause: 5 * time.Millisecond}
			if tt.next.Attempt > 0 {
				o.Attempt = 1
			}
			p := run(t, o)
			p.until(t, 2000)
			promised := p.kill(t)
			require.Positive(t, promised)
			if tt.away {
				s.StartReady(t)
			}
			o.Run, o.Attempt, o.First, o.Rows, o.Linger = tt.next.Run, tt.next.Attempt, apart, more, time.Second
			run(t, o).end(t)
			all := s.ended(t, 1)
			first := all["first"]
			require.NotNil(t, first)
			n := 0
			for n < len(first.Rows) && first.Rows[n].Values["row"].(int64) < apart {
				require.EqualValues(t, n, first.Rows[n].Values["row"], "what is more than promised has no gap either")
				n++
			}
			require.GreaterOrEqual(t, n, promised)
			t.Logf("%d rows promised, %d there, of %d logged", promised, n, p.marks[len(p.marks)-1].n)
			require.NotNil(t, first.Exit)
			assert.Equal(t, tt.first, *first.Exit)
			if o.Run != "first" {
				assert.Len(t, first.Rows, n)
				wantRows(t, all["second"], apart, more)
				assert.Zero(t, *all["second"].Exit)
				return
			}
			require.Len(t, first.Rows, n+more)
			for i, row := range first.Rows[n:] {
				require.EqualValues(t, apart+i, row.Values["row"])
			}
		})
	}
}

// A thousand tasks at once, nine in ten of them children with a run of their own.
func TestAThousandTasksAtOnce(t *testing.T) {
	const parents, children, rows = 100, 9, 20
	s := newSite(t, soon)
	s.StartReady(t)
	began := time.Now()
	run(t, orders{Endpoint: s.endpoint(), Dir: t.TempDir(), Run: "many", Tasks: parents, Children: children, Rows: rows}).end(t)
	took := time.Since(began)
	all := s.ended(t, parents*(1+children))
	require.Len(t, all, parents*(1+children))
	check := func(id, group string) {
		r := all[id]
		wantRows(t, r, 0, rows)
		for _, row := range r.Rows {
			require.Equal(t, id, row.Values["of"], "a row of another")
		}
		require.Equal(t, group, r.Group, id)
		require.Zero(t, *r.Exit)
	}
	for p := range parents {
		id := fmt.Sprintf("many-%d", p)
		check(id, "")
		for c := range children {
			check(fmt.Sprintf("%s-%d", id, c), id)
		}
	}
	t.Logf("%d tasks in %v, all runs ended after %v; no goroutine left", len(all), ms(took), ms(time.Since(began)))
}
