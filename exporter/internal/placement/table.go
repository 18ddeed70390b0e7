package placement

import (
	"container/list"
	"time"

	"github.com/otel-wandb/otel-wandb/internal/runid"
)

// Config is what the exporter's configuration says of placement.
type Config struct {
	Default      runid.Coordinates // host, entity and project where nothing nearer says one
	AllowedHosts []string          // besides the default host

	StampedOnly bool          // items without a stamp belong to no run; nothing waits
	OpenUnknown bool          // a task under an unknown parent opens at once
	Settle      time.Duration // after the root: unknown ancestors will not come
	Retention   time.Duration // how long anything waits
	Links       time.Duration // how long a trace that holds nothing is remembered
	MaxLinks    int           // spans remembered, all traces together
	MaxWaiting  int           // units that wait, all traces together
}

// Table holds what is known of recent traces.
type Table struct {
	cfg    Config
	traces map[TraceID]*trace
	recent *list.List // *trace, the longest untouched in front
	links  int
	wait   int
	nextID uint64
	full   bool

	out *Outcome // of the call under way
}

// trace is what is known of one trace.
type trace struct {
	id      TraceID
	nodes   map[SpanID]node
	waitOn  map[SpanID][]*Waiter // by the span that is missing
	waiting map[uint64]struct{}  // fingerprints of what waits
	stamps  map[Stamp]*Decision
	rootAt  int64 // when a root arrived, unix ns; 0 not yet
	touched int64
	decided bool // has decisions: remembered for Retention
	elem    *list.Element
}

// node is one span. A node with neither parent nor decision is a task that
// waits for its parent.
type node struct {
	parent  SpanID
	known   bool // parent is known; zero then means root
	absent  bool // settled: taken as a root, because it never came
	pending bool // a task, not decided yet
	d       *Decision
}

// Outcome is what one call found.
type Outcome struct {
	Placed  []Placed  // in an order in which owners come before their rows
	Waiting []*Waiter // new ones, to be kept on disk before the request is answered
	Learned []Learned // to be kept on disk likewise
	Refused []*Decision
	// Full counts units that could not wait, and links that could not be kept,
	// because a bound was reached.
	WaitingFull, LinksFull []*Unit
	LinksEvicted           int
}

// NewTable makes an empty table.
func NewTable(cfg Config) *Table {
	return &Table{cfg: cfg, traces: map[TraceID]*trace{}, recent: list.New(), nextID: 1}
}

// Waiting is the number of units that wait.
func (t *Table) Waiting() int { return t.wait }

// SetFull says that nothing more may wait, because its place on disk is used up.
func (t *Table) SetFull(full bool) { t.full = full }

// Links is the number of spans remembered.
func (t *Table) Links() int { return t.links }

// Place decides units in their order. now is the exporter's clock, unix ns.
func (t *Table) Place(now int64, units []Unit) Outcome {
	var out Outcome
	t.out = &out
	for i := range units {
		t.place(now, &units[i])
	}
	if t.cfg.OpenUnknown && len(out.Waiting) > 0 {
		t.openUnknown()
	}
	t.out = nil
	return out
}

func (t *Table) place(now int64, u *Unit) {
	s := &u.Subject
	if s.Span == (SpanID{}) && s.Stamp == nil {
		t.settleUnit(u, nil, RuleNoSpan)
		return
	}
	if t.cfg.StampedOnly && s.Stamp == nil {
		t.settleUnit(u, nil, RuleNoTask)
		return
	}
	tr := t.touch(now, s.Trace)
	switch {
	case s.Task != nil && s.Declares:
		t.placeTask(now, tr, u)
	case s.Stamp != nil:
		t.placeStamped(tr, u)
	case s.Declares:
		t.learn(tr, s.Span, node{parent: s.Parent, known: true}, u)
		if s.Parent == (SpanID{}) && tr.rootAt == 0 {
			tr.rootAt = now
		}
		if s.Holds {
			t.find(now, tr, u)
		}
		t.wake(tr, s.Span)
	default:
		t.find(now, tr, u)
	}
}

// placeStamped places a unit that says where it belongs. What it says holds
// for its span, and so places all that waited for that span.
func (t *Table) placeStamped(tr *trace, u *Unit) {
	s := &u.Subject
	d := t.stamped(tr, s)
	if d.id == 0 {
		t.announce(d)
	}
	t.settleUnit(u, d, d.Rule)
	if s.Span == (SpanID{}) {
		return
	}
	if n, ok := tr.nodes[s.Span]; ok && n.d != nil && (n.known || !s.Declares) {
		return // nothing new
	}
	n := node{d: d}
	if s.Declares {
		n.parent, n.known = s.Parent, true
		if s.Parent == (SpanID{}) && s.Real && tr.rootAt == 0 {
			tr.rootAt = tr.touched
		}
	}
	t.learn(tr, s.Span, n, u)
	t.wake(tr, s.Span)
}

