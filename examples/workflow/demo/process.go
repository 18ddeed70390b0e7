package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// patience bounds every wait: far longer than any takes on a busy machine.
const patience = time.Minute

// grace is how long a program that was told to end may take before it is killed.
const grace = 10 * time.Second

// command is a child that ends when ctx does: by SIGTERM, and by force if that
// is not enough.
func command(ctx context.Context, path string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = environment()
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = grace
	dieWithParent(cmd)
	return cmd
}

// environment leaves out what would change the outcome: a sampler, a limit of
// the SDK, a folder of the user's own runs.
func environment() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "OTEL_") || strings.HasPrefix(v, "WANDB_")
	})
}

// collector is a collector under way.
type collector struct {
	cmd    *exec.Cmd
	grpc   string // where it listens
	http   string
	log    string // the file with what it says
	exited chan struct{}
	err    error // once exited is closed

	mu   sync.Mutex
	tail []string // the last lines it said
}

// startCollector starts the collector and returns when it takes data.
func startCollector(ctx context.Context, o *options, dir string, w *wandb) (*collector, error) {
	c := &collector{log: dir + "/collector.log", exited: make(chan struct{})}
	// Port 0: the system gives a free one, and the collector's log says which.
	// So a demo is never in the way of a collector that runs already, nor it in ours.
	c.cmd = command(ctx, o.collector, "--config", o.config,
		"--set", "receivers.otlp.protocols.grpc.endpoint=127.0.0.1:0",
		"--set", "receivers.otlp.protocols.http.endpoint=127.0.0.1:0",
		"--set", "exporters.wandb.finish.linger=1s")
	c.cmd.Env = append(c.cmd.Env, "WANDB_DIR="+dir)
	if w != nil {
		c.cmd.Env = append(c.cmd.Env, w.env...)
	}
	file, err := os.Create(c.log)
	if err != nil {
		return nil, err
	}
	read, write := io.Pipe()
	c.cmd.Stderr = write
	if err := c.cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("the collector does not start: %w: run make build", err), file.Close())
	}
	ready := make(chan struct{})
	logged := make(chan struct{})
	go func() {
		defer close(logged)
		c.read(io.TeeReader(read, file), ready)
		_, _ = io.Copy(file, read) // should a line ever be too long for read
	}()
	go func() {
		defer close(c.exited)
		c.err = c.cmd.Wait()
		_ = write.Close()
		<-logged
		c.err = errors.Join(c.err, file.Close())
	}()
	select {
	case <-ready:
		return c, nil
	case <-c.exited:
		return nil, fmt.Errorf("the collector ended before it was ready (%s). The end of what it said, all of it in %s:\n\n%s", c.cmd.ProcessState, c.log, c.lastWords())
	case <-time.After(patience):
		return c, fmt.Errorf("the collector was not ready within %s. The end of what it said, all of it in %s:\n\n%s", patience, c.log, c.lastWords())
	}
}

func (c *collector) read(from io.Reader, ready chan<- struct{}) {
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		c.mu.Lock()
		c.tail = append(c.tail[max(0, len(c.tail)-9):], line)
		c.mu.Unlock()
		switch {
		case strings.Contains(line, "Starting GRPC server"):
			c.grpc = endpoint(line)
		case strings.Contains(line, "Starting HTTP server"):
			c.http = endpoint(line)
		case strings.Contains(line, "Everything is ready.") && ready != nil:
			close(ready)
			ready = nil
		}
	}
}

func (c *collector) lastWords() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.tail, "\n")
}

// stop ends the collector as a service manager does, and waits until it has.
func (c *collector) stop() error {
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-c.exited:
	case <-time.After(grace):
		_ = c.cmd.Process.Kill()
		<-c.exited
		return fmt.Errorf("the collector did not end within %s of SIGTERM and was killed: see %s", grace, c.log)
	}
	if c.err != nil {
		return fmt.Errorf("the collector ended badly (%w): see %s", c.err, c.log)
	}
	return nil
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

// output is what a command says on stdout; with an error, what it said at all.
func output(cmd *exec.Cmd) ([]byte, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s: %w\n\n%s%s", strings.Join(cmd.Args, " "), err, stdout.Bytes(), stderr.Bytes())
	}
	return stdout.Bytes(), nil
}
