package runlog

import (
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/otel-wandb/otel-wandb/exporter/internal/disk"
	"github.com/otel-wandb/otel-wandb/exporter/internal/dotwandb"
)

// maxSeconds bounds the search for a free name: a run that was started anew
// every second for an hour has another problem.
const maxSeconds = 3600

// Create makes a part that begins with the records, the header and the run
// record first. All of it appears at once: a log that has only a header keeps
// `wandb sync` from the whole folder. When the name of the start's second is
// taken the part takes the next free second.
func (f *Folder) Create(runID string, start time.Time, records ...[]byte) (*Part, error) {
	return f.CreateWith(nil, runID, start, records...)
}

// CreateWith is Create, with files that the records name: see [Part.WriteFiles].
func (f *Folder) CreateWith(files map[string][]byte, runID string, start time.Time, records ...[]byte) (*Part, error) {
	if err := checkRunID(runID); err != nil {
		return nil, err
	}
	if len(records) < 2 {
		return nil, fmt.Errorf("log of run %q: it must begin with a header and a run record", runID)
	}
	framer := dotwandb.NewFramer(dotwandb.FileHeaderSize)
	log := dotwandb.AppendFileHeader(nil)
	for i, rec := range records {
		if len(rec) == 0 {
			return nil, fmt.Errorf("log of run %q: record %d of %d is empty", runID, i+1, len(records))
		}
		log = framer.Append(log, rec)
	}

	temp := f.temp()
	name, err := f.build(temp, runID, start, log, files)
	if err != nil {
		_ = os.RemoveAll(temp) // what cannot be removed is swept later
		return nil, fmt.Errorf("log of run %q in %s: %w; %s", runID, f.dir, err, remedy(err))
	}
	if f.root.opts.LatestRun {
		f.newest(name)
	}
	dir := filepath.Join(f.dir, name)
	p := &Part{
		folder:   f,
		dir:      dir,
		path:     filepath.Join(dir, logName(runID)),
		framer:   framer,
		unlinked: f.root.opts.Sync == SyncInterval,
	}
	if p.unlinked {
		p.unsynced = slices.Collect(maps.Keys(files))
		f.root.markDirty(p)
	}
	return p, nil
}

// temp is a new hidden name in the folder: renaming works within one file system.
func (f *Folder) temp() string { return filepath.Join(f.dir, tempPrefix+rand.Text()) }

// build makes the directory under its hidden name and renames it.
func (f *Folder) build(temp, runID string, start time.Time, log []byte, files map[string][]byte) (name string, err error) {
	// Not os.MkdirTemp: its mode 0700 would hide the run from other users' viewers.
	for _, dir := range []string{temp, filepath.Join(temp, "files")} {
		if err := os.Mkdir(dir, 0o777); err != nil {
			return "", err
		}
	}
	path := filepath.Join(temp, logName(runID))
	always := f.root.opts.Sync == SyncAlways
	if err := writeFiles(temp, files, always); err != nil {
		return "", err
	}
	if err := errors.Join(writeNew(path, log, always), mark(path)); err != nil {
		return "", err
	}
	if always {
		if err := disk.SyncDir(temp); err != nil {
			return "", err
		}
	}
	name, err = f.place(temp, runID, start.In(f.root.opts.Location))
	if err != nil || !always {
		return name, err
	}
	if err := disk.SyncDir(f.dir); err != nil {
		// The caller will make another: this one must not stay beside it.
		return "", errors.Join(err, os.RemoveAll(filepath.Join(f.dir, name)))
	}
	return name, nil
}

// place renames to the first free second. That the rename fails where a
// directory is, is what decides: asking first would leave a gap for another process.
func (f *Folder) place(temp, runID string, t time.Time) (string, error) {
	for range maxSeconds {
		name := dirName(f.root.opts.Online, t, runID)
		target := filepath.Join(f.dir, name)
		err := os.Rename(temp, target)
		if err == nil {
			return name, nil
		}
		if _, taken := os.Lstat(target); taken != nil {
			return "", err
		}
		t = t.Add(time.Second)
	}
	return "", fmt.Errorf("the names of %d seconds from the start are taken", maxSeconds)
}

// linkEvery is how often latest-run is made anew where many runs begin: it costs
// as much as the rest of making a run.
const linkEvery = 500 * time.Millisecond

// newest notes the newest part, for latest-run: at once, or with LinkLatest.
func (f *Folder) newest(name string) {
	f.latest.Lock()
	defer f.latest.Unlock()
	f.latest.name = name
	if time.Since(f.latest.at) >= linkEvery {
		f.linkLatest()
	}
}

// LinkLatest makes latest-run point to the newest part of each folder.
func (r *Root) LinkLatest() {
	r.mu.Lock()
	folders := slices.Collect(maps.Values(r.folders))
	r.mu.Unlock()
	for _, f := range folders {
		f.latest.Lock()
		f.linkLatest()
		f.latest.Unlock()
	}
}

// linkLatest does what is due. The lock of latest is held.
func (f *Folder) linkLatest() {
	if f.latest.name != "" {
		f.pointLatest(f.latest.name)
		f.latest.name, f.latest.at = "", time.Now()
	}
}

// pointLatest makes latest-run point to the part. It is a convenience for
// people: where there are no links, or something else has the name, a run is
// a run without it.
func (f *Folder) pointLatest(name string) {
	temp := f.temp()
	if os.Symlink(name, temp) != nil {
		return
	}
	if os.Rename(temp, filepath.Join(f.dir, latestRun)) != nil {
		_ = os.Remove(temp)
	}
}

func writeNew(path string, b []byte, sync bool) error {
	f, err := disk.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil && sync {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
