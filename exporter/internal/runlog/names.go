package runlog

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Names of W&B, which its tools take apart again.
const (
	onlinePrefix  = "run-"
	offlinePrefix = "offline-run-"
	stampLayout   = "20060102_150405"
	latestRun     = "latest-run"
	syncedSuffix  = ".synced"

	tempPrefix = ".tmp-otel-wandb-" // hidden: no reader of W&B looks into it
)

func dirName(online bool, t time.Time, runID string) string {
	prefix := offlinePrefix
	if online {
		prefix = onlinePrefix
	}
	return prefix + t.Format(stampLayout) + "-" + runID
}

func logName(runID string) string { return "run-" + runID + ".wandb" }

// DirName is the name of a part's directory, taken apart.
type DirName struct {
	Offline bool
	Start   time.Time // whole seconds
	RunID   string
}

// ParseDirName takes the name of a part's directory apart.
func ParseDirName(name string, loc *time.Location) (DirName, bool) {
	rest, offline := strings.CutPrefix(name, offlinePrefix)
	if !offline {
		var ok bool
		if rest, ok = strings.CutPrefix(name, onlinePrefix); !ok {
			return DirName{}, false
		}
	}
	stamp, id, ok := strings.Cut(rest, "-")
	if !ok || len(stamp) != len(stampLayout) || checkRunID(id) != nil {
		return DirName{}, false
	}
	t, err := time.ParseInLocation(stampLayout, stamp, loc)
	return DirName{Offline: offline, Start: t, RunID: id}, err == nil
}

// Parts returns the names of the directories of all parts of a run, oldest first.
func (f *Folder) Parts(runID string) ([]string, error) {
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		return nil, fmt.Errorf("parts of run %q: %w", runID, err)
	}
	var names []string
	for _, e := range entries {
		if d, ok := ParseDirName(e.Name(), time.UTC); ok && d.RunID == runID && e.IsDir() {
			names = append(names, e.Name())
		}
	}
	slices.SortFunc(names, func(a, b string) int {
		return strings.Compare(strings.TrimPrefix(a, "offline-"), strings.TrimPrefix(b, "offline-"))
	})
	return names, nil
}

// locate returns the path of the log in a part's directory.
func (f *Folder) locate(name string) (path string, err error) {
	d, ok := ParseDirName(name, time.UTC)
	if !ok {
		return "", fmt.Errorf("%q in %s is not the name of a run's directory", name, f.dir)
	}
	return filepath.Join(f.dir, name, logName(d.RunID)), nil
}
