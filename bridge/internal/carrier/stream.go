package carrier

import (
	"encoding/hex"
	"fmt"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"

	"github.com/otel-wandb/otel-wandb/internal/otlpwire"
	"github.com/otel-wandb/otel-wandb/internal/runid"
	"github.com/otel-wandb/otel-wandb/internal/semconv"
)

// Task is the span that a stream speaks for, and the run it is on.
type Task struct {
	Trace      [16]byte
	Span       [8]byte
	Parent     [8]byte // zero: it has none
	Name       string
	Run        runid.Coordinates
	Owner      [8]byte // the owner's span: the task's own where it opened the run; zero: not known, and nothing is stamped
	OwnerStart time.Time
}

func (t *Task) owns() bool { return t.Owner == t.Span }

// head is what all carriers of the task have in common: short children of its
// span, which name the run and the task.
func (t *Task) head() []byte {
	const of = otlpwire.OfSpan
	b := otlpwire.SpanHead(nil, t.Trace, t.Span, semconv.EventLog)
	b = otlpwire.Bool(b, of, semconv.Carrier, true)
	b = otlpwire.String(b, of, semconv.RunID, t.Run.ID)
	if t.Owner != ([8]byte{}) {
		b = otlpwire.String(b, of, semconv.RunOwner, hex.EncodeToString(t.Owner[:]))
	}
	if !t.OwnerStart.IsZero() {
		b = otlpwire.Int(b, of, semconv.RunStartTime, t.OwnerStart.UnixNano())
	}
	for _, kv := range [][2]string{{semconv.Entity, t.Run.Entity}, {semconv.Project, t.Run.Project}, {semconv.Host, t.Run.Host}} {
		if kv[1] != "" {
			b = otlpwire.String(b, of, kv[0], kv[1])
		}
	}
	b = otlpwire.String(b, of, semconv.Task, hex.EncodeToString(t.Span[:]))
	if t.Parent != ([8]byte{}) {
		b = otlpwire.String(b, of, semconv.ParentSpanID, hex.EncodeToString(t.Parent[:]))
	}
	return otlpwire.String(b, of, semconv.SpanName, t.Name)
}

// Stream is what one task logs. Make it with [Pipeline.Open], end it with End or
// Close.
// ConcurrentSafe: the lock of the run, which is never held for long.
type Stream struct {
	p    *Pipeline
	run  *run
	id   uint64
	head []byte
	name string // for errors
	owns bool

	// Guarded by the run's lock.
	open  *segment
	full  []*segment
	dirty bool
	ended bool
}

// segment is a number of whole events.
type segment struct {
	b           []byte
	count       int
	first, last int64
	began       time.Time // its first event without a time of its own; zero: none yet
}

// now is the time in unix nanoseconds. The wall clock is read once a segment,
// which is open for a fraction of a second; on from there the monotonic one
// alone: both together are as much again, for every row.
func (g *segment) now() int64 {
	if g.began.IsZero() {
		g.began = time.Now()
		return g.began.UnixNano()
	}
	return g.began.UnixNano() + int64(time.Since(g.began))
}

var segments = sync.Pool{New: func() any { return new(segment) }}

