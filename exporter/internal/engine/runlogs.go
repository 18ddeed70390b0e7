package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"go.uber.org/zap"

	"github.com/otel-wandb/otel-wandb/exporter/internal/dotwandb"
	"github.com/otel-wandb/otel-wandb/exporter/internal/online"
	"github.com/otel-wandb/otel-wandb/exporter/internal/run"
	"github.com/otel-wandb/otel-wandb/exporter/internal/runlog"
	"github.com/otel-wandb/otel-wandb/internal/runid"
)

// runLog is the files of one run: its open part, its checkpoint, its lock.
type runLog struct {
	key    runid.Coordinates
	folder *runlog.Folder
	unlock func() error
	part   *runlog.Part // nil: none is open
	at     int64        // size of the part at the last checkpoint
	took   int64        // size of that checkpoint
	marked bool         // a restart would find the run
	stale  bool         // the state changed since the last checkpoint
	logger *zap.Logger

	online *online.Online // nil: nothing is uploaded
	stream *online.Stream // of the open part, likewise
}

// follow has the open part uploaded, and what of those before it is not yet.
func (l *runLog) follow(state *run.State) {
	if l.online == nil {
		return
	}
	var logs []string
	for _, p := range state.Parts() {
		logs = append(logs, l.logPath(p.Dir))
	}
	l.stream = l.online.Follow(l.key, state.Client(), l.folder, logs)
}

func (l *runLog) warn(text string, err error) {
	l.logger.Warn(text, zap.Stringer("run", l.key), zap.Error(err))
}

// A checkpoint is written when the log has grown by checkpointEvery bytes, or
// by checkpointTimes the size of the last one: what is written for restarts
// stays small beside the log.
const (
	checkpointEvery = 1 << 20
	checkpointTimes = 8
)

// folderOf is where a run's files lie: Dir/wandb for the exporter's own host
// and entity, a tree by host and entity for others.
func (e *Engine) folderOf(key runid.Coordinates) (*runlog.Folder, error) {
	d := e.cfg.Placement.Default
	if key.Host == d.Host && key.Entity == d.Entity {
		return e.home, nil
	}
	return e.root.Folder(orDefault(key.Host), orDefault(key.Entity))
}

func orDefault(s string) string {
	if s == "" {
		return "default"
	}
	return s
}

// load makes a run's state: from its checkpoint and the log behind it; where
// the checkpoint is lost, from its logs; where there are none, new.
func (e *Engine) load(now int64, key runid.Coordinates) (_ *openRun, err error) {
	folder, err := e.folderOf(key)
	if err != nil {
		return nil, err
	}
	unlock, err := folder.Lock(key.Key())
	if err != nil {
		return nil, fmt.Errorf("run %q: %w", key, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, unlock())
		}
	}()
	l := &runLog{key: key, folder: folder, unlock: unlock, logger: e.cfg.Logger, online: e.cfg.Online}
	b, open, err := folder.ReadState(key.Key())
	if errors.Is(err, fs.ErrNotExist) {
		// A run never heard of, or one whose state was cleaned away: its logs know.
		if !e.known(folder, key) {
			return &openRun{state: run.NewState(key, e.cfg.Run), log: l, closed: now}, nil // until it has a log
		}
		return e.rebuild(now, l, open)
	}
	if err != nil {
		return nil, fmt.Errorf("run %q: %w", key, err)
	}
	l.marked = true
	state, offset, err := run.Load(b, e.cfg.Run)
	if err != nil || state.Key != key || len(state.Parts()) == 0 {
		return e.rebuild(now, l, open)
	}
	l.took = int64(len(b))
	if !state.Open() {
		state.Replayed()
		return &openRun{state: state, log: l, closed: now}, nil
	}
	parts := state.Parts()
	if err := e.reopen(l, state, parts[len(parts)-1].Dir, offset); err != nil {
		if errors.Is(err, runlog.ErrShorterThanCheckpoint) || errors.Is(err, fs.ErrNotExist) {
			e.cfg.Logger.Warn("a checkpoint says more than its log: the run is read from its logs", zap.Stringer("run", key), zap.Error(err))
			return e.rebuild(now, l, open)
		}
		return nil, fmt.Errorf("run %q: %w", key, err)
	}
	return e.resumed(now, l, state), nil
}

