package placement

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-wandb/otel-wandb/exporter/internal/codec"
	"github.com/otel-wandb/otel-wandb/internal/runid"
	"github.com/otel-wandb/otel-wandb/internal/runmode"
)

// What the placement cases in testdata do not reach: size, and the journal's form.

const now = int64(1_800_000_000_000_000_000)

func testConfig() Config {
	return Config{
		Settle: time.Minute, Retention: 24 * time.Hour, Links: time.Hour, MaxLinks: 1 << 20, MaxWaiting: 1 << 20,
	}
}

func id(n int) (s SpanID) {
	binary.BigEndian.PutUint64(s[:], uint64(n))
	return s
}

// row is a plain span with something for W&B in it.
func row(span, parent int) Unit {
	return Unit{Subject: Subject{
		Trace: TraceID{1}, Span: id(span), Parent: id(parent), Declares: true, Real: true, Holds: true,
		Fingerprint: uint64(span),
	}}
}

// link is a plain span without.
func link(span, parent int) Unit {
	u := row(span, parent)
	u.Subject.Holds = false
	return u
}

func task(span, parent int, mode runmode.Mode) Unit {
	u := row(span, parent)
	u.Subject.Task = &Task{Mode: mode, Base: "run-" + u.Subject.Span.String(), Start: now}
	return u
}

func inTrace(n int, u Unit) Unit {
	binary.BigEndian.PutUint64(u.Subject.Trace[8:], uint64(n))
	return u
}

// within fails where placing many spans takes more than linear time would by
// far. A quadratic walk of these sizes takes minutes.
func within(t *testing.T, d time.Duration, f func()) {
	t.Helper()
	began := time.Now()
	f()
	assert.Less(t, time.Since(began), d, "the work grows faster than the number of spans")
}

func TestAMillionSpansOfOneTraceWithoutRoot(t *testing.T) {
	if testing.Short() {
		t.Skip("some seconds, and some hundred MiB")
	}
	const n, most = 1_000_000, 50_000
	// make gives the i-th span to arrive, of n; its parents end in one that never comes.
	shapes := []struct {
		name    string
		unit    func(i int) Unit
		waiting int // what waits at the end
		links   int
	}{
		{"leaves without anything, of one missing parent", func(i int) Unit { return link(i+2, 1) }, 0, most},
		{"rows of one missing parent", func(i int) Unit { return row(i+2, 1) }, most, most},
		{"rows, each of a missing parent of its own", func(i int) Unit { return row(i+2, i+2+n) }, most, most},
		{"a chain, children first", func(i int) Unit { return link(i+1, i+2) }, 0, most},
		{"a chain, parents first", func(i int) Unit { return link(n-i+1, n-i+2) }, 0, most},
		// A task that waits is remembered in any case: max_waiting bounds it.
		{"tasks of one missing parent", func(i int) Unit { return task(i+2, 1, runmode.Auto) }, most, most},
		{"stamped spans", func(i int) Unit {
			u := row(i+2, 1)
			u.Subject.Stamp = &Stamp{Run: runid.Coordinates{ID: "r"}, Owner: id(1)}
			return u
		}, 0, most},
	}
	for _, s := range shapes {
		t.Run(s.name, func(t *testing.T) {
			cfg := testConfig()
			cfg.MaxLinks, cfg.MaxWaiting = most, most
			table := NewTable(cfg)
			within(t, time.Minute, func() {
				batch := make([]Unit, 0, 1000)
				for i := range n {
					batch = append(batch, s.unit(i))
					if len(batch) == cap(batch) {
						table.Place(now+int64(i), batch)
						batch = batch[:0]
					}
				}
			})
			assert.Equal(t, s.waiting, table.Waiting(), "units that wait")
			assert.Equal(t, s.links, table.Links(), "spans remembered")
			within(t, time.Minute, func() { table.Settle(now + int64(48*time.Hour)) })
			assert.Zero(t, table.Waiting(), "nothing waits after the end of all input")
			table.Expire(now + int64(96*time.Hour))
			table.Expire(now + int64(192*time.Hour))
			assert.Zero(t, table.Links(), "and nothing is remembered for ever")
		})
	}
}

func TestADeepChainOfRowsFindsItsRoot(t *testing.T) {
	const n = 5_000
	for _, s := range []struct {
		name string
		at   func(i int) int
	}{
		{"children first", func(i int) int { return n - i }},
		{"parents first, the task last", func(i int) int { return i + 2 }},
	} {
		t.Run(s.name, func(t *testing.T) {
			table := NewTable(testConfig())
			placed := 0
			within(t, time.Minute, func() {
				for i := range n - 1 {
					span := s.at(i)
					placed += len(table.Place(now, []Unit{row(span, span-1)}).Placed)
				}
				assert.Zero(t, placed, "all wait")
				out := table.Place(now, []Unit{task(1, 0, runmode.Auto)})
				assert.Len(t, out.Placed, n, "the task places all that waited")
			})
			assert.Zero(t, table.Waiting())
		})
	}
}