func (t *Table) placeTask(now int64, tr *trace, u *Unit) {
	s := &u.Subject
	isRoot := s.Parent == (SpanID{})
	if isRoot && s.Real && tr.rootAt == 0 {
		tr.rootAt = now
	}
	n, seen := tr.nodes[s.Span]
	if seen && n.d != nil && !n.absent {
		// Decided before, by its start event or a stamp: what has been placed stays placed.
		n.d = t.asTask(s, n.d)
		if !n.known {
			n.parent, n.known = s.Parent, true
		}
		t.learnDecision(tr, s.Span, n)
		t.settleUnit(u, n.d, n.d.Rule)
		t.wake(tr, s.Span)
		return
	}
	parent, missing, ok := t.parentOf(tr, s)
	if !ok {
		t.learn(tr, s.Span, node{parent: s.Parent, known: true, pending: true}, u)
		t.waitFor(now, tr, missing, u)
		// What waited for this span now waits for what it waits for.
		return
	}
	d := t.decideTask(tr, s, parent)
	t.learn(tr, s.Span, node{parent: s.Parent, known: true, d: d}, u)
	t.settleUnit(u, d, d.Rule)
	t.wake(tr, s.Span)
}

// asTask makes a task's decision of what a stamp said of its span before the
// task itself was heard.
func (t *Table) asTask(s *Subject, d *Decision) *Decision {
	if d.Span == s.Span || d.Refused() {
		return d
	}
	own := *d
	own.saved, own.Span, own.Role = false, s.Span, RoleMember
	if d.OwnerSpan == s.Span {
		own.Role, own.Group = RoleOwner, s.Task.Group
	}
	return t.announce(&own)
}

// parentOf finds the decision a task's mode is judged by: nil, true for none.
func (t *Table) parentOf(tr *trace, s *Subject) (d *Decision, missing SpanID, ok bool) {
	switch {
	case s.Stamp != nil:
		return nil, SpanID{}, true // decideTask reads the stamp
	case s.Parent == (SpanID{}):
		return nil, SpanID{}, true
	case s.Parent == s.Span:
		return nil, SpanID{}, true // decideTask refuses it
	}
	d, missing, rule := tr.lookup(s.Parent)
	return d, missing, rule != ""
}

func (t *Table) decideTask(tr *trace, s *Subject, parent *Decision) *Decision {
	switch {
	case s.Stamp != nil:
		parent = t.stamped(tr, s)
		if parent.id == 0 {
			t.announce(parent)
		}
		if parent.Refused() {
			return parent
		}
		if parent.OwnerSpan == s.Span {
			return t.asTask(s, parent)
		}
	case s.Parent == s.Span:
		d := &Decision{Trace: s.Trace, Span: s.Span}
		return t.announce(t.refuse(d, s, RefusedCycle, "it is its own parent: mend the instrumentation that made it"))
	}
	return t.announce(t.decide(s, parent))
}

// announce numbers a new decision and reports a refusal once.
func (t *Table) announce(d *Decision) *Decision {
	d.id = t.nextID
	t.nextID++
	if d.Refused() {
		t.out.Refused = append(t.out.Refused, d)
	}
	return d
}

// find places a unit by its span's ancestors, or lets it wait.
func (t *Table) find(now int64, tr *trace, u *Unit) {
	d, missing, rule := tr.lookup(u.Subject.Span)
	if rule == "" {
		t.waitFor(now, tr, missing, u)
		return
	}
	t.settleUnit(u, d, rule)
}

func (t *Table) settleUnit(u *Unit, d *Decision, rule Rule) {
	t.out.Placed = append(t.out.Placed, Placed{Unit: u, Decision: d, Rule: rule})
}

// lookup walks from span up to the nearest decision. rule is empty where the
// walk ended at a span that is not known, or not decided, yet: missing.
func (tr *trace) lookup(span SpanID) (d *Decision, missing SpanID, rule Rule) {
	settled := false
	for steps := 0; steps <= len(tr.nodes); steps++ {
		n, ok := tr.nodes[span]
		switch {
		case !ok:
			return nil, span, ""
		case n.d != nil:
			return n.d, SpanID{}, ruleUnder(n.d, steps)
		case n.pending, !n.known:
			return nil, span, ""
		case n.parent == SpanID{}:
			if settled || n.absent {
				return nil, SpanID{}, RuleParentMissing
			}
			return nil, SpanID{}, RuleNoTask
		}
		span = n.parent
	}
	return nil, SpanID{}, RuleCycle
}

// ruleUnder is the rule of a span that lies steps below the one decided.
func ruleUnder(d *Decision, steps int) Rule {
	switch {
	case d.Refused():
		return RuleUnderRefused
	case steps == 0:
		return d.Rule
	default:
		return RuleAncestor
	}
}

