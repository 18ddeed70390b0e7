package engine

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cespare/xxhash/v2"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.uber.org/zap"

	"github.com/otel-wandb/otel-wandb/exporter/internal/intake"
	"github.com/otel-wandb/otel-wandb/exporter/internal/join"
	"github.com/otel-wandb/otel-wandb/exporter/internal/placement"
	"github.com/otel-wandb/otel-wandb/exporter/internal/run"
	"github.com/otel-wandb/otel-wandb/exporter/internal/runlog"
	"github.com/otel-wandb/otel-wandb/internal/runid"
	"github.com/otel-wandb/otel-wandb/internal/semconv"
)

// ErrBusy is returned while more requests are under way than memory is given
// for. Try again.
var ErrBusy = errors.New("wandb exporter: too much data in flight: send again, or raise `max_in_flight_mib`")

// errClosed is returned after Shutdown.
var errClosed = errors.New("wandb exporter: shut down")

// Engine is the exporter without its component. Make it with New, then Start.
// Its methods are safe for concurrent use.
type Engine struct {
	cfg   Config
	count *Counters
	root  *runlog.Root
	home  *runlog.Folder

	mu    sync.Mutex // guards placement, the journal's bookkeeping, and the order into the shards
	place *placer

	joins    *join.Index
	shards   []*shard
	inFlight atomic.Int64
	deaf     atomic.Int64 // when a request was last sent back because too much waits for W&B: all are, then
	// gate is held for reading by each request under way, and for writing to open
	// and to shut: Shutdown so waits for them.
	gate sync.RWMutex
	open bool

	idsOnce sync.Once
	ids     map[string]struct{} // runs that had a directory when the engine started

	stopTicks chan struct{}
	ticks     sync.WaitGroup
	unlock    func() error
}

// New makes an engine. Nothing is opened before Start.
func New(cfg Config) *Engine {
	cfg.fill()
	return &Engine{cfg: cfg, count: newCounters(cfg.Logger, cfg.Now), joins: join.New()}
}

// Counters are what the engine counts.
func (e *Engine) Counters() *Counters { return e.count }

// journalSlots is how many programs may write into one folder at a time.
const journalSlots = 1024

// Start opens the directory and takes up what an earlier engine left: what
// waits, and runs that are open. It reads checkpoints, not whole logs.
func (e *Engine) Start() (err error) {
	e.root, err = runlog.OpenRoot(e.cfg.Dir, runlog.Options{
		Online: e.cfg.Online != nil, LatestRun: e.cfg.LatestRun, Sync: e.cfg.Sync,
	})
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, e.root.Close())
		}
	}()
	if e.home, err = e.root.Folder("", ""); err != nil {
		return err
	}
	slot, unlock, err := e.home.LockSlot("journal", journalSlots)
	if err != nil {
		return err
	}
	e.unlock = unlock
	dir := filepath.Join(e.home.Dir(), ".otel-wandb", "journal-"+strconv.Itoa(slot))
	var released placement.Outcome
	e.place, released, err = openPlacer(dir, &e.cfg, e.count)
	if err != nil {
		return errors.Join(err, unlock())
	}
	e.startShards()
	if err := e.adopt(); err != nil {
		e.cfg.Logger.Warn("runs that an earlier exporter left open are not taken up", zap.Error(err))
	}
	e.gate.Lock()
	e.open = true
	e.gate.Unlock()

	// The exporter died after a decision and before its rows were written.
	e.mu.Lock()
	req := newRequest()
	e.dispatch(req, released)
	e.mu.Unlock()
	if err = req.wait(); err != nil {
		e.cfg.Logger.Warn("what waited is not written yet, and waits on", zap.Error(err))
	}
	e.finishWaiters(req, err)

	if e.cfg.Online != nil {
		e.cfg.Online.TakeUp(e.root, clientOfRun)
	}
	e.stopTicks = make(chan struct{})
	if !e.cfg.Manual {
		e.ticks.Go(e.tickLoop)
	}
	return nil
}

func (e *Engine) startShards() {
	e.shards = make([]*shard, e.cfg.Shards)
	for i := range e.shards {
		e.shards[i] = newShard(e)
		e.shards[i].start()
	}
}

