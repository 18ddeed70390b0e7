package online

import (
	"cmp"
	"context"
	"errors"
	"os"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/otel-wandb/otel-wandb/exporter/internal/dotwandb"
	"github.com/otel-wandb/otel-wandb/exporter/internal/runlog"
	"github.com/otel-wandb/otel-wandb/exporter/internal/upload"
	"github.com/otel-wandb/otel-wandb/internal/runid"
	"github.com/otel-wandb/otel-wandb/internal/wandb"
)

// Stream is the upload of one run. Its methods do not wait.
//
// ConcurrentSafe: by a lock. working and failed are guarded by the table's.
type Stream struct {
	o      *Online
	key    runid.Coordinates
	client string // who opened the run
	folder *runlog.Folder

	working bool  // a goroutine is at it
	failed  error // a *upload.Failure: nothing is sent any more, until the next start

	mu        sync.Mutex // guards everything below
	logs      []string   // oldest first
	added     int        // how often logs were added, or more was asked for
	follow    bool       // somebody writes the last log
	alive     bool       // and its task lives
	finishing bool
	up        *upload.Uploader // of the goroutine at work
	hindered  error            // transient trouble
}

// add takes in logs, and what to do with them.
func (s *Stream) add(logs []string, follow bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.added++
	s.follow = s.follow || follow
	s.alive = s.alive || follow
	for _, log := range logs {
		if slices.Contains(s.logs, log) {
			continue
		}
		s.logs = append(s.logs, log)
		if s.up != nil {
			s.up.AddPart(log)
		}
	}
	if s.up != nil {
		s.up.SetAlive(s.alive)
	}
}

// Grew says that the run's log has grown.
func (s *Stream) Grew() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.up != nil {
		s.up.Wake()
	}
}

// Ended says that the run's log has its exit, or will have no more: nothing
// says any longer that the run lives.
func (s *Stream) Ended() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.alive, s.follow = false, false
	if s.up != nil {
		s.up.SetAlive(false)
		s.up.Wake()
	}
}

// Preempting has W&B told that the run may soon be silent for long.
func (s *Stream) Preempting() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.up != nil {
		s.up.Preempting()
	}
}

// finish sends what there is, and no more.
func (s *Stream) finish() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.finishing, s.follow = true, false
	if s.up != nil {
		s.up.Finish()
	}
}

// work uploads until nothing is left to do for the run.
func (s *Stream) work(ctx context.Context) {
	for {
		s.mu.Lock()
		seen := s.added
		s.mu.Unlock()
		err := s.once(ctx)

		s.o.mu.Lock()
		s.mu.Lock()
		more := s.added != seen || s.follow && !s.finishing
		s.up = nil
		if ctx.Err() == nil && err != nil {
			s.failed = err
		}
		if more && err == nil && ctx.Err() == nil {
			s.mu.Unlock()
			s.o.mu.Unlock()
			continue
		}
		s.working = false
		if err == nil && ctx.Err() == nil {
			delete(s.o.streams, s.key) // W&B has all of it
		}
		s.mu.Unlock()
		s.o.mu.Unlock()
		if err != nil && ctx.Err() == nil {
			s.say(err)
		}
		s.o.check()
		return
	}
}

// once makes an uploader and lets it work.
func (s *Stream) once(ctx context.Context) error {
	unlock, err := s.lock(ctx)
	if err != nil {
		return err
	}
	up, err := s.uploader()
	for said := false; errors.Is(err, ErrNoKeyYet) && ctx.Err() == nil; up, err = s.uploader() {
		if !said {
			said = true
			s.o.cfg.Logger.Info("the client that opened this run has brought no key since the exporter began: its upload waits", zap.Stringer("run", s.key))
		}
		if s.isFinishing() || !wait(ctx, s.o.retryLock) {
			break
		}
	}
	if err == nil {
		err = up.Run(ctx)
	}
	return errors.Join(err, unlock())
}

func (s *Stream) isFinishing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.finishing
}

// wait tells whether it has waited to the end.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// lock keeps other programs from uploading the run.
func (s *Stream) lock(ctx context.Context) (unlock func() error, err error) {
	said := false
	for {
		unlock, err := s.folder.Lock(upload.LockKey(s.key.Key()))
		if !errors.Is(err, runlog.ErrLocked) {
			return unlock, err
		}
		if !said {
			said = true
			s.o.cfg.Logger.Info("another program uploads this run: it is taken over when that is done", zap.Stringer("run", s.key))
		}
		if !wait(ctx, s.o.retryLock) {
			return nil, context.Cause(ctx)
		}
	}
}

