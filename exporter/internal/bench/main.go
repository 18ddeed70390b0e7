// Command bench measures what the exporter costs: it starts the real collector,
// sends it load over OTLP/gRPC, and prints a Markdown table.
//
//	go run ./exporter/internal/bench
//
// Every scenario runs with the pipelines otlp→nop, otlp→queue and otlp→wandb, in
// turn, on a collector of its own each time. nop is the anchor: it is what
// receiving costs. queue is the collector's own persistent queue (file_storage,
// without fsync) with nothing behind it: what the same promise, "taken is on
// disk", costs there. What is in the queue when the load ends is worked off
// until the exit, so compare "to exit". Absolute figures hold for one machine
// and one day only. The load generator shares the machine, so items/s is the two
// of them together; CPU seconds are the collector's alone, from /proc (Linux).
//
// The exporter acknowledges what it has written, so what is measured until the
// last acknowledgement is the whole work but for closing the runs, which "to
// exit" adds. Rows are read back from the run logs: a figure whose rows are not
// there, each once, is an error.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/otel-wandb/otel-wandb/exporter/internal/loadgen"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

type options struct {
	collector string
	config    string // more of the exporter's configuration
	scenarios []scenario
	items     int
	runs      int
	clients   int
	reps      int
	check     bool
	keep      bool
}

type scenario struct {
	name string
	load loadgen.Options
}

var scenarios = []scenario{
	{"stamped spans", loadgen.Options{Kind: loadgen.Spans, Lifecycle: true}},
	{"rows as log records", loadgen.Options{Kind: loadgen.LogRows, Lifecycle: true}},
	{"bare rows as log records", loadgen.Options{Kind: loadgen.LogRows, Lifecycle: true, Bare: true}},
	{"rows in carriers", loadgen.Options{Kind: loadgen.CarrierRows, Lifecycle: true}},
	{"unmarked spans", loadgen.Options{Kind: loadgen.Unmarked}},
}

const pipelineQueue = "queue"

var pipelines = []string{"nop", pipelineQueue, "wandb"}

func run(ctx context.Context, args []string, out, progress io.Writer) error {
	o := options{}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(progress)
	flags.StringVar(&o.collector, "collector", "bin/otelcol-wandb", "the collector; it needs the exporters nop and wandb")
	flags.StringVar(&o.config, "config", "", "more configuration of the exporter, as in 'key: value, other: value'")
	flags.IntVar(&o.items, "n", 1_000_000, "items a measurement")
	flags.IntVar(&o.runs, "runs", 100, "runs they are spread over")
	flags.IntVar(&o.clients, "clients", 4, "connections")
	flags.IntVar(&o.reps, "reps", 3, "repetitions; the table has their medians")
	only := flags.String("only", "", "only the scenarios whose name contains this")
	flags.BoolVar(&o.check, "check", true, "read the rows back")
	flags.BoolVar(&o.keep, "keep", false, "keep the folders of the measurements")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if o.items < 1 || o.reps < 1 || o.runs < 1 || o.clients < 1 {
		return errors.New("-n, -reps, -runs and -clients must be at least 1")
	}
	if _, err := os.Stat(o.collector); err != nil {
		return fmt.Errorf("no collector: %w; run make build, or name one with -collector", err)
	}
	for _, s := range scenarios {
		if strings.Contains(s.name, *only) {
			o.scenarios = append(o.scenarios, s)
		}
	}
	if len(o.scenarios) == 0 {
		return fmt.Errorf("no scenario's name contains %q", *only)
	}

	temp, err := os.MkdirTemp("", "otel-wandb-bench-")
	if err != nil {
		return err
	}
	if o.keep {
		fmt.Fprintln(progress, "folders are kept under", temp)
	} else {
		// All at the end: while thousands of files were removed a moment ago, ext4
		// takes milliseconds to make one.
		defer func() { _ = os.RemoveAll(temp) }()
	}
	began := time.Now()
	results := map[string][]result{} // by scenario and pipeline
	for rep := range o.reps {
		for i, s := range o.scenarios {
			for _, pipeline := range pipelines {
				dir := filepath.Join(temp, fmt.Sprintf("%d-%d-%s", rep, i, pipeline))
				r, err := measure(ctx, o, s, pipeline, dir)
				if err != nil {
					return fmt.Errorf("%s, otlp→%s: %w", s.name, pipeline, err)
				}
				fmt.Fprintf(progress, "%d/%d %-20s %-6s %8.0f items/s  %6.2f CPU s/M\n",
					rep+1, o.reps, s.name, pipeline, r.rate, r.cpu)
				results[s.name+pipeline] = append(results[s.name+pipeline], r)
			}
		}
	}
	write(out, o, args, results, began)
	return nil
}

// result is one measurement.
type result struct {
	rate      float64 // items a second
	cpu       float64 // the collector's CPU seconds a million items, until the last acknowledgement
	cpuToExit float64 // and until it has exited
	rss       float64 // MB, peak
	log       float64 // bytes an item in .wandb files
	disk      float64 // bytes an item in all files under its folder
	p99       float64 // ms, of an acknowledgement
}

