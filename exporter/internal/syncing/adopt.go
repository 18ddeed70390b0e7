package syncing

import (
	"context"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/otel-wandb/otel-wandb/exporter/inprocess"
	"github.com/otel-wandb/otel-wandb/internal/outbox"
)

// adopt puts on their runs what killed programs left in the outbox: an engine
// over the directory takes it, as a collector would. A collector that has one of
// these runs open keeps it locked; what is for that run stays where it is.
func (r *Report) adopt(ctx context.Context, opts *Options) {
	root := rootDir(opts.Dir)
	from := opts.Outbox
	if from == "" {
		from = outboxOf(opts.Dir)
	}
	left := waitingBytes(from)
	if left == 0 {
		return
	}
	if opts.DryRun {
		r.Outbox = left
		return
	}
	engine, err := inprocess.New(ctx, inprocess.WithDir(root))
	if err != nil {
		r.problem(err)
		return
	}
	adopted, err := outbox.Adopt(ctx, from, engine.Sink().Export)
	r.problem(err)
	r.problem(engine.Shutdown(context.WithoutCancel(ctx)))
	r.Adopted, r.Outbox = adopted.Events, waitingBytes(from)
}

// problem notes what could not be done or read.
func (r *Report) problem(err error) {
	if err == nil {
		return
	}
	for line := range strings.Lines(err.Error()) {
		r.Problems = append(r.Problems, strings.TrimSpace(line))
	}
}

// OutboxBytes is how much waits in the outbox of a directory.
func OutboxBytes(dir string) int64 { return waitingBytes(outboxOf(dir)) }

func outboxOf(dir string) string { return filepath.Join(rootDir(dir), "wandb", "outbox") }

// waitingBytes is how much is in the spools of an outbox, of living programs too.
func waitingBytes(dir string) (n int64) {
	_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || !strings.HasSuffix(path, ".spool") {
			return nil //nolint:nilerr // what cannot be looked at is not counted
		}
		if fi, err := e.Info(); err == nil {
			n += fi.Size()
		}
		return nil
	})
	return n
}
