// Package carried holds the bridge's carriers against the engine: a program that
// is killed, a network that loses answers, a collector that restarts; and every
// row once.
package carried

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/otel-wandb/otel-wandb/exporter/internal/engine"
	"github.com/otel-wandb/otel-wandb/exporter/internal/loadgen"
	"github.com/otel-wandb/otel-wandb/exporter/internal/loadgen/otlpstub"
	"github.com/otel-wandb/otel-wandb/exporter/internal/runview"
)

// program is the program that logs. It can be built from here and not imported:
// the bridge's inside is the bridge's.
var program string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "carried")
	if err == nil {
		program = filepath.Join(dir, "carrierload")
		cmd := exec.Command("go", "build", "-o", program, "github.com/otel-wandb/otel-wandb/bridge/internal/carrier/carrierload")
		cmd.Stderr = os.Stderr
		err = cmd.Run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "the program that logs cannot be built:", err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(dir)
		os.Exit(code)
	}))
}

// patience bounds waits for what does happen, on any machine.
const patience = 2 * time.Minute

// site is an engine behind a network that does what networks do.
type site struct {
	t    *testing.T
	dir  string
	addr string

	mu     sync.Mutex
	engine *engine.Engine
	dice   *rand.Rand // nil: all goes well
	fates  map[string]int
}

func newSite(t *testing.T, dice *rand.Rand) *site {
	t.Helper()
	dependOn(t, "../../../bridge/internal")
	s := &site{t: t, dir: t.TempDir(), dice: dice, fates: map[string]int{}}
	s.start()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s.addr = l.Addr().String()
	server := otlpstub.NewServer(s)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l)
	}()
	t.Cleanup(func() {
		server.Stop()
		<-done
		s.stop()
	})
	return s
}

// dependOn has the go command run the tests again when the program's source
// changed: it cannot know that they build it, but notes which folders they read.
func dependOn(t *testing.T, dir string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(dir, func(_ string, _ fs.DirEntry, err error) error { return err }))
}

func (s *site) start() {
	e := engine.New(engine.Config{Dir: s.dir})
	require.NoError(s.t, e.Start())
	s.mu.Lock()
	defer s.mu.Unlock()
	s.engine = e
}

func (s *site) stop() {
	s.mu.Lock()
	e := s.engine
	s.engine = nil
	s.mu.Unlock()
	if e != nil {
		assert.NoError(s.t, e.Shutdown(context.Background()))
	}
}

// Traces applies a request, or does not, and says so, or does not.
func (s *site) Traces(ctx context.Context, td ptrace.Traces) error {
	s.mu.Lock()
	e, fate := s.engine, 9
	if s.dice != nil {
		fate = s.dice.IntN(10)
	}
	lost := status.Error(codes.Unavailable, "the network lost it")
	name := map[int]string{0: "request lost", 1: "answer lost", 2: "answer lost", 3: "twice"}[fate]
	s.fates[name]++
	s.mu.Unlock()
	if e == nil || fate == 0 {
		return lost
	}
	if fate == 3 {
		again := ptrace.NewTraces()
		td.CopyTo(again)
		if err := e.Traces(ctx, again); err != nil {
			return status.Error(codes.Unavailable, err.Error())
		}
	}
	if err := e.Traces(ctx, td); err != nil {
		return status.Error(codes.Unavailable, err.Error())
	}
	if fate <= 2 {
		return lost
	}
	return nil
}

func (s *site) Logs(context.Context, plog.Logs) error {
	return status.Error(codes.Unimplemented, "carriers are spans")
}

// life is one life of the program.
type life struct {
	cmd    *exec.Cmd
	stderr bytes.Buffer
	lines  *bufio.Scanner
	marks  []mark
	done   bool
}

// mark says that all rows below n had been logged at a time.
type mark struct {
	n  int64
	at time.Time
}

func run(t *testing.T, args ...string) *life {
	t.Helper()
	l := &life{cmd: exec.Command(program, args...)}
	l.cmd.Stderr = &l.stderr
	out, err := l.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, l.cmd.Start())
	stop := time.AfterFunc(patience, func() { _ = l.cmd.Process.Kill() })
	t.Cleanup(func() { stop.Stop() })
	l.lines = bufio.NewScanner(out)
	return l
}

// next reads a line; false at the end.
func (l *life) next(t *testing.T) bool {
	t.Helper()
	if !l.lines.Scan() {
		return false
	}
	if l.lines.Text() == "done" {
		l.done = true
		return true
	}
	var n int64
	_, err := fmt.Sscan(l.lines.Text(), &n)
	require.NoError(t, err, l.lines.Text())
	l.marks = append(l.marks, mark{n, time.Now()})
	return true
}

