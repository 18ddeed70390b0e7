package runview

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/otel-wandb/otel-wandb/exporter/internal/dotwandb"
	"github.com/otel-wandb/otel-wandb/exporter/internal/runlog"
)

// ErrNoRun is returned for a log that has no run record, or none yet.
var ErrNoRun = errors.New("no run record among the first ten records")

// PartInfo is one log of a run, as far as its directory and its first records say.
type PartInfo struct {
	Dir  string // the run's directory
	Path string // the log in it

	Host   string // of W&B, from the folder's path; "" is the default
	Entity string // from the folder's path, or the run record

	RunID   string
	Start   time.Time // from the run record; until there is one from the directory's name
	Offline bool      // named offline-run-…
	Synced  bool      // the marker stands: open, owned by an uploader, or synced
	Size    int64
	ModTime time.Time

	Run *dotwandb.Run // the first run record; nil with Err
	Err error         // why there is none
}

// List finds all parts below dir, oldest first. dir is a root that has a folder
// `wandb`, or folders <host>/<entity>/wandb; such a folder; or one run's
// directory. What is hidden is passed over. When something cannot be read, the
// error says so and the parts are those that can.
func List(dir string) ([]PartInfo, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if fi, err := os.Stat(dir); err != nil {
		return nil, fmt.Errorf("runs: %w", err)
	} else if !fi.IsDir() {
		return nil, fmt.Errorf("runs: %s is not a directory", dir)
	}
	if _, ok := runlog.ParseDirName(filepath.Base(dir), time.Local); ok {
		info, err := readInfo(dir, "", "")
		return []PartInfo{info}, err
	}
	l := lister{}
	l.folder(dir, "", "")
	l.folder(filepath.Join(dir, "wandb"), "", "")
	for _, host := range l.dirs(dir) {
		for _, entity := range l.dirs(filepath.Join(dir, host)) {
			l.folder(filepath.Join(dir, host, entity, "wandb"), shown(host), shown(entity))
		}
	}
	slices.SortFunc(l.parts, byStart)
	return l.parts, errors.Join(l.errs...)
}

// shown is the name a folder was made of; the folder's own when that was cut.
func shown(element string) string {
	name, _ := runlog.Unescape(element)
	return name
}

func byStart(a, b PartInfo) int {
	return cmp.Or(a.Start.Compare(b.Start), cmp.Compare(a.Dir, b.Dir))
}

type lister struct {
	parts []PartInfo
	errs  []error
}

// entries are the directories in dir; none when there is no such directory.
func (l *lister) entries(dir string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		l.errs = append(l.errs, fmt.Errorf("runs: %w", err))
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") { // latest-run is a link, not a directory
			names = append(names, e.Name())
		}
	}
	return names
}

// dirs are the directories in dir that are no runs.
func (l *lister) dirs(dir string) []string {
	return slices.DeleteFunc(l.entries(dir), func(name string) bool {
		_, isRun := runlog.ParseDirName(name, time.Local)
		return isRun
	})
}

func (l *lister) folder(dir, host, entity string) {
	for _, name := range l.entries(dir) {
		if _, ok := runlog.ParseDirName(name, time.Local); !ok {
			continue
		}
		info, err := readInfo(filepath.Join(dir, name), host, entity)
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed meanwhile, or no log in it
		}
		if err != nil {
			l.errs = append(l.errs, err)
		}
		l.parts = append(l.parts, info)
	}
}

// readInfo reads a directory that has the name of a run's.
func readInfo(dir, host, entity string) (PartInfo, error) {
	name, _ := runlog.ParseDirName(filepath.Base(dir), time.Local)
	info := PartInfo{
		Dir: dir, Path: filepath.Join(dir, "run-"+name.RunID+".wandb"),
		Host: host, Entity: entity,
		RunID: name.RunID, Start: name.Start, Offline: name.Offline,
	}
	fi, err := os.Stat(info.Path)
	if errors.Is(err, fs.ErrNotExist) {
		// W&B's client appends -1, -2 … to directories started in one second.
		if logs, _ := filepath.Glob(filepath.Join(globSafe(dir), "run-*.wandb")); len(logs) == 1 {
			info.Path = logs[0]
			fi, err = os.Stat(info.Path)
		}
	}
	if err != nil {
		info.Err = err
		return info, fmt.Errorf("runs: %w", err)
	}
	info.Size, info.ModTime = fi.Size(), fi.ModTime()
	_, err = os.Lstat(info.Path + ".synced")
	info.Synced = err == nil

	info.Run, info.Err = firstRun(info.Path)
	if run := info.Run; run != nil {
		info.RunID = cmp.Or(run.ID, info.RunID)
		info.Entity = cmp.Or(run.Entity, info.Entity)
		if !run.StartTime.IsZero() {
			info.Start = run.StartTime
		}
	}
	return info, nil
}

// globSafe keeps the characters of a path from being a pattern.
func globSafe(path string) string {
	return strings.NewReplacer(`*`, `[*]`, `?`, `[?]`, `[`, `[[]`).Replace(path)
}

// firstRun reads the first run record of a log; W&B's viewer wants it among the first ten.
func firstRun(path string) (run *dotwandb.Run, err error) {
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
			return nil, fmt.Errorf("%s before offset %d: %w", path, r.Offset(), err)
		}
		if rec.Run != nil {
			return rec.Run, nil
		}
	}
	return nil, fmt.Errorf("%s: %w", path, ErrNoRun)
}

// Key says which run. The host is the folder's: a log does not name it.
type Key struct{ Host, Entity, Project, ID string }

// Key is the key of the part's run.
func (p *PartInfo) Key() Key {
	k := Key{Host: p.Host, Entity: p.Entity, ID: p.RunID}
	if p.Run != nil {
		k.Project = p.Run.Project
	}
	return k
}

// Group puts the parts of each run together, oldest first.
func Group(parts []PartInfo) map[Key][]PartInfo {
	groups := make(map[Key][]PartInfo)
	for _, p := range parts {
		groups[p.Key()] = append(groups[p.Key()], p)
	}
	for _, g := range groups {
		slices.SortFunc(g, byStart)
	}
	return groups
}
