package runlog

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// SyncPolicy says when written bytes are forced from the operating system to
// the disk. In all of them a killed process loses nothing; they differ in what
// a machine that loses power loses.
type SyncPolicy int

// In order of cost.
const (
	SyncNever    SyncPolicy = iota // when the operating system likes
	SyncInterval                   // at each [Root.SyncDirty]
	SyncAlways                     // before an append returns
)

// Options of a root. The zero value is fine.
type Options struct {
	Online     bool           // an uploader owns the parts: run-…, not offline-run-…, and the marker stays
	LatestRun  bool           // keep the link latest-run
	Sync       SyncPolicy     //
	MaxHandles int            // log files open at a time; default 256
	Location   *time.Location // of the time in names; default time.Local, as W&B has it
}

const defaultMaxHandles = 256

// Root is a directory under which runs are written.
type Root struct {
	dir     string
	opts    Options
	handles handles
	buffers sync.Pool // of *[]byte: one append's chunks

	mu      sync.Mutex
	folders map[string]*Folder
	dirty   map[*Part]struct{} // appended to since they were last synced
}

// OpenRoot opens a root, and creates the directory when it is not there.
func OpenRoot(dir string, opts Options) (*Root, error) {
	if opts.MaxHandles <= 0 {
		opts.MaxHandles = defaultMaxHandles
	}
	if opts.Location == nil {
		opts.Location = time.Local
	}
	abs, err := filepath.Abs(dir)
	if err == nil {
		err = os.MkdirAll(abs, 0o777)
	}
	if err != nil {
		return nil, fmt.Errorf("directory of runs %q: %w; %s", dir, err, makingRemedy(err))
	}
	return &Root{
		dir:     abs,
		opts:    opts,
		handles: handles{max: opts.MaxHandles, open: openFile},
		buffers: sync.Pool{New: func() any { return new([]byte) }},
		folders: make(map[string]*Folder),
		dirty:   make(map[*Part]struct{}),
	}, nil
}

// Dir is the absolute path of the root.
func (r *Root) Dir() string { return r.dir }

// Folder is one `wandb` directory below a root.
type Folder struct {
	root  *Root
	dir   string
	locks lockFile

	latest struct { // what latest-run is to point to
		sync.Mutex
		name string // "": it does
		at   time.Time
	}
}

// Folder returns the folder of an entity on a host, and creates it when it is
// not there. Without both it is <dir>/wandb, what every W&B user knows. The
// same names give the same folder.
func (r *Root) Folder(host, entity string) (*Folder, error) {
	dir := filepath.Join(r.dir, "wandb")
	if host != "" || entity != "" {
		dir = filepath.Join(r.dir, Escape(host), Escape(entity), "wandb")
	}
	return r.FolderAt(dir)
}

// FolderAt is the folder that lies at dir, somewhere below the root.
func (r *Root) FolderAt(dir string) (*Folder, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if f := r.folders[dir]; f != nil {
		return f, nil
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, fmt.Errorf("folder of runs: %w; %s", err, makingRemedy(err))
	}
	f := &Folder{root: r, dir: dir}
	f.locks.path = f.private("locks")
	r.folders[dir] = f
	return f, nil
}

// Dir is the absolute path of the folder.
func (f *Folder) Dir() string { return f.dir }

// private is a path below what only this module reads.
func (f *Folder) private(elem ...string) string {
	return filepath.Join(append([]string{f.dir, ".otel-wandb"}, elem...)...)
}

// SyncDirty forces all that was appended since the last call to the disk. It
// does nothing unless the policy is [SyncInterval]. A part that fails is
// poisoned: what of it is on the disk is not certain.
func (r *Root) SyncDirty() error {
	r.mu.Lock()
	dirty := r.dirty
	r.dirty = make(map[*Part]struct{}, len(dirty))
	r.mu.Unlock()
	var errs []error
	for p := range dirty {
		errs = append(errs, p.sync())
	}
	return errors.Join(errs...)
}

func (r *Root) markDirty(p *Part) {
	r.mu.Lock()
	r.dirty[p] = struct{}{}
	r.mu.Unlock()
}

func (r *Root) forget(p *Part) {
	r.mu.Lock()
	delete(r.dirty, p)
	r.mu.Unlock()
}

// Close syncs what the policy wants synced, closes all files and gives up all
// locks. Parts stay on the disk as they are, open, to be reopened.
func (r *Root) Close() error {
	r.LinkLatest()
	errs := []error{r.SyncDirty(), r.handles.closeAll()}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range r.folders {
		errs = append(errs, f.locks.close())
	}
	return errors.Join(errs...)
}
