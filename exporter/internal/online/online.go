package online

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/otel-wandb/otel-wandb/exporter/internal/runlog"
	"github.com/otel-wandb/otel-wandb/exporter/internal/runview"
	"github.com/otel-wandb/otel-wandb/exporter/internal/upload"
	"github.com/otel-wandb/otel-wandb/internal/runid"
	"github.com/otel-wandb/otel-wandb/internal/wandb"
)

// Config of an Online.
type Config struct {
	// Way gives the client for a run, and what says when its requests may go. It
	// is called for each run; an error stops that run's upload, not its log.
	// client is who opened the run, where senders are authenticated. With
	// ErrNoKeyYet the run waits.
	Way func(key runid.Coordinates, client string) (*wandb.Client, upload.Pacer, error)
	// Host and Entity are those of <dir>/wandb, whose runs name neither.
	Host, Entity string
	// MaxBehind bounds the bytes of run logs that W&B does not have; 0 is as
	// much as the disk takes. Beyond it, Full is an error.
	MaxBehind int64

	// Drain bounds how long Shutdown sends; 0 is 5 s.
	Drain time.Duration

	Logger *zap.Logger
	// Health is told what hinders uploads, and nil when nothing does any more.
	Health func(error)
	// Say is given the lines with a run's page, for people; nil logs them.
	Say func(line string)
	// StopAsked is told that somebody pressed a run's stop button at W&B.
	StopAsked func(runid.Coordinates)

	now func() time.Time // time.Now
}

// Online is the uploads of one exporter. Make it with New.
//
// ConcurrentSafe: a lock guards the table, each stream has one of its own.
type Online struct {
	cfg    Config
	ctx    context.Context
	cancel context.CancelCauseFunc
	flows  sync.WaitGroup // streams at work
	work   sync.WaitGroup // everything else

	names upload.Names // of the runs that streams are at

	changed chan struct{} // trouble began or ended: watch looks

	retryLock time.Duration // how often a run is asked for that another program uploads

	mu      sync.Mutex // guards everything below
	streams map[runid.Coordinates]*Stream
	closed  bool
	counts  Counts
	behind  int64 // bytes, when they were last looked at
	health  error // what Health was told last
}

// Counts are what uploads did since the exporter started.
type Counts struct {
	Lines         int64 // that W&B acknowledged
	Retries       int64 // of requests
	Opened, Ended int64 // runs that W&B got to know, and whose end it knows
	LinesTooLong  int64 // lines that W&B does not take
	AlertsRefused int64
	LogsDamaged   int64
	FilesFailed   int64
}

// Gauges are the state of the uploads at the moment.
type Gauges struct {
	Phases map[upload.Phase]int64 // runs
	Behind int64                  // bytes of run logs that W&B does not have
}

// errShutdown ends the streams.
var errShutdown = errors.New("the exporter shuts down")

// New makes an Online. It does nothing before Follow.
func New(cfg Config) *Online {
	if cfg.Logger == nil {
		cfg.Logger = zap.NewNop()
	}
	cfg.Drain = cmp.Or(cfg.Drain, 5*time.Second)
	if cfg.now == nil {
		cfg.now = time.Now
	}
	if cfg.Health == nil {
		cfg.Health = func(error) {}
	}
	if cfg.Say == nil {
		cfg.Say = func(line string) { cfg.Logger.Info(line) }
	}
	if cfg.StopAsked == nil {
		cfg.StopAsked = func(runid.Coordinates) {}
	}
	o := &Online{cfg: cfg, retryLock: 10 * time.Second, changed: make(chan struct{}, 1), streams: map[runid.Coordinates]*Stream{}}
	o.ctx, o.cancel = context.WithCancelCause(context.Background())
	o.work.Go(o.watch)
	return o
}

// Follow uploads a run whose task lives, from its logs, oldest first. The last
// is being written: say with the Stream when it grows and when it has ended.
// The same run gives the same Stream while it is at work.
// client is who opened it.
func (o *Online) Follow(key runid.Coordinates, client string, folder *runlog.Folder, logs []string) *Stream {
	return o.stream(key, client, folder, logs, true)
}

func (o *Online) stream(key runid.Coordinates, client string, folder *runlog.Folder, logs []string, follow bool) *Stream {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := o.streams[key]
	if s == nil {
		s = &Stream{o: o, key: key, folder: folder, news: make(chan struct{}, 1)}
		o.streams[key] = s
	}
	s.add(client, logs, follow)
	o.start(s)
	return s
}

// start has a goroutine work for the stream, if there is none. The lock is held.
func (o *Online) start(s *Stream) {
	if !s.working && !o.closed && s.failed == nil {
		s.working = true
		o.flows.Go(func() { s.work(o.ctx) })
	}
}

