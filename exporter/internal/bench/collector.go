package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	startTimeout = 30 * time.Second
	stopTimeout  = 2 * time.Minute
	// clockTick is the unit of CPU times in /proc, the same on all of Linux.
	clockTick = 10 * time.Millisecond
)

// collector is a running one.
type collector struct {
	addr   string
	cmd    *exec.Cmd
	stderr *tail
	exited chan struct{}
	err    error // after exited
}

const configuration = `receivers:
  otlp: {protocols: {grpc: {endpoint: %q, max_recv_msg_size_mib: 16}}}
exporters:
  %s
extensions:
  file_storage: {directory: %q}
service:
  extensions: [file_storage]
  pipelines:
    traces: {receivers: [otlp], exporters: [%s]}
    logs: {receivers: [otlp], exporters: [%s]}
  telemetry: {metrics: {level: none}, logs: {level: warn}}
`

// start starts a collector whose pipeline ends in the exporter, which writes to
// dir, and waits until it listens.
func start(ctx context.Context, program, exporter, dir, more string) (*collector, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	addr, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	section := "nop: {}"
	switch exporter {
	case pipelineQueue:
		// Nothing behind the queue but a counter: what is measured is the queue.
		exporter = "debug"
		section = "debug: {verbosity: basic, use_internal_logger: false, output_paths: [/dev/null], " +
			"sending_queue: {storage: file_storage, queue_size: 100000, block_on_overflow: true}}"
	case "wandb":
		section = fmt.Sprintf("wandb: {dir: %q", dir)
		if more != "" {
			section += ", " + more
		}
		section += "}"
	}
	// Beside dir, whose files are counted.
	config := filepath.Clean(dir) + ".yaml"
	if err := os.WriteFile(config, fmt.Appendf(nil, configuration, addr, section, dir, exporter, exporter), 0o600); err != nil {
		return nil, err
	}

	c := &collector{addr: addr, stderr: new(tail), exited: make(chan struct{})}
	c.cmd = exec.Command(program, "--config", config)
	c.cmd.Stderr = c.stderr
	c.cmd.Env = environment(dir)
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		c.err = c.cmd.Wait()
		close(c.exited)
	}()

	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		if err == nil {
			return c, conn.Close()
		}
		select {
		case <-poll.C:
		case <-c.exited:
			return nil, c.explain(errors.New("it does not start"))
		case <-ctx.Done():
			c.kill()
			return nil, c.explain(fmt.Errorf("it does not listen at %s: %w", addr, err))
		}
	}
}

func freePort(ctx context.Context) (string, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}

// environment is ours without anything by which a run would be uploaded.
func environment(home string) []string {
	var env []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "WANDB_") && !strings.HasPrefix(v, "OTEL_") && !strings.HasPrefix(v, "NETRC=") && !strings.HasPrefix(v, "HOME=") {
			env = append(env, v)
		}
	}
	return append(env, "WANDB_MODE=offline", "HOME="+home)
}

// cpu is the time the collector has used, user and system.
func (c *collector) cpu() (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.cmd.Process.Pid))
	if err != nil {
		return 0, fmt.Errorf("the collector's CPU time (this needs Linux): %w", err)
	}
	// The second field is the program's name in parentheses; utime and stime
	// are fields 14 and 15.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat is %q", c.cmd.Process.Pid, stat)
	}
	user, err1 := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * clockTick, errors.Join(err1, err2)
}

// peakRSS is the most memory it had, in bytes.
func (c *collector) peakRSS() (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		var kib int64
		if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &kib); err == nil {
			return kib << 10, nil
		}
	}
	return 0, errors.New("no VmHWM in /proc: the collector has exited")
}

// stop ends it in good order and returns the CPU time of its whole life.
func (c *collector) stop() (time.Duration, error) {
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return 0, err
	}
	select {
	case <-c.exited:
	case <-time.After(stopTimeout):
		c.kill()
		return 0, fmt.Errorf("it has not exited %v after SIGTERM", stopTimeout)
	}
	state := c.cmd.ProcessState
	return state.UserTime() + state.SystemTime(), c.err
}

func (c *collector) kill() {
	_ = c.cmd.Process.Kill()
	<-c.exited
}

// explain adds what the collector said last.
func (c *collector) explain(err error) error {
	select {
	case <-c.exited:
		err = fmt.Errorf("%w (the collector exited: %v)", err, c.cmd.ProcessState)
	default:
	}
	if said := c.stderr.String(); said != "" {
		err = fmt.Errorf("%w; it said last:\n%s", err, said)
	}
	return err
}

// tail keeps the end of what is written to it.
//
// ConcurrentSafe: a lock.
type tail struct {
	mu   sync.Mutex
	last []byte
}

const tailSize = 4 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = append(t.last, p...)
	if extra := len(t.last) - tailSize; extra > 0 {
		t.last = append(t.last[:0], t.last[extra:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.last))
}
