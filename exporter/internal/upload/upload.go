package upload

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/otel-wandb/otel-wandb/exporter/internal/dotwandb"
	"github.com/otel-wandb/otel-wandb/internal/wandb"
)

// Options of an uploader.
type Options struct {
	Client *wandb.Client
	// Run to write to. What is empty is what the log says; an entity that
	// neither says is the user's own.
	Run wandb.Path
	// Parts are the run's logs, as far as they are there, oldest first.
	Parts []string
	// Position is the file in which the upload keeps where it is: see PositionFile.
	Position string
	// Follow goes on behind the end of a log that is being written, until the
	// run has ended. Without it Run returns when nothing is left to send.
	Follow bool
	// Alive says that the run's task lives: see SetAlive.
	Alive bool

	Pacer     Pacer         // Interval(15 s)
	Heartbeat time.Duration // 30 s: of silence, before a run that lives says so
	Poll      time.Duration // a minute: how long to wait for Wake before looking
	// Notify is told, from the goroutine of Run, what happens besides.
	Notify func(Notice)
	// Tried is told, by any goroutine, of each request that failed and that the
	// client tries again by itself, which it does for up to a week.
	Tried func(*wandb.Error)
	// Claim is told, from the goroutine of Run, what W&B calls the run, as soon as
	// that is known and before any line is sent. An error stops the upload: somebody
	// else writes to that run.
	Claim func(wandb.Path) error
	// Opening waits for the turn to open the run: to ask for it and to make it. done
	// says that it is over, and that Claim was called if that went well.
	Opening func(ctx context.Context) (done func(), err error)
	// Sent is told, from the goroutine of Run, how many lines W&B acknowledged: none with a
	// heartbeat.
	Sent func(lines int)
}

// NoticeKind is what a notice is about.
type NoticeKind int

// The kinds.
const (
	Retrying     NoticeKind = iota // W&B has trouble: it is tried again
	LineSkipped                    // W&B does not take a line: the rest goes on
	AlertRefused                   // W&B does not take an alert: the rest goes on
	FileFailed                     // a file cannot be read, or W&B does not take it: the rest goes on
	LogDamaged                     // what lies behind damage is not uploaded
	StateTrouble                   // the position cannot be read or written: W&B is asked, or things are sent again
	StopAsked                      // somebody pressed the run's stop button at W&B
	Opened                         // W&B has the run: it is new there, or goes on after its end
	Ended                          // W&B knows that the run has ended
)

// Notice is something to log or count. Err says what and of which run; Opened
// and Ended are no trouble, and have the rest.
type Notice struct {
	Kind NoticeKind
	Err  error

	Run      wandb.Path // as W&B spells it
	Name     string     // what people call the run
	URL      string     // the run's page
	ExitCode int        // of Ended
}

// Failure is why the upload of a run stopped: what the log holds stays there.
type Failure struct {
	Run wandb.Path
	Log string // the part it is about; "": none was begun
	Err error
}

func (f *Failure) Error() string {
	return fmt.Sprintf("upload of run %s stopped, what it has stays in %s: %v", f.Run, nonEmpty(f.Log, "its log"), f.Err)
}

func (f *Failure) Unwrap() error { return f.Err }

// Remedy is what a person can do about it, before the upload is started again.
func (f *Failure) Remedy() string {
	var advised interface{ Remedy() string }
	switch {
	case f.Gone():
		return "if the run was deleted at W&B, its id is gone for good: otel-wandb sync --new-id uploads all of it as another run"
	case errors.As(f.Err, &advised) && advised.Remedy() != "":
		return advised.Remedy()
	case errors.Is(f.Err, fs.ErrNotExist):
		return "put the log back, or remove the position of this upload"
	}
	return "see what it says, and start the upload again when that is put right: it goes on where it stopped"
}

// ErrNoRun is in the Failure of a log that does not say which run it is of.
var ErrNoRun = errors.New("no run record among the first ten records")