// KeyChanged tries the runs of a client again that wait for its key, or that W&B
// refused because of it: it has brought another one.
func (o *Online) KeyChanged(client string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, s := range o.streams {
		if !s.of(client) {
			continue
		}
		if keyRefused(s.failed) {
			s.failed = nil
			o.check()
		}
		o.start(s)
	}
}

// claim has a stream alone write to a run as W&B calls it. Runs of which some
// telemetry names the key's default entity, and some none, are two here and one there.
func (o *Online) claim(s *Stream, to where, path wandb.Path) error {
	if err := o.twin(s, to, path); err != nil {
		return err
	}
	if err := o.names.Claim(to.key.Host, path, s.key.String()); err != nil {
		return err
	}
	s.release = func() { o.names.Release(to.key.Host, path, s.key.String()) }
	return nil
}

// twin looks for another stream that is at the run already, and this one is not:
// after a restart that goes on, be it slower than this one.
func (o *Online) twin(s *Stream, to where, path wandb.Path) error {
	if own, _ := upload.ReadProgress(to.position); own != nil && own.There {
		return nil
	}
	o.mu.Lock()
	var others []*Stream
	for key, other := range o.streams {
		if other != s && other.failed == nil && key.ID == s.key.ID && key.Project == s.key.Project {
			others = append(others, other)
		}
	}
	o.mu.Unlock()
	for _, other := range others {
		its := destination(other.key, other.folder)
		if p, _ := upload.ReadProgress(its.position); its.key.Host == to.key.Host && p.Writes(path) {
			return &upload.TwiceError{At: path, Other: other.key.String()}
		}
	}
	return nil
}

// leftOver tells whether a run's parts hold something that was to be uploaded
// and was not: parts of an exporter with upload, or an upload under way.
func (o *Online) leftOver(key runid.Coordinates, folder *runlog.Folder, parts []runview.PartInfo) (logs []string) {
	at, err := upload.ReadProgress(destination(key, folder).position)
	ours := err != nil || at != nil // a position that cannot be read is one
	for _, p := range parts {
		ours = ours || !p.Offline
		logs = append(logs, p.Path)
	}
	if !ours || at != nil && at.Done && at.Part == partOf(logs[len(logs)-1]) {
		return nil
	}
	return logs
}

// TakeUp finds what an earlier exporter left behind below root, and uploads it.
// Runs that are open besides are the engine's to follow. It returns at once;
// folders with very many runs take a while. clientOf says who opened a run.
func (o *Online) TakeUp(root *runlog.Root, clientOf func(*runlog.Folder, runid.Coordinates) string) {
	o.work.Go(func() {
		if err := o.takeUp(root, clientOf); err != nil && o.ctx.Err() == nil {
			o.cfg.Logger.Warn("not everything that an earlier exporter left behind is uploaded: `otel-wandb sync` may find the rest", zap.Error(err))
		}
	})
}

func (o *Online) takeUp(root *runlog.Root, clientOf func(*runlog.Folder, runid.Coordinates) string) error {
	all, listErr := runview.List(root.Dir())
	errs := []error{listErr}
	n := 0
	for k, parts := range runview.Group(all) {
		if o.ctx.Err() != nil {
			return nil //nolint:nilerr // the exporter ends: what List could not read, the next start hears of
		}
		key := runid.Coordinates{Host: k.Host, Project: k.Project, ID: k.ID}
		if run := parts[0].Run; run != nil {
			key.Entity = run.Entity // a folder's name may stand for none
		}
		if k.Host == "" {
			key.Host, key.Entity = o.cfg.Host, cmp.Or(key.Entity, o.cfg.Entity)
			if run := parts[0].Run; run != nil {
				key.Host = cmp.Or(run.BaseURL, key.Host) // the configuration may have changed
			}
		}
		if k.Project == "" {
			continue // its log says nothing of it; List said so
		}
		folder, err := root.FolderAt(filepath.Dir(parts[0].Dir))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		key = begun(key, folder)
		if logs := o.leftOver(key, folder, parts); logs != nil {
			n++
			o.stream(key, clientOf(folder, key), folder, logs, false)
		}
	}
	if n > 0 {
		o.cfg.Logger.Info("runs of an earlier exporter are uploaded", zap.Int("runs", n))
	}
	return errors.Join(errs...)
}

