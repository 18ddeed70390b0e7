package torture

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// patience bounds every wait: far longer than any of them takes on a busy
// machine, short enough for a hang to be seen as one.
const patience = 2 * time.Minute

// site is where one collector after another runs: the same address, the same
// directory.
type site struct {
	addr string
	dir  string // runs go to dir/wandb
	args []string
}

// newSite is the laptop configuration on a free port. more changes it, as
// --config arguments do.
func newSite(t *testing.T, more ...string) *site {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "localhost:0")
	require.NoError(t, err)
	s := &site{addr: listener.Addr().String(), dir: t.TempDir()}
	require.NoError(t, listener.Close())
	config, err := filepath.Abs("../../../collector-config/laptop.yaml")
	require.NoError(t, err)
	for _, c := range append([]string{
		config,
		"yaml:receivers::otlp::protocols::grpc::endpoint: " + s.addr,
		"yaml:receivers::otlp::protocols::http::endpoint: localhost:0",
	}, more...) {
		s.args = append(s.args, "--config", c)
	}
	return s
}

// collector is a running bin/otelcol-wandb.
type collector struct {
	cmd    *exec.Cmd
	output *output
	ready  chan struct{} // it takes requests
	exited chan struct{}
	err    error // after exited

	goroutines int // that it had when it was asked by SIGQUIT; after exited
}

// start runs a collector; it need not be ready yet.
func (s *site) start(t *testing.T) *collector {
	t.Helper()
	program, err := filepath.Abs("../../../bin/otelcol-wandb")
	require.NoError(t, err)
	_, err = os.Stat(program)
	require.NoError(t, err, "the collector is not built: run make build")
	c := &collector{
		cmd: exec.Command(program, s.args...), output: &output{},
		ready: make(chan struct{}), exited: make(chan struct{}),
	}
	c.cmd.Dir = s.dir
	c.cmd.Env = append(slices.DeleteFunc(os.Environ(), func(variable string) bool {
		return strings.HasPrefix(variable, "WANDB_") || strings.HasPrefix(variable, "OTEL_")
	}), "WANDB_DIR="+s.dir, "GOTRACEBACK=all")
	stderr, err := c.cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, c.cmd.Start())
	go func() {
		defer close(c.exited)
		lines := bufio.NewScanner(stderr)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			line := lines.Text()
			if strings.Contains(line, "Everything is ready.") {
				close(c.ready)
			}
			if strings.HasPrefix(line, "goroutine ") {
				c.goroutines++
			}
			if !strings.Contains(line, "\tinfo\t") {
				c.output.add(line)
			}
		}
		c.err = c.cmd.Wait()
	}()
	t.Cleanup(func() {
		c.kill()
		if said := c.output.String(); t.Failed() && said != "" {
			t.Logf("warnings and errors of the collector, the last ones:\n%s", said)
		}
	})
	return c
}

// awaitReady waits until the collector takes requests.
func (c *collector) awaitReady(t *testing.T) {
	t.Helper()
	select {
	case <-c.ready:
	case <-c.exited:
		require.FailNow(t, "the collector ended before it was ready", "%v", c.err)
	case <-time.After(patience):
		require.FailNow(t, "the collector was not ready in time", "%s", patience)
	}
}

// kill is SIGKILL: nothing of the collector's own runs any more.
func (c *collector) kill() {
	_ = c.cmd.Process.Kill()
	<-c.exited
}

// stop ends the collector as a service manager does.
func (c *collector) stop(t *testing.T) {
	t.Helper()
	require.NoError(t, c.cmd.Process.Signal(syscall.SIGTERM))
	select {
	case <-c.exited:
		require.NoError(t, c.err, "SIGTERM must end the collector with status 0")
	case <-time.After(patience):
		require.FailNow(t, "the collector did not end after SIGTERM", "%s", patience)
	}
}

// quit ends the collector with SIGQUIT and gives how many goroutines it had:
// the runtime says so with its last breath.
func (c *collector) quit(t *testing.T) int {
	t.Helper()
	require.NoError(t, c.cmd.Process.Signal(syscall.SIGQUIT))
	select {
	case <-c.exited:
	case <-time.After(patience):
		require.FailNow(t, "the collector did not end after SIGQUIT", "%s", patience)
	}
	require.Positive(t, c.goroutines, "SIGQUIT makes the runtime print goroutines")
	return c.goroutines
}

// rss is the collector's memory in bytes, and files how many it has open.
func (c *collector) rss(t *testing.T) (bytes int64) {
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

func (c *collector) files(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", c.cmd.Process.Pid))
	require.NoError(t, err)
	return len(entries)
}

// output keeps the last lines that are added. It is safe for concurrent use.
type output struct {
	mu   sync.Mutex
	last []string
}

const outputLines = 40

func (o *output) add(line string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.last) == outputLines {
		o.last = o.last[1:]
	}
	o.last = append(o.last, line)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.Join(o.last, "\n")
}
