package syncing

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/otel-wandb/otel-wandb/exporter/internal/pace"
	"github.com/otel-wandb/otel-wandb/exporter/internal/runlog"
	"github.com/otel-wandb/otel-wandb/exporter/internal/upload"
	"github.com/otel-wandb/otel-wandb/internal/runid"
	"github.com/otel-wandb/otel-wandb/internal/wandb"
)

// Options of Sync. Dir is required.
type Options struct {
	Dir      string
	Outbox   string // what killed programs left; "" is that of Dir, if there is one
	Parallel int    // runs at once; 4
	DryRun   bool   // says what would be sent; sends and writes nothing
	// SkipSynced passes over what is at W&B already, whoever brought it there.
	SkipSynced bool
	// NewID uploads a run whose id W&B refuses under another.
	NewID bool
	// BaseURL, Entity and Project override where runs go.
	BaseURL, Entity, Project string
	// Patience is how long a server may have trouble, without a single good
	// answer, before its runs are left for another time; 0 is for ever.
	Patience time.Duration

	Getenv    func(string) string // os.Getenv
	Home      string              // of netrc; the user's
	Transport http.RoundTripper   // to all servers; nil is one of its own
	Pace      *pace.Scheduler     // of all requests; nil is one of its own
	// Shown gives a path as commands should name it; nil leaves it as it is.
	Shown func(path string) string
	// Watch is told what happens, from several goroutines.
	Watch Watcher
}

// Watcher is told what happens to runs.
type Watcher interface {
	// Began is the start of a run's upload; rows tells how many of its rows W&B
	// has, at any time until the run's Ended.
	Began(r *Result, rows func() int)
	// Trouble is something that is tried again.
	Trouble(r *Result, text string)
	// Ended is the end of a run, whatever became of it.
	Ended(r *Result)
}

func (o *Options) fill() error {
	if o.Getenv == nil {
		o.Getenv = os.Getenv
	}
	if o.Shown == nil {
		o.Shown = func(path string) string { return path }
	}
	if o.Watch == nil {
		o.Watch = silent{}
	}
	if o.Pace == nil {
		o.Pace = pace.New(pace.Options{Notify: func(n pace.Notice) {
			if !n.Over {
				o.Watch.Trouble(nil, n.Text)
			}
		}})
	}
	o.Parallel = max(1, cmp.Or(o.Parallel, 4))
	if o.BaseURL != "" {
		base, err := wandb.ParseBaseURL(o.BaseURL)
		if err != nil {
			return err
		}
		o.BaseURL = base.String()
	}
	for _, n := range []struct{ what, name string }{{"entity", o.Entity}, {"project", o.Project}} {
		if wrong := runid.ProjectError(n.name); wrong != "" {
			return fmt.Errorf("%s %q %s: give one that W&B accepts", n.what, n.name, wrong)
		}
	}
	return nil
}

type silent struct{}

func (silent) Began(*Result, func() int) {}
func (silent) Trouble(*Result, string)   {}
func (silent) Ended(*Result)             {}

// Sync uploads what a directory holds. An error says that nothing could be done
// at all; all else is in the report.
func Sync(ctx context.Context, opts Options) (*Report, error) {
	if err := opts.fill(); err != nil {
		return nil, err
	}
	report := &Report{Dir: opts.Shown(opts.Dir), DryRun: opts.DryRun, Runs: []*Result{}}
	if _, err := os.Stat(opts.Dir); err != nil {
		return nil, err
	}
	report.adopt(ctx, &opts)
	l, err := find(&opts)
	if err != nil {
		return nil, err
	}
	report.problem(errors.Join(l.errs...))
	report.Waiting = l.waits
	s := &syncer{opts: &opts, runs: l.runs, hosts: map[string]*host{}}
	for _, f := range l.runs {
		s.describe(f)
		report.Runs = append(report.Runs, &f.Result)
	}
	s.apart()
	if opts.DryRun {
		for _, f := range l.runs {
			s.plan(f)
		}
	} else if err := s.all(ctx, l.runs); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		report.Stopped = context.Cause(ctx).Error()
	}
	report.judge()
	return report, nil
}

// syncer uploads runs.
type syncer struct {
	opts *Options
	root *runlog.Root

	runs  []*found
	began map[string][]begun // of runs that were not done, by host, project and id

	names upload.Names

	mu    sync.Mutex // guards hosts
	hosts map[string]*host
}

// begun is where the upload of a run keeps how far it is.
type begun struct {
	run      *found
	position string
}

