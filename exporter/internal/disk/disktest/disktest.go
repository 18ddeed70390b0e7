// Package disktest has a disk fail as disks do, for files of package disk below
// a folder: it fills in the middle of a write, or does not take what it is told
// to sync. What is there before stays, and once it is mended all goes well.
package disktest

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/otel-wandb/otel-wandb/exporter/internal/disk"
)

// Disk is the disk below a folder, in good order until it is told to fail.
//
// ConcurrentSafe: a lock.
type Disk struct {
	Dir string

	mu    sync.Mutex
	only  func(path string) bool
	space int64 // bytes by which files may grow; negative: any
	sync  error
	hits  int
}

// New has files below dir fail as the Disk is told, until the test ends. There
// is one at a time; files that were opened sooner are none of its.
func New(t testing.TB, dir string) *Disk {
	t.Helper()
	d := &Disk{Dir: dir, space: -1}
	disk.Through(func(f *os.File) disk.File {
		if path, err := filepath.Rel(dir, f.Name()); err != nil || path == ".." || strings.HasPrefix(path, ".."+string(filepath.Separator)) {
			return f
		}
		return &file{f, d}
	})
	t.Cleanup(func() { disk.Through(nil) })
	return d
}

// Only limits failures to files that only holds of; nil is all.
func (d *Disk) Only(only func(path string) bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.only = only
}

// Leave lets files grow by so many bytes together. The write that comes to the
// end of them is done up to there, and fails.
func (d *Disk) Leave(bytes int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.space = bytes
}

// FailSync fails each sync with err.
func (d *Disk) FailSync(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sync = err
}

// Mend ends all failures.
func (d *Disk) Mend() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.space, d.sync, d.only = -1, nil, nil
}

// Hits is how often something failed.
func (d *Disk) Hits() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.hits
}

type file struct {
	*os.File
	disk *Disk
}

func (d *Disk) concerns(path string) bool { return d.only == nil || d.only(path) }

// grow takes space for growth, and tells how much of it there is not.
func (f *file) grow(growth int64) (lacks int64) {
	d := f.disk
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.space < 0 || growth <= 0 || !d.concerns(f.Name()) {
		return 0
	}
	lacks = max(0, growth-d.space)
	d.space -= growth - lacks
	if lacks > 0 {
		d.hits++
	}
	return lacks
}

func (f *file) Write(b []byte) (int, error) {
	lacks := f.grow(int64(len(b)))
	n, err := f.File.Write(b[:int64(len(b))-lacks])
	return n, f.full("write", lacks, err)
}

func (f *file) WriteAt(b []byte, at int64) (int, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	lacks := f.grow(at + int64(len(b)) - info.Size())
	n, err := f.File.WriteAt(b[:int64(len(b))-lacks], at)
	return n, f.full("pwrite", lacks, err)
}

func (f *file) full(op string, lacks int64, err error) error {
	if err == nil && lacks > 0 {
		err = &fs.PathError{Op: op, Path: f.Name(), Err: syscall.ENOSPC}
	}
	return err
}

func (f *file) Sync() error {
	d := f.disk
	d.mu.Lock()
	err := d.sync
	if !d.concerns(f.Name()) {
		err = nil
	}
	if err != nil {
		d.hits++
	}
	d.mu.Unlock()
	if err != nil {
		return &fs.PathError{Op: "sync", Path: f.Name(), Err: err}
	}
	return f.File.Sync()
}
