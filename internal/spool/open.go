package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const lockName = "lock"

// errHeld says that a living process holds a lock.
var errHeld = errors.New("held by a living process")

// Create makes a folder of this process's own under dir; most 0 is the default
// bound. writer names it and must be unique.
func Create(dir, writer string, resource []byte, most int64) (*Spool, error) {
	if most <= 0 {
		most = DefaultFileBytes
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	own := filepath.Join(dir, writer)
	lock, err := takeOwn(own)
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	s := &Spool{writer: writer, dir: own, resource: resource, max: most, lock: lock}
	if _, err := s.current(); err != nil { // may files be made there at all?
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// takeOwn makes the folder and locks it. A process that looks for what others
// left may take the new folder for an empty one and remove it: then again.
func takeOwn(own string) (lock *os.File, err error) {
	for range 20 {
		if err := os.Mkdir(own, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		lock, err = takeLock(own)
		if err == nil || !errors.Is(err, errHeld) && !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	return lock, err
}

// takeLock locks a folder, if nobody does and it is still there.
func takeLock(dir string) (*os.File, error) {
	name := filepath.Join(dir, lockName)
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := lockFile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	// Between opening and locking, another may have removed it: a lock on a
	// file without a name keeps nobody out.
	mine, err := f.Stat()
	if err == nil {
		var there fs.FileInfo
		if there, err = os.Stat(name); err == nil && !os.SameFile(mine, there) {
			err = fs.ErrNotExist
		}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Adopt takes over what processes that live no more have left under dir. Each
// spool is to be sent, acknowledged and closed. An error is about one of them;
// the others are valid.
func Adopt(dir string) ([]*Spool, error) {
	if !canAdopt {
		return nil, nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		return nil, fmt.Errorf("spool: %w", err)
	}
	var found []*Spool
	var errs []error
	for _, e := range entries {
		if !e.IsDir() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		s, err := adopt(filepath.Join(dir, e.Name()))
		switch {
		case errors.Is(err, errHeld) || errors.Is(err, fs.ErrNotExist):
		case err != nil:
			errs = append(errs, fmt.Errorf("spool that a killed process left: %w", err))
		case s != nil:
			found = append(found, s)
		}
	}
	return found, errors.Join(errs...)
}

func adopt(dir string) (*Spool, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.spool"))
	if err != nil {
		return nil, err
	}
	if len(names) == 0 && !onlyLock(dir) {
		return nil, nil // no folder of ours
	}
	lock, err := takeLock(dir)
	if err != nil {
		return nil, err
	}
	s := &Spool{writer: filepath.Base(dir), dir: dir, adopted: true, lock: lock}
	// Again, under the lock: its owner may just have been at work.
	names, err = filepath.Glob(filepath.Join(dir, "*.spool"))
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	slices.Sort(names)
	for _, name := range names {
		if err := s.adoptFile(name); err != nil {
			// Keep all: a part would be taken for the whole.
			for _, seg := range s.segments {
				err = errors.Join(err, seg.store.Close())
			}
			return nil, errors.Join(err, lock.Close())
		}
	}
	if s.Size() == 0 {
		return nil, s.Close() // nothing left: the folder goes
	}
	return s, nil
}

func (s *Spool) adoptFile(name string) error {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	seg := s.addSegment(fileStore{f})
	seg.sealed = true
	s.grow(seg, info.Size())
	return nil
}

// onlyLock tells whether a folder is empty, or holds our lock and nothing else.
func onlyLock(dir string) bool {
	entries, err := os.ReadDir(dir)
	return err == nil && len(entries) == 1 && entries[0].Name() == lockName
}