// Phase is what an uploader does.
type Phase int

// The phases.
const (
	Waiting   Phase = iota // for the log to grow, or for its turn
	Sending                //
	Hindered               // transient trouble: it is tried again
	Stopped                // a Failure
	Completed              // all is sent, the end too
)

func (p Phase) String() string {
	return [...]string{"waiting", "sending", "hindered", "stopped", "completed"}[p]
}

// Status is what an uploader says of itself.
type Status struct {
	Phase Phase
	Err   error      // of Hindered and Stopped
	Path  wandb.Path // as W&B spells it, once it is known

	History, Events, Console int // lines that W&B has of this log
	TooLong                  int // lines that W&B does not take
	BadValues                int // values that are not JSON: sent as text
	AlertsRefused            int
	FilesFailed              int    // that W&B will not have
	Behind                   int64  // bytes of the part's log that are not sent
	Part                     string // the directory of the part it is at
	Offset                   int64  // in the part's log: what is before is at W&B
	StopAsked                bool   // somebody pressed the stop button
}

// Uploader streams one run. Make it with New.
//
// ConcurrentSafe: all but Run, which is one goroutine's, by a lock.
type Uploader struct {
	opts  Options
	wake  chan struct{}
	state *state // Run's

	seen     int64    // the log's size when it gave no more; only a longer one is looked at
	damaged  bool     // the part's log gives no more whatever its size
	asked    bool     // W&B was asked in this Run, and knew nothing of the run
	attached position // then
	opened   func()   // gives the turn to open the run up; nil without it
	lastSent time.Time

	filesAfter time.Time // files had trouble: not before

	mu         sync.Mutex // guards everything below
	parts      []string   // oldest first
	alive      bool
	preempting bool
	finishing  bool
	hurry      context.CancelCauseFunc // of the waiting for a turn; nil while there is none
	status     Status
}

// New makes an uploader. It reads and sends nothing before Run.
func New(opts Options) *Uploader {
	opts.Heartbeat = cmp.Or(opts.Heartbeat, 30*time.Second)
	opts.Poll = cmp.Or(opts.Poll, time.Minute)
	if opts.Pacer == nil {
		opts.Pacer = Interval(15 * time.Second)
	}
	if opts.Notify == nil {
		opts.Notify = func(Notice) {}
	}
	if opts.Tried == nil {
		opts.Tried = func(*wandb.Error) {}
	}
	if opts.Claim == nil {
		opts.Claim = func(wandb.Path) error { return nil }
	}
	if opts.Opening == nil {
		opts.Opening = func(context.Context) (func(), error) { return func() {}, nil }
	}
	if opts.Sent == nil {
		opts.Sent = func(int) {}
	}
	u := &Uploader{opts: opts, wake: make(chan struct{}, 1), alive: opts.Alive}
	for _, part := range opts.Parts {
		u.AddPart(part)
	}
	return u
}

// Wake says that a log has grown.
func (u *Uploader) Wake() {
	select {
	case u.wake <- struct{}{}:
	default:
	}
}

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

// SetAlive says whether the run's task lives: only then silence is filled with
// heartbeats, without which W&B calls a run crashed after five minutes.
func (u *Uploader) SetAlive(alive bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.alive = alive
	u.Wake()
}

// Preempting tells W&B that the run may soon be silent for long.
func (u *Uploader) Preempting() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.preempting = true
	u.hasten()
}

// Finish makes Run send what there is without collecting, and return when
// nothing is left to send, as if it did not follow.
func (u *Uploader) Finish() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.finishing = true
	u.hasten()
}

// errHasten ends a wait for a turn that has become urgent.
var errHasten = errors.New("it is urgent now")

// hasten wakes Run, also from waiting for its turn. The lock is held.
func (u *Uploader) hasten() {
	if u.hurry != nil {
		u.hurry(errHasten)
	}
	u.Wake()
}

