package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/otel-wandb/otel-wandb/exporter/internal/disk/disktest"
	"github.com/otel-wandb/otel-wandb/exporter/internal/dotwandb"
	"github.com/otel-wandb/otel-wandb/exporter/internal/loadgen"
	"github.com/otel-wandb/otel-wandb/exporter/internal/runview"
	"github.com/otel-wandb/otel-wandb/internal/semconv"
)

// testDisk is a disk that fills up.
type testDisk interface {
	root() string
	leave(t *testing.T, bytes int) // so many that can be written yet
	free(t *testing.T)
}

// simulated is one that can be had anywhere: its files fail as those of a full
// disk do, but folders and empty files can be made.
type simulated struct{ *disktest.Disk }

func (d simulated) root() string                  { return d.Dir }
func (d simulated) leave(_ *testing.T, bytes int) { d.Leave(int64(bytes)) }
func (d simulated) free(*testing.T)               { d.Mend() }

// onDisks runs a test on a simulated disk, and on a real one where that may be made.
func onDisks(t *testing.T, size int, test func(t *testing.T, disk testDisk)) {
	t.Run("simulated", func(t *testing.T) { test(t, simulated{disktest.New(t, t.TempDir())}) })
	t.Run("real", func(t *testing.T) { test(t, smallDisk(t, size)) })
}

// TestDiskFull fills the disk under an engine in every state it can be in. What
// cannot be written is sent back, what was acknowledged stays, and with space
// again the same requests go through, their rows once.
func TestDiskFull(t *testing.T) { onDisks(t, 24<<20, testDiskFull) }

func testDiskFull(t *testing.T, disk testDisk) {
	c, dir := newClock(), filepath.Join(disk.root(), "runs")
	e := start(t, dir, c)
	acked := loadgen.Rows{}
	open := newProgram(1, "open")
	waits := newProgram(2, "waits")
	again := newProgram(3, "again")

	mustSend(t, e, open.start(c.Now()))
	mustSend(t, e, open.rows(c.Now(), 0, 100))
	mustSend(t, e, waits.child(c.Now(), 1, 0, 10))               // its task is not known yet
	mustSend(t, e, open.under(open.mid(), c.Now(), 7, 300, 310)) // nor is the span between it and the run
	mustSend(t, e, again.start(c.Now()))
	mustSend(t, e, again.rows(c.Now(), 0, 10))
	mustSend(t, e, again.end(c.Now(), 0))
	c.Add(10 * time.Second)
	e.Tick()
	_, ended := onDisk(t, dir)["again"]
	require.True(t, ended)

	disk.leave(t, 0)
	blocked := map[string]ptrace.Traces{
		"rows of an open run":             open.rows(c.Now(), 100, 200),
		"a new run":                       newProgram(4, "new").start(c.Now()),
		"rows that wait for their task":   newProgram(5, "later").child(c.Now(), 1, 0, 500),
		"the task of what waits":          waits.task(c.Now()),
		"rows of a run that had its exit": again.rows(c.Now(), 10, 300),
		"the span between rows and run":   open.between(c.Now()),
		"the end of a run":                open.end(c.Now(), 0),
	}
	names := slices.Sorted(func(yield func(string) bool) {
		for name := range blocked {
			if !yield(name) {
				return
			}
		}
	})
	for round := range 3 {
		for _, name := range names {
			err := e.Traces(context.Background(), blocked[name])
			if assert.Error(t, err, "%s, round %d", name, round) {
				assert.ErrorIs(t, err, syscall.ENOSPC, name)
				assert.Contains(t, err.Error(), "free", "%s: the error says what to do", name)
			}
		}
		c.Add(10 * time.Second)
		e.Tick()
	}

	disk.free(t)
	for _, name := range names {
		require.NoError(t, e.Traces(context.Background(), blocked[name]), name)
	}
	mustSend(t, e, newProgram(5, "later").task(c.Now()))
	mustSend(t, e, newProgram(4, "new").end(c.Now(), 0))
	mustSend(t, e, again.end(c.Now(), 0))
	for range 3 {
		c.Add(10 * time.Second)
		e.Tick()
	}
	require.NoError(t, e.Shutdown(context.Background()))
	acked.Add("open", 0, 199)
	acked.Add("open", 300, 309)
	acked.Add("waits", 0, 9)
	acked.Add("later", 0, 499)
	acked.Add("again", 0, 299)
	requireRows(t, dir, acked)
	for run, exits := range onDisk(t, dir) {
		assert.NotEmpty(t, exits, "run %s has an exit in each part", run)
	}
}

// TestDiskFullAnywhere leaves a little space, a different amount each time, so
// that every write fails once, whole or half; now and then the program is
// killed, too. It prints its seed.
func TestDiskFullAnywhere(t *testing.T) { onDisks(t, 48<<20, testDiskFullAnywhere) }