func (t *Table) waitFor(now int64, tr *trace, missing SpanID, u *Unit) {
	s := &u.Subject
	if _, repeat := tr.waiting[s.Fingerprint]; repeat {
		return // the same item waits already
	}
	if t.full || t.cfg.MaxWaiting > 0 && t.wait >= t.cfg.MaxWaiting {
		t.out.WaitingFull = append(t.out.WaitingFull, u)
		return
	}
	w := &Waiter{Subject: *s, Payload: u.Payload, Arrived: now}
	t.addWaiter(tr, missing, w)
	t.out.Waiting = append(t.out.Waiting, w)
}

func (t *Table) addWaiter(tr *trace, missing SpanID, w *Waiter) {
	if tr.waitOn == nil {
		tr.waitOn = map[SpanID][]*Waiter{}
		tr.waiting = map[uint64]struct{}{}
	}
	tr.waitOn[missing] = append(tr.waitOn[missing], w)
	tr.waiting[w.Subject.Fingerprint] = struct{}{}
	t.wait++
}

// learn records what is known of a span.
func (t *Table) learn(tr *trace, span SpanID, n node, u *Unit) {
	old, seen := tr.nodes[span]
	if seen && (old.d != nil || old.pending && !n.pending && n.d == nil) && !old.absent {
		// A span without a mode after its start event said one: the event holds.
		n.d, n.pending = old.d, old.pending
		if old.known {
			n.parent, n.known = old.parent, true
		}
		if old == n {
			return
		}
	}
	if seen && old == n {
		return
	}
	if !seen {
		if t.cfg.MaxLinks > 0 && t.links >= t.cfg.MaxLinks && !t.makeRoom(tr) {
			if u != nil {
				t.out.LinksFull = append(t.out.LinksFull, u)
			}
			if n.d == nil {
				return
			}
		}
		t.links++
	}
	tr.nodes[span] = n
	if n.d != nil {
		tr.decided = true
	}
	t.out.Learned = append(t.out.Learned, Learned{
		Trace: tr.id, Span: span, Parent: n.parent, Known: n.known, Absent: n.absent, Decision: n.d,
	})
}

// wake retries what waited for span, and what waited for what that decides.
func (t *Table) wake(tr *trace, span SpanID) {
	if len(tr.waitOn) == 0 {
		return
	}
	work := []SpanID{span}
	for len(work) > 0 {
		span := work[len(work)-1]
		work = work[:len(work)-1]
		waiters := tr.waitOn[span]
		if len(waiters) == 0 {
			continue
		}
		delete(tr.waitOn, span)
		for _, w := range waiters {
			if decided := t.retry(tr, w); decided {
				work = append(work, w.Subject.Span)
			}
		}
	}
}

// retry places a waiter, or lets it wait for the next missing span. It tells
// whether a task was decided, for which others may wait.
func (t *Table) retry(tr *trace, w *Waiter) (decided bool) {
	s := &w.Subject
	if s.Task != nil && s.Declares {
		n := tr.nodes[s.Span]
		if n.d == nil {
			parent, missing, ok := t.parentOf(tr, s)
			if !ok {
				t.rewait(tr, missing, w)
				return false
			}
			n.d = t.decideTask(tr, s, parent)
		}
		t.release(tr, w, n.d, n.d.Rule)
		n.pending = false
		t.learnDecision(tr, s.Span, n)
		return true
	}
	d, missing, rule := tr.lookup(s.Span)
	if rule == "" {
		t.rewait(tr, missing, w)
		return false
	}
	t.release(tr, w, d, rule)
	return false
}

func (t *Table) rewait(tr *trace, missing SpanID, w *Waiter) {
	tr.waitOn[missing] = append(tr.waitOn[missing], w)
}

func (t *Table) learnDecision(tr *trace, span SpanID, n node) {
	old, seen := tr.nodes[span]
	if old == n {
		return
	}
	if !seen {
		t.links++
	}
	tr.nodes[span] = n
	tr.decided = true
	t.out.Learned = append(t.out.Learned, Learned{
		Trace: tr.id, Span: span, Parent: n.parent, Known: n.known, Absent: n.absent, Decision: n.d,
	})
}

func (t *Table) release(tr *trace, w *Waiter, d *Decision, rule Rule) {
	t.wait--
	delete(tr.waiting, w.Subject.Fingerprint)
	t.out.Placed = append(t.out.Placed, Placed{Waiter: w, Decision: d, Rule: rule})
}

func (t *Table) touch(now int64, id TraceID) *trace {
	tr, ok := t.traces[id]
	if !ok {
		tr = &trace{id: id, nodes: map[SpanID]node{}}
		tr.elem = t.recent.PushBack(tr)
		t.traces[id] = tr
	} else if tr.touched != now {
		t.recent.MoveToBack(tr.elem)
	}
	tr.touched = now
	return tr
}