// follows tells whether more may come that is waited for.
func (u *Uploader) follows() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.opts.Follow && !u.finishing
}

// Status is what the uploader does.
func (u *Uploader) Status() Status {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.status
}

func (u *Uploader) setStatus(change func(*Status)) {
	u.mu.Lock()
	defer u.mu.Unlock()
	change(&u.status)
}

func (u *Uploader) notify(kind NoticeKind, err error) { u.opts.Notify(Notice{Kind: kind, Err: err}) }

// announce says where people see the run.
func (u *Uploader) announce(kind NoticeKind, exitCode int) {
	run := u.state.Path
	url := wandb.RunURL(wandb.AppURL(u.opts.Client.BaseURL()), run)
	u.opts.Notify(Notice{Kind: kind, Run: run, Name: nonEmpty(u.state.Named, run.Run), URL: url, ExitCode: exitCode})
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

// Run uploads until the run has ended, or nothing is left to send, or the
// context ends, or W&B refuses: then the error is a *Failure. It may be called
// again; it goes on where it was.
func (u *Uploader) Run(ctx context.Context) error {
	err := u.run(wandb.OnRetry(ctx, u.tried))
	switch {
	case err == nil:
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	default:
		path, log := u.opts.Run, u.log(u.after(""))
		if u.state != nil {
			path, log = u.state.path(), u.log(u.state.Part)
		}
		failure := &Failure{Run: path, Log: log, Err: err}
		err = failure
		u.setStatus(func(s *Status) { s.Phase, s.Err = Stopped, err })
		u.stopped(failure)
	}
	return err
}

func (u *Uploader) run(ctx context.Context) error {
	u.state, u.seen, u.damaged, u.asked, u.lastSent = nil, 0, false, false, time.Time{}
	u.filesAfter = time.Time{}
	defer u.isOpen()
	if err := u.attach(ctx); err != nil {
		return err
	}
	for {
		more, err := u.step(ctx)
		var local *fs.PathError
		switch {
		case err == nil:
		case u.opts.Follow && errors.As(err, &local) && !errors.Is(err, fs.ErrNotExist):
			// This machine's trouble, such as too many open files.
			u.notify(Retrying, fmt.Errorf("upload of %s: %w", u.state.path(), err))
			if err := sleep(ctx, maxWait); err != nil {
				return err
			}
			more = true
		default:
			return err
		}
		if !more {
			return nil
		}
	}
}

// tried notes what the client tries again by itself. That W&B asks for less is no
// trouble: the pacer says so.
func (u *Uploader) tried(err *wandb.Error) {
	if !errors.Is(err, wandb.ErrRateLimited) {
		u.setStatus(func(s *Status) { s.Phase, s.Err = Hindered, err })
	}
	u.opts.Tried(err)
}

// step does the next thing; more is false when there is none.
func (u *Uploader) step(ctx context.Context) (more bool, err error) {
	s := u.state
	next := u.after(s.Part) // before the size: the part before it does not grow any more
	pending, err := u.pending()
	switch {
	case err != nil:
		return false, err
	case pending > 0 || !s.Done && (s.SummaryDirty || s.Exit == nil && len(s.Uploaded) > 0):
		return true, u.sendBatch(ctx, pending)
	case s.Exit == nil && u.filesDue():
		if u.follows() {
			return true, u.sendFiles(ctx)
		}
		return true, u.allFiles(ctx, false)
	case next != "":
		s.begin(next)
		u.seen, u.damaged = 0, false
		if s.Reopen {
			return true, u.reopen(ctx)
		}
		return true, nil
	case s.Done:
		u.setStatus(func(st *Status) { st.Phase = Completed })
		return false, nil
	case s.Exit != nil:
		return true, u.complete(ctx)
	case !u.follows():
		return false, nil
	}
	return true, u.idle(ctx)
}

// pending is how many bytes of the log are to be looked at.
func (u *Uploader) pending() (int64, error) {
	s := u.state
	if s.Done || s.Exit != nil || u.damaged {
		return 0, nil
	}
	log := u.log(s.Part)
	if log == "" {
		return 0, fmt.Errorf("part %s: %w", s.Part, fs.ErrNotExist)
	}
	fi, err := os.Stat(log)
	if err != nil {
		return 0, err
	}
	u.setStatus(func(st *Status) { st.Behind = max(0, fi.Size()-s.Offset) })
	if fi.Size() <= max(s.Offset, u.seen) {
		return 0, nil
	}
	return fi.Size() - s.Offset, nil
}

// idle waits for the log to grow, and says that the run lives.
func (u *Uploader) idle(ctx context.Context) error {
	u.mu.Lock()
	alive, preempting := u.alive, u.preempting
	u.status.Phase = Waiting
	u.mu.Unlock()
	wait := u.opts.Poll
	if u.state.Upserted && (alive || preempting) {
		due := u.opts.Heartbeat - time.Since(u.lastSent)
		if due <= 0 || preempting {
			return u.heartbeat(ctx)
		}
		wait = min(wait, due)
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
	case <-u.wake:
	case <-ctx.Done():
	}
	return context.Cause(ctx)
}

// heartbeat says that the run lives, if there are no lines to say so by the time
// that it may: then the turn is theirs.
func (u *Uploader) heartbeat(ctx context.Context) error {
	if err := u.turn(ctx, Heartbeat, 0, false); err != nil {
		if errors.Is(err, ErrWoken) {
			return nil
		}
		return err
	}
	u.mu.Lock()
	due := u.alive || u.preempting
	u.mu.Unlock()
	if pending, err := u.pending(); err != nil || pending > 0 || !due {
		return err
	}
	return u.send(ctx, &wandb.StreamRequest{}, Heartbeat)
}

// firstBatch bounds what is read for the request that opens a run, about: it is
// held while the run is opened, and what comes first shall be there soon.
const firstBatch = 256 << 10

// sendBatch reads what there is and brings it to W&B. The log is read when the
// request may go: so it carries all that came while it waited.
func (u *Uploader) sendBatch(ctx context.Context, pending int64) error {
	s := u.state
	// A run has no file stream, nor a project that is known by its name, before
	// its first upsert. So it waits for that, and then for its lines' turn.
	opening, urgent := !s.Upserted, !u.follows() || pending >= wandb.MaxRequest
	kind := Lines
	switch {
	case opening:
		kind = Upsert
	case !urgent && u.onlySummary(pending):
		kind = Heartbeat // it is the last that anybody waits for: rows of busy runs go first
	}
	if err := u.turn(ctx, kind, pending, opening || urgent); err != nil {
		if errors.Is(err, ErrWoken) {
			return nil // the log may say more now
		}
		return err
	}
	b, err := u.read()
	if err != nil {
		return err
	}
	s.finish(b)
	b.Uploaded = s.Uploaded
	if b.IsHeartbeat() && b.alert == nil && !s.dirty() {
		return nil // nothing for W&B
	}
	if s.dirty() {
		if again, err := u.upsert(ctx); err != nil || again {
			return err
		}
	}
	if !b.IsHeartbeat() {
		if opening {
			if err := u.turn(ctx, Lines, pending, urgent); err != nil {
				return err
			}
		}
		if err := u.send(ctx, &b.StreamRequest, Lines); err != nil {
			return err
		}
	}
	if b.alert != nil {
		if err := u.alert(ctx, b.alert); err != nil {
			return err
		}
	}
	u.save()
	if s.Exit != nil {
		return nil // all files are sent then
	}
	return u.sendFiles(ctx)
}

// maxPeek is how much of a log is looked at to see what it is: what brings only
// a summary is short.
const maxPeek = 16 << 10

// onlySummary tells whether nothing waits but a summary, which each run changes
// now and then, all at once in a fleet: by heartbeats, and a second after rows; or
// the names of files that are there.
func (u *Uploader) onlySummary(pending int64) bool {
	s := u.state
	if pending > maxPeek || s.dirty() {
		return false
	}
	if pending == 0 {
		return true
	}
	file, err := os.Open(u.log(s.Part))
	if err != nil {
		return false
	}
	defer file.Close()
	if _, err := file.Seek(s.Offset, io.SeekStart); err != nil {
		return false
	}
	for r := dotwandb.NewReaderAt(file, s.Offset, dotwandb.Strict); ; {
		body, err := r.Next()
		if err != nil {
			return errors.Is(err, io.EOF)
		}
		if rec, err := dotwandb.Decode(body); err != nil || rec.Summary == nil {
			return false
		}
	}
}

// read fills a batch from the log.
func (u *Uploader) read() (*batch, error) {
	s, b := u.state, &batch{}
	if u.damaged {
		return b, nil
	}
	file, err := os.Open(u.log(s.Part))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	fi, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if _, err := file.Seek(s.Offset, io.SeekStart); err != nil {
		return nil, err
	}
	defer func() {
		if b, err := tail(file, s.Offset); err == nil {
			s.Tail = b
		}
	}()
	r := dotwandb.NewReaderAt(file, s.Offset, dotwandb.Strict)
	for s.Exit == nil && b.alert == nil && b.named < filesAtOnce && (s.Upserted || b.Size() < firstBatch) {
		body, err := r.Next()
		var rec dotwandb.Record
		if err == nil {
			if rec, err = dotwandb.Decode(body); err != nil {
				err = fmt.Errorf("before offset %d: %w", r.Offset(), err)
				u.damage(err)
				return b, nil
			}
		}
		var corrupt *dotwandb.CorruptError
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			u.seen = fi.Size() // no more now; a torn tail is a record being written
			return b, nil
		case errors.As(err, &corrupt):
			u.damage(err)
			return b, nil
		case err != nil:
			return nil, err
		}
		if err := s.apply(&rec, b); errors.Is(err, wandb.ErrFull) {
			return b, nil
		} else if err != nil {
			return nil, err
		}
		s.Offset = r.Offset()
	}
	return b, nil
}