// begun is where the upload of a run began, where that was: the configuration
// may have another host or entity now, and a run is not to be in two places.
func begun(key runid.Coordinates, folder *runlog.Folder) runid.Coordinates {
	known, _ := upload.List(folder.Dir()) // what cannot be read is not known
	elsewhere := key
	for _, k := range known {
		if k.Asked.Project != key.Project || k.Asked.Run != key.ID {
			continue
		}
		if k.Host == key.Host && k.Asked.Entity == key.Entity {
			return key
		}
		elsewhere.Host, elsewhere.Entity = k.Host, k.Asked.Entity
	}
	return elsewhere
}

// Greet asks W&B whom the credentials belong to, and logs it. It returns at once.
func (o *Online) Greet(client *wandb.Client) {
	o.work.Go(func() {
		who, err := client.Viewer(o.ctx)
		switch {
		case o.ctx.Err() != nil:
		case err != nil:
			o.cfg.Logger.Warn("W&B does not say whom the credentials belong to", zap.String("host", client.BaseURL()), zap.Error(err))
		default:
			o.cfg.Logger.Info("runs are uploaded", zap.String("host", client.BaseURL()), zap.String("user", who.Username), zap.String("default_entity", who.Entity))
		}
	})
}

// Full is an error while more is behind than MaxBehind: senders then keep what
// they have.
func (o *Online) Full() error {
	if o.cfg.MaxBehind == 0 {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.behind <= o.cfg.MaxBehind {
		return nil
	}
	return fmt.Errorf("%d MiB of runs wait for W&B, which is more than `upload::max_behind_mib`: see why uploads are hindered, or raise it", o.behind>>20)
}

// lookEvery is how often what is behind is looked at.
const lookEvery = 2 * time.Second

// watch keeps what is behind and the health up to date.
func (o *Online) watch() {
	t := time.NewTicker(lookEvery)
	defer t.Stop()
	for {
		select {
		case <-o.ctx.Done():
			return
		case <-t.C:
			o.look()
		case <-o.changed:
			o.judge()
			select { // an outage changes every run at once: one look does for many
			case <-time.After(10 * time.Millisecond):
			case <-o.ctx.Done():
			}
		}
	}
}

// check has watch look at the health.
func (o *Online) check() {
	select {
	case o.changed <- struct{}{}:
	default:
	}
}

func (o *Online) look() {
	o.mu.Lock()
	streams := make([]*Stream, 0, len(o.streams))
	for _, s := range o.streams {
		if s.failed == nil { // else it is left to `otel-wandb sync`
			streams = append(streams, s)
		}
	}
	o.mu.Unlock()
	var behind int64
	for _, s := range streams {
		behind += s.behind()
	}
	o.mu.Lock()
	o.behind = behind
	o.mu.Unlock()
	o.judge()
}

// judge tells Health what changed. Only watch calls it: Health hears changes in
// their order.
func (o *Online) judge() {
	o.mu.Lock()
	var worst error
	for _, s := range o.streams {
		if err := s.trouble(); err != nil && (worst == nil || s.failed != nil) {
			worst = err
		}
	}
	changed := (worst == nil) != (o.health == nil)
	o.health = worst
	o.mu.Unlock()
	if changed {
		o.cfg.Health(worst)
	}
}

// Counts gives what was counted.
func (o *Online) Counts() Counts {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.counts
}

func (o *Online) count(change func(*Counts)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	change(&o.counts)
}

// Gauges gives the state at the moment.
func (o *Online) Gauges() Gauges {
	o.mu.Lock()
	defer o.mu.Unlock()
	g := Gauges{Phases: map[upload.Phase]int64{}, Behind: o.behind}
	for _, s := range o.streams {
		g.Phases[s.phase()]++
	}
	return g
}

// Shutdown sends what there is, as long as Drain and ctx last, and ends. What is not
// sent then stays in the logs, for the next start or `otel-wandb sync`. No log
// may grow any more.
func (o *Online) Shutdown(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, o.cfg.Drain)
	defer cancel()
	o.mu.Lock()
	o.closed = true
	for _, s := range o.streams {
		s.finish()
	}
	o.mu.Unlock()
	idle := make(chan struct{})
	go func() {
		o.flows.Wait()
		close(idle)
	}()
	select {
	case <-idle:
	case <-ctx.Done():
	}
	o.cancel(errShutdown)
	<-idle
	o.work.Wait()
	o.mu.Lock()
	defer o.mu.Unlock()
	left := 0
	for _, s := range o.streams {
		if s.unsent() {
			left++
		}
	}
	if left > 0 { // no error: it is what happens when W&B is slow, and nothing is lost
		o.cfg.Logger.Warn("not all that was written is uploaded: the next start goes on with it, or `otel-wandb sync`", zap.Int("runs", left))
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// partOf names a log's part: its directory.
func partOf(log string) string { return filepath.Base(filepath.Dir(log)) }
