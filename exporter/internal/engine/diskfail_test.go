package engine

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/otel-wandb/otel-wandb/exporter/internal/disk/disktest"
	"github.com/otel-wandb/otel-wandb/exporter/internal/loadgen"
	"github.com/otel-wandb/otel-wandb/exporter/internal/runlog"
)

func startSyncing(t *testing.T, dir string, c *clock) *Engine {
	t.Helper()
	e := New(Config{Dir: dir, Now: c.Now, Manual: true, Sync: runlog.SyncAlways})
	require.NoError(t, e.Start())
	return e
}

// With `fsync: always` nothing is acknowledged that the disk did not take. What
// was sent back goes through once it does, rows once, and other runs go on.
func TestSyncFails(t *testing.T) {
	isLog := func(path string) bool { return strings.HasSuffix(path, "run-open.wandb") }
	for _, tt := range []struct {
		name  string
		only  func(path string) bool
		sends func(open, other *program, at time.Time) ptrace.Traces
		rows  loadgen.Rows // that come with it
	}{
		{"the log of an open run", isLog, func(open, _ *program, at time.Time) ptrace.Traces {
			return open.rows(at, 10, 20)
		}, rowsOf("open", 10, 19)},
		{"the log of an open run, beside another's rows", isLog, func(open, other *program, at time.Time) ptrace.Traces {
			td := open.rows(at, 10, 20)
			other.rows(at, 10, 20).ResourceSpans().MoveAndAppendTo(td.ResourceSpans())
			return td
		}, rowsOf("open", 10, 19, "other", 10, 19)},
		{"the log of a new run", func(path string) bool { return strings.HasSuffix(path, "run-new.wandb") }, func(_, _ *program, at time.Time) ptrace.Traces {
			return newProgram(7, "new").start(at)
		}, nil},
		{"the folder of a new run", func(path string) bool { return filepath.Base(path) == "wandb" }, func(_, _ *program, at time.Time) ptrace.Traces {
			return newProgram(7, "new").start(at)
		}, nil},
		{"the state of a new run", func(path string) bool { return strings.Contains(path, filepath.Join(".otel-wandb", "open")) }, func(_, _ *program, at time.Time) ptrace.Traces {
			return newProgram(7, "new").start(at)
		}, nil},
		{"the journal", func(path string) bool { return strings.Contains(path, "journal-") }, func(open, _ *program, at time.Time) ptrace.Traces {
			return open.under(open.mid(), at, 9, 10, 20) // it waits for the span above it
		}, rowsOf("open", 10, 19)},
	} {
		for _, end := range []string{"shut down", "killed"} {
			t.Run(tt.name+", "+end, func(t *testing.T) {
				c, disk := newClock(), disktest.New(t, t.TempDir())
				dir := filepath.Join(disk.Dir, "runs")
				e := startSyncing(t, dir, c)
				open, other := newProgram(1, "open"), newProgram(2, "other")
				for _, p := range []*program{open, other} {
					mustSend(t, e, p.start(c.Now()))
					mustSend(t, e, p.rows(c.Now(), 0, 10))
				}
				want := rowsOf("open", 0, 9, "other", 0, 9)

				request := tt.sends(open, other, c.Now())
				disk.Only(tt.only)
				disk.FailSync(syscall.EIO)
				for try := range 3 {
					err := e.Traces(context.Background(), clone(request))
					require.ErrorIs(t, err, syscall.EIO, "try %d", try)
					if tt.name != "the journal" { // what all runs share is not of one run
						first := int64(100 + 10*try)
						mustSend(t, e, other.rows(c.Now(), first, first+10))
						want.Add("other", first, first+9)
					}
				}
				require.GreaterOrEqual(t, disk.Hits(), 1)
				disk.Mend()
				mustSend(t, e, clone(request))
				mustSend(t, e, clone(request)) // the answer was lost
				for run, ranges := range tt.rows {
					for _, r := range ranges {
						want.Add(run, r.First, r.Last)
					}
				}
				if end == "killed" {
					next := filepath.Join(disk.Dir, "after")
					require.NoError(t, os.CopyFS(next, os.DirFS(dir)))
					require.NoError(t, e.Shutdown(context.Background()))
					dir = next
					e = startSyncing(t, dir, c)
				}
				mustSend(t, e, open.between(c.Now()))
				for _, p := range []*program{open, other} {
					mustSend(t, e, p.task(c.Now()))
					mustSend(t, e, p.end(c.Now(), 0))
				}
				for range 5 {
					c.Add(10 * time.Second)
					e.Tick()
				}
				require.NoError(t, e.Shutdown(context.Background()))
				requireRows(t, dir, want)
				exits := onDisk(t, dir)
				assert.Len(t, exits["open"], 1, "one part")
				assert.Len(t, exits["other"], 1, "one part")
			})
		}
	}
}

// The log of one run takes half a write; the disk has space for others.
func TestOneLogFails(t *testing.T) {
	c, disk := newClock(), disktest.New(t, t.TempDir())
	dir := filepath.Join(disk.Dir, "runs")
	e := start(t, dir, c)
	torn, other := newProgram(1, "torn"), newProgram(2, "other")
	for _, p := range []*program{torn, other} {
		mustSend(t, e, p.start(c.Now()))
	}
	both := torn.rows(c.Now(), 0, 50)
	other.rows(c.Now(), 0, 50).ResourceSpans().MoveAndAppendTo(both.ResourceSpans())
	for _, space := range []int64{0, 1, 6, 7, 8, 100, 1000} { // also inside a record's own header
		disk.Only(func(path string) bool { return strings.HasSuffix(path, "run-torn.wandb") })
		disk.Leave(space)
		err := e.Traces(context.Background(), clone(both))
		require.ErrorIs(t, err, syscall.ENOSPC, "space for %d bytes", space)
		require.ErrorContains(t, err, fmt.Sprintf("%d of ", space))
	}
	disk.Mend()
	mustSend(t, e, clone(both))
	for _, p := range []*program{torn, other} {
		mustSend(t, e, p.end(c.Now(), 0))
	}
	for range 3 {
		c.Add(10 * time.Second)
		e.Tick()
	}
	require.NoError(t, e.Shutdown(context.Background()))
	requireRows(t, dir, rowsOf("torn", 0, 49, "other", 0, 49))
	assert.Equal(t, map[string][]int32{"torn": {0}, "other": {0}}, onDisk(t, dir))
}

// rowsOf are rows by run, first and last.
func rowsOf(args ...any) loadgen.Rows {
	rows := loadgen.Rows{}
	for ; len(args) > 0; args = args[3:] {
		rows.Add(args[0].(string), int64(args[1].(int)), int64(args[2].(int)))
	}
	return rows
}

// clone is the request as it comes again: the engine keeps what it was given.
func clone(td ptrace.Traces) ptrace.Traces {
	again := ptrace.NewTraces()
	td.CopyTo(again)
	return again
}
