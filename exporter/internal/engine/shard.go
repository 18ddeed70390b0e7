package engine

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/otel-wandb/otel-wandb/exporter/internal/run"
	"github.com/otel-wandb/otel-wandb/exporter/internal/runlog"
	"github.com/otel-wandb/otel-wandb/internal/runid"
)

// shard owns the runs whose keys hash to it. One goroutine touches its runs;
// everyone else sends it parcels.
type shard struct {
	e    *Engine
	runs map[runid.Coordinates]*openRun // owned by the goroutine

	mu     sync.Mutex // guards the queue
	queue  []*parcel
	ticked []tick
	halted bool
	wake   chan struct{}

	openRuns atomic.Int64
	done     chan struct{}
	err      error               // of the last goodbye; read after done
	resume   []runid.Coordinates // runs an earlier exporter left open; under mu
}

type tick struct {
	now  int64
	done chan struct{}
}

// openRun is a run in memory, with its log.
type openRun struct {
	state  *run.State
	log    *runLog
	failed *run.Write // could not be written: nothing else is, before it is
	dirty  []*parcel  // of the round under way, to be answered when it is written
	err    error      // of the round under way: a part of it could not be written
	closed int64      // when it ended, to be dropped from memory a little later

	published int // how many of its sources metrics can join it by; -1: not said yet
}

// maxBatch is how many bytes of one run are written at once: about, and more
// where one request has more.
const maxBatch = 8 << 20

// closedStays is how long a run that has ended stays in memory: late items
// come soon after the end.
const closedStays = int64(time.Minute)

func newShard(e *Engine) *shard {
	return &shard{e: e, runs: map[runid.Coordinates]*openRun{}, wake: make(chan struct{}, 1), done: make(chan struct{})}
}

func (s *shard) start() { go s.loop() }

// send gives the shard a parcel. It never blocks: the engine's in-flight bound
// is what keeps the queue short.
func (s *shard) send(p *parcel) {
	s.mu.Lock()
	s.queue = append(s.queue, p)
	s.mu.Unlock()
	s.poke()
}

func (s *shard) tick(now int64) chan struct{} {
	t := tick{now, make(chan struct{})}
	s.mu.Lock()
	s.ticked = append(s.ticked, t)
	s.mu.Unlock()
	s.poke()
	return t.done
}

func (s *shard) poke() {
	select {
	case s.wake <- struct{}{}:
	default: // it will look at the whole queue anyway
	}
}

func (s *shard) stop() error {
	s.mu.Lock()
	s.halted = true
	s.mu.Unlock()
	s.poke()
	<-s.done
	return s.err
}

func (s *shard) loop() {
	defer close(s.done)
	for {
		<-s.wake
		s.mu.Lock()
		queue, ticked, halted := s.queue, s.ticked, s.halted
		s.queue, s.ticked = nil, nil
		s.mu.Unlock()

		s.round(queue)
		for _, t := range ticked {
			s.tend(t.now)
			close(t.done)
		}
		if halted {
			s.err = s.goodbye()
			return
		}
	}
}

// round takes all that waited: applies it, appends once a run, answers.
func (s *shard) round(queue []*parcel) {
	now := s.e.cfg.Now().UnixNano()
	var order []*openRun
	for _, p := range queue {
		r, err := s.run(now, p.key)
		if err == nil {
			err = s.again(r) // a write that failed comes first
		}
		if err != nil {
			if p.joined && errors.Is(err, runlog.ErrLocked) {
				// The run is another program's by now, and metrics that only look for a
				// run are not worth waiting for it.
				s.e.joins.Remove(p.key)
				s.report(p, run.Applied{NoRun: p.points()})
				err = nil
			}
			p.req.answer(err)
			continue
		}
		applied := r.state.Apply(now, p.deliveries)
		s.report(p, applied)
		if applied.Preempting && r.log.stream != nil {
			r.log.stream.Preempting()
		}
		if r.dirty == nil {
			order = append(order, r)
		}
		r.dirty = append(r.dirty, p)
		if r.state.Pending() > maxBatch {
			r.err = s.flush(now, r)
		}
	}
	for _, r := range order {
		err := r.err
		if r.err = nil; err == nil && r.failed == nil {
			err = s.flush(now, r)
		}
		for _, p := range r.dirty {
			p.req.answer(err)
		}
		r.dirty = nil
	}
}

