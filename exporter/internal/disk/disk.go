// Package disk opens the files that hold what was acknowledged: logs of runs,
// their states, and the journal. It is the os package, and one place where tests
// can have a disk fail as disks do (package disktest).
package disk

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
)

// File is what they ask of an [os.File].
type File interface {
	io.ReaderAt
	io.Writer
	io.WriterAt
	io.Closer
	Name() string
	Stat() (fs.FileInfo, error)
	Sync() error
	Truncate(size int64) error
}

var through atomic.Pointer[func(*os.File) File]

// OpenFile is [os.OpenFile].
//
// ConcurrentSafe: an atomic pointer.
func OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	f, err := os.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err // and no File: a nil *os.File would be one
	}
	if wrap := through.Load(); wrap != nil {
		return (*wrap)(f), nil
	}
	return f, nil
}

// Through has wrap give what OpenFile returns for each file that is opened from
// now on; nil ends that. It is for tests, one at a time.
func Through(wrap func(*os.File) File) {
	if wrap == nil {
		through.Store(nil)
		return
	}
	if !through.CompareAndSwap(nil, &wrap) {
		panic("two tests have the disk fail at the same time")
	}
}

// SyncDir forces the entries of a directory to the disk, where that exists.
func SyncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := OpenFile(dir, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, fs.ErrInvalid) {
		err = nil // a file system that has no such thing
	}
	return errors.Join(err, d.Close())
}
