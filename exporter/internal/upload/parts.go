package upload

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/otel-wandb/otel-wandb/exporter/internal/dotwandb"
)

// AddPart says that the run has another log, behind those before. It is called before anybody could
// find the exit in the one before it, or else after Run returned.
func (u *Uploader) AddPart(log string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !slices.Contains(u.parts, log) {
		u.parts = append(u.parts, log)
	}
	u.Wake()
}

// partOf names a part: its directory, which may be moved with its folder.
func partOf(log string) string { return filepath.Base(filepath.Dir(log)) }

// since is what of a part's name is its time, whether it was made offline or not.
func since(part string) string { return strings.TrimPrefix(part, "offline-") }

// log is the log of a part; "" where it is gone.
func (u *Uploader) log(part string) string {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, log := range u.parts {
		if partOf(log) == part {
			return log
		}
	}
	return ""
}

// after is the next part behind one, "" where there is none (yet). Behind "" is
// the first.
func (u *Uploader) after(part string) string {
	u.mu.Lock()
	defer u.mu.Unlock()
	i := slices.IndexFunc(u.parts, func(log string) bool { return partOf(log) == part })
	if i < 0 && part != "" {
		// It is gone. Names have local times, which an hour a year are no order:
		// good enough to tell what came after a log that somebody removed.
		for i+1 < len(u.parts) && since(partOf(u.parts[i+1])) <= since(part) {
			i++
		}
	}
	if i+1 == len(u.parts) {
		return ""
	}
	return partOf(u.parts[i+1])
}

// firstRun reads what a log says first of its run.
func firstRun(path string) (*dotwandb.Run, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	r, err := dotwandb.NewReader(file, dotwandb.Strict)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for range 10 {
		b, err := r.Next()
		if err != nil {
			return nil, fmt.Errorf("%s: %w: %w", path, ErrNoRun, err)
		}
		rec, err := dotwandb.Decode(b)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if rec.Run != nil {
			return rec.Run, nil
		}
	}
	return nil, fmt.Errorf("%s: %w", path, ErrNoRun)
}
