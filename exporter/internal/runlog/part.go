package runlog

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/otel-wandb/otel-wandb/exporter/internal/disk"
	"github.com/otel-wandb/otel-wandb/exporter/internal/dotwandb"
)

// Part is one log of a run, open for appending. It has one writer; only the
// syncing of [Root.SyncDirty] may come from another goroutine.
type Part struct {
	folder *Folder
	dir    string
	path   string

	mu       sync.Mutex
	framer   dotwandb.Framer // its offset is the committed length
	unlinked bool            // the directory's own entry is not synced yet
	unsynced []string        // files that are not synced yet: before the log that names them
	torn     bool            // the file may be longer than that, by half a write
	err      error           // why nothing can be appended any more

	lost atomic.Pointer[error] // closing the file, to make room, failed
}

// Dir is the absolute path of the part's directory.
func (p *Part) Dir() string { return p.dir }

// Name is the name of the part's directory, as [Folder.Reopen] wants it.
func (p *Part) Name() string { return filepath.Base(p.dir) }

// Path is the absolute path of the log.
func (p *Part) Path() string { return p.path }

// Size is the committed length of the log: what a reader may read.
func (p *Part) Size() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.framer.Offset()
}

// maxKeptBuffer bounds the buffers that are kept for the next append.
const maxKeptBuffer = 1 << 20

// Append writes the records, serialised, at the end of the log: all of them,
// in one write, or none. When it returns they are with the operating system,
// and with [SyncAlways] on the disk. After an error the log ends where it did
// before, unless the error is [ErrPoisoned]: then nothing can be appended any more.
func (p *Part) Append(records ...[]byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.usable(); err != nil {
		return err
	}
	for i, rec := range records {
		if len(rec) == 0 {
			// W&B's core panics at it.
			return fmt.Errorf("append to %s: record %d of %d is empty", p.path, i+1, len(records))
		}
	}
	if len(records) == 0 {
		return nil
	}
	f, err := p.take()
	if err != nil {
		return err
	}
	defer p.folder.root.handles.give(p, f)

	root := p.folder.root
	buf := root.buffers.Get().(*[]byte)
	defer func() {
		if cap(*buf) <= maxKeptBuffer {
			root.buffers.Put(buf)
		}
	}()
	framer := p.framer
	*buf = (*buf)[:0]
	for _, rec := range records {
		*buf = framer.Append(*buf, rec)
	}

	at := p.framer.Offset()
	n, err := f.WriteAt(*buf, at)
	if err == nil && n < len(*buf) {
		err = io.ErrShortWrite
	}
	if err != nil {
		err = fmt.Errorf("append %d records to %s at offset %d, %d of %d bytes written: %w; %s",
			len(records), p.path, at, n, len(*buf), err, remedy(err))
		if cut := f.Truncate(at); cut != nil {
			p.torn = true
			return p.poison(fmt.Errorf("%w; and cutting it back: %w", err, cut))
		}
		return err
	}
	switch root.opts.Sync {
	case SyncAlways:
		if err := f.Sync(); err != nil {
			// After a failed sync nobody can say what is on the disk, and a
			// second one may report success falsely.
			p.torn = f.Truncate(at) != nil
			return p.poison(fmt.Errorf("sync %s after offset %d: %w; %s", p.path, at, err, remedy(err)))
		}
	case SyncInterval:
		root.markDirty(p)
	}
	p.framer = framer
	return nil
}

// usable says why the part takes no more, if it does not.
func (p *Part) usable() error {
	if err := p.lost.Swap(nil); err != nil && p.err == nil {
		return p.poison(fmt.Errorf("close %s after offset %d: %w; %s", p.path, p.framer.Offset(), *err, remedy(*err)))
	}
	return p.err
}

func (p *Part) poison(cause error) error {
	p.err = fmt.Errorf("%w: %w", ErrPoisoned, cause)
	return p.err
}

