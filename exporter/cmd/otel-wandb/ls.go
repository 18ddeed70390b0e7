package main

import (
	"cmp"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/otel-wandb/otel-wandb/exporter/internal/lsview"
	"github.com/otel-wandb/otel-wandb/exporter/internal/syncing"
)

func lsCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "ls [DIR]",
		Short: "List the runs in a directory: how each is doing, what waits, what to do next",
		Long: `List the runs in DIR (else $WANDB_DIR, else the working directory): how each is
doing, its metrics, what waits for which span, and what to do next. It reads the
runs of the exporter and of W&B's own client, while they are written, and
changes nothing.

The commands it names are safe to run as they stand: wandb sync only for what is
over and was never uploaded, otel-wandb sync for a run of several parts, whose
console lines wandb sync would write over each other.`,
		Example: `  otel-wandb ls
  otel-wandb ls --json | jq -r '.runs[] | select(.state == "failed") | .run'`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			dir := cmp.Or(os.Getenv("WANDB_DIR"), ".")
			if len(args) > 0 {
				dir = args[0]
			}
			now := time.Now()
			l, err := lsview.List(dir, lsview.Options{Now: now, Shown: fromHere})
			if err != nil {
				return err
			}
			l.Outbox = syncing.OutboxBytes(dir)
			return show(c.OutOrStdout(), asJSON, lsview.View{Listing: l, Now: now})
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "write the list as JSON, with all metrics")
	return c
}

// fromHere is a path below the working directory as one types it there.
func fromHere(path string) string {
	here, err := os.Getwd()
	if err != nil {
		return path
	}
	rel, err := filepath.Rel(here, path)
	if err != nil || strings.HasPrefix(rel, "..") {
		return path
	}
	return rel
}