// describe fills in what is known before anything is done.
func (s *syncer) describe(f *found) {
	r := &f.Result
	r.Run, r.Host, r.To = f.name(), f.host, place(f.to)
	for _, p := range append(append([]part{}, f.parts...), f.others...) {
		r.Dirs = append(r.Dirs, s.opts.Shown(p.Dir))
		r.Rows += p.rows
		if p.Run != nil {
			r.Name = p.Run.DisplayName
		}
	}
	s.link(f)
}

// place is a run's path without what is left to the server.
func place(p wandb.Path) string {
	return runid.Coordinates{Entity: p.Entity, Project: cmp.Or(p.Project, "uncategorized"), ID: p.Run}.String()
}

// link fills in where the run is at W&B, as soon as W&B has said how it spells it.
func (s *syncer) link(f *found) {
	if f.progress != nil && f.progress.There {
		f.To = place(f.progress.Path)
		f.URL = wandb.RunURL(wandb.AppURL(f.host), f.progress.Path)
		f.Rows = max(f.Rows, f.progress.History)
	}
}

// settled decides what needs no upload. Of those, outcome and remedy are set.
func (s *syncer) settled(f *found) bool {
	r := &f.Result
	switch {
	case f.err != nil:
		r.Outcome, r.Error = Unreadable, f.err.Error()
		r.Remedy = "if no program writes it any more, move its directory away"
	case f.done():
		r.Outcome = There
		s.lost(f)
	case len(f.parts) == 0:
		r.Outcome = Synced
		s.leaveOthers(f)
	case f.foreign() && s.opts.SkipSynced:
		r.Outcome = Synced
		s.leaveOthers(f)
	case f.twin != nil && !s.opts.NewID:
		r.Outcome, r.Error = Left, fmt.Sprintf("run %s in %s goes to the same place, %s/%s: they would be one run at W&B", f.twin.name(), s.opts.Shown(f.twin.folder), f.host, place(f.to))
		r.Remedy = "sync it by itself to another --project, or all of them with --new-id, which gives this one an id of its own"
	default:
		return false
	}
	return true
}

// apart finds runs that would be one at W&B: by another project or entity for all
// of them, or because a folder was copied. The one that is there stays, else the
// first; no order of sending could bring both there whole.
func (s *syncer) apart() {
	first := map[string]*found{}
	at := func(f *found) string { return f.host + "\x00" + place(f.to) }
	for _, there := range []bool{true, false} {
		for _, f := range s.runs {
			if f.err != nil || len(f.parts) == 0 || (f.progress != nil) != there {
				continue
			}
			if before := first[at(f)]; before == nil {
				first[at(f)] = f
			} else if !f.done() {
				f.twin = before
			}
		}
	}
	s.began = map[string][]begun{}
	for _, f := range s.runs {
		if f.progress != nil && !f.done() {
			key := f.host + "\x00" + f.to.Project + "\x00" + f.to.Run
			s.began[key] = append(s.began[key], begun{f, f.position})
		}
	}
}

// claim has a run alone be written to as W&B calls it: a run that names the key's
// default entity and one that names none are two here and one there. Where the
// other one is done, this one goes behind it.
func (s *syncer) claim(f *found, path wandb.Path) error {
	if f.progress == nil || !f.progress.There {
		for _, other := range s.began[f.host+"\x00"+f.to.Project+"\x00"+f.to.Run] {
			if p, _ := upload.ReadProgress(other.position); other.run != f && p.Writes(path) {
				return &upload.TwiceError{At: path, Other: s.here(other.run)}
			}
		}
	}
	return s.names.Claim(f.host, path, s.here(f))
}

// here is what a run is called here, of whatever folder.
func (s *syncer) here(f *found) string { return f.name() + " in " + s.opts.Shown(f.folder) }

// leaveOthers says what to do with the parts that W&B's own client wrote. Those
// of an online run it sent itself.
func (s *syncer) leaveOthers(f *found) {
	for _, p := range f.others {
		if p.Offline && !p.Synced {
			f.Commands = append(f.Commands, "wandb sync "+Quote(s.opts.Shown(p.Dir)))
		}
	}
	switch {
	case len(f.Commands) == 0:
	case len(f.parts) == 0:
		f.Outcome = Foreign
	default:
		f.lost = true
		f.Notes = append(f.Notes, "W&B's own client wrote a part of this run: wandb sync uploads that")
	}
}

// lost says what of the run W&B can never have.
func (s *syncer) lost(f *found) {
	if f.target != nil {
		f.Notes = append(f.Notes, f.target.Lost...)
		f.lost = f.lost || len(f.target.Lost) > 0
	}
	if f.progress != nil && f.progress.TooLong > 0 {
		f.Notes = append(f.Notes, plural(f.progress.TooLong, "line")+" that W&B does not take: too long")
		f.lost = true
	}
}