func (e *Engine) resumed(now int64, l *runLog, state *run.State) *openRun {
	state.Replayed()
	state.Resumed(now)
	e.count.add(CountRecovered, 1)
	r := &openRun{state: state, log: l}
	if !state.Open() {
		r.closed = now
	}
	return r
}

// reopen continues the open part behind its checkpoint.
func (e *Engine) reopen(l *runLog, state *run.State, dir string, offset int64) error {
	var replayErr error
	part, rec, err := l.folder.Reopen(dir, offset, func(b []byte) bool {
		end, err := state.Replay(b)
		if err != nil && replayErr == nil {
			replayErr = err
		}
		return end && replayErr == nil
	})
	if err != nil {
		return err
	}
	if rec.Damaged || replayErr != nil {
		// Nothing may be appended behind damage: W&B's readers stop at it. The
		// part stays as it is, and the next write begins another.
		e.count.add(CountDamaged, 1)
		e.cfg.Logger.Error("a run's log is damaged in the middle: the run goes on in another part, and W&B's own sync reads this one up to the damage",
			zap.Stringer("run", l.key), zap.String("part", dir), zap.Int64("offset", rec.DamageAt), zap.Error(replayErr))
		state.Broken()
		if part != nil {
			return errors.Join(part.Close(), l.folder.Abandon(dir))
		}
		return l.folder.Abandon(dir)
	}
	if !state.Open() {
		// The exit was written and its checkpoint was not.
		return part.Finish()
	}
	l.part = part
	l.at = offset
	l.follow(state)
	return nil
}

// known tells whether the folder has logs of the run's id.
func (e *Engine) known(folder *runlog.Folder, key runid.Coordinates) bool {
	e.idsOnce.Do(func() { e.ids = listIDs(e.root.Dir(), e.cfg.Logger) })
	_, ok := e.ids[filepath.Join(folder.Dir(), key.ID)]
	return ok
}

// rebuild reads a run's state from its logs, all of them: slow, and only where
// the checkpoint is lost. open is how the run is filed.
func (e *Engine) rebuild(now int64, l *runLog, open bool) (*openRun, error) {
	state := run.NewState(l.key, e.cfg.Run)
	parts, err := l.folder.Parts(l.key.ID)
	if err != nil {
		return nil, fmt.Errorf("run %q: %w", l.key, err)
	}
	parts = slices.DeleteFunc(parts, func(dir string) bool { return !e.ours(l, dir) })
	for i, dir := range parts {
		ended, err := scan(l.logPath(dir), nil)
		state.ReplayPart(dir)
		switch {
		case err != nil:
		case ended:
			if _, err = scan(l.logPath(dir), state); err == nil && open {
				// Killed between the exit and what says so: the marker would keep
				// the run from `wandb sync` for ever.
				err = l.folder.Unmark(dir)
			}
		case i < len(parts)-1:
			_, err = scan(l.logPath(dir), state)
			state.Broken() // given up as damaged: the run went on in the next
		default:
			err = e.reopen(l, state, dir, dotwandb.FileHeaderSize)
		}
		if err != nil {
			return nil, fmt.Errorf("run %q: %w", l.key, err)
		}
	}
	if len(state.Parts()) > 0 && !state.Open() {
		// Filed as ended, it is not read again at each start.
		if err := l.save(state); err != nil {
			l.warn("the state of a run that was read from its logs is not saved", err)
		}
	}
	return e.resumed(now, l, state), nil
}

// scan reads a log as far as it is whole, into the state where there is one, and
// tells whether it has its exit.
func scan(path string, state *run.State) (ended bool, err error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	r, err := dotwandb.NewReader(f, dotwandb.Strict)
	if err != nil {
		return false, fmt.Errorf("%s: %w", path, err)
	}
	for {
		b, err := r.Next()
		if err != nil {
			return ended, nil // its end, or damage: what is behind was given up
		}
		if state == nil {
			rec, err := dotwandb.Decode(b)
			ended = err == nil && rec.Exit != nil
		} else if _, err := state.Replay(b); err != nil {
			return false, fmt.Errorf("%s: %w", path, err)
		}
	}
}

