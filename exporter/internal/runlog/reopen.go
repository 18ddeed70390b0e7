package runlog

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/otel-wandb/otel-wandb/exporter/internal/disk"
	"github.com/otel-wandb/otel-wandb/exporter/internal/dotwandb"
)

// Recovery says what a reopened log was found to be.
type Recovery struct {
	Records  int   // whole records from the given offset on that the log has now
	CutBytes int64 // cut off at its end
	Damaged  bool  // whole records lie behind damage; the log was left alone
	DamageAt int64 // where that damage begins
}

// Reopen continues a part that was closed, or left by a process that died.
//
// It reads the log from offset `from`, which is [dotwandb.FileHeaderSize] or
// known to be the end of a whole record, and calls keep with every whole
// record, in order; the bytes are valid during the call. keep tells whether the
// log may end after this record. Everything behind the last such record is cut
// off: a torn record, or a batch of which only a part was written.
//
// When whole records lie behind damage, nothing is cut off and there is no
// Part: W&B's readers would not see what is appended there. keep was called for
// the records behind, too, and the caller ends the part with [Folder.Abandon]
// and creates another.
func (f *Folder) Reopen(name string, from int64, keep func(rec []byte) bool) (*Part, Recovery, error) {
	path, err := f.locate(name)
	if err != nil {
		return nil, Recovery{}, err
	}
	p := &Part{folder: f, dir: filepath.Join(f.dir, name), path: path}
	rec, err := p.recover(from, keep)
	if err != nil {
		return nil, rec, fmt.Errorf("reopen %s: %w", path, err)
	}
	if rec.Damaged {
		return nil, rec, nil
	}
	return p, rec, nil
}

func (p *Part) recover(from int64, keep func([]byte) bool) (rec Recovery, err error) {
	log, err := disk.OpenFile(p.path, os.O_RDWR, 0)
	if err != nil {
		return rec, err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	fi, err := log.Stat()
	if err != nil {
		return rec, err
	}
	size := fi.Size()
	if size < from {
		return rec, fmt.Errorf("%d bytes, checkpoint %d: %w", size, from, ErrShorterThanCheckpoint)
	}
	r, err := readFrom(log, from)
	if err != nil {
		return rec, err
	}

	end, seen := from, 0
	for {
		before := r.Offset()
		b, err := r.Next()
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		if err != nil {
			return rec, err
		}
		if r.Skipped() > 0 && !rec.Damaged {
			rec.Damaged, rec.DamageAt = true, before
		}
		seen++
		if keep(b) && !rec.Damaged {
			end, rec.Records = r.Offset(), seen
		}
	}
	if rec.Damaged {
		rec.Records = seen
		return rec, nil
	}
	// Before it is appended to again, or a sync in between would upload half of it.
	if err := mark(p.path); err != nil {
		return rec, err
	}
	if rec.CutBytes = size - end; rec.CutBytes > 0 {
		if err := log.Truncate(end); err != nil {
			return rec, fmt.Errorf("cut back to offset %d: %w; %s", end, err, remedy(err))
		}
		if p.folder.root.opts.Sync != SyncNever {
			if err := log.Sync(); err != nil {
				return rec, fmt.Errorf("sync after cutting back to offset %d: %w; %s", end, err, remedy(err))
			}
		}
	}
	p.framer = dotwandb.NewFramer(end)
	return rec, nil
}

// readFrom reads leniently: a torn end shows the same, and what is behind
// damage in the middle is wanted.
func readFrom(log io.ReaderAt, from int64) (*dotwandb.Reader, error) {
	const toTheEnd = 1<<63 - 1
	if from < dotwandb.FileHeaderSize {
		return nil, fmt.Errorf("offset %d is inside the file header", from)
	}
	if from == dotwandb.FileHeaderSize {
		return dotwandb.NewReader(io.NewSectionReader(log, 0, toTheEnd), dotwandb.Lenient)
	}
	return dotwandb.NewReaderAt(io.NewSectionReader(log, from, toTheEnd-from), from, dotwandb.Lenient), nil
}

// Abandon ends a part that cannot be continued. Offline its marker goes, so
// that `wandb sync` can upload what W&B can read of it.
func (f *Folder) Abandon(name string) error {
	path, err := f.locate(name)
	if err != nil || f.root.opts.Online {
		return err
	}
	return unmark(path)
}

// Unmark ends a part that has its exit, and whose writer may have died before
// it said so: offline its marker goes, unless it is younger than the log, and so
// not the writer's but that of a sync.
func (f *Folder) Unmark(name string) error {
	path, err := f.locate(name)
	if err != nil || f.root.opts.Online {
		return err
	}
	log, err := os.Stat(path)
	if err != nil {
		return err
	}
	marker, err := os.Stat(path + syncedSuffix)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case marker.ModTime().After(log.ModTime().Add(time.Second)): // a log that has all from the start is as old as its marker
		return nil
	}
	return unmark(path)
}