func (s *shard) report(p *parcel, a run.Applied) {
	c := s.e.count
	c.add(CountRows, int64(a.Rows))
	c.add(CountLines, int64(a.Lines))
	c.add(CountRepeated, int64(a.Repeated))
	c.add(CountPoints, int64(a.Points))
	c.add(CountNoRun, int64(a.NoRun))
	for _, d := range a.Drops {
		c.drop(d.Reason, d.Items, d.Text)
	}
	for _, d := range p.drops {
		c.drop(d.Reason, d.Items, "run "+p.key.String()+": "+d.Text)
	}
}

// run is the state of a run: in memory, from its checkpoint and log, or new.
func (s *shard) run(now int64, key runid.Coordinates) (*openRun, error) {
	if r := s.runs[key]; r != nil {
		return r, nil
	}
	r, err := s.e.load(now, key)
	if err != nil {
		return nil, err
	}
	s.runs[key] = r
	if r.state.Open() {
		s.openRuns.Add(1)
	}
	r.published = -1
	s.publish(r)
	return r, nil
}

// publish says of a run whether, and by what, metrics join it now.
func (s *shard) publish(r *openRun) {
	n := 0
	if r.state.Open() {
		n = len(r.state.Sources())
	}
	if n == r.published {
		return
	}
	r.published = n
	if n == 0 {
		s.e.joins.Remove(r.log.key)
		return
	}
	s.e.joins.Put(r.log.key, r.state.Client(), r.state.Sources()[:n:n])
	r.log.took = 0 // a checkpoint soon: the next start knows only what is in one
}

// flush writes what was applied to a run.
func (s *shard) flush(now int64, r *openRun) error {
	w, ok := r.state.Flush(now)
	if !ok {
		return nil
	}
	return s.write(r, w)
}

// again writes what could not be written before.
func (s *shard) again(r *openRun) error {
	if r.failed == nil {
		return nil
	}
	w := *r.failed
	r.failed = nil
	return s.write(r, w)
}

func (s *shard) write(r *openRun, w run.Write) error {
	n, err := r.log.write(r.state, w)
	if err != nil {
		// The state has it already: it must reach the log before anything later.
		r.failed = &w
		if errors.Is(err, runlog.ErrPoisoned) {
			// Nothing can be appended any more. What the log has is read anew by
			// the next request or tick; what it has not was never acknowledged.
			s.forget(r)
		}
		return err
	}
	r.state.Written()
	s.publish(r)
	c := s.e.count
	c.add(CountLogBytes, n)
	c.add(CountAppends, 1)
	if w.Opens {
		s.openRuns.Add(1)
		r.closed = 0
		c.add(CountParts, 1)
		if len(r.state.Parts()) == 1 {
			c.add(CountOpened, 1)
		}
		s.e.cfg.Logger.Info("run opened", zap.Stringer("run", r.log.key), zap.String("log", r.log.part.Path()), zap.Int("part", len(r.state.Parts())))
	}
	if w.Closes {
		s.openRuns.Add(-1)
		r.closed = s.e.cfg.Now().UnixNano()
		c.add(CountFinished, 1)
		code, _ := r.state.ExitCode()
		s.e.cfg.Logger.Info("run "+outcomeWord(code), zap.Stringer("run", r.log.key), zap.Int32("exit_code", code), zap.Int64("rows", r.state.Rows()))
	}
	return nil
}

