// Command demo shows the whole way once, on this machine and without an
// account: it starts the collector, runs the workflow example against it, waits
// until its three runs are on disk, stops the collector, shows what came of it,
// and checks that this is what had to come of it.
//
//	workflow ──OTLP──► bin/otelcol-wandb ──► <dir>/wandb/offline-run-…
//	    │                                          │
//	    └──► <dir>/otlp.jsonl                      └──► otel-wandb ls
//	               └──► otel-wandb explain
//
// With -online the collector uploads the runs too, to a stand-in W&B or to a
// real one, and the demo waits until W&B has them.
//
// `make demo` builds all of it and runs this, `make demo ONLINE=1` with -online. The ports are free ones, the
// folder is a new one each time, and nothing is left running, also not when it
// is interrupted.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err := demo(ctx, os.Args[1:], os.Stdout)
	interrupted := ctx.Err() != nil
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	case interrupted:
		fmt.Fprintln(os.Stderr, "\ndemo: interrupted. Nothing is left running; what was written stays.")
		os.Exit(130)
	case err != nil:
		fmt.Fprintln(os.Stderr, "\ndemo:", err)
		os.Exit(1)
	}
}

type options struct {
	collector, tool, workflow string // programs
	config                    string // of the collector
	dir                       string // in which each demo makes a folder
	online                    bool
}

func demo(ctx context.Context, args []string, out io.Writer) (err error) {
	var o options
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	flags.StringVar(&o.collector, "collector", "bin/otelcol-wandb", "the collector")
	flags.StringVar(&o.tool, "tool", "bin/otel-wandb", "the tool that shows runs")
	flags.StringVar(&o.workflow, "workflow", "bin/examples/workflow", "the program that is instrumented")
	flags.StringVar(&o.config, "config", "collector-config/laptop.yaml", "the collector's configuration")
	flags.StringVar(&o.dir, "dir", "bin/demo", "make a folder for this demo in here")
	flags.BoolVar(&o.online, "online", false, "upload the runs while they run, to a stand-in W&B or to that of WANDB_BASE_URL and WANDB_API_KEY")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if o.online {
		o.config = filepath.Join(filepath.Dir(o.config), "wandb.yaml")
	}
	for _, path := range []string{o.collector, o.tool, o.workflow, o.config} {
		if _, err := os.Stat(path); err != nil {
			return fmt.Errorf("%w: run make demo from the top of the repository, which builds it first", err)
		}
	}
	dir, err := newFolder(o.dir)
	if err != nil {
		return err
	}
	otlp := filepath.Join(dir, "otlp.jsonl")
	s := newScreen(out, o.online)
	var w *wandb
	if o.online {
		if w, err = chooseWandb(); err != nil {
			return err
		}
		defer w.close()
	}

	s.step("start the collector", o.collector+" --config "+o.config)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c, err := startCollector(ctx, &o, dir, w)
	if c != nil {
		defer func() { // whatever happens below, it ends here
			if stopped := c.stop(); err == nil {
				err = stopped
			}
		}()
	}
	if err != nil {
		return err
	}
	s.done("OTLP at %s (gRPC) and %s (HTTP): free ports, so that nothing of yours is in the way", c.grpc, c.http)

	s.step("run the workflow", fmt.Sprintf("%s -endpoint %s -otlp-json %s", o.workflow, c.grpc, otlp))
	if err := workflow(ctx, &o, s, c.grpc, otlp, dir); err != nil {
		return err
	}
	s.done("one trace, and the rows were on their way while it ran")

	s.step("wait until the runs have ended", "a second after the last of them came (finish.linger)")
	runs, err := ended(ctx, &o, s, dir)
	if err != nil {
		return err
	}
	s.done("%s", progress(runs))

	if w != nil {
		s.step("wait until W&B has them", w.what)
		there, err := uploaded(ctx, &o, s, dir)
		if err != nil {
			return err
		}
		s.done("%s", progressThere(there))
		for i := range there {
			fmt.Fprintf(out, "      %s  %s\n", there[i].Name, there[i].AtWandb.URL)
		}
		if err := w.checkStandIn(); err != nil {
			return err
		}
	}

	s.step("stop the collector", "SIGTERM")
	if err := c.stop(); err != nil {
		return err
	}
	s.done("status 0")

	shown, err := output(command(ctx, o.tool, "explain", otlp))
	if err != nil {
		return err
	}
	s.show(o.tool+" explain "+otlp, shown)
	listed, err := output(command(ctx, o.tool, "ls", dir))
	if err != nil {
		return err
	}
	s.show(o.tool+" ls "+dir, listed)

	report, err := output(command(ctx, o.tool, "explain", "--json", otlp))
	if err != nil {
		return err
	}
	if err := errors.Join(checkExplained(report), checkOnDisk(runs)); err != nil {
		return fmt.Errorf("the runs are not what the workflow must give (all of it is in %s):\n%w", dir, err)
	}
	s.next(&o, dir)
	return nil
}

// newFolder makes a folder of this demo's own, however many run at a time.
func newFolder(in string) (string, error) {
	if err := os.MkdirAll(in, 0o777); err != nil {
		return "", err
	}
	name := filepath.Join(in, time.Now().Format("20060102_150405"))
	for i := 1; ; i++ {
		dir := name
		if i > 1 {
			dir = fmt.Sprintf("%s-%d", name, i)
		}
		if err := os.Mkdir(dir, 0o777); !errors.Is(err, os.ErrExist) {
			return dir, err
		}
	}
}

// workflow runs the example, and shows the runs grow while it does.
func workflow(ctx context.Context, o *options, s *screen, endpoint, otlp, dir string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	said := make(chan error, 1)
	cmd := command(ctx, o.workflow, "-endpoint", endpoint, "-otlp-json", otlp)
	var text strings.Builder
	cmd.Stdout, cmd.Stderr = &text, &text
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() { said <- cmd.Wait() }()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		select {
		case err := <-said:
			if err != nil {
				return fmt.Errorf("the workflow failed: %w\n\n%s", err, text.String())
			}
			return nil
		case <-tick.C:
			if runs, err := list(ctx, o, dir); err == nil && ctx.Err() == nil {
				s.live(progress(runs))
			}
		}
	}
}

const pollEvery = 200 * time.Millisecond

// ended waits until all runs are there and have ended.
func ended(ctx context.Context, o *options, s *screen, dir string) ([]onDisk, error) {
	deadline := time.After(patience)
	for {
		runs, err := list(ctx, o, dir)
		if err != nil {
			return nil, err
		}
		open := len(runs) < len(expected)
		for i := range runs {
			open = open || !runs[i].ended()
		}
		if !open {
			return runs, nil
		}
		s.live(progress(runs))
		select {
		case <-time.After(pollEvery):
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-deadline:
			return nil, fmt.Errorf("after %s there is only this: %s. See %s", patience, progress(runs), filepath.Join(dir, "collector.log"))
		}
	}
}
