package online

import (
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
// ConcurrentSafe: by a lock. working, failed and since are guarded by the
// table's, release is the worker's.
type Stream struct {
	o      *Online
	key    runid.Coordinates
	news   chan struct{} // wakes a wait
	folder *runlog.Folder

	working bool      // a goroutine is at it
	failed  error     // a *upload.Failure: nothing is sent any more, until the next start
	since   time.Time // of failed

	release func() // gives up what W&B calls the run; nil while that is not known

	mu        sync.Mutex // guards everything below
	client    string     // who opened the run
	logs      []string   // oldest first
	added     int        // how often logs were added, or more was asked for
	follow    bool       // somebody writes the last log
	alive     bool       // and its task lives
	finishing bool
	up        *upload.Uploader // of the goroutine at work
	used      *wandb.Client    // the last that it had
	hindered  error            // transient trouble
}

// add takes in logs, and what to do with them.
func (s *Stream) add(client string, logs []string, follow bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.added++
	if follow || s.client == "" {
		s.client = client // the run itself knows best
	}
	s.poke()
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
	s.poke()
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
	s.poke()
	if s.up != nil {
		s.up.Finish()
	}
}

// errFinishing ends a wait when the exporter shuts down.
var errFinishing = errors.New("the exporter shuts down")

// work uploads until nothing is left to do for the run.
func (s *Stream) work(ctx context.Context) {
	for {
		s.mu.Lock()
		seen := s.added
		s.mu.Unlock()
		err := s.once(ctx)

		s.o.mu.Lock()
		s.mu.Lock()
		s.up = nil
		news, follow := s.added != seen, s.follow && !s.finishing
		var failure *upload.Failure
		again := err == nil && (news || follow)
		switch {
		case ctx.Err() != nil || errors.Is(err, errFinishing):
			again = false
		case errors.As(err, &failure) && s.anotherKey(failure):
			again, news = true, true // it came while the one before was tried
		case errors.As(err, &failure):
			s.failed, s.since = err, s.o.cfg.now()
		case err != nil:
			again = true // this machine's trouble, such as too many open files
		}
		if !again {
			s.working = false
			if err == nil && ctx.Err() == nil {
				delete(s.o.streams, s.key) // W&B has all of it
			}
		}
		s.mu.Unlock()
		s.o.mu.Unlock()
		switch {
		case again && news:
		case again:
			// All is done and yet somebody follows, or it failed here: not at once again.
			if err != nil {
				s.setHindered(err)
			}
			_ = s.wait(ctx)
		default:
			if failure != nil {
				s.say(err)
			}
			s.o.check()
			return
		}
	}
}

// keyRefused tells whether another key might help.
func keyRefused(err error) bool {
	return errors.Is(err, wandb.ErrUnauthorized) || errors.Is(err, wandb.ErrForbidden)
}

// anotherKey tells whether W&B refused a key of the run's client which is not its
// key any more. Both locks are held.
func (s *Stream) anotherKey(f *upload.Failure) bool {
	if s.client == "" || s.used == nil || !keyRefused(f) {
		return false
	}
	now, _, err := s.o.cfg.Way(destination(s.key, s.folder).key, s.client)
	return errors.Is(err, ErrNoKeyYet) || err == nil && now != s.used
}

// once makes an uploader and lets it work.
func (s *Stream) once(ctx context.Context) error {
	to := destination(s.key, s.folder)
	if to.err != nil {
		return &upload.Failure{Run: to.path, Err: to.err}
	}
	client, pacer, err := s.way(ctx, to)
	if err != nil {
		return err
	}
	unlock, err := s.lock(ctx)
	if err != nil {
		return err
	}
	err = s.uploader(to, client, pacer).Run(ctx)
	if s.release != nil {
		s.release()
		s.release = nil
	}
	if unlockErr := unlock(); unlockErr != nil {
		s.o.cfg.Logger.Warn("the lock of an upload is not given up: other programs will not upload this run", zap.Stringer("run", s.key), zap.Error(unlockErr))
	}
	return err
}

// way waits until the run's client has brought its key.
func (s *Stream) way(ctx context.Context, to where) (client *wandb.Client, pacer upload.Pacer, err error) {
	for said := false; ; {
		s.mu.Lock()
		by := s.client
		s.mu.Unlock()
		client, pacer, err = s.o.cfg.Way(to.key, by)
		switch {
		case err == nil:
			s.mu.Lock()
			s.used = client
			s.mu.Unlock()
			return client, pacer, nil
		case !errors.Is(err, ErrNoKeyYet):
			return nil, nil, &upload.Failure{Run: to.path, Err: err}
		case !said:
			said = true
			s.o.cfg.Logger.Info("the client that opened this run has brought no key since the exporter began: its upload waits", zap.Stringer("run", s.key))
		}
		if err := s.wait(ctx); err != nil {
			return nil, nil, err
		}
	}
}

// wait waits a while, or until there is news of the run; with an error when the
// exporter ends.
func (s *Stream) wait(ctx context.Context) error {
	t := time.NewTimer(s.o.retryLock)
	defer t.Stop()
	select {
	case <-t.C:
	case <-s.news:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.finishing {
		return errFinishing
	}
	return nil
}

// of tells whether a client opened the run, and ends a wait for its key.
func (s *Stream) of(client string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.client != client {
		return false
	}
	s.poke()
	return true
}

// poke says that there is news. The lock is held.
func (s *Stream) poke() {
	select {
	case s.news <- struct{}{}:
	default:
	}
}

// lock keeps other programs from uploading the run.
func (s *Stream) lock(ctx context.Context) (unlock func() error, err error) {
	for said := false; ; {
		unlock, err := s.folder.Lock(upload.LockKey(s.key.Key()))
		if !errors.Is(err, runlog.ErrLocked) {
			return unlock, err
		}
		if !said {
			said = true
			s.o.cfg.Logger.Info("another program uploads this run: it is taken over when that is done", zap.Stringer("run", s.key))
		}
		if err := s.wait(ctx); err != nil {
			return nil, err
		}
	}
}

func (s *Stream) uploader(to where, client *wandb.Client, pacer upload.Pacer) *upload.Uploader {
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
		Claim:    func(path wandb.Path) error { return s.o.claim(s, to, path) },
		Opening:  func(ctx context.Context) (func(), error) { return s.o.names.Open(ctx, to.key.Host, to.path) },
		Sent: func(lines int) {
			s.setHindered(nil)
			s.o.count(func(c *Counts) { c.Lines += int64(lines) })
		},
	})
	if s.finishing {
		s.up.Finish()
	}
	return s.up
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
		go s.o.cfg.StopAsked(s.key) // whoever hears of it may shut the exporter down, which waits for this
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

// refusedFor is how long a refusal is the exporter's trouble after the run's log
// has ended: by then whoever looks has seen it, and `otel-wandb ls` has it for ever.
const refusedFor = 10 * time.Minute

// trouble is what keeps the run from W&B, as far as it is news. The table's lock is
// held.
func (s *Stream) trouble() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.failed == nil:
		return s.hindered
	case s.alive || s.o.cfg.now().Sub(s.since) < refusedFor:
		return s.failed
	}
	return nil
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

// behind is how many bytes of the run's logs W&B does not have, about. What this
// exporter is not at, such as a run that another program uploads, is not counted.
func (s *Stream) behind() (n int64) {
	s.mu.Lock()
	logs, up := slices.Clone(s.logs), s.up
	s.mu.Unlock()
	if up == nil {
		return 0
	}
	at := up.Status()
	first := max(0, slices.IndexFunc(logs, func(log string) bool { return partOf(log) == at.Part }))
	for i, log := range logs[first:] {
		fi, err := os.Stat(log)
		switch {
		case err != nil:
		case i == 0 && partOf(log) == at.Part:
			n += max(0, fi.Size()-at.Offset)
		default:
			n += fi.Size()
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