// take gets the file, and makes sure that it still ends where this part ended it.
func (p *Part) take() (disk.File, error) {
	root := p.folder.root
	f, fresh, err := root.handles.take(p)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w; %s", p.path, err, remedy(err))
	}
	if !fresh {
		return f, nil
	}
	fi, err := f.Stat()
	if err == nil && fi.Size() == p.framer.Offset() {
		return f, nil
	}
	_ = root.handles.discard(f)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w; %s", p.path, err, remedy(err))
	}
	return nil, p.poison(fmt.Errorf("%s has %d bytes and should have %d: something else writes to it", p.path, fi.Size(), p.framer.Offset()))
}

// sync forces the part to the disk.
func (p *Part) sync() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.usable(); err != nil {
		if errors.Is(err, ErrClosed) {
			return nil
		}
		return err
	}
	err := p.syncLocked()
	if err != nil && p.err == nil && !errors.Is(err, fs.ErrNotExist) {
		p.folder.root.markDirty(p) // it could not be opened now: next time
	}
	return err
}

func (p *Part) syncLocked() error {
	f, err := p.take()
	if err != nil {
		return err
	}
	defer p.folder.root.handles.give(p, f)
	if err = syncFiles(p.dir, p.unsynced); err == nil {
		err = f.Sync()
	}
	if err == nil && p.unlinked {
		err = errors.Join(disk.SyncDir(p.dir), disk.SyncDir(p.folder.dir))
	}
	if err != nil {
		return p.poison(fmt.Errorf("sync %s up to offset %d: %w; %s", p.path, p.framer.Offset(), err, remedy(err)))
	}
	p.unlinked, p.unsynced = false, nil
	return nil
}

// Finish closes a part for good, after its exit record. Offline the marker
// goes, and with it the part becomes `wandb sync`'s. A poisoned part can be
// finished too: its uncertain end is cut off now if that works.
func (p *Part) Finish() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if errors.Is(p.err, ErrClosed) {
		return nil
	}
	var errs []error
	if p.torn {
		if err := os.Truncate(p.path, p.framer.Offset()); err != nil {
			errs = append(errs, fmt.Errorf("finish %s: its end after offset %d may be torn: %w", p.path, p.framer.Offset(), err))
		}
	}
	errs = append(errs, p.closeLocked())
	if !p.folder.root.opts.Online {
		// Only now: until here a sync would have uploaded half a run.
		errs = append(errs, unmark(p.path))
	}
	return errors.Join(errs...)
}

// Close lets go of the file. The part stays open on the disk, its marker
// stands, and [Folder.Reopen] continues it.
func (p *Part) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closeLocked()
}

func (p *Part) closeLocked() error {
	if errors.Is(p.err, ErrClosed) {
		return nil
	}
	var errs []error
	if p.folder.root.opts.Sync == SyncInterval && p.err == nil {
		errs = append(errs, p.syncLocked())
	}
	p.folder.root.forget(p)
	if err := p.folder.root.handles.drop(p); err != nil {
		errs = append(errs, fmt.Errorf("close %s: %w; %s", p.path, err, remedy(err)))
	}
	p.err = fmt.Errorf("%s: %w", p.path, ErrClosed)
	return errors.Join(errs...)
}

// MarkSynced puts the marker beside a log that is uploaded, or is being
// uploaded by this module: `wandb sync` would send each of its rows once more.
func MarkSynced(log string) error {
	if err := mark(log); err != nil {
		return fmt.Errorf("marker that keeps `wandb sync` away: %w; %s", err, remedy(err))
	}
	return nil
}

// mark puts the marker beside a log that keeps `wandb sync` away from it.
func mark(path string) error {
	f, err := os.OpenFile(path+syncedSuffix, os.O_WRONLY|os.O_CREATE, 0o666)
	if err != nil {
		return err
	}
	return f.Close()
}

func unmark(path string) error {
	if err := os.Remove(path + syncedSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the run cannot be synced until this file is removed: %w", err)
	}
	return nil
}
