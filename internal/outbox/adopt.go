package outbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/otel-wandb/otel-wandb/internal/spool"
)

// Adopted is what [Adopt] found and did.
type Adopted struct {
	Processes int   // killed ones that had left something
	Events    int   // that were sent
	Bytes     int64 // that are left, because they could not be
}

// Adopt sends what killed processes left in an outbox, or in all outboxes of a
// root: dir may be either. Those of living processes are not touched, and what
// is sent is removed. send takes an ExportTraceServiceRequest as protobuf,
// returns nil when that is safe on disk, and keeps no bytes.
//
//	adopted, err := outbox.Adopt(ctx, outbox.Root(os.Getenv), sink.Export)
//
// Events that were sent before, by the process itself or by an Adopt that was
// interrupted, may come again: whoever takes them knows them by writer and
// number. Where send fails, what it failed for stays with all behind it, and
// other processes' are tried; the error names each folder.
func Adopt(ctx context.Context, dir string, send func(ctx context.Context, request []byte) error) (Adopted, error) {
	folders := []string{dir}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Adopted{}, fmt.Errorf("outbox: %w", err)
	}
	for _, e := range entries {
		if e.IsDir() {
			folders = append(folders, filepath.Join(dir, e.Name()))
		}
	}
	var out Adopted
	var errs []error
	for _, folder := range folders {
		left, err := spool.Adopt(folder)
		errs = append(errs, err)
		for _, s := range left {
			out.Processes++
			n, err := empty(ctx, s, send)
			out.Events += n
			if err != nil {
				out.Bytes += s.Pending()
				err = fmt.Errorf("outbox %s: %d events were sent, %d bytes are left there: %w", s.Where(), n, s.Pending(), err)
			}
			errs = append(errs, err, s.Close())
		}
	}
	return out, errors.Join(errs...)
}

// empty sends all of a spool.
func empty(ctx context.Context, s *spool.Spool, send func(context.Context, []byte) error) (events int, err error) {
	var requests Requests
	for {
		if err := ctx.Err(); err != nil {
			return events, context.Cause(ctx)
		}
		batch, err := s.Next(MaxRequest)
		if err != nil || batch == nil {
			return events, err
		}
		if err := send(ctx, requests.Of(batch)); err != nil {
			return events, err
		}
		if err := s.Ack(batch); err != nil {
			return events, err
		}
		events += batch.Count
	}
}