func TestOneMissingParentWokenAtTheEnd(t *testing.T) {
	const n = 200_000
	table := NewTable(testConfig())
	units := make([]Unit, n)
	for i := range units {
		units[i] = row(i+10, 2)
	}
	within(t, time.Minute, func() {
		require.Len(t, table.Place(now, units).Waiting, n)
		require.Empty(t, table.Place(now, []Unit{link(2, 1)}).Placed, "one step up, and they wait on")
		require.Len(t, table.Place(now, []Unit{task(1, 0, runmode.New)}).Placed, n+1)
	})
}

func TestEvictionTakesTheLongestUntouchedAndLeavesWhatWaits(t *testing.T) {
	cfg := testConfig()
	cfg.MaxLinks = 3
	table := NewTable(cfg)
	table.Place(now, []Unit{inTrace(1, row(1, 9))}) // waits
	table.Place(now+1, []Unit{inTrace(2, link(2, 0))})
	table.Place(now+2, []Unit{inTrace(3, link(3, 0))})
	table.Place(now+3, []Unit{inTrace(2, link(2, 0))}) // touched again

	out := table.Place(now+4, []Unit{inTrace(4, link(4, 0))})
	assert.Equal(t, 1, out.LinksEvicted)
	assert.Empty(t, out.LinksFull)
	known := func(trace, span int) bool {
		_, _, rule := table.Lookup(inTrace(trace, row(1, 0)).Subject.Trace, id(span))
		return rule != ""
	}
	assert.True(t, known(2, 2), "touched after trace 3")
	assert.False(t, known(3, 3), "the longest untouched")
	assert.True(t, known(4, 4), "the one it made room for")
	assert.Equal(t, 1, table.Waiting(), "trace 1 holds something that waits")
}

func TestLinksThatCouldNotBeKeptAreCountedOnce(t *testing.T) {
	cfg := testConfig()
	cfg.MaxLinks = 1
	table := NewTable(cfg)
	table.Place(now, []Unit{row(5, 9)})
	for range 3 {
		assert.Len(t, table.Place(now, []Unit{link(6, 9)}).LinksFull, 1)
	}
	table.Settle(now)
	assert.Equal(t, 1, table.Links(), "one link; of the parent that never came nothing is remembered")
	table.Expire(now + int64(2*time.Hour))
	assert.Zero(t, table.Links(), "what is counted in is counted out")
}

// reopen makes a table of saved entries, as after a kill.
func reopen(t *testing.T, cfg Config, at int64, entries []Saved, waiters ...*Waiter) (*Table, Outcome) {
	t.Helper()
	table := NewTable(cfg)
	restore := table.Restore()
	for _, e := range entries {
		b, err := codec.Marshal(e)
		require.NoError(t, err)
		var again Saved
		require.NoError(t, codec.Unmarshal(b, &again))
		require.NoError(t, restore.Apply(at, again))
	}
	return table, restore.Waiters(at, waiters)
}

func TestEachDecisionIsSavedOnce(t *testing.T) {
	table := NewTable(testConfig())
	first := Save(table.Place(now, []Unit{task(1, 0, runmode.Auto)}).Learned)
	require.Len(t, first.Decisions, 1)
	second := Save(table.Place(now, []Unit{task(2, 1, runmode.New), row(3, 2)}).Learned)
	require.Len(t, second.Decisions, 1, "the parent's is saved already")
	assert.Equal(t, first.Decisions[0].ID, second.Decisions[0].Up)
	assert.True(t, Save(table.Place(now, []Unit{task(2, 1, runmode.New)}).Learned).Empty(), "a repeat teaches nothing")
	assert.True(t, Save(nil).Empty())
}

func TestASnapshotSaysWhatItsEntriesSaid(t *testing.T) {
	table := NewTable(testConfig())
	var entries []Saved
	for _, units := range [][]Unit{
		{task(1, 0, runmode.Auto), link(2, 1)},
		{task(3, 2, runmode.New), task(4, 3, runmode.Shared)},
		{inTrace(7, task(5, 0, runmode.Shared)), inTrace(7, link(6, 5))},
	} {
		entries = append(entries, Save(table.Place(now, units).Learned))
	}
	fromEntries, _ := reopen(t, testConfig(), now, entries)
	fromSnapshot, _ := reopen(t, testConfig(), now, []Saved{table.Snapshot()})
	twice, _ := reopen(t, testConfig(), now, []Saved{fromSnapshot.Snapshot()})
	for name, again := range map[string]*Table{"entries": fromEntries, "snapshot": fromSnapshot, "a snapshot of that": twice} {
		assert.Equal(t, table.Links(), again.Links(), name)
		for span := range 6 {
			for _, trace := range []int{0, 7} {
				tr := inTrace(trace, row(1, 0)).Subject.Trace
				d1, m1, r1 := table.Lookup(tr, id(span+1))
				d2, m2, r2 := again.Lookup(tr, id(span+1))
				assert.Equal(t, r1, r2, "%s: rule of span %d in trace %d", name, span+1, trace)
				assert.Equal(t, m1, m2, name)
				if d1 != nil {
					require.NotNil(t, d2, name)
					assert.Equal(t, d1.Run, d2.Run, name)
					assert.Equal(t, d1.Role, d2.Role, name)
					assert.Equal(t, d1.Text, d2.Text, name)
					assert.Equal(t, d1.OwnerSpan, d2.OwnerSpan, name)
				}
			}
		}
	}
	// New decisions get numbers that no saved one has.
	d := again(t, fromSnapshot, task(9, 4, runmode.New))
	assert.Greater(t, d.id, table.nextID-1)
}