func (u *Uploader) damage(err error) {
	u.damaged = true
	u.notify(LogDamaged, fmt.Errorf("%s: %w", u.log(u.state.Part), err))
}

// complete ends the run at W&B. It goes alone and last, when W&B has all else,
// so that it is the same request however often it is sent. Of a run that crashed
// there is none: W&B calls it crashed when it hears no more of it.
func (u *Uploader) complete(ctx context.Context) error {
	s := u.state
	if err := u.lastFiles(ctx); err != nil {
		return err
	}
	silent := s.Exit.NotComplete || s.Exit.Code == dotwandb.ExitCrashed // no request says that it ends
	if silent && len(s.Uploaded) > 0 {
		if err := u.turn(ctx, Lines, 0, true); err != nil {
			return err
		}
		if err := u.send(ctx, &wandb.StreamRequest{Uploaded: s.Uploaded}, Lines); err != nil {
			return err
		}
	}
	switch {
	case s.Exit.NotComplete:
	case s.Exit.Code == dotwandb.ExitCrashed:
		u.announce(Ended, dotwandb.ExitCrashed)
	default:
		r := &wandb.StreamRequest{Uploaded: s.Uploaded, Complete: true, ExitCode: int(s.Exit.Code)}
		if err := u.turn(ctx, End, 0, true); err != nil {
			return err
		}
		if err := u.send(ctx, r, End); err != nil {
			return err
		}
		u.announce(Ended, r.ExitCode)
	}
	s.Done = true
	u.save()
	return nil
}