// plan says what an upload would send.
func (s *syncer) plan(f *found) {
	if s.settled(f) {
		return
	}
	f.Outcome = ToSend
	f.Sent = f.Rows
	if f.progress != nil {
		f.Sent = max(0, f.Rows-f.progress.History)
	}
	if held, known := runlog.Held(f.folder, upload.LockKey(f.coordinates().Key())); held && known {
		f.Outcome, f.Sent = Busy, 0
	}
	s.leaveOthers(f)
	if !f.parts[len(f.parts)-1].exit {
		f.Notes = append(f.Notes, "it has no end yet")
	}
	if f.twin != nil {
		f.Notes = append(f.Notes, fmt.Sprintf("it gets a new id: run %s has this one", f.twin.name()))
	}
	if f.stop != nil {
		f.gone = f.stop.Gone
		f.Notes, f.Remedy = append(f.Notes, "the last upload stopped: "+f.stop.Error), f.stop.Remedy
	}
}

// all uploads the runs, a few at a time. It returns when none is at work.
func (s *syncer) all(ctx context.Context, runs []*found) (err error) {
	if len(runs) == 0 {
		return nil
	}
	if s.root, err = runlog.OpenRoot(s.opts.Dir, runlog.Options{}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.root.Close()) }()
	defer s.close()
	turn := make(chan struct{}, s.opts.Parallel)
	var work sync.WaitGroup
	for _, f := range runs {
		if s.settled(f) {
			s.opts.Watch.Ended(&f.Result)
			continue
		}
		turn <- struct{}{} // an ending context ends those at work soon
		work.Go(func() {
			defer func() { <-turn }()
			s.one(ctx, f)
			s.opts.Watch.Ended(&f.Result)
		})
	}
	work.Wait()
	return nil
}

// one uploads a run, as far as there is something.
func (s *syncer) one(ctx context.Context, f *found) {
	if ctx.Err() != nil {
		f.leave(context.Cause(ctx), "")
		return
	}
	folder, err := s.root.FolderAt(f.folder)
	if err != nil {
		f.leave(err, "")
		return
	}
	unlock, err := folder.Lock(upload.LockKey(f.coordinates().Key()))
	switch {
	case errors.Is(err, runlog.ErrLocked):
		f.Outcome = Busy
		return
	case err != nil:
		f.leave(err, "")
		return
	}
	defer func() {
		if err := unlock(); err != nil {
			f.Notes = append(f.Notes, err.Error())
		}
	}()
	if s.again(f) {
		return
	}
	h, err := s.host(ctx, f.host)
	if err != nil {
		f.leave(err, RemedyOf(err))
		return
	}
	s.upload(h, f)
}

// again looks once more, under the lock, at what another program may have
// changed since: it may have done all there was to do.
func (s *syncer) again(f *found) (done bool) {
	var err error
	if f.progress, err = upload.ReadProgress(f.position); err != nil {
		f.Notes = append(f.Notes, err.Error()) // it is made again
	}
	if f.done() {
		s.link(f)
		f.Outcome = There
		s.lost(f)
	}
	return f.done()
}

func (f *found) leave(err error, remedy string) {
	f.Outcome, f.Error, f.Remedy = Left, err.Error(), remedy
}

// upload uploads a run. Its lock is held.
func (s *syncer) upload(h *host, f *found) {
	if f.twin != nil { // a new id is asked for
		if err := s.newID(f); err != nil {
			s.ended(h, f, err)
			return
		}
	}
	if f.foreign() && !s.known(h, f) {
		return
	}
	err := s.once(h, f)
	var failure *upload.Failure
	if errors.As(err, &failure) && failure.Gone() && s.opts.NewID {
		if err = s.newID(f); err == nil {
			err = s.once(h, f)
		}
	}
	s.ended(h, f, err)
}

// known asks W&B for a run that `wandb sync` is said to have uploaded: its
// marker does not say that all went well. To send a run's rows to where they
// are already would double them.
func (s *syncer) known(h *host, f *found) (send bool) {
	r, err := h.client.ResumeStatus(h.ctx, f.to)
	switch {
	case err != nil:
		s.ended(h, f, err)
		return false
	case r == nil:
		return true
	case s.opts.NewID:
		if err := s.newID(f); err != nil {
			s.ended(h, f, err)
			return false
		}
		return true
	}
	f.Outcome = Synced
	f.To, f.URL = place(r.Path), wandb.RunURL(wandb.AppURL(f.host), r.Path)
	f.Notes = append(f.Notes, "W&B has it: --new-id would upload it once more, as another run")
	return false
}