func testDiskFullAnywhere(t *testing.T, disk testDisk) {
	seed := uint64(time.Now().UnixNano())
	if value := os.Getenv("TORTURE_SEED"); value != "" {
		n, err := strconv.ParseUint(value, 10, 64)
		require.NoError(t, err)
		seed = n
	}
	t.Logf("seed %d: TORTURE_SEED=%d repeats it", seed, seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	c, dir := newClock(), filepath.Join(disk.root(), "runs-0")
	e := start(t, dir, c)
	acked := loadgen.Rows{}
	type sender struct {
		*program
		next    int64
		started bool
		parts   int
		pending *ptrace.Traces // sent until it is acknowledged
		rows    [2]int64
		then    func()
	}
	var senders []*sender
	for i := range 6 {
		senders = append(senders, &sender{program: newProgram(byte(i+1), fmt.Sprintf("run-%d", i))})
	}
	refused := 0
	step := func(s *sender) {
		if s.pending == nil {
			var td ptrace.Traces
			s.rows, s.then = [2]int64{}, func() {}
			switch n := int64(1 + rng.IntN(40)); {
			case s.id%2 == 0 && !s.started: // its rows come before it
				td, s.rows = s.child(c.Now(), uint64(s.next)+1, s.next, s.next+n), [2]int64{s.next, s.next + n}
				s.next += n
				s.then = func() { s.started = rng.IntN(8) == 0 }
				if s.started = s.next > 300; s.started {
					td, s.rows = s.task(c.Now()), [2]int64{}
				}
			case !s.started:
				td, s.then = s.start(c.Now()), func() { s.started = true }
			case rng.IntN(12) == 0:
				td = s.end(c.Now(), int64(s.parts))
				s.parts++
			default:
				td, s.rows = s.rowsSized(c.Now(), s.next, s.next+n, rng.IntN(400)), [2]int64{s.next, s.next + n}
				s.next += n
			}
			s.pending = &td
		}
		if err := e.Traces(context.Background(), *s.pending); err != nil {
			if !errors.Is(err, syscall.ENOSPC) {
				require.NoError(t, err)
			}
			refused++
			return
		}
		if s.rows[1] > s.rows[0] {
			acked.Add(s.run, s.rows[0], s.rows[1]-1)
		}
		s.pending = nil
		s.then()
	}
	for round := range 80 {
		disk.leave(t, rng.IntN(100)*1024)
		for range 12 {
			step(senders[rng.IntN(len(senders))])
			c.Add(time.Duration(rng.IntN(4000)) * time.Millisecond)
			if rng.IntN(3) == 0 {
				e.Tick()
			}
		}
		disk.free(t)
		if round%10 == 9 {
			// As after a kill: nobody said goodbye. The other engine is closed
			// afterwards, and what it does then is not looked at.
			next := filepath.Join(disk.root(), fmt.Sprintf("runs-%d", round))
			require.NoError(t, os.CopyFS(next, os.DirFS(dir)))
			require.NoError(t, e.Shutdown(context.Background()))
			require.NoError(t, os.RemoveAll(dir))
			dir = next
			e = start(t, dir, c)
		}
	}
	for _, s := range senders {
		for s.pending != nil {
			step(s)
		}
		mustSend(t, e, s.task(c.Now()))
		mustSend(t, e, s.end(c.Now(), 0))
	}
	for range 10 {
		c.Add(10 * time.Second)
		e.Tick()
	}
	require.NoError(t, e.Shutdown(context.Background()))
	requireRows(t, dir, acked)
	for run, exits := range onDisk(t, dir) {
		assert.NotEmpty(t, exits, run)
	}
	t.Logf("%d rows acknowledged, %d requests refused", acked.Count(), refused)
	require.Positive(t, refused)
}

// program is a program that is traced: a task, spans under it, rows.
type program struct {
	id    byte
	run   string
	trace pcommon.TraceID
	root  pcommon.SpanID
	ids   uint64
}

func newProgram(id byte, run string) *program {
	return &program{id: id, run: run, trace: pcommon.TraceID{id}, root: pcommon.SpanID{id, 0xff}}
}

func (p *program) span(at time.Time, id, parent pcommon.SpanID, name string) (ptrace.Traces, ptrace.Span) {
	td := ptrace.NewTraces()
	span := td.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans().AppendEmpty()
	span.SetTraceID(p.trace)
	span.SetSpanID(id)
	span.SetParentSpanID(parent)
	span.SetName(name)
	span.SetStartTimestamp(pcommon.NewTimestampFromTime(at))
	span.SetEndTimestamp(pcommon.NewTimestampFromTime(at.Add(time.Second)))
	return td, span
}

// carrier speaks for the task, with a stamp.
func (p *program) carrier(at time.Time) (ptrace.Traces, ptrace.Span) {
	p.ids++
	td, span := p.span(at, pcommon.SpanID{p.id, 1, byte(p.ids >> 16), byte(p.ids >> 8), byte(p.ids)}, p.root, "carrier")
	span.Attributes().PutBool(semconv.Carrier, true)
	span.Attributes().PutStr(semconv.Task, p.root.String())
	span.Attributes().PutStr(semconv.SpanName, "task")
	span.Attributes().PutStr(semconv.RunID, p.run)
	span.Attributes().PutStr(semconv.RunOwner, p.root.String())
	return td, span
}

func (p *program) start(at time.Time) ptrace.Traces {
	td, span := p.carrier(at)
	ev := span.Events().AppendEmpty()
	ev.SetName(semconv.EventRunStart)
	ev.Attributes().PutStr(semconv.RunMode, semconv.ModeAuto)
	return td
}

func (p *program) rows(at time.Time, from, to int64) ptrace.Traces {
	return p.rowsSized(at, from, to, 0)
}

func (p *program) rowsSized(at time.Time, from, to int64, size int) ptrace.Traces {
	td, span := p.carrier(at)
	rowEvents(span, at, from, to, size)
	return td
}

func (p *program) end(at time.Time, code int64) ptrace.Traces {
	td, span := p.carrier(at)
	ev := span.Events().AppendEmpty()
	ev.SetName(semconv.EventRunEnd)
	ev.SetTimestamp(pcommon.NewTimestampFromTime(at))
	ev.Attributes().PutInt(semconv.ExitCode, code)
	return td
}

// child is an ordinary span under the task, without a stamp.
func (p *program) child(at time.Time, n uint64, from, to int64) ptrace.Traces {
	return p.under(p.root, at, n, from, to)
}

func (p *program) mid() pcommon.SpanID { return pcommon.SpanID{p.id, 3} }

// between is a span without rows, between the task and spans under it.
func (p *program) between(at time.Time) ptrace.Traces {
	td, _ := p.span(at, p.mid(), p.root, "between")
	return td
}

func (p *program) under(parent pcommon.SpanID, at time.Time, n uint64, from, to int64) ptrace.Traces {
	td, span := p.span(at, pcommon.SpanID{p.id, 2, byte(n >> 16), byte(n >> 8), byte(n)}, parent, "step")
	rowEvents(span, at, from, to, 0)
	return td
}

// task is the task's own span.
func (p *program) task(at time.Time) ptrace.Traces {
	td, span := p.span(at, p.root, pcommon.SpanID{}, "task")
	span.Attributes().PutStr(semconv.RunMode, semconv.ModeAuto)
	span.Attributes().PutStr(semconv.RunID, p.run)
	return td
}

func rowEvents(span ptrace.Span, at time.Time, from, to int64, size int) {
	for row := from; row < to; row++ {
		ev := span.Events().AppendEmpty()
		ev.SetName(semconv.EventLog)
		ev.SetTimestamp(pcommon.NewTimestampFromTime(at))
		ev.Attributes().PutInt("row", row)
		if size > 0 {
			ev.Attributes().PutStr("text", strings.Repeat("x", size))
		}
	}
}

func mustSend(t *testing.T, e *Engine, td ptrace.Traces) {
	t.Helper()
	require.NoError(t, e.Traces(context.Background(), td))
}

func requireRows(t *testing.T, dir string, want loadgen.Rows) {
	t.Helper()
	found, err := loadgen.RowsIn(dir)
	require.NoError(t, err)
	require.NoError(t, want.Check(found))
}

// onDisk reads every log strictly to its end and gives the exits of each run's
// parts; what stands behind an exit fails the test.
func onDisk(t *testing.T, dir string) map[string][]int32 {
	t.Helper()
	parts, err := runview.List(dir)
	require.NoError(t, err)
	exits := map[string][]int32{}
	for _, part := range parts {
		func() {
			file, err := os.Open(part.Path)
			require.NoError(t, err)
			defer file.Close()
			r, err := dotwandb.NewReader(file, dotwandb.Strict)
			require.NoError(t, err, part.Path)
			ended := false
			for {
				b, err := r.Next()
				if errors.Is(err, io.EOF) {
					return
				}
				require.NoError(t, err, part.Path)
				require.False(t, ended, "%s: a record behind the exit", part.Path)
				rec, err := dotwandb.Decode(b)
				require.NoError(t, err, part.Path)
				if rec.Exit != nil {
					ended = true
					exits[part.RunID] = append(exits[part.RunID], rec.Exit.Code)
				}
			}
		}()
	}
	return exits
}