func again(t *testing.T, table *Table, u Unit) *Decision {
	t.Helper()
	out := table.Place(now, []Unit{u})
	require.Len(t, out.Placed, 1)
	require.NotNil(t, out.Placed[0].Decision)
	return out.Placed[0].Decision
}

func TestAResetForgetsWhatStoodBeforeTheSnapshot(t *testing.T) {
	table := NewTable(testConfig())
	before := Save(table.Place(now, []Unit{link(1, 0)}).Learned)
	restore := NewTable(testConfig())
	r := restore.Restore()
	require.NoError(t, r.Apply(now, before))
	r.Reset()
	assert.Zero(t, restore.Links())
}

func TestADamagedEntryIsAnErrorWithCoordinates(t *testing.T) {
	table := NewTable(testConfig())
	saved := Save(table.Place(now, []Unit{task(1, 0, runmode.Auto)}).Learned)

	short := saved
	short.Links = []savedLinks{{Trace: TraceID{1}, Packed: saved.Links[0].Packed[:10]}}
	err := NewTable(testConfig()).Restore().Apply(now, short)
	require.ErrorContains(t, err, TraceID{1}.String())

	orphan := Saved{Links: saved.Links}
	err = NewTable(testConfig()).Restore().Apply(now, orphan)
	require.ErrorContains(t, err, id(1).String())
	require.ErrorContains(t, err, "decision 1 is not in the journal")
}

func TestARestartPlacesOwnersBeforeTheirRows(t *testing.T) {
	table := NewTable(testConfig())
	first := table.Place(now, []Unit{row(3, 2), task(2, 1, runmode.Auto)})
	require.Len(t, first.Waiting, 2)
	entries := []Saved{Save(first.Learned)}
	out := table.Place(now, []Unit{task(1, 0, runmode.Auto)})
	entries = append(entries, Save(out.Learned))

	// Killed after the decision and before any row was written.
	_, released := reopen(t, testConfig(), now, entries, first.Waiting[0], first.Waiting[1])
	require.Len(t, released.Placed, 2)
	assert.NotNil(t, released.Placed[0].Waiter.Subject.Task, "the task first, though its row was kept before it")
}

func TestTimeTheExporterWasDownDoesNotCount(t *testing.T) {
	table := NewTable(testConfig())
	out := table.Place(now, []Unit{row(3, 2), link(1, 0)})
	entries := []Saved{Save(out.Learned)}
	back := now + int64(25*time.Hour)
	again, _ := reopen(t, testConfig(), back, entries, out.Waiting...)
	assert.Empty(t, again.Expire(back+1).Placed, "senders bring what they kept meanwhile first")
	assert.Empty(t, again.Expire(back+int64(59*time.Second)).Placed)
	assert.Len(t, again.Expire(back+int64(time.Minute)).Placed, 1)
}

func TestARestartKeepsToTheBound(t *testing.T) {
	cfg := testConfig()
	cfg.MaxLinks = 10
	table := NewTable(cfg)
	var entries []Saved
	for i := range 100 {
		entries = append(entries, Save(table.Place(now+int64(i), []Unit{inTrace(i, link(i+1, 0))}).Learned))
	}
	again, _ := reopen(t, cfg, now+100, entries)
	assert.Equal(t, 10, again.Links(), "the journal does not say what was forgotten")
	_, _, rule := again.Lookup(inTrace(99, row(1, 0)).Subject.Trace, id(100))
	assert.NotEmpty(t, rule, "the last touched is known")
}

func TestStampsOfRecordsWithoutATraceAreBounded(t *testing.T) {
	table := NewTable(testConfig())
	for i := range 10_000 {
		table.Place(now+int64(i), []Unit{{Subject: Subject{Stamp: &Stamp{Run: runid.Coordinates{ID: "r"}, Owner: id(i + 1)}}}})
	}
	assert.LessOrEqual(t, len(table.traces[TraceID{}].stamps), maxStamps)
}

func TestAStampedOwnerKeepsTheGroupOfItsRanks(t *testing.T) {
	table := NewTable(testConfig())
	u := task(1, 0, runmode.New)
	u.Subject.Task.Ranks = runid.Ranks{Rank: 2, WorldSize: 4, LocalWorldSize: 4}
	runID, group := u.Subject.Task.derived(u.Subject.Task.Base)
	u.Subject.Stamp = &Stamp{Run: runid.Coordinates{ID: runID}, Owner: id(1)}
	d := again(t, table, u)
	assert.Equal(t, runID, d.Run.ID)
	assert.Equal(t, group, d.Group)
	assert.Equal(t, RoleOwner, d.Role)
}