// logPath is where a part's log lies.
func (l *runLog) logPath(dir string) string {
	return filepath.Join(l.folder.Dir(), dir, "run-"+l.key.ID+".wandb")
}

// ours tells whether a part is of this run, and was written by this exporter:
// another project's run may have the same id, and W&B's own client writes here too.
func (e *Engine) ours(l *runLog, dir string) bool {
	f, err := os.Open(l.logPath(dir))
	if err != nil {
		return false
	}
	defer f.Close()
	r, err := dotwandb.NewReader(f, dotwandb.Strict)
	if err != nil {
		return false
	}
	var same bool
	for {
		b, err := r.Next()
		if err != nil {
			return false
		}
		rec, err := dotwandb.Decode(b)
		if err != nil {
			return false
		}
		if rec.Run != nil {
			same = rec.Run.Entity == l.key.Entity && rec.Run.Project == l.key.Project && rec.Run.ID == l.key.ID
		}
		if rec.UUID != "" {
			return same && run.IsNote(rec.UUID)
		}
	}
}

// write brings records to the log, and tells how many bytes it took.
func (l *runLog) write(state *run.State, w run.Write) (n int64, err error) {
	if w.Opens {
		err = l.begin(state, w)
	} else {
		before := l.part.Size()
		if err = l.part.WriteFiles(w.Files); err == nil {
			err = l.part.Append(w.Records...)
		}
		n = l.part.Size() - before
	}
	if err != nil {
		return 0, err
	}
	l.stale = true
	if w.Opens {
		n = l.part.Size()
	}
	if !w.Closes {
		if l.stream != nil {
			l.stream.Grew()
		}
		return n, nil
	}
	if l.stream != nil {
		l.stream.Ended()
		l.stream = nil
	}
	part := l.part
	l.part = nil
	b, err := state.Checkpoint(0)
	if err == nil {
		// The exit is written: what fails from here on is found again at the next
		// start, and must not write the exit once more.
		err = errors.Join(part.Finish(), l.folder.WriteState(l.key.Key(), false, b))
	}
	l.stale = false
	if err != nil {
		l.warn("a run has ended, and the files beside its log do not all say so: the next start mends them", err)
	}
	return n, nil
}

// begin creates a part. The state file comes first: a run that is killed
// between the two is found by it.
func (l *runLog) begin(state *run.State, w run.Write) error {
	later := len(state.Parts()) > 1
	if !l.marked || later {
		// It names no part, so whoever finds it reads the run's logs: what an
		// earlier end left must not outlive the new part's first byte.
		b, err := state.Blank().Checkpoint(0)
		if err == nil {
			err = l.folder.WriteState(l.key.Key(), true, b)
		}
		if err != nil {
			return err
		}
		l.marked = true
	}
	part, err := l.folder.CreateWith(w.Files, l.key.ID, w.Start, w.Records...)
	if err != nil {
		return err
	}
	l.part = part
	state.Began(part.Name())
	l.follow(state)
	if later {
		if err := l.save(state); err != nil {
			// The part is there: to fail now would make it once more.
			l.warn("the state of a run that goes on is not saved: until it is, a restart reads all of the run's logs", err)
		}
	}
	return nil
}

func (l *runLog) save(state *run.State) error {
	size := int64(0)
	if l.part != nil {
		size = l.part.Size()
	}
	b, err := state.Checkpoint(size)
	if err != nil {
		return err
	}
	if err := l.folder.WriteState(l.key.Key(), state.Open(), b); err != nil {
		return err
	}
	l.at, l.took, l.stale = size, int64(len(b)), false
	return nil
}

// checkpoint saves the state when its log has grown enough, or, with now, if
// anything changed.
func (l *runLog) checkpoint(state *run.State, count *Counters, now bool) error {
	if l.part == nil || !l.stale {
		return nil
	}
	// The first one comes soon: without any, a restart looks for the run's logs.
	if grown := l.part.Size() - l.at; !now && l.took > 0 && grown < max(checkpointEvery, checkpointTimes*l.took) {
		return nil
	}
	count.add(CountCheckpoint, 1)
	return l.save(state)
}

// release gives the run up: its file and its lock.
func (l *runLog) release() error {
	var err error
	if l.part != nil {
		err = l.part.Close()
		l.part = nil
	}
	return errors.Join(err, l.unlock())
}
