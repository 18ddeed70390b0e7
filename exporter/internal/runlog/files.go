package runlog

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/otel-wandb/otel-wandb/exporter/internal/disk"
)

// filesDir is where W&B looks for the files that a log names.
const filesDir = "files"

// WriteFiles writes files that the next records name, by their paths below the
// part's directory `files`, with forward slashes. Files first: a row never names
// one that is not there, and one that no row came to name does no harm.
func (p *Part) WriteFiles(files map[string][]byte) error {
	if len(files) == 0 {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.usable(); err != nil {
		return err
	}
	policy := p.folder.root.opts.Sync
	if err := writeFiles(p.dir, files, policy == SyncAlways); err != nil {
		return err
	}
	if policy == SyncInterval {
		p.unsynced = slices.AppendSeq(p.unsynced, maps.Keys(files))
		p.folder.root.markDirty(p)
	}
	return nil
}

func writeFiles(dir string, files map[string][]byte, sync bool) error {
	for _, path := range slices.Sorted(maps.Keys(files)) {
		if err := writeFile(dir, path, files[path]); err != nil {
			return fmt.Errorf("file %q of %s: %w; %s", path, dir, err, remedy(err))
		}
	}
	if sync {
		return syncFiles(dir, slices.Collect(maps.Keys(files)))
	}
	return nil
}

func writeFile(dir, path string, content []byte) error {
	local := filepath.FromSlash(path)
	if !filepath.IsLocal(local) {
		return errors.New("the path leads out of the run's files")
	}
	local = filepath.Join(dir, filesDir, local)
	// Its name has its content's hash: what is there whole is this.
	if fi, err := os.Lstat(local); err == nil && fi.Size() == int64(len(content)) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(local), 0o777); err != nil {
		return err
	}
	f, err := disk.OpenFile(local, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o666)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Close())
}

// syncFiles forces files of a part to the disk, and the directories they are in.
// One that somebody removed is no reason to stop.
func syncFiles(dir string, paths []string) error {
	dirs := map[string]bool{}
	for _, path := range paths {
		local := filepath.Join(dir, filesDir, filepath.FromSlash(path))
		f, err := disk.OpenFile(local, os.O_RDWR, 0)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = errors.Join(f.Sync(), f.Close())
		}
		if err != nil {
			return err
		}
		for d := filepath.Dir(local); d != dir; d = filepath.Dir(d) {
			dirs[d] = true
		}
	}
	for d := range dirs {
		if err := disk.SyncDir(d); err != nil {
			return err
		}
	}
	return nil
}