// kill ends the program as it likes least. All rows below promised had been
// logged for 200 ms.
func (l *life) kill(t *testing.T) (promised int64) {
	t.Helper()
	at := time.Now()
	require.NoError(t, l.cmd.Process.Kill())
	for l.next(t) {
	}
	_ = l.cmd.Wait() // "signal: killed"
	for _, m := range l.marks {
		if at.Sub(m.at) > 200*time.Millisecond {
			promised = m.n
		}
	}
	return promised
}

// end waits until the program has ended well.
func (l *life) end(t *testing.T) {
	t.Helper()
	for l.next(t) {
	}
	require.NoError(t, l.cmd.Wait(), l.stderr.String())
	require.True(t, l.done, l.stderr.String())
}

// readRun reads the one run there is.
func (s *site) readRun() *runview.Run {
	parts, err := runview.List(s.dir)
	require.NoError(s.t, err)
	groups := runview.Group(parts)
	require.Len(s.t, groups, 1)
	for _, group := range groups {
		run, err := runview.Read(group, runview.Options{})
		require.NoError(s.t, err)
		return run
	}
	return nil
}

func TestARunIsCompleteWhenItsProgramEnds(t *testing.T) {
	s := newSite(t, nil)
	run(t, "-endpoint", "http://"+s.addr, "-dir", t.TempDir(), "-rows", "20000", "-code", "3").end(t)
	deadline := time.Now().Add(patience)
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	r := s.readRun()
	for ; r.Exit == nil; r = s.readRun() {
		require.True(t, time.Now().Before(deadline), "the run is still open: rows missing %v", r.Summary["otel.rows_missing"])
		<-poll.C
	}
	assert.Equal(t, int32(3), *r.Exit)
	assert.NotContains(t, r.Summary, "otel.rows_missing")
	require.Len(t, r.Rows, 20000)
	for i, row := range r.Rows {
		require.EqualValues(t, i, row.Step)
		require.EqualValues(t, i, row.Values["row"])
	}
	assert.Contains(t, r.Rows[50].Values, "wide/249", "pieces are one row")
	weights, _ := r.Rows[50].Values["weights"].(map[string]any)
	assert.Equal(t, "histogram", weights["_type"], "in a later piece")
	assert.EqualValues(t, 19999, r.Summary["row"])
}

func TestEveryRowOnceThroughKillsAndLostAnswers(t *testing.T) {
	const attempts, apart = 4, 1_000_000
	s := newSite(t, rand.New(rand.NewPCG(1, 2)))
	dir := t.TempDir()
	want := loadgen.Rows{}
	for attempt := range int64(attempts) {
		args := []string{
			"-endpoint", "http://" + s.addr, "-dir", dir, "-send", "20ms", "-every", "1ms",
			"-attempt", fmt.Sprint(attempt), "-first", fmt.Sprint(attempt * apart), "-rows",
		}
		if attempt == attempts-1 {
			const rows = 3000
			run(t, append(args, fmt.Sprint(rows))...).end(t)
			want.Add("carried", attempt*apart, attempt*apart+rows-1)
			break
		}
		l := run(t, append(args, fmt.Sprint(apart))...)
		for l.next(t) {
			if at := l.marks[0].at; time.Since(at) > time.Second {
				break
			}
			if attempt == 1 && len(l.marks) == 50 {
				s.stop() // while the collector is away
			}
		}
		promised := l.kill(t)
		require.Greater(t, promised, attempt*apart, l.stderr.String())
		want.Add("carried", attempt*apart, promised-1)
		if attempt == 1 {
			s.start()
		}
	}
	// The last program had what the killed ones left to send, too; it only waited
	// for its own rows. One more in the same folder does the rest.
	deadline := time.Now().Add(patience)
	for left := leftovers(t, dir); left > 0; left = leftovers(t, dir) {
		require.True(t, time.Now().Before(deadline), "%d files are not sent", left)
		run(t, "-endpoint", "http://"+s.addr, "-dir", dir, "-rows", "0", "-run", "another").end(t)
	}
	s.stop()
	found, err := loadgen.RowsIn(s.dir)
	require.NoError(t, err)
	require.NoError(t, want.Check(found))

	// What is more than was promised has no gap either.
	slices.Sort(found["carried"])
	for i, row := range found["carried"] {
		if i == 0 || row%apart == 0 {
			continue
		}
		require.Equal(t, found["carried"][i-1]+1, row)
	}
	t.Logf("%d rows, %d of them promised; requests: %v", len(found["carried"]), want.Count(), s.fates)
	for _, fate := range []string{"answer lost", "request lost", "twice"} {
		assert.Positive(t, s.fates[fate], fate)
	}
}

func leftovers(t *testing.T, dir string) int {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*", "*.spool"))
	require.NoError(t, err)
	return len(names)
}
