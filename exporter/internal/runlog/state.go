package runlog

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"
)

// State files are small files of a run, each the run's state as it was last
// written. Those of open runs are in a directory of their own, so that a restart reads what is
// open and not all that ever was. A file's name is a hash: names of telemetry
// make no paths, and the content has to carry its own key.
const (
	openDir     = "open"
	closedDir   = "closed"
	stateSuffix = ".state"
)

func stateName(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:16]) + stateSuffix
}

// WriteState makes b the state of key, all of it or nothing, and files it as open or
// closed. When the process dies in between, the state is filed as open: open
// ones are looked at again.
func (f *Folder) WriteState(key string, open bool, b []byte) error {
	isOpen, isClosed := f.private(openDir, stateName(key)), f.private(closedDir, stateName(key))
	var err error
	if open {
		err = errors.Join(os.MkdirAll(f.private(openDir), 0o777), move(isClosed, isOpen), f.put(isOpen, b))
	} else if _, stat := os.Lstat(isOpen); stat == nil {
		if err = f.put(isOpen, b); err == nil {
			err = errors.Join(os.MkdirAll(f.private(closedDir), 0o777), move(isOpen, isClosed))
		}
	} else {
		err = errors.Join(os.MkdirAll(f.private(closedDir), 0o777), f.put(isClosed, b))
	}
	if err != nil {
		return fmt.Errorf("state of %q: %w; %s", key, err, remedy(err))
	}
	return nil
}

func move(from, to string) error {
	if err := os.Rename(from, to); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// ReadState returns the state of key and whether it is filed as open; an
// [fs.ErrNotExist] when there is none. A state whose writer died is empty.
func (f *Folder) ReadState(key string) (b []byte, open bool, err error) {
	b, whole, err := ReadStateFile(f.private(openDir, stateName(key)))
	open = err == nil
	if errors.Is(err, fs.ErrNotExist) {
		b, whole, err = ReadStateFile(f.private(closedDir, stateName(key)))
	}
	if !whole {
		b = nil
	}
	return b, open, err
}

// DropState removes the state of key, if there is one.
func (f *Folder) DropState(key string) error {
	var errs []error
	for _, dir := range []string{openDir, closedDir} {
		if err := os.Remove(f.private(dir, stateName(key))); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// DropClosed removes the states of runs that ended before a time, and tells how
// many. Who asks for one of them later reads the run's logs.
func (f *Folder) DropClosed(before time.Time) (n int, err error) {
	entries, err := os.ReadDir(f.private(closedDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("states of runs that have ended: %w; %s", err, remedy(err))
	}
	var errs []error
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !strings.HasSuffix(e.Name(), stateSuffix) || !info.ModTime().Before(before) {
			continue
		}
		if err := os.Remove(f.private(closedDir, e.Name())); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
		n++
	}
	return n, errors.Join(errs...)
}

// StateFile is the state of some open run.
type StateFile struct{ Path string }

// Read returns the last whole state in it, which says whose it is.
func (s StateFile) Read() ([]byte, error) {
	b, _, err := ReadStateFile(s.Path)
	return b, err
}

// Drop removes the file, for one that says nothing sensible.
func (s StateFile) Drop() error { return os.Remove(s.Path) }

// OpenStates lists the states that are filed as open.
func (f *Folder) OpenStates() ([]StateFile, error) {
	entries, err := os.ReadDir(f.private(openDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("states of open runs: %w; %s", err, remedy(err))
	}
	var states []StateFile
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), stateSuffix) {
			states = append(states, StateFile{f.private(openDir, e.Name())})
		}
	}
	return states, nil
}