// send sends a request whose turn it is.
func (u *Uploader) send(ctx context.Context, r *wandb.StreamRequest, kind Kind) error {
	s := u.state
	u.mu.Lock()
	r.Preempting = u.preempting
	u.mu.Unlock()
	stream := u.opts.Client.Stream(s.Path, false)
	var answer wandb.StreamAnswer
	err := u.try(ctx, kind, func() (err error) {
		answer, err = stream.Send(ctx, r)
		return err
	})
	if err != nil {
		return err
	}
	u.lastSent = time.Now()
	s.Uploaded = s.Uploaded[len(r.Uploaded):]
	u.opts.Sent(r.Lines())
	u.mu.Lock()
	if r.Preempting {
		u.preempting = false
	}
	first := answer.Stopped && !u.status.StopAsked
	u.status.StopAsked = u.status.StopAsked || answer.Stopped
	u.mu.Unlock()
	if first {
		u.notify(StopAsked, fmt.Errorf("%s: somebody asked at W&B that the run stop", s.Path))
	}
	return nil
}

func (u *Uploader) alert(ctx context.Context, a *dotwandb.Alert) error {
	s := u.state
	if err := u.turn(ctx, Alert, 0, true); err != nil {
		return err
	}
	err := u.try(ctx, Alert, func() error {
		return u.opts.Client.Alert(ctx, s.Path, wandb.Alert{Title: a.Title, Text: a.Text, Level: a.Level, Wait: a.Wait})
	})
	if errors.Is(err, wandb.ErrRefused) || errors.Is(err, wandb.ErrTooLarge) {
		// It is about this alert. Rows behind it must not wait for it for ever.
		s.AlertsRefused++
		u.notify(AlertRefused, fmt.Errorf("%s: alert %q: %w", s.Path, a.Title, err))
		return nil
	}
	return err
}

