package runlog

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// sweepAge is how old leftovers must be. Making a part takes milliseconds, so
// what is a minute old was left by a process that died. Should that ever be
// wrong, on a disk that hangs, say, the Create whose directory was moved fails
// and its caller tries again: no lock is needed for that.
const sweepAge = time.Minute

// Sweep puts aside what processes that died left half made, into
// `.otel-wandb/aside`, and returns where it is now. Nothing acknowledged is in
// there: a part is acknowledged after it has its name.
func (f *Folder) Sweep() (aside []string, err error) {
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		return nil, fmt.Errorf("sweep: %w", err)
	}
	var errs []error
	for _, e := range entries {
		if !leftover(e) {
			continue
		}
		from := filepath.Join(f.dir, e.Name())
		if !e.IsDir() { // a link on its way to become latest-run
			errs = append(errs, os.Remove(from))
			continue
		}
		to := f.private("aside", strings.TrimPrefix(e.Name(), "."))
		if err := errors.Join(os.MkdirAll(filepath.Dir(to), 0o777), os.Rename(from, to)); err != nil {
			errs = append(errs, err)
			continue
		}
		aside = append(aside, to)
	}
	for _, dir := range []string{f.private(openDir), f.private(closedDir)} {
		entries, _ := os.ReadDir(dir) // not there: nothing to sweep
		for _, e := range entries {
			if leftover(e) {
				errs = append(errs, os.Remove(filepath.Join(dir, e.Name())))
			}
		}
	}
	return aside, errors.Join(errs...)
}

func leftover(e os.DirEntry) bool {
	if !strings.HasPrefix(e.Name(), tempPrefix) {
		return false
	}
	fi, err := e.Info()
	return err == nil && time.Since(fi.ModTime()) > sweepAge
}