// Traces takes a request of spans. It returns when all of it is on disk, or an
// error that means: send it again. td must not change until it returns.
func (e *Engine) Traces(ctx context.Context, td ptrace.Traces) error {
	size := int64((&ptrace.ProtoMarshaler{}).TracesSize(td))
	return e.consume(ctx, size, func() intake.Request { return intake.ReadTraces(td, &e.cfg.Intake) })
}

// Logs takes a request of log records, as Traces does spans.
func (e *Engine) Logs(ctx context.Context, ld plog.Logs) error {
	size := int64((&plog.ProtoMarshaler{}).LogsSize(ld))
	return e.consume(ctx, size, func() intake.Request { return intake.ReadLogs(ld, &e.cfg.Intake) })
}

// Metrics takes a request of metrics, as Traces does spans.
func (e *Engine) Metrics(ctx context.Context, md pmetric.Metrics) error {
	size := int64((&pmetric.ProtoMarshaler{}).MetricsSize(md))
	return e.consume(ctx, size, func() intake.Request { return intake.ReadMetrics(md, &e.cfg.Intake) })
}

func (e *Engine) consume(ctx context.Context, size int64, read func() intake.Request) error {
	e.gate.RLock()
	defer e.gate.RUnlock()
	if !e.open {
		return errClosed
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	// One request larger than the bound is let through alone: else it never could be.
	if now := e.inFlight.Add(size); now > e.cfg.MaxInFlight && now != size {
		e.inFlight.Add(-size)
		e.count.add(CountBusy, 1)
		e.count.say(CountBusy, ErrBusy.Error())
		return ErrBusy
	}
	defer e.inFlight.Add(-size)
	if e.cfg.Online != nil {
		if err := e.cfg.Online.Full(); err != nil {
			e.deaf.Store(e.cfg.Now().UnixNano())
			e.count.add(CountBusy, 1)
			e.count.say(CountBusy, err.Error())
			return fmt.Errorf("wandb exporter: %w", err)
		}
	}
	e.count.add(CountRequests, 1)

	data := read()
	if client := clientOf(ctx); client != "" {
		for i := range data.Units {
			data.Units[i].Subject.Client = client
		}
	}
	req := newRequest()
	e.mu.Lock()
	if e.place.behind() {
		if err := e.place.keep(placement.Outcome{}); err != nil {
			e.mu.Unlock()
			e.count.add(CountFailed, 1)
			return fmt.Errorf("wandb exporter: %w", err)
		}
	}
	_, waiting := e.place.journal.Size()
	e.place.table.SetFull(waiting >= e.cfg.MaxWaitingBytes)
	out := e.place.table.Place(e.cfg.Now().UnixNano(), data.Units)
	e.dispatch(req, out)
	// The journal comes before the answer: an answer promises that what waits,
	// and what it waits for, survives a kill.
	err := e.place.keep(out)
	e.mu.Unlock()

	// Wait also on error: the shards use the request's data until they are done.
	err = errors.Join(err, req.wait())
	e.finishWaiters(req, err)
	if err != nil {
		e.count.add(CountFailed, 1)
		return fmt.Errorf("wandb exporter: %w", err)
	}
	if len(out.Waiting) == 0 {
		data.Recycle() // all of it is written, and nobody holds it
	}
	return nil
}

// dispatch sends what was placed to the runs' shards. The caller holds e.mu:
// the order of requests into a shard is the order of placement.
func (e *Engine) dispatch(req *request, out placement.Outcome) {
	for _, d := range out.Refused {
		e.count.drop(string(d.Reason), 1, d.Text)
	}
	for _, u := range out.WaitingFull {
		e.count.drop(DropWaitingFull, 1, fmt.Sprintf(
			"%s cannot wait for its ancestors, because too much waits already: raise `placement.max_waiting_mib`, or stamp spans so that they need not wait", u.Subject.Who()))
	}
	for _, u := range out.LinksFull {
		e.count.drop(DropLinksFull, 1, fmt.Sprintf(
			"%s is not remembered, because too many are: spans under it may not find their run; raise `placement.max_links`", u.Subject.Who()))
	}
	e.count.add(CountLinksGone, int64(out.LinksEvicted))
	b := builder{req: req, expect: len(out.Placed)}
	if len(out.Placed) > unitsPerEntry {
		out.Placed = byEntry(out.Placed)
	}
	for i := range out.Placed {
		p := &out.Placed[i]
		subject, payload, err := e.place.payload(p)
		if err != nil {
			e.count.drop(DropJournal, 1, err.Error()+": the item is lost; the disk may be failing")
			continue
		}
		if p.Waiter != nil && p.Waiter.Ref != (placement.Ref{}) {
			req.released = append(req.released, *p)
		}
		if e.cfg.Observe != nil {
			e.cfg.Observe(subject, p.Decision, p.Rule)
		}
		if payload == nil {
			continue
		}
		if payload.Points != nil && payload.Points.Join {
			e.join(&b, subject, payload)
			continue
		}
		if e.unplaced(subject, payload, p) {
			continue
		}
		if len(payload.Items) == 0 {
			// Nothing for the run, and no reason to open it: a replayed task, say.
			e.countDrops(subject, payload)
			continue
		}
		b.add(subject, payload, p.Decision)
	}
	b.send(e)
}

// join gives metric points that name no run to the open runs of their machine
// or program: a copy each.
func (e *Engine) join(b *builder, s *placement.Subject, p *intake.Payload) {
	var runs []runid.Coordinates
	var key int
	from := p.Points.Source
	if from != nil && !e.cfg.Placement.StampedOnly {
		runs, key = e.joins.Find(from, p.Points.Program, s.Client)
	}
	if len(runs) == 0 {
		for _, d := range p.Drops {
			if d.Reason == intake.DropBadStamp { // what else is wrong is no run's
				e.count.drop(d.Reason, d.Items, d.Text)
			}
		}
		e.count.add(CountNoRun, int64(len(p.Items)))
		e.count.tell(tellNoRun, "metrics belong to no run, and are left alone: none that is open runs where they come from. "+
			"To have them in a run, announce its task with "+semconv.EventRunStart+", so that it is open while it works, "+
			"and let both have one "+joinKeyNames+" on their resources; or put "+semconv.RunID+" on the metrics' resource. "+
			"otelcol_exporter_wandb_no_run_items counts them")
		return
	}
	ctx := &run.Context{Client: s.Client, Joined: true, Label: p.Points.Label}
	if key >= run.ByHost {
		ctx.Label = intake.HostLabel(from, key)
	}
	for i, key := range runs {
		to := b.joinParcel(key)
		to.deliveries = append(to.deliveries, run.Delivery{Context: ctx, Items: p.Items})
		if i == 0 {
			to.drops = append(to.drops, p.Drops...)
		}
	}
}

// tellNoRun is no reason of a drop: to belong to no run is none.
const (
	tellNoRun    = "metrics_of_no_run"
	joinKeyNames = "service.instance.id, k8s.pod.uid, container.id, host.id or host.name"
)

// countDrops counts what is wrong with a unit that no run will report.
func (e *Engine) countDrops(s *placement.Subject, p *intake.Payload) {
	for _, d := range p.Drops {
		text := d.Text
		if s.Span != (placement.SpanID{}) {
			text = s.Who() + ": " + text
		}
		e.count.drop(d.Reason, d.Items, text)
	}
}

// unplaced counts what belongs to no run, and tells whether this does.
func (e *Engine) unplaced(s *placement.Subject, p *intake.Payload, placed *placement.Placed) bool {
	d := placed.Decision
	if d != nil && !d.Refused() {
		return false
	}
	e.countDrops(s, p)
	if d != nil {
		if s.Task == nil || d.Span != s.Span { // the task itself was counted as refused
			e.count.drop(DropRefused, max(len(p.Items), 1), "")
		}
		return true
	}
	if p.Points != nil {
		e.count.add(CountNoRun, int64(len(p.Items)))
		return true
	}
	e.count.add(CountNoRun, 1)
	if !s.Events {
		return true // console and the like of other programs: no drop
	}
	reason, text := DropNoTask, fmt.Sprintf(
		"%s logs to W&B, but neither it nor an ancestor is a task: put the attribute wandb.run.mode=auto on the span that should be the run", s.Who())
	switch placed.Rule {
	case placement.RuleNoSpan:
		reason, text = DropNoSpan, "a span without an id, or a log record with a wandb event and no span, is on no run: emit records with the context of their task's span, or stamp them"
	case placement.RuleParentMissing:
		reason, text = DropParentMissing, fmt.Sprintf(
			"%s logs to W&B, but one of its ancestors never came, so its run is not known: send the whole trace through this exporter, or stamp spans", s.Who())
	case placement.RuleCycle:
		reason, text = DropCycle, s.Who()+" is its own ancestor: mend the instrumentation that made it"
	}
	e.count.drop(reason, max(len(p.Items), 1), text)
	return true
}

// finishWaiters lets the journal forget what has reached its runs. On error it
// stays there, and the next tick tries again: its senders will not.
func (e *Engine) finishWaiters(req *request, err error) {
	if len(req.released) == 0 {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if err != nil {
		e.place.undelivered = append(e.place.undelivered, req.released...)
		return
	}
	e.place.done(req.released)
}

// shardOf is the shard that owns a run.
func (e *Engine) shardOf(key runid.Coordinates) *shard {
	return e.shards[xxhash.Sum64String(key.Key())%uint64(len(e.shards))]
}

// Tick does what only time can do: waits that are over, summaries, runs that
// end, checkpoints. It returns when all of it is done.
func (e *Engine) Tick() {
	now := e.cfg.Now().UnixNano()
	req := newRequest()
	e.mu.Lock()
	out := e.place.table.Expire(now)
	out.Placed = append(e.place.redeliver(), out.Placed...)
	e.dispatch(req, out)
	err := e.place.keep(out)
	if err == nil {
		err = e.place.compact(false)
	}
	e.mu.Unlock()
	if err != nil {
		e.cfg.Logger.Error("the placement journal cannot be written", zap.Error(err))
	}
	e.finishWaiters(req, req.wait())

	e.root.LinkLatest()
	done := make([]chan struct{}, len(e.shards))
	for i, s := range e.shards {
		done[i] = s.tick(now)
	}
	for _, d := range done {
		<-d
	}
}

func (e *Engine) tickLoop() {
	t := time.NewTicker(500 * time.Millisecond)
	defer t.Stop()
	lastSync := e.cfg.Now()
	for {
		select {
		case <-e.stopTicks:
			return
		case <-t.C:
			e.Tick()
			if now := e.cfg.Now(); e.cfg.Sync == runlog.SyncInterval && now.Sub(lastSync) >= e.cfg.SyncInterval {
				lastSync = now
				if err := errors.Join(e.root.SyncDirty(), e.place.journal.Sync()); err != nil {
					e.cfg.Logger.Error("what was written may not survive a power cut", zap.Error(err))
				}
			}
		}
	}
}

// Settle ends every wait, as if retention had passed.
func (e *Engine) Settle() {
	req := newRequest()
	e.mu.Lock()
	out := e.place.table.Settle(e.cfg.Now().UnixNano())
	e.dispatch(req, out)
	err := e.place.keep(out)
	e.mu.Unlock()
	e.finishWaiters(req, errors.Join(err, req.wait()))
}

// Waiting is how many units wait to be placed.
func (e *Engine) Waiting() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.place.table.Waiting()
}

// Gauges are the engine's sizes at the moment.
type Gauges struct {
	RunsOpen, Waiting, Links   int64
	JournalBytes, InFlightSize int64
}

// Gauges gives the engine's sizes at the moment.
func (e *Engine) Gauges() (g Gauges) {
	e.gate.RLock()
	defer e.gate.RUnlock()
	if !e.open {
		return g
	}
	e.mu.Lock()
	g.Waiting, g.Links = int64(e.place.table.Waiting()), int64(e.place.table.Links())
	g.JournalBytes, _ = e.place.journal.Size()
	e.mu.Unlock()
	for _, s := range e.shards {
		g.RunsOpen += s.openRuns.Load()
	}
	g.InFlightSize = e.inFlight.Load()
	return g
}

// Shutdown ends the engine: requests under way are answered, states are
// checkpointed, files closed. Open runs stay open for the next start, unless
// FinishOnShutdown.
func (e *Engine) Shutdown(ctx context.Context) error {
	// Requests take no longer than the disk does. They are waited for even when
	// ctx is over: the shards would go away under them.
	e.gate.Lock()
	wasOpen := e.open
	e.open = false
	e.gate.Unlock()
	if !wasOpen {
		return nil
	}
	close(e.stopTicks)
	e.ticks.Wait()
	var err error
	for _, s := range e.shards {
		err = errors.Join(err, s.stop())
	}
	if e.cfg.Online != nil {
		// After the logs have their last bytes, and before their locks are given up.
		e.cfg.Online.Shutdown(ctx)
	}
	return errors.Join(err, e.place.close(), e.unlock(), e.root.Close())
}