// Open begins what a task logs. It sends nothing.
func (p *Pipeline) Open(t Task) *Stream {
	s := &Stream{
		p: p, head: t.head(), owns: t.owns(),
		name: fmt.Sprintf("run %s, task %q (span %s)", t.Run, t.Name, hex.EncodeToString(t.Span[:])),
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.streams++
	s.id, s.run = p.streams, p.joinRun(t.Run)
	return s
}

// Start announces the task: the run is visible as soon as this arrives. For an
// owner the heartbeat begins.
func (s *Stream) Start(attrs []attribute.KeyValue) error {
	err := s.event(semconv.EventRunStart, time.Now(), attrs, always)
	if err != nil {
		return err
	}
	if s.owns {
		s.run.mu.Lock() // against End, which stops it
		defer s.run.mu.Unlock()
		if !s.ended {
			s.p.mu.Lock()
			s.p.beating[s] = struct{}{}
			s.p.mu.Unlock()
		}
	}
	return nil
}

// Event logs what is not a row: configuration, summary, a metric's definition,
// an alert, an exception.
func (s *Stream) Event(name string, t time.Time, attrs []attribute.KeyValue) error {
	switch name {
	case semconv.EventConfig, semconv.EventSummary, semconv.EventDefineMetric, semconv.EventAlert,
		semconv.EventTable, semconv.EventMedia, semconv.EventException:
		return s.event(name, t, attrs, ifRoom)
	}
	// What the exporter does not know it does not count, and the run would
	// wait for a number that never comes.
	return fmt.Errorf("%s: event %q: %w: use Start, Row and End, or one of the conventions' events", s.name, name, ErrUnknownEvent)
}

// Preempting tells that the task may soon be ended from outside. Only an owner's
// is told: another's end is not the run's.
func (s *Stream) Preempting() error {
	if !s.owns {
		return nil
	}
	return s.event(semconv.EventRunHeartbeat, time.Now(), []attribute.KeyValue{attribute.Bool(semconv.Preempting, true)}, always)
}

// Refused counts a row that its caller has refused.
func (s *Stream) Refused() {
	s.run.mu.Lock()
	defer s.run.mu.Unlock()
	s.run.refused++
}

// tellRefused puts into the run's summary how many of its rows were refused, if
// that is news. The run's lock is held.
func (s *Stream) tellRefused(unixNano int64, a admission) {
	if s.run.refused == s.run.told {
		return
	}
	seg, err := s.begin(a)
	if err != nil {
		return
	}
	b, mark := s.header(seg.b, semconv.EventSummary, unixNano)
	b = otlpwire.Int(b, otlpwire.OfEvent, semconv.SummaryRowsRefused, int64(s.run.refused))
	s.commit(seg, otlpwire.EndEvent(b, mark), unixNano)
	s.run.told = s.run.refused
}

// End ends the task, at t. The run is complete when the exporter has this and
// all that was logged before. exitCode nil leaves it to the span's status.
func (s *Stream) End(t time.Time, exitCode *int64, attrs []attribute.KeyValue) error {
	s.run.mu.Lock()
	defer s.run.mu.Unlock()
	if t.IsZero() {
		t = time.Now()
	}
	if !s.ended {
		s.tellRefused(t.UnixNano(), always)
	}
	seg, err := s.begin(always)
	if err != nil {
		return err
	}
	b, mark := s.header(seg.b, semconv.EventRunEnd, t.UnixNano())
	b = otlpwire.Int(b, otlpwire.OfEvent, semconv.LastSeq, int64(s.run.seq+1))
	b = otlpwire.Int(b, otlpwire.OfEvent, semconv.EndTime, t.UnixNano())
	if exitCode != nil {
		b = otlpwire.Int(b, otlpwire.OfEvent, semconv.ExitCode, *exitCode)
	}
	if b, err = s.attributes(b, attrs); err != nil {
		seg.b = b[:len(seg.b)]
		return err
	}
	s.commit(seg, otlpwire.EndEvent(b, mark), t.UnixNano())
	s.close()
	s.p.hasten()
	return nil
}

// Close ends the stream without a word to the exporter, where it has not ended:
// for a task that is not the one to end its run.
func (s *Stream) Close() {
	s.run.mu.Lock()
	defer s.run.mu.Unlock()
	if !s.ended {
		s.close()
	}
}

func (s *Stream) close() {
	s.ended = true
	s.p.leaveRun(s)
}

// admission is what an event does when the buffer is full.
type admission int

const (
	rows   admission = iota // refused first
	ifRoom                  // may use the room that rows leave
	always                  // never refused: a run must begin and end
)

// begin gives the segment to append to. The run's lock is held.
func (s *Stream) begin(a admission) (*segment, error) {
	p := s.p
	switch {
	case p.closed.Load():
		return nil, fmt.Errorf("%s: %w: log before the pipeline is shut down", s.name, ErrClosed)
	case s.ended:
		return nil, fmt.Errorf("%s: %w: log before End", s.name, ErrEnded)
	}
	if a != always {
		limit := p.eventLimit
		if a == rows {
			limit = p.rowLimit
		}
		// What others left counts, so that a program that dies again and again
		// while the collector is away does not fill the disk.
		unwritten := p.unwritten.Load()
		if unwritten > min(maxUnwritten, limit) || unwritten+p.spool.Size()+p.inherited.Load() > limit {
			return nil, s.refuse(a)
		}
	}
	if s.open == nil {
		s.open = segments.Get().(*segment)
	}
	return s.open, nil
}

func (s *Stream) refuse(a admission) error {
	p := s.p
	if a == rows {
		p.refusedRows.Add(1)
		s.run.refused++
	}
	wake(p.wake.write)
	p.report.once(troubleFull, "%s: %w: %d bytes wait in %s; new rows are refused until the collector takes what waits: see that it runs, or raise the bound", s.name, ErrFull, p.cfg.MaxBytes, p.spool.Where())
	return ErrFull
}

// header begins an event. What makes its identity comes first: readers take the
// first of two attributes with one key.
func (s *Stream) header(b []byte, name string, unixNano int64) (_ []byte, mark int) {
	b, mark = otlpwire.BeginEvent(b, unixNano)
	b = otlpwire.EventName(b, name)
	b = append(b, s.p.writerAttr...)
	return otlpwire.Int(b, otlpwire.OfEvent, semconv.Seq, int64(s.run.seq+1)), mark
}

// rowHeader is header for rows, whose name and writer are encoded once.
func (s *Stream) rowHeader(b []byte, unixNano int64) (_ []byte, mark int) {
	b, mark = otlpwire.BeginEvent(b, unixNano)
	b = append(b, s.p.rowHead...)
	return otlpwire.Int(b, otlpwire.OfEvent, semconv.Seq, int64(s.run.seq+1)), mark
}

// commit makes what was encoded part of the segment, and gives it its number:
// from here on nothing can fail, so numbers have no gaps.
func (s *Stream) commit(seg *segment, b []byte, unixNano int64) {
	s.p.unwritten.Add(int64(len(b) - len(seg.b)))
	s.run.seq++
	seg.b = b
	if seg.count == 0 {
		seg.first, seg.last = unixNano, unixNano
	}
	seg.first, seg.last = min(seg.first, unixNano), max(seg.last, unixNano)
	seg.count++
	if !s.dirty {
		s.dirty = true
		s.p.dirtyMu.Lock()
		s.p.dirty = append(s.p.dirty, s)
		s.p.dirtyMu.Unlock()
		wake(s.p.wake.write)
	}
	if len(b) >= segmentSize {
		s.full = append(s.full, seg)
		s.open = nil
		wake(s.p.wake.flush)
	}
}

func (s *Stream) event(name string, t time.Time, attrs []attribute.KeyValue, a admission) error {
	if t.IsZero() {
		t = time.Now()
	}
	s.run.mu.Lock()
	defer s.run.mu.Unlock()
	seg, err := s.begin(a)
	if err != nil {
		return err
	}
	b, mark := s.header(seg.b, name, t.UnixNano())
	if b, err = s.attributes(b, attrs); err != nil {
		seg.b = b[:len(seg.b)]
		if name == semconv.EventTable || name == semconv.EventMedia {
			s.run.refused++
		}
		return err
	}
	s.commit(seg, otlpwire.EndEvent(b, mark), t.UnixNano())
	if a == always || name == semconv.EventAlert {
		s.p.hasten()
	}
	return nil
}

// hasten has what was just logged sent at once.
func (p *Pipeline) hasten() {
	p.urgent.Store(true)
	wake(p.wake.flush)
}

// attributes appends attributes within the limits.
func (s *Stream) attributes(b []byte, attrs []attribute.KeyValue) ([]byte, error) {
	from := len(b)
	for i := range attrs {
		kv := &attrs[i]
		at := len(b)
		if kv.Value.Type() == attribute.STRING && len(kv.Value.AsString()) > MaxValue {
			return b, s.valueTooLarge(kv, len(kv.Value.AsString()))
		}
		b = otlpwire.Attribute(b, otlpwire.OfEvent, string(kv.Key), kv.Value)
		if len(b)-at > MaxValue {
			return b, s.valueTooLarge(kv, len(b)-at)
		}
		if len(b)-from > MaxRow {
			return b, fmt.Errorf("%s: with key %q the row has more than %d bytes: %w: log fewer or smaller values", s.name, clip(string(kv.Key)), MaxRow, ErrRowTooLarge)
		}
	}
	return b, nil
}

func (s *Stream) valueTooLarge(kv *attribute.KeyValue, n int) error {
	return fmt.Errorf("%s: key %q has %d bytes, more than %d: %w: log a summary of it, or an artifact", s.name, clip(string(kv.Key)), n, MaxValue, ErrValueTooLarge)
}

func clip(s string) string {
	if len(s) > 100 {
		return strings.ToValidUTF8(s[:100], "") + "…"
	}
	return s
}