// forget gives a run up whose log is in an uncertain state.
func (s *shard) forget(r *openRun) {
	if r.log.stream != nil { // who takes the run up again, follows it again
		r.log.stream.Ended()
		r.log.stream = nil
	}
	if err := r.log.release(); err != nil {
		s.e.cfg.Logger.Warn("a run is read anew from its log, which could not be closed", zap.Stringer("run", r.log.key), zap.Error(err))
	}
	if s.runs[r.log.key] == r {
		delete(s.runs, r.log.key)
		s.openRuns.Add(-1)
		s.mu.Lock()
		s.resume = append(s.resume, r.log.key) // though nothing may come for it
		s.mu.Unlock()
	}
}

func outcomeWord(code int32) string {
	switch code {
	case 0:
		return "finished"
	case run.ExitCrashed:
		return "was not heard of any more: closed as crashed"
	default:
		return "failed"
	}
}

// close ends a run's part.
func (s *shard) close(now int64, r *openRun, code int32) error {
	if err := s.flush(now, r); err != nil {
		return err
	}
	return s.write(r, r.state.Close(code))
}

// tend does what only time can do for each run.
func (s *shard) tend(now int64) {
	s.resumeSome(now)
	for key, r := range s.runs {
		if err := s.tendRun(now, r); err != nil {
			s.e.count.say(sayNotWritten, err.Error())
			continue
		}
		if r.closed != 0 && now-r.closed >= closedStays && r.failed == nil {
			if err := r.log.release(); err != nil {
				s.e.cfg.Logger.Warn("a run's lock is not released", zap.Stringer("run", key), zap.Error(err))
			}
			delete(s.runs, key)
		}
	}
}

func (s *shard) tendRun(now int64, r *openRun) error {
	if err := s.again(r); err != nil {
		return err
	}
	if code, due := r.state.Due(now, s.e.deaf.Load()); due {
		return s.close(now, r, code)
	}
	r.state.TickSummary(now)
	if err := s.flush(now, r); err != nil {
		return err
	}
	return r.log.checkpoint(r.state, s.e.count, false)
}

// resumePerTick and resumeTime bound how many runs of an earlier exporter a
// shard takes up at a time: requests do not wait for all of them.
const (
	resumePerTick = 200
	resumeTime    = 100 * time.Millisecond
)

// resumeSome takes up runs that an earlier exporter left open, so that their
// time runs on though nothing comes for them.
func (s *shard) resumeSome(now int64) {
	s.mu.Lock()
	n := min(len(s.resume), resumePerTick)
	some := s.resume[:n:n]
	s.resume = s.resume[n:]
	s.mu.Unlock()
	began := time.Now()
	for i, key := range some {
		if time.Since(began) > resumeTime {
			s.mu.Lock()
			s.resume = append(s.resume, some[i:]...)
			s.mu.Unlock()
			return
		}
		if s.runs[key] != nil {
			continue // something came for it meanwhile
		}
		// A run that another program has locked is in good hands.
		if _, err := s.run(now, key); err != nil && !errors.Is(err, runlog.ErrLocked) {
			s.e.cfg.Logger.Warn("a run that an earlier exporter left open is not taken up", zap.Stringer("run", key), zap.Error(err))
		}
	}
}

// goodbye leaves every run as the next start will find it.
func (s *shard) goodbye() error {
	now := s.e.cfg.Now().UnixNano()
	var errs []error
	for _, r := range s.runs {
		errs = append(errs, s.leave(now, r))
	}
	return errors.Join(errs...)
}

func (s *shard) leave(now int64, r *openRun) error {
	err := s.again(r)
	if err == nil && s.e.cfg.FinishOnShutdown {
		if code, ended := r.state.Ended(); ended {
			err = s.close(now, r, code)
		}
	}
	if err == nil {
		err = r.log.checkpoint(r.state, s.e.count, true)
	}
	return errors.Join(err, r.log.release())
}