// turn asks the pacer.
func (u *Uploader) turn(ctx context.Context, kind Kind, pending int64, urgent bool) error {
	for {
		waiting, done := context.WithCancelCause(ctx)
		u.mu.Lock()
		urgent = urgent || u.preempting || u.finishing
		alive := u.alive
		u.hurry = done
		u.mu.Unlock()
		err := u.opts.Pacer.Wait(waiting, Request{
			Run: u.state.path(), Kind: kind, Bytes: pending, Urgent: urgent, Alive: alive,
			Since: time.Since(u.lastSent), Woken: u.wake,
		})
		again := err != nil && errors.Is(context.Cause(waiting), errHasten)
		done(nil)
		u.mu.Lock()
		u.hurry = nil
		if err == nil {
			u.status.Phase = Sending
		}
		u.mu.Unlock()
		if !again {
			return err
		}
	}
}

// Bounds of the waiting between tries, each of which is many of the client's.
const (
	firstWait = 2 * time.Second
	maxWait   = time.Minute
)

// try does what may fail for a while, for as long as that takes.
func (u *Uploader) try(ctx context.Context, kind Kind, do func() error) error {
	for wait := firstWait; ; wait = min(2*wait, maxWait) {
		err := do()
		if err == nil || ctx.Err() != nil || !wandb.IsTransient(err) {
			return err
		}
		u.setStatus(func(s *Status) { s.Phase, s.Err = Hindered, err })
		u.notify(Retrying, err)
		if err := sleep(ctx, wait); err != nil {
			return err
		}
		if err := u.turn(ctx, kind, 0, true); err != nil {
			return err
		}
	}
}

// save writes the position down. That it cannot is no reason to stop.
func (u *Uploader) save() {
	s := u.state
	if err := errors.Join(s.pack().save(u.opts.Position), clearStop(u.opts.Position)); err != nil {
		u.notify(StateTrouble, err)
	}
	sent := s.sent()
	u.setStatus(func(st *Status) {
		st.Err, st.Path, st.Part, st.Offset = nil, s.Path, s.Part, s.Offset
		st.History, st.Events, st.Console = sent.History, sent.Events, sent.Console
		st.TooLong, st.BadValues, st.AlertsRefused, st.FilesFailed = s.TooLong, s.BadValues, s.AlertsRefused, s.FilesFailed
	})
}
