package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/otel-wandb/otel-wandb/exporter/internal/explain"
	"github.com/otel-wandb/otel-wandb/exporter/internal/intake"
	"github.com/otel-wandb/otel-wandb/internal/runid"
	"github.com/otel-wandb/otel-wandb/internal/semconv"
)

func explainCommand() *cobra.Command {
	var where runid.Coordinates
	var allowed, tasks, metricEvents []string
	var rootless, by string
	var asJSON bool
	c := &cobra.Command{
		Use:   "explain FILE…",
		Short: "Show which run each span of recorded telemetry would be on, and why",
		Long: `Show which run each span of recorded telemetry would be on, and the rule that
decided. FILE is OTLP in JSON: what the Collector's file exporter writes, or one
request; - is standard input. Nothing is sent and nothing is written.

The end of the input counts as the end of all waiting: a parent that is not in
it will not come.

Exit code: 0 all that is meant for W&B gets there; 2 something was refused, kept
out or dropped, and the output says what to do; 1 the input cannot be read.`,
		Example: `  otel-wandb explain traces.json
  otel-wandb explain --project vision --json traces.json logs.json | jq .runs`,
		Args: func(_ *cobra.Command, files []string) error {
			if len(files) == 0 {
				return errors.New("name a FILE of recorded telemetry, or - for standard input; make demo leaves one, otlp.jsonl; see otel-wandb explain --help")
			}
			return nil
		},
		RunE: func(c *cobra.Command, files []string) error {
			if err := oneOf("rootless", rootless, "open", "off"); err != nil {
				return err
			}
			if err := oneOf("placement", by, "ancestors", "stamped_only"); err != nil {
				return err
			}
			where.Host = runid.Host(where.Host)
			var opts explain.Options
			opts.Placement.Default, opts.Placement.AllowedHosts = where, allowed
			opts.Placement.StampedOnly = by == "stamped_only"
			opts.Intake = intake.Options{RootlessOff: rootless == "off", MetricEvents: metricEvents}
			for _, name := range tasks {
				opts.Intake.Rules = append(opts.Intake.Rules, intake.TaskRule{SpanName: name, Mode: semconv.ModeAuto})
			}
			e := explain.New(opts)
			for _, file := range files {
				if err := readFile(c.InOrStdin(), file, e); err != nil {
					return err
				}
			}
			report := e.Report()
			if err := show(c.OutOrStdout(), asJSON, report); err != nil {
				return err
			}
			if !report.Clean() {
				return findings{}
			}
			return nil
		},
	}
	f := c.Flags()
	// The names in capitals are what help shows; the keys are the exporter's.
	f.StringVar(&where.Project, "project", "uncategorized", "`PROJECT` of runs that name none (project)")
	f.StringVar(&where.Entity, "entity", "", "`ENTITY` of runs that name none (entity)")
	f.StringVar(&where.Host, "host", "https://api.wandb.ai", "`URL` of the W&B server of runs that name none (host)")
	f.StringSliceVar(&allowed, "allow-host", nil, "`URL` of a further W&B server that telemetry may name (allowed_hosts)")
	f.StringSliceVar(&tasks, "task", nil, "spans called `NAME` count as tasks, * stands for any text (tasks)")
	f.StringSliceVar(&metricEvents, "metric-event", nil, "span events called `NAME` are rows as well (metric_events)")
	f.StringVar(&rootless, "rootless", "open", "`open|off`: whether a root span without a mode that logs makes a run (rootless)")
	f.StringVar(&by, "placement", "ancestors", "`ancestors|stamped_only`: how spans find their run (placement::by)")
	f.BoolVar(&asJSON, "json", false, "write the report as JSON")
	return c
}

func oneOf(flag, value string, words ...string) error {
	for _, w := range words {
		if value == w {
			return nil
		}
	}
	return fmt.Errorf("--%s is %q: use %s", flag, value, strings.Join(words, " or "))
}

func readFile(stdin io.Reader, name string, to explain.Sink) error {
	if name == "-" {
		return explain.Read(stdin, "standard input", to)
	}
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return explain.Read(f, name, to)
}

// texter is a report that people can read.
type texter interface{ Text(io.Writer) }

func show(w io.Writer, asJSON bool, report texter) error {
	if !asJSON {
		report.Text(w)
		return nil
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(report)
}
