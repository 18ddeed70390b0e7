// Package laptop gives an example a collector on this machine, so that one
// command is enough. It has nothing to do with the bridge: in earnest, a
// collector is there, and OTEL_EXPORTER_OTLP_ENDPOINT says where.
package laptop

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	collector = "bin/otelcol-wandb"
	tool      = "bin/otel-wandb"
	config    = "collector-config/laptop.yaml"
	patience  = time.Minute // far longer than anything here takes
	endpoint  = "OTEL_EXPORTER_OTLP_ENDPOINT"
)

// Main runs an example, with a collector unless the environment names one, and
// shows the runs that came of it.
func Main(example func(context.Context) error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, example)
	interrupted := ctx.Err() != nil
	stop()
	switch {
	case interrupted:
		fmt.Fprintln(os.Stderr, "interrupted. Nothing is left running; what was written stays.")
		os.Exit(130)
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, example func(context.Context) error) (err error) {
	if os.Getenv(endpoint) != "" {
		return example(ctx)
	}
	for _, path := range []string{collector, tool, config} {
		if _, err := os.Stat(path); err != nil {
			return fmt.Errorf("%w: run make build first, and this from the top of the repository; or name a collector with %s", err, endpoint)
		}
	}
	dir := os.Getenv("WANDB_DIR")
	if dir == "" {
		if dir, err = os.MkdirTemp("", "otel-wandb-example-"); err != nil {
			return err
		}
	}
	// Also where the bridge keeps what the collector has not taken yet.
	if err := os.Setenv("WANDB_DIR", dir); err != nil {
		return err
	}
	stop, err := start(ctx, dir)
	if err != nil {
		return err
	}
	if err = example(ctx); err == nil {
		err = ended(ctx, dir)
	}
	err = errors.Join(err, stop())
	fmt.Printf("\n$ %s ls %s\n", tool, dir)
	ls := exec.Command(tool, "ls", dir)
	ls.Stdout, ls.Stderr = os.Stdout, os.Stderr
	return errors.Join(err, ls.Run())
}

// ended waits until all runs have: a collector that is stopped sooner leaves
// them open, for its next start.
func ended(ctx context.Context, dir string) error {
	for until := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		said, err := exec.CommandContext(ctx, tool, "ls", "--json", dir).Output()
		if err != nil {
			return fmt.Errorf("%s ls: %w", tool, err)
		}
		var list struct {
			Runs []struct {
				Exit *int `json:"exit_code"`
			}
		}
		if err := json.Unmarshal(said, &list); err != nil {
			return err
		}
		open := 0
		for _, r := range list.Runs {
			if r.Exit == nil {
				open++
			}
		}
		switch {
		case open == 0:
			return nil
		case time.Now().After(until):
			return fmt.Errorf("%d runs in %s have not ended after %s", open, dir, patience)
		}
	}
}

// start starts the collector on free ports, and tells this program and those it
// starts where it listens.
func start(ctx context.Context, dir string) (stop func() error, err error) {
	said, err := os.Create(filepath.Join(dir, "collector.log"))
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, collector, "--config", config,
		"--set", "receivers.otlp.protocols.grpc.endpoint=127.0.0.1:0",
		"--set", "receivers.otlp.protocols.http.endpoint=127.0.0.1:0",
		"--set", "exporters.wandb.finish.linger=1s")
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = patience
	read, write := io.Pipe()
	cmd.Stderr = write
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, said.Close())
	}
	at, logged, exited := make(chan string, 1), make(chan struct{}), make(chan error, 1)
	go func() { // its log says which ports it was given
		defer close(logged)
		for lines := bufio.NewScanner(io.TeeReader(read, said)); lines.Scan(); {
			if _, fields, ok := strings.Cut(lines.Text(), "Starting GRPC server"); ok {
				var f struct{ Endpoint string }
				_ = json.Unmarshal([]byte(fields[max(0, strings.IndexByte(fields, '{')):]), &f)
				at <- "http://" + f.Endpoint
			}
		}
		_, _ = io.Copy(said, read)
	}()
	go func() {
		err := cmd.Wait()
		if errors.Is(err, context.Canceled) {
			err = nil // interrupted, and ended as it was told to
		}
		_ = write.Close()
		<-logged
		exited <- errors.Join(err, said.Close())
	}()
	stop = func() error {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := <-exited; err != nil {
			return fmt.Errorf("the collector ended badly (%w): see %s", err, said.Name())
		}
		return nil
	}
	select {
	case where := <-at:
		return stop, os.Setenv(endpoint, where)
	case err := <-exited:
		return nil, fmt.Errorf("the collector ended before it was ready (%w): see %s", err, said.Name())
	case <-time.After(patience):
		return nil, errors.Join(fmt.Errorf("the collector was not ready within %s: see %s", patience, said.Name()), stop())
	}
}
