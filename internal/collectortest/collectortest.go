// Package collectortest runs the collector as its users do: the built program,
// a process of its own, ended by signals, on an address and a folder that stay
// while one collector after another comes and goes.
package collectortest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Patience bounds every wait: far longer than any of them takes on a busy
// machine, short enough for a hang to be seen as one.
const Patience = 2 * time.Minute

// Site is where one collector after another runs: the same address, the same
// folder.
type Site struct {
	Addr string // of OTLP over gRPC; whoever connects while no collector runs is refused
	Dir  string // WANDB_DIR: runs go to Dir/wandb
	// Env are variables besides, as KEY=value.
	Env []string

	args []string
}

// New is a site whose collectors have these configurations, which are what
// --config takes; later ones change earlier ones. Where they listen is not
// theirs to say: OTLP over gRPC is at the site's address, and over HTTP at a
// free port of each collector's own.
func New(t testing.TB, configs ...string) *Site {
	t.Helper()
	addr, release, err := reserve()
	require.NoError(t, err, "a port for the collector")
	t.Cleanup(func() { assert.NoError(t, release()) })
	s := &Site{Addr: addr, Dir: t.TempDir()}
	for _, config := range append(slices.Clip(configs),
		"yaml:receivers::otlp::protocols::grpc::endpoint: "+addr,
		"yaml:receivers::otlp::protocols::http::endpoint: 127.0.0.1:0",
	) {
		s.args = append(s.args, "--config", config)
	}
	return s
}

// Laptop is a site with the configuration of that name, changed by more.
func Laptop(t testing.TB, more ...string) *Site {
	t.Helper()
	top, err := Top()
	require.NoError(t, err)
	return New(t, append([]string{filepath.Join(top, "collector-config", "laptop.yaml")}, more...)...)
}

// Environment is what a collector of the site has: nothing of the user's own
// settings, and the site's folder for runs.
func (s *Site) Environment() []string {
	env := slices.DeleteFunc(os.Environ(), func(variable string) bool {
		return strings.HasPrefix(variable, "WANDB_") || strings.HasPrefix(variable, "OTEL_")
	})
	return append(append(env, "WANDB_DIR="+s.Dir, "GOTRACEBACK=all"), s.Env...)
}

// Collector is a running collector.
type Collector struct {
	cmd   *exec.Cmd
	said  tail
	ready chan struct{} // it said so

	exited chan struct{}
	// These are for whom exited is closed.
	err        error
	goroutines int

	http string // for whom ready is closed
}

// Start starts a collector, which need not be ready yet. There may be one at a
// time. When the test ends it is killed, and what it warned of is in the log of
// a test that failed.
func (s *Site) Start(t testing.TB) *Collector {
	t.Helper()
	c := &Collector{cmd: command(t, s.args...), ready: make(chan struct{}), exited: make(chan struct{})}
	c.cmd.Dir, c.cmd.Env = s.Dir, s.Environment()
	stderr, err := c.cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, startForSignals(c.cmd))
	go func() {
		defer close(c.exited)
		c.read(stderr)
		c.err = c.cmd.Wait()
	}()
	t.Cleanup(func() {
		c.Kill()
		if t.Failed() {
			t.Logf("the collector at %s (pid %d, %v) said last, without what it says at every start:\n%s",
				s.Addr, c.cmd.Process.Pid, c.cmd.ProcessState, &c.said)
		}
	})
	return c
}

// StartReady starts a collector and waits until it takes requests.
func (s *Site) StartReady(t testing.TB) *Collector {
	t.Helper()
	c := s.Start(t)
	c.AwaitReady(t)
	return c
}

// read takes in what the collector says until it ends: a pipe that nobody reads
// would stop it.
func (c *Collector) read(from io.Reader) {
	ready := c.ready
	for lines := bufio.NewReader(from); ; {
		line, err := lines.ReadString('\n')
		switch {
		case strings.Contains(line, "Starting HTTP server"):
			c.http = endpoint(line)
		case strings.Contains(line, "Everything is ready.") && ready != nil:
			close(ready)
			ready = nil
		case strings.HasPrefix(line, "goroutine "):
			c.goroutines++
		}
		if ready == nil || !strings.Contains(line, "\tinfo\t") {
			c.said.add(line)
		}
		if err != nil {
			return
		}
	}
}

