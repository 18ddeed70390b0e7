// Command otel-wandb looks after the runs that the exporter writes.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
)

// Exit codes besides 0.
const (
	exitError    = 1
	exitFindings = 2 // the command worked, and found what asks for a hand
)

// findings is returned by a command whose output says already what is to be done.
type findings struct{}

func (findings) Error() string { return "there are findings" }

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is main without the process, for tests.
func run(args []string, in io.Reader, out, errs io.Writer) int {
	root := &cobra.Command{
		Use:           "otel-wandb",
		Short:         "Look after the W&B runs that OpenTelemetry wrote",
		SilenceUsage:  true, // an error says itself what to do
		SilenceErrors: true,
	}
	root.AddCommand(explainCommand(), lsCommand(), syncCommand(), doctorCommand())
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errs)
	err := root.ExecuteContext(context.Background())
	switch {
	case err == nil:
		return 0
	case errors.Is(err, findings{}):
		return exitFindings
	}
	fmt.Fprintln(errs, "otel-wandb:", err)
	return exitError
}
