package runlog

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/otel-wandb/otel-wandb/exporter/internal/disk"
)

// State files are small files of a run that are replaced as a whole. Those of
// open runs are in a directory of their own, so that a restart reads what is
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

// WriteState replaces the state of key, atomically, and files it as open or
// closed. When the process dies in between, the state is filed as open: open
// ones are looked at again.
func (f *Folder) WriteState(key string, open bool, b []byte) error {
	isOpen, isClosed := f.private(openDir, stateName(key)), f.private(closedDir, stateName(key))
	var err error
	if open {
		err = errors.Join(os.MkdirAll(f.private(openDir), 0o777), move(isClosed, isOpen), f.replace(isOpen, b))
	} else if _, stat := os.Lstat(isOpen); stat == nil {
		if err = f.replace(isOpen, b); err == nil {
			err = errors.Join(os.MkdirAll(f.private(closedDir), 0o777), move(isOpen, isClosed))
		}
	} else {
		err = errors.Join(os.MkdirAll(f.private(closedDir), 0o777), f.replace(isClosed, b))
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

// replace writes a file beside path and renames it. Only [SyncAlways] waits for
// the disk: a state that a power cut took is rebuilt from the logs.
func (f *Folder) replace(path string, b []byte) error {
	always := f.root.opts.Sync == SyncAlways
	temp := filepath.Join(filepath.Dir(path), tempPrefix+rand.Text())
	err := writeNew(temp, b, always)
	if err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		_ = os.Remove(temp)
		return err
	}
	if always {
		return disk.SyncDir(filepath.Dir(path))
	}
	return nil
}

// ReadState returns the state of key and whether it is filed as open; an
// [fs.ErrNotExist] when there is none.
func (f *Folder) ReadState(key string) (b []byte, open bool, err error) {
	b, err = os.ReadFile(f.private(openDir, stateName(key)))
	if errors.Is(err, fs.ErrNotExist) {
		b, err = os.ReadFile(f.private(closedDir, stateName(key)))
		return b, false, err
	}
	return b, err == nil, err
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

// Read returns the content.
func (s StateFile) Read() ([]byte, error) { return os.ReadFile(s.Path) }

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