// endpoint reads the address out of a line of the collector's log.
func endpoint(line string) string {
	var fields struct {
		Endpoint string `json:"endpoint"`
	}
	if at := strings.IndexByte(line, '{'); at >= 0 {
		_ = json.Unmarshal([]byte(line[at:]), &fields)
	}
	return fields.Endpoint
}

// AwaitReady waits until the collector takes requests and can be told to end.
func (c *Collector) AwaitReady(t testing.TB) {
	t.Helper()
	deadline := time.After(Patience)
	select {
	case <-c.ready:
	case <-c.exited:
		require.FailNow(t, "the collector ended before it was ready", "%v", c.cmd.ProcessState)
	case <-deadline:
		require.FailNow(t, "the collector was not ready in time", "%s", Patience)
	}
	poll := time.NewTicker(time.Millisecond)
	defer poll.Stop()
	for !handlesSignals(c.cmd.Process) {
		select {
		case <-poll.C:
		case <-c.exited:
			require.FailNow(t, "the collector ended when it was ready", "%v", c.cmd.ProcessState)
		case <-deadline:
			require.FailNow(t, "the collector never asked for its signals", "%s", Patience)
		}
	}
}

// HTTP is the address of OTLP over HTTP of a collector that is ready; empty if
// it does not listen for that.
func (c *Collector) HTTP() string { return c.http }

// Exited is closed when the process has ended; State then says how.
func (c *Collector) Exited() <-chan struct{} { return c.exited }

// State says how the process has ended.
func (c *Collector) State() *os.ProcessState { return c.cmd.ProcessState }

// Kill is SIGKILL: nothing of the collector's own runs any more.
func (c *Collector) Kill() {
	_ = c.cmd.Process.Kill()
	<-c.exited
}

// Stop ends the collector as a service manager does.
func (c *Collector) Stop(t testing.TB) {
	t.Helper()
	c.end(t, syscall.SIGTERM)
	require.NoError(t, c.err, "SIGTERM must end the collector with status 0")
}

// Quit ends the collector with SIGQUIT and gives how many goroutines it had: the
// runtime says so with its last breath.
func (c *Collector) Quit(t testing.TB) int {
	t.Helper()
	c.end(t, syscall.SIGQUIT)
	require.Positive(t, c.goroutines, "SIGQUIT makes the runtime print goroutines")
	return c.goroutines
}

func (c *Collector) end(t testing.TB, signal os.Signal) {
	t.Helper()
	if err := c.cmd.Process.Signal(signal); err != nil {
		<-c.exited // before its state may be looked at
		require.FailNow(t, "the collector has ended by itself", "%v: %v", err, c.cmd.ProcessState)
	}
	select {
	case <-c.exited:
	case <-time.After(Patience):
		require.FailNow(t, "the collector did not end", "%s after %v", Patience, signal)
	}
}

// RSS is the collector's memory in bytes, and Files how many it has open. Both
// are Linux's to say.
func (c *Collector) RSS(t testing.TB) (bytes int64) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.cmd.Process.Pid))
	require.NoError(t, err)
	for line := range strings.Lines(string(status)) {
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &bytes); err == nil {
			return bytes << 10
		}
	}
	require.FailNow(t, "no VmRSS in /proc: the collector has exited")
	return 0
}

// Files is how many files the collector has open.
func (c *Collector) Files(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", c.cmd.Process.Pid))
	require.NoError(t, err)
	return len(entries)
}

// Said is the last that the collector logged.
func (c *Collector) Said() string { return c.said.String() }

// tail keeps the last lines that are added.
//
// ConcurrentSafe: a lock.
type tail struct {
	mu   sync.Mutex
	last []string
}

const tailLines = 60

func (o *tail) add(line string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.last = append(o.last[max(0, len(o.last)-tailLines+1):], line)
}

func (o *tail) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.Join(o.last, "")
}
