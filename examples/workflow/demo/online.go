package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/otel-wandb/otel-wandb/internal/wandbtest"
)

// wandb is the W&B that an online demo uploads to.
type wandb struct {
	what    string   // for people
	env     []string // W&B's own variables, for the collector
	standIn *wandbtest.Server
	close   func()
}

// chooseWandb is the real one where the user's variables say which and with what
// key, and else a stand-in in this program's memory.
func chooseWandb() (*wandb, error) {
	if base, key := os.Getenv("WANDB_BASE_URL"), os.Getenv("WANDB_API_KEY"); base != "" && key != "" {
		w := &wandb{what: base + ", by WANDB_BASE_URL and WANDB_API_KEY", close: func() {}}
		for _, name := range []string{"WANDB_BASE_URL", "WANDB_API_KEY", "WANDB_ENTITY", "WANDB_PROJECT"} {
			if value := os.Getenv(name); value != "" {
				w.env = append(w.env, name+"="+value)
			}
		}
		return w, nil
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("an address for the stand-in W&B: %w", err)
	}
	server := wandbtest.New(wandbtest.Options{})
	web := &http.Server{Handler: server, ReadHeaderTimeout: time.Minute}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = web.Serve(listener) // ends with close
	}()
	url := "http://" + listener.Addr().String()
	return &wandb{
		what:    "a stand-in W&B in this program's memory, at " + url + "; WANDB_BASE_URL and WANDB_API_KEY choose a real one",
		env:     []string{"WANDB_BASE_URL=" + url, "WANDB_API_KEY=" + wandbtest.Key},
		standIn: server,
		close: func() {
			server.Close()
			_ = web.Close()
			<-ended
		},
	}, nil
}

// uploaded waits until W&B has the end of all runs, as the tool sees it.
func uploaded(ctx context.Context, o *options, s *screen, dir string) ([]onDisk, error) {
	deadline := time.After(patience)
	for {
		runs, err := list(ctx, o, dir)
		if err != nil {
			return nil, err
		}
		done := len(runs) == len(expected)
		for i := range runs {
			done = done && runs[i].AtWandb != nil && runs[i].AtWandb.Done
		}
		if done {
			return runs, nil
		}
		s.live(progressThere(runs))
		select {
		case <-time.After(pollEvery):
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-deadline:
			return nil, fmt.Errorf("after %s W&B has only this: %s. See %s, and what `%s ls %s` says", patience, progressThere(runs), dir+"/collector.log", o.tool, dir)
		}
	}
}

func progressThere(runs []onDisk) string {
	there, rows, done := 0, 0, 0
	for i := range runs {
		if at := runs[i].AtWandb; at != nil && at.URL != "" {
			there++
			rows += at.Rows
			if at.Done {
				done++
			}
		}
	}
	return fmt.Sprintf("at W&B: %d runs, %d rows; ended %d", there, rows, done)
}

// checkStandIn says what is wrong with the runs that the stand-in has. A real
// W&B is not asked: people look at it.
func (w *wandb) checkStandIn() error {
	if w.standIn == nil {
		return nil
	}
	var runs []onDisk
	for _, r := range w.standIn.Runs() {
		run := onDisk{Name: r.DisplayName, State: r.State, Rows: len(r.History)}
		if r.ExitCode != nil {
			code := int32(*r.ExitCode)
			run.Exit = &code
		}
		runs = append(runs, run)
	}
	err := checkOnDisk(runs)
	for _, v := range w.standIn.Violations() {
		err = errors.Join(err, errors.New("a request that W&B's own client never makes: "+v))
	}
	if err != nil {
		return fmt.Errorf("at the stand-in W&B: %w", err)
	}
	return nil
}