func (s *Stream) uploader() (*upload.Uploader, error) {
	to := destination(s.key, s.folder)
	if to.err != nil {
		return nil, &upload.Failure{Run: to.path, Err: to.err}
	}
	client, pacer, err := s.o.cfg.Way(to.key, s.client)
	if err != nil {
		return nil, &upload.Failure{Run: to.path, Err: err}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.up = upload.New(upload.Options{
		Client:   client,
		Run:      to.path,
		Parts:    s.toSend(to),
		Position: to.position,
		Follow:   s.follow,
		Alive:    s.alive,
		Pacer:    pacer,
		Notify:   s.notice,
		Tried:    s.tried,
		Sent: func(lines int) {
			s.setHindered(nil)
			s.o.count(func(c *Counts) { c.Lines += int64(lines) })
		},
	})
	if s.finishing {
		s.up.Finish()
	}
	return s.up, nil
}

// toSend are the logs that are there. Where nothing is known of an upload, those
// are left out that `wandb sync` has uploaded: an exporter without upload wrote them.
func (s *Stream) toSend(to where) (logs []string) {
	at, err := upload.ReadProgress(to.position)
	fresh := at == nil && err == nil
	for i, log := range s.logs {
		name, _ := runlog.ParseDirName(partOf(log), time.Local)
		bySync := fresh && name.Offline && i < len(s.logs)-1 && exists(log+".synced")
		if exists(log) && !bySync && !slices.Contains(to.synced, partOf(log)) {
			logs = append(logs, log)
		}
	}
	return logs
}

// where is what a run is called at W&B, and where its upload keeps how far it is.
type where struct {
	key      runid.Coordinates
	path     wandb.Path
	position string
	synced   []string // parts that `wandb sync` has uploaded
	err      error
}

// destination is where a run goes: to what its log calls it, unless somebody
// sent it elsewhere with `otel-wandb sync`.
func destination(key runid.Coordinates, folder *runlog.Folder) (to where) {
	to.key, to.path = key, pathOf(key)
	target, err := upload.ReadTarget(folder.Dir(), to.path)
	if to.err = err; target != nil {
		to.key = runid.Coordinates{Host: target.Host, Entity: target.Run.Entity, Project: target.Run.Project, ID: target.Run.Run}
		to.path, to.synced = target.Run, target.Synced
	}
	to.position = upload.PositionFile(folder.Dir(), to.key.Host, to.path)
	return to
}

func pathOf(key runid.Coordinates) wandb.Path {
	return wandb.Path{Entity: key.Entity, Project: key.Project, Run: key.ID}
}

// notice logs and counts what an uploader has to say. It is called by the
// uploader's goroutine.
func (s *Stream) notice(n upload.Notice) {
	log, run := s.o.cfg.Logger, zap.Stringer("run", s.key)
	switch n.Kind {
	case upload.Opened:
		s.o.count(func(c *Counts) { c.Opened++ })
		s.o.cfg.Say("wandb: 🚀 View run " + n.Name + " at: " + n.URL)
	case upload.Ended:
		s.o.count(func(c *Counts) { c.Ended++ })
		s.o.cfg.Say("wandb: run " + n.Name + " " + outcome(n.ExitCode) + ": " + n.URL)
	case upload.Retrying:
		s.o.count(func(c *Counts) { c.Retries++ })
		s.setHindered(n.Err)
	case upload.LineSkipped:
		s.o.count(func(c *Counts) { c.LinesTooLong++ })
		log.Warn("W&B does not take a line: the rest goes on", run, zap.Error(n.Err))
	case upload.AlertRefused:
		s.o.count(func(c *Counts) { c.AlertsRefused++ })
		log.Warn("W&B does not take an alert: the rest goes on", run, zap.Error(n.Err))
	case upload.FileFailed:
		s.o.count(func(c *Counts) { c.FilesFailed++ })
		log.Warn("a file of a run is not at W&B: the rest goes on", run, zap.Error(n.Err))
	case upload.LogDamaged:
		s.o.count(func(c *Counts) { c.LogsDamaged++ })
		log.Error("what lies behind damage in a log is not uploaded", run, zap.Error(n.Err))
	case upload.StateTrouble:
		log.Warn("the position of an upload is not kept: after a restart more is sent again", run, zap.Error(n.Err))
	case upload.StopAsked:
		log.Info("somebody asked at W&B that this run stop", run)
		s.o.cfg.StopAsked(s.key)
	}
}

// tried takes in that a request failed and is tried again. The first time is
// nothing to worry anybody with, nor is it that W&B asks for less.
func (s *Stream) tried(err *wandb.Error) {
	s.o.count(func(c *Counts) { c.Retries++ })
	if err.Attempts > 1 && !errors.Is(err, wandb.ErrRateLimited) {
		s.setHindered(err)
	}
}

// say logs why an upload stopped, with what to do.
func (s *Stream) say(err error) {
	var f *upload.Failure
	remedy := ""
	if errors.As(err, &f) {
		remedy = f.Remedy()
	}
	s.o.cfg.Logger.Error("a run is not uploaded any further: its log goes on, and `otel-wandb sync` continues the upload",
		zap.Stringer("run", s.key), zap.String("remedy", remedy), zap.Error(err))
}

func (s *Stream) setHindered(err error) {
	s.mu.Lock()
	changed := (s.hindered == nil) != (err == nil)
	s.hindered = err
	s.mu.Unlock()
	if changed {
		s.o.check()
	}
}

// trouble is what keeps the run from W&B. The table's lock is held.
func (s *Stream) trouble() error {
	if s.failed != nil {
		return s.failed
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hindered
}

// phase is what the stream does. The table's lock is held.
func (s *Stream) phase() upload.Phase {
	if s.failed != nil {
		return upload.Stopped
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.up == nil {
		return upload.Waiting
	}
	return s.up.Status().Phase
}

// behind is how many bytes of the run's logs W&B does not have, about.
func (s *Stream) behind() (n int64) {
	s.mu.Lock()
	logs, up := slices.Clone(s.logs), s.up
	s.mu.Unlock()
	at := upload.Status{}
	if up != nil {
		at = up.Status()
	}
	for _, log := range logs {
		fi, err := os.Stat(log)
		if err != nil {
			continue
		}
		switch c := cmp.Compare(partOf(log), at.Part); {
		case at.Part == "" || c > 0:
			n += fi.Size()
		case c == 0:
			n += max(0, fi.Size()-at.Offset)
		}
	}
	return n
}

// unsent tells whether the run's end is known and W&B does not know it, or
// there is more to send.
func (s *Stream) unsent() bool { return s.failed == nil && s.behind() > 0 }

func outcome(code int) string {
	switch code {
	case 0:
		return "finished"
	case dotwandb.ExitCrashed:
		return "crashed"
	}
	return "failed"
}
