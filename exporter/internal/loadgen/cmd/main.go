// Command cmd sends OTLP load with a known outcome: package loadgen.
//
//	go run ./exporter/internal/loadgen/cmd -kind log-rows -n 100000 -runs 10 -ledger acked.txt
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/otel-wandb/otel-wandb/exporter/internal/loadgen"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "loadgen:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) (err error) {
	var o loadgen.Options
	flags := flag.NewFlagSet("loadgen", flag.ContinueOnError)
	flags.StringVar(&o.Addr, "addr", "localhost:4317", "OTLP/gRPC receiver")
	kind := flags.String("kind", string(loadgen.LogRows), fmt.Sprintf("what to send, one of %v", loadgen.Kinds))
	flags.IntVar(&o.Items, "n", 0, "spans or rows; 0: until interrupted")
	flags.IntVar(&o.Runs, "runs", 1, "spread over so many runs")
	flags.IntVar(&o.Clients, "clients", 4, "connections")
	flags.IntVar(&o.PerRequest, "per-request", 512, "items a request")
	flags.IntVar(&o.RunsPerRequest, "runs-per-request", 1, "runs a request")
	flags.IntVar(&o.PerCarrier, "per-carrier", 64, "rows a carrier")
	flags.StringVar(&o.Entity, "entity", "", "entity of the runs")
	flags.StringVar(&o.Project, "project", "", "project of the runs")
	flags.StringVar(&o.Session, "session", "", "part of all ids; the same session and -start again: the same items again")
	start := flags.String("start", "", "start time of the runs, RFC 3339 (default an hour ago)")
	flags.BoolVar(&o.Attributes, "attributes", false, "log-rows: rows in attributes, not in the body")
	flags.BoolVar(&o.Lifecycle, "lifecycle", false, "announce the runs before, end them after")
	flags.BoolVar(&o.Prebuild, "prebuild", false, "build all requests before the clock starts")
	flags.Float64Var(&o.Rate, "rate", 0, "items a second; 0: as fast as possible")
	flags.DurationVar(&o.Timeout, "timeout", 0, "of one attempt (default 10s)")
	ledger := flags.String("ledger", "", "append the acknowledged rows to this `file`")
	if err := flags.Parse(args); err != nil {
		return err
	}
	o.Kind = loadgen.Kind(*kind)
	if *start != "" {
		if o.StartTime, err = time.Parse(time.RFC3339Nano, *start); err != nil {
			return fmt.Errorf("-start: %w", err)
		}
	}
	if *ledger != "" {
		f, err := os.OpenFile(*ledger, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return fmt.Errorf("-ledger: %w", err)
		}
		defer func() {
			if cerr := f.Close(); err == nil {
				err = cerr
			}
		}()
		o.Acked = loadgen.NewLedger(f).Acked
	}
	report, err := loadgen.Run(ctx, o)
	_, _ = fmt.Fprintf(out, "session %s: %v\n", report.Session, report)
	return err
}
