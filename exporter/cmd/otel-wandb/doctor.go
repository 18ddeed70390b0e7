package main

import (
	"cmp"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/otel-wandb/otel-wandb/exporter/internal/doctor"
)

func doctorCommand() *cobra.Command {
	var opts doctor.Options
	var asJSON bool
	c := &cobra.Command{
		Use:   "doctor [DIR]",
		Short: "Look whether everything between a program and W&B works, and say how to mend what does not",
		Long: `Look at W&B, the key and what it may do, at DIR (else $WANDB_DIR, else the
working directory), and at the collector. Each line says ok, or what to fix, or
that it was not tried. It never shows the key, and leaves nothing behind: whether
runs can be made in a project is only tried with --write, which makes one.

Exit code: 0 nothing is to be fixed; 2 something is.`,
		Example: `  otel-wandb doctor
  WANDB_BASE_URL=https://wandb.example.com otel-wandb doctor --project vision --write`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			opts.Dir = cmp.Or(os.Getenv("WANDB_DIR"), ".")
			if len(args) > 0 {
				opts.Dir = args[0]
			}
			r := doctor.Look(c.Context(), opts)
			if err := show(c.OutOrStdout(), asJSON, r); err != nil {
				return err
			}
			if !r.OK {
				return findings{}
			}
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&opts.BaseURL, "base-url", "", "`URL` of the W&B server (WANDB_BASE_URL)")
	f.StringVar(&opts.Entity, "entity", "", "`ENTITY` of the project (WANDB_ENTITY)")
	f.StringVar(&opts.Project, "project", "", "`PROJECT` that runs go to (WANDB_PROJECT)")
	f.StringVar(&opts.Endpoint, "endpoint", "", "`URL` of the collector (OTEL_EXPORTER_OTLP_ENDPOINT); none asks no collector")
	f.BoolVar(&opts.Write, "write", false, "make a run in the project and end it, to know that it works")
	f.DurationVar(&opts.Timeout, "timeout", 10*time.Second, "how long to wait for W&B")
	f.BoolVar(&asJSON, "json", false, "write the report as JSON")
	return c
}
