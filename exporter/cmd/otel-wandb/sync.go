package main

import (
	"cmp"
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/otel-wandb/otel-wandb/exporter/internal/syncing"
)

// errInterrupted is why sync ends at Ctrl-C.
var errInterrupted = errors.New("interrupted: what was sent is at W&B, the rest stays in the logs")

func syncCommand() *cobra.Command {
	opts := syncing.Options{Shown: fromHere}
	var asJSON bool
	c := &cobra.Command{
		Use:   "sync [DIR]",
		Short: "Upload to W&B what offline mode wrote and what stayed behind",
		Long: `Upload the runs in DIR (else $WANDB_DIR, else the working directory) to W&B:
those written offline, and what an upload left behind. It goes on where it or
another program stopped, sends nothing twice, and may be interrupted at any time.

The key is that of WANDB_API_KEY, for the server of WANDB_BASE_URL, or of netrc.
A run goes to the server that it belongs to, and to no other.

With --entity, --project or --base-url runs go elsewhere, and later syncs follow.
One whose upload began and which has no end yet stays where it is until it has
ended. Of two runs that would go to the same place the later one is left, and
named; --new-id gives it another id.

It leaves alone runs that another program uploads, and those that W&B's own
client wrote, and names what to do with them. What killed programs left in the
directory's outbox is put on its runs first.

Exit code: 0 W&B has all that is in DIR, to the end of every run; 2 it has not,
and the output says what is missing and what to do; 1 nothing could be tried.`,
		Example: `  otel-wandb sync --dry-run
  otel-wandb sync && rm -r wandb
  otel-wandb sync --new-id runs   # ids that were deleted at W&B`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			opts.Dir = cmp.Or(os.Getenv("WANDB_DIR"), ".")
			if len(args) > 0 {
				opts.Dir = args[0]
			}
			ctx, cancel := context.WithCancelCause(c.Context())
			defer cancel(nil)
			signals := make(chan os.Signal, 1)
			signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
			stop := context.AfterFunc(ctx, func() { signal.Stop(signals) }) // a second one ends the program
			defer stop()
			go func() {
				select {
				case <-signals:
					cancel(errInterrupted)
				case <-ctx.Done():
				}
			}()
			return runSync(ctx, c, opts, asJSON)
		},
	}
	f := c.Flags()
	f.BoolVar(&opts.DryRun, "dry-run", false, "say what would be sent, and send nothing")
	f.IntVar(&opts.Parallel, "parallel", 4, "`RUNS` to upload at once")
	f.BoolVar(&opts.SkipSynced, "skip-synced", true, "pass over runs that are at W&B; with =false they also go to another --project, and W&B is asked about those that wandb sync marked")
	f.BoolVar(&opts.NewID, "new-id", false, "upload runs whose id W&B refuses, because it was deleted there, or another run here has, under a new id")
	f.StringVar(&opts.Entity, "entity", "", "`ENTITY` to upload to, in place of the runs' own")
	f.StringVar(&opts.Project, "project", "", "`PROJECT` to upload to, in place of the runs' own")
	f.StringVar(&opts.BaseURL, "base-url", "", "`URL` of the W&B server to upload to, in place of the runs' own")
	f.StringVar(&opts.Outbox, "outbox", "", "`DIR` in which killed programs left something; default DIR/wandb/outbox")
	f.DurationVar(&opts.Patience, "patience", 10*time.Minute, "how long a server may give no good answer before its runs are left; 0 is for ever")
	f.BoolVar(&asJSON, "json", false, "write the report as JSON")
	return c
}

func runSync(ctx context.Context, c *cobra.Command, opts syncing.Options, asJSON bool) error {
	out := c.OutOrStdout()
	var screen *syncing.Screen
	switch {
	case opts.DryRun:
	case asJSON:
		screen = syncing.NewScreen(c.ErrOrStderr(), terminal(c.ErrOrStderr()))
	default:
		screen = syncing.NewScreen(out, terminal(out))
	}
	if screen != nil {
		opts.Watch = screen
	}
	report, err := syncing.Sync(ctx, opts)
	if screen != nil {
		screen.Close()
	}
	if err != nil {
		return err
	}
	if asJSON {
		err = show(out, true, syncReport{report, false})
	} else {
		report.Text(out, opts.DryRun)
	}
	if err == nil && !report.Complete {
		err = findings{}
	}
	return err
}

// syncReport is a report as show takes it.
type syncReport struct {
	*syncing.Report
	runs bool
}

// Text writes the report for people.
func (r syncReport) Text(w io.Writer) { r.Report.Text(w, r.runs) }

// terminal tells whether lines may be drawn over.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("TERM") == "dumb" {
		return false
	}
	fi, err := f.Stat()
	return err == nil && fi.Mode()&os.ModeCharDevice != 0
}