// newID gives the run another id, for good: the next sync goes on with it.
func (s *syncer) newID(f *found) error {
	t := upload.Target{Host: f.host, Run: f.to}
	if f.target != nil {
		t.Before = f.target.Before
	}
	t.Before = append(t.Before, f.to.Run)
	old := f.log.Run
	t.Run.Run = old[:min(len(old), runid.MaxID-9)] + "-" + strings.ToLower(rand.Text()[:8])
	if err := t.Write(f.folder, f.log); err != nil {
		return err
	}
	f.target, f.to, f.progress, f.stop = &t, t.Run, nil, nil
	f.position = upload.PositionFile(f.folder, f.host, f.to)
	f.Notes = append(f.Notes, fmt.Sprintf("uploaded under the new id %s", f.to.Run))
	f.To, f.URL = place(f.to), ""
	return nil
}

// once makes an uploader and lets it work. What is written here is written
// before anything is sent.
func (s *syncer) once(h *host, f *found) error {
	if f.target == nil || f.target.Host != f.host || f.target.Run != f.to {
		t := upload.Target{Host: f.host, Run: f.to, Synced: f.before()}
		if f.target != nil {
			t.Synced = nil // those are at another place
		}
		if err := t.Write(f.folder, f.log); err != nil {
			return err
		}
		f.target = &t
	}
	var logs []string
	for _, p := range f.parts {
		if slices.Contains(f.target.Synced, filepath.Base(p.Dir)) {
			continue
		}
		if err := runlog.MarkSynced(p.Path); err != nil {
			return err
		}
		logs = append(logs, p.Path)
	}
	before := 0
	if f.progress != nil {
		before = f.progress.History
	}
	var claimed wandb.Path
	up := upload.New(upload.Options{
		Client: h.client, Run: f.to, Parts: logs, Position: f.position, Pacer: h.gate,
		Notify: func(n upload.Notice) { s.notice(f, n) },
		Claim: func(path wandb.Path) (err error) {
			if err = s.claim(f, path); err == nil {
				claimed = path
			}
			return err
		},
		Opening: func(ctx context.Context) (func(), error) { return s.names.Open(ctx, f.host, f.to) },
	})
	defer func() { s.names.Release(f.host, claimed, s.here(f)) }()
	s.opts.Watch.Began(&f.Result, func() int { return max(before, up.Status().History) })
	err := up.Run(h.ctx)
	if p, readErr := upload.ReadProgress(f.position); readErr == nil && p != nil {
		f.progress = p
		f.Sent += max(0, p.History-before)
	}
	s.link(f)
	return err
}

// ended says what became of the run.
func (s *syncer) ended(h *host, f *found, err error) {
	s.leaveOthers(f)
	s.lost(f)
	var failure *upload.Failure
	switch {
	case err == nil && f.done():
		f.Outcome = Uploaded
	case err == nil:
		f.Outcome = Unfinished
		if f.held {
			f.Notes = append(f.Notes, "it is still being written")
		} else {
			f.Remedy = "nobody is known to write it: start its exporter again on this directory, which ends it, and then sync"
		}
	case h.ctx.Err() != nil:
		f.leave(context.Cause(h.ctx), RemedyOf(context.Cause(h.ctx)))
	case errors.As(err, &failure):
		f.Outcome, f.Error, f.Remedy, f.gone = Stopped, failure.Err.Error(), failure.Remedy(), failure.Gone()
		if strings.Contains(f.Error, f.Remedy) {
			f.Remedy = "" // it is said already
		}
		h.refused(failure)
	default:
		f.leave(err, RemedyOf(err))
	}
}

// notice takes in what the uploader has to say. It is called by the goroutine
// that uploads the run.
func (s *syncer) notice(f *found, n upload.Notice) {
	switch n.Kind {
	case upload.Retrying:
		s.opts.Watch.Trouble(&f.Result, n.Err.Error())
	case upload.LogDamaged:
		f.target.Lost = append(f.target.Lost, "what lies behind damage is not uploaded: "+s.opts.Shown(n.Err.Error()))
		if err := f.target.Write(f.folder, f.log); err != nil {
			f.Notes = append(f.Notes, err.Error())
		}
	case upload.LineSkipped, upload.AlertRefused, upload.StateTrouble:
		f.note(n.Err.Error())
	}
}

// maxNotes bounds what is said of one run.
const maxNotes = 5

func (f *found) note(text string) {
	switch n := len(f.Notes); {
	case n < maxNotes:
		f.Notes = append(f.Notes, text)
	case n == maxNotes:
		f.Notes = append(f.Notes, "and more of that kind")
	}
}

// rootDir is the directory that has the folder `wandb` with the runs: what an
// exporter is given.
func rootDir(dir string) string {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return dir
	}
	if _, ok := runlog.ParseDirName(filepath.Base(abs), time.Local); ok {
		abs = filepath.Dir(abs)
	}
	if filepath.Base(abs) == "wandb" {
		abs = filepath.Dir(abs)
	}
	return abs
}
