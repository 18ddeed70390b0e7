package engine

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/otel-wandb/otel-wandb/exporter/internal/run"
	"github.com/otel-wandb/otel-wandb/exporter/internal/runlog"
)

// adopt finds the runs that an earlier exporter left open and gives each to
// its shard, which takes them up a few at a time.
func (e *Engine) adopt() error {
	dirs, err := wandbDirs(e.root.Dir())
	if err != nil {
		return err
	}
	var errs []error
	for _, dir := range dirs {
		errs = append(errs, e.adoptFolder(dir))
	}
	return errors.Join(errs...)
}

// closedKept is how long the state of a run that has ended is kept. What comes
// for it later, if anything, is judged by its logs.
const closedKept = 7 * 24 * time.Hour

func (e *Engine) adoptFolder(dir string) error {
	folder, err := e.root.FolderAt(dir)
	if err != nil {
		return err
	}
	if aside, err := folder.Sweep(); err != nil {
		e.cfg.Logger.Warn("leftovers of a killed exporter are still there", zap.Error(err))
	} else if len(aside) > 0 {
		e.cfg.Logger.Info("leftovers of a killed exporter were put aside", zap.Strings("to", aside))
	}
	if _, err := folder.DropClosed(e.cfg.Now().Add(-closedKept)); err != nil {
		e.cfg.Logger.Warn("states of runs that ended long ago are still there", zap.Error(err))
	}
	states, err := folder.OpenStates()
	if err != nil {
		return err
	}
	for _, file := range states {
		b, err := file.Read()
		if err != nil {
			continue // closed or taken by another program meanwhile
		}
		head, err := run.CheckpointHead(b)
		if err != nil {
			e.cfg.Logger.Warn("the state of an open run cannot be read: the run goes on when something comes for it",
				zap.String("file", file.Path), zap.Error(err))
			continue
		}
		// Until its turn comes, metrics join it by what its checkpoint says.
		e.joins.Put(head.Key, head.Client, head.Sources)
		s := e.shardOf(head.Key)
		s.mu.Lock()
		s.resume = append(s.resume, head.Key)
		s.mu.Unlock()
	}
	return nil
}

// wandbDirs are the wandb folders under a root: its own, and one for each
// other host and entity.
func wandbDirs(root string) ([]string, error) {
	dirs := []string{filepath.Join(root, "wandb")}
	// Not Glob: the root's name may hold characters that are patterns to it.
	more, err := fs.Glob(os.DirFS(root), "*/*/wandb/.otel-wandb")
	for _, d := range more {
		dirs = append(dirs, filepath.Join(root, filepath.FromSlash(path.Dir(d))))
	}
	return dirs, err
}

// listIDs are the run ids that have a directory, each with its folder in front.
func listIDs(root string, logger *zap.Logger) map[string]struct{} {
	ids := map[string]struct{}{}
	dirs, err := wandbDirs(root)
	if err != nil {
		logger.Warn("run directories cannot be listed", zap.Error(err))
	}
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			logger.Warn("run directories cannot be listed", zap.String("folder", dir), zap.Error(err))
		}
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), ".") || !e.IsDir() {
				continue
			}
			if n, ok := runlog.ParseDirName(e.Name(), time.UTC); ok {
				ids[filepath.Join(dir, n.RunID)] = struct{}{}
			}
		}
	}
	return ids
}
