// Command otel-wandb looks after the runs that the exporter writes.
package main

import (
	"os"

	"github.com/spf13/cobra"
)

func main() {
	root := &cobra.Command{
		Use:   "otel-wandb",
		Short: "Look after the W&B runs that OpenTelemetry wrote",
	}
	if err := root.Execute(); err != nil {
		os.Exit(1)
	}
}