func measure(ctx context.Context, o options, s scenario, pipeline, dir string) (result, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c, err := start(ctx, o.collector, pipeline, dir, o.config)
	if err != nil {
		return result{}, err
	}
	defer c.kill()
	go func() { // a collector that dies ends the load
		select {
		case <-c.exited:
			cancel()
		case <-ctx.Done():
		}
	}()

	load := s.load
	load.Addr, load.Items, load.Runs, load.Clients, load.Prebuild = c.addr, o.items, o.runs, o.clients, true
	before, err := c.cpu()
	if err != nil {
		return result{}, err
	}
	report, err := loadgen.Run(ctx, load)
	if err != nil {
		return result{}, c.explain(err)
	}
	after, err := c.cpu()
	if err != nil {
		return result{}, c.explain(err)
	}
	rss, err := c.peakRSS()
	if err != nil {
		return result{}, c.explain(err)
	}
	total, err := c.stop()
	if err != nil {
		return result{}, c.explain(err)
	}
	if o.check && pipeline == "wandb" && s.load.Kind.Rows() {
		found, err := loadgen.RowsIn(dir)
		if err == nil {
			err = report.Rows.Check(found)
		}
		if err != nil {
			return result{}, err
		}
	}
	logs, disk, err := sizes(dir)
	if err != nil {
		return result{}, err
	}
	n := float64(o.items)
	return result{
		rate:      report.Rate(),
		cpu:       (after - before).Seconds() / n * 1e6,
		cpuToExit: (total - before).Seconds() / n * 1e6,
		rss:       float64(rss) / 1e6,
		log:       float64(logs) / n,
		disk:      float64(disk) / n,
		p99:       float64(report.P99) / 1e6,
	}, nil
}

func sizes(dir string) (logs, all int64, err error) {
	err = filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		all += info.Size()
		if filepath.Ext(path) == ".wandb" {
			logs += info.Size()
		}
		return nil
	})
	return logs, all, err
}

func write(out io.Writer, o options, args []string, results map[string][]result, began time.Time) {
	fmt.Fprintf(out, "%s, %s; load generator on the same machine. %d items a measurement, %d runs, %d connections, medians of %d (least–most).\n",
		began.Format("2 January 2006"), machine(), o.items, o.runs, o.clients, o.reps)
	if !o.check {
		fmt.Fprintln(out, "Rows were not read back (-check=false).")
	}
	fmt.Fprintf(out, "Command: `%s`\n\n", strings.TrimSpace("go run ./exporter/internal/bench "+strings.Join(args, " ")))
	fmt.Fprintln(out, "| scenario | pipeline | items/s | CPU s per million | to exit | × nop | peak RSS, MB | .wandb bytes an item | bytes on disk an item | ack p99, ms |")
	fmt.Fprintln(out, "|---|---|---|---|---|---|---|---|---|---|")
	for _, s := range o.scenarios {
		nop := median(results[s.name+"nop"], func(r result) float64 { return r.cpu })
		for _, pipeline := range pipelines {
			rs := results[s.name+pipeline]
			of := func(f func(result) float64) float64 { return median(rs, f) }
			cpu := of(func(r result) float64 { return r.cpu })
			bytesAnItem := "– | –"
			if pipeline == "wandb" {
				bytesAnItem = fmt.Sprintf("%.1f | %.1f", of(func(r result) float64 { return r.log }), of(func(r result) float64 { return r.disk }))
			}
			fmt.Fprintf(out, "| %s | %s | %.0f k | %.2f (%s) | %.2f | %s | %.0f | %s | %.1f |\n",
				s.name, pipeline, of(func(r result) float64 { return r.rate })/1e3,
				cpu, spread(rs, func(r result) float64 { return r.cpu }),
				of(func(r result) float64 { return r.cpuToExit }), ratio(cpu, nop),
				of(func(r result) float64 { return r.rss }), bytesAnItem,
				of(func(r result) float64 { return r.p99 }))
		}
	}
}

func values(rs []result, f func(result) float64) []float64 {
	var vs []float64
	for _, r := range rs {
		vs = append(vs, f(r))
	}
	slices.Sort(vs)
	return vs
}

func median(rs []result, f func(result) float64) float64 {
	vs := values(rs, f)
	return (vs[(len(vs)-1)/2] + vs[len(vs)/2]) / 2
}

func spread(rs []result, f func(result) float64) string {
	vs := values(rs, f)
	return fmt.Sprintf("%.2f–%.2f", vs[0], vs[len(vs)-1])
}

// ratio is empty where the anchor is too small for the clock of /proc, 10 ms.
func ratio(v, nop float64) string {
	if nop <= 0 {
		return "–"
	}
	return fmt.Sprintf("%.1f", v/nop)
}

func machine() string {
	m := fmt.Sprintf("%d cores", runtime.NumCPU())
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range bytes.Lines(info) {
			if name, ok := bytes.CutPrefix(line, []byte("model name")); ok {
				m += " (" + strings.Trim(string(name), " \t\n:") + ")"
				break
			}
		}
	}
	if info, err := os.ReadFile("/proc/meminfo"); err == nil {
		var kib int64
		if _, err := fmt.Sscanf(string(info), "MemTotal: %d kB", &kib); err == nil {
			m += fmt.Sprintf(", %d GiB", (kib+1<<19)>>20)
		}
	}
	return m + ", " + runtime.GOOS + "/" + runtime.GOARCH + ", " + runtime.Version()
}
