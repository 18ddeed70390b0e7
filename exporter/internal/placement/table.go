package placement

import (
	"container/list"
	"slices"
	"time"

	"github.com/otel-wandb/otel-wandb/internal/runid"
)

// Config is what the exporter's configuration says of placement.
type Config struct {
	Default      runid.Coordinates // host, entity and project where nothing nearer says one
	AllowedHosts []string          // besides the default host, however they are written
	// Patterns of the entities and projects that may be named besides the
	// defaults; none allows all.
	AllowedEntities, AllowedProjects []string

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
	from   int64 // when it was restored, unix ns

	out *Outcome // of the call under way
}

// trace is what is known of one trace.
type trace struct {
	id      TraceID
	nodes   nodes
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
	root    bool // the span itself has arrived, and has no parent
	pending bool // a task, not decided yet: a waiter of its own will decide it
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
	cfg.AllowedHosts = slices.Clone(cfg.AllowedHosts)
	for i, h := range cfg.AllowedHosts {
		cfg.AllowedHosts[i] = runid.Host(h)
	}
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
	out := Outcome{Placed: make([]Placed, 0, holding(units))}
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

// holding is how many units are sure to be answered for.
func holding(units []Unit) (n int) {
	for i := range units {
		if units[i].Holds {
			n++
		}
	}
	return n
}

func (t *Table) place(now int64, u *Unit) {
	s := &u.Subject
	if s.Span == (SpanID{}) && s.Stamp == nil {
		t.settleUnit(u, nil, RuleNoSpan)
		return
	}
	if t.cfg.StampedOnly && (s.Stamp == nil || s.Stamp.Owner == SpanID{}) {
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
		t.learn(tr, s.Span, node{parent: s.Parent, known: true, root: tr.sees(s)}, u)
		if s.Holds {
			t.find(now, tr, u)
		}
		t.wake(tr, s.Span)
	default:
		t.find(now, tr, u)
	}
}

// sees tells whether a unit is the trace's root itself, which starts the clock
// for ancestors that are missing. A start event of the root does not: it comes
// first, and all others come after it.
func (tr *trace) sees(s *Subject) bool {
	root := s.Real && s.Parent == (SpanID{})
	if root && tr.rootAt == 0 {
		tr.rootAt = tr.touched
	}
	return root
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
	if n, ok := tr.nodes.get(s.Span); ok && n.d != nil && (n.known || !s.Declares) {
		return // nothing new
	}
	n := node{d: d}
	if s.Declares {
		n.parent, n.known, n.root = s.Parent, true, tr.sees(s)
	}
	above := tr.above(s.Span)
	t.learn(tr, s.Span, n, u)
	t.wake(tr, s.Span)
	t.review(tr, above)
}

// above is the span for which those wait that are under a span whose link is
// known: they walked past it, and must look again when it says more of itself.
func (tr *trace) above(span SpanID) SpanID {
	n, seen := tr.nodes.get(span)
	if !seen || len(tr.waitOn) == 0 {
		return SpanID{} // they wait for the span itself
	}
	if n.pending {
		span = n.parent // where its own waiter waits
	}
	_, missing, _ := tr.lookup(span)
	return missing
}

func (t *Table) placeTask(now int64, tr *trace, u *Unit) {
	s := &u.Subject
	root := tr.sees(s)
	n, seen := tr.nodes.get(s.Span)
	if seen && n.d != nil {
		// Decided before, by its start event or a stamp: what has been placed stays placed.
		n.d = t.asTask(s, n.d)
		if !n.known {
			n.parent, n.known = s.Parent, true
		}
		n.root = n.root || root
		t.store(tr, s.Span, n, u)
		t.settleUnit(u, n.d, n.d.Rule)
		t.wake(tr, s.Span)
		return
	}
	parent, missing, ok := t.parentOf(tr, s)
	above := tr.above(s.Span)
	if !ok {
		if !t.mayWait(tr, s) {
			// As if it had never come: what waits for a task that is remembered and
			// does not wait itself would wait for ever.
			t.out.WaitingFull = append(t.out.WaitingFull, u)
			return
		}
		t.learn(tr, s.Span, node{parent: s.Parent, known: true, pending: true}, u)
		if !n.pending {
			t.review(tr, above) // what was under a plain span is under a task now
		}
		t.waitFor(now, tr, missing, u)
		return
	}
	d := t.decideTask(tr, s, parent)
	t.learn(tr, s.Span, node{parent: s.Parent, known: true, root: root, d: d}, u)
	t.settleUnit(u, d, d.Rule)
	t.wake(tr, s.Span)
	t.review(tr, above)
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
		if own.Group == "" {
			own.Group = s.Task.derivedGroup(d.Run.ID)
		}
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
	d, missing, rule := tr.lookFor(&u.Subject)
	if rule == "" {
		t.waitFor(now, tr, missing, u)
		return
	}
	t.settleUnit(u, d, rule)
}

func (t *Table) settleUnit(u *Unit, d *Decision, rule Rule) {
	t.out.Placed = append(t.out.Placed, Placed{Unit: u, Decision: d, Rule: rule})
}

// lookFor looks for a subject's run. It knows its parent even where there was
// no room to remember its span.
func (tr *trace) lookFor(s *Subject) (d *Decision, missing SpanID, rule Rule) {
	_, seen := tr.nodes.get(s.Span)
	switch {
	case seen || !s.Declares:
		return tr.lookup(s.Span)
	case s.Parent == SpanID{}:
		return nil, SpanID{}, RuleNoTask
	}
	d, missing, rule = tr.lookup(s.Parent)
	if d != nil {
		rule = ruleUnder(d, 1)
	}
	return d, missing, rule
}

// lookup walks from span up to the nearest decision. rule is empty where the
// walk ended at a span that is not known, or not decided, yet: missing.
func (tr *trace) lookup(span SpanID) (d *Decision, missing SpanID, rule Rule) {
	// Who comes by the mark again goes in a circle. It moves on ever more rarely,
	// so that a circle takes a few rounds, and not as many steps as there are spans.
	mark, moves := span, 2
	for steps := 0; ; steps++ {
		n, ok := tr.nodes.get(span)
		switch {
		case !ok:
			return nil, span, ""
		case n.d != nil:
			return n.d, SpanID{}, ruleUnder(n.d, steps)
		case n.pending, !n.known:
			return nil, span, ""
		case n.parent == SpanID{}:
			return nil, SpanID{}, RuleNoTask
		}
		if span = n.parent; span == mark {
			return nil, SpanID{}, RuleCycle
		}
		if steps == moves {
			mark, moves = span, 2*moves
		}
	}
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
	if !t.mayWait(tr, s) {
		t.out.WaitingFull = append(t.out.WaitingFull, u)
		return
	}
	w := &Waiter{Subject: *s, Payload: u.Payload, Arrived: now}
	t.addWaiter(tr, missing, w)
	t.out.Waiting = append(t.out.Waiting, w)
}

// mayWait tells whether there is room for a unit among those that wait, or it
// is among them.
func (t *Table) mayWait(tr *trace, s *Subject) bool {
	if _, repeat := tr.waiting[s.Fingerprint]; repeat {
		return true
	}
	return !t.full && (t.cfg.MaxWaiting <= 0 || t.wait < t.cfg.MaxWaiting)
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
	old, seen := tr.nodes.get(span)
	if seen && (old.d != nil || old.pending && !n.pending && n.d == nil) {
		// A span without a mode after its start event said one: the event holds.
		n.d, n.pending = old.d, old.pending
		if old.known {
			n.parent, n.known = old.parent, true
		}
	}
	if seen && old.known && !n.known {
		n.parent, n.known = old.parent, true // a stamp says a run, and nothing of the parent
	}
	n.root = n.root || old.root
	t.store(tr, span, n, u)
}

// store keeps what is known of a span, and reports it. Where too many spans are
// remembered, one that can be done without is not kept: u, or nil, is counted.
func (t *Table) store(tr *trace, span SpanID, n node, u *Unit) {
	old, seen := tr.nodes.get(span)
	if seen && old == n {
		return
	}
	if !seen {
		if t.cfg.MaxLinks > 0 && t.links >= t.cfg.MaxLinks && !t.makeRoom(tr) && !n.vital() {
			if u != nil {
				t.out.LinksFull = append(t.out.LinksFull, u)
			}
			return
		}
		t.links++
	}
	tr.nodes.set(span, n)
	if n.d != nil {
		tr.decided = true
	}
	t.out.Learned = append(t.out.Learned, Learned{
		Trace: tr.id, Span: span, Parent: n.parent, Known: n.known, Root: n.root, Decision: n.d,
	})
}

// vital tells whether a span is remembered even where too many are. They are
// bounded elsewhere: by what may wait, and by the number of runs.
func (n node) vital() bool {
	return n.pending || n.d != nil && n.d.Role == RoleOwner
}

// wake looks again at what waited for span, and for what that decides. All of
// it has the same way up from span: one walk serves them all.
func (t *Table) wake(tr *trace, span SpanID) {
	work := []SpanID{span}
	for len(work) > 0 && len(tr.waitOn) > 0 {
		span := work[len(work)-1]
		work = work[:len(work)-1]
		waiters := tr.waitOn[span]
		if len(waiters) == 0 {
			continue
		}
		delete(tr.waitOn, span)
		d, missing, rule := tr.lookup(span)
		still := waiters[:0]
		for _, w := range waiters {
			s := &w.Subject
			switch {
			case tr.isDecided(s), s.isTask() && rule != "":
				t.retryTask(tr, w, d)
				work = append(work, s.Span)
			case rule == "":
				still = append(still, w)
			case s.Span == span:
				t.release(tr, w, d, rule)
			case d != nil:
				t.release(tr, w, d, ruleUnder(d, 1))
			default:
				t.release(tr, w, nil, rule)
			}
		}
		clear(waiters[len(still):])
		tr.rewait(missing, still)
	}
}

// review looks again at what waits for missing, each by its own way up: on some
// of these ways a span has said more of itself. Nothing happens for no span.
func (t *Table) review(tr *trace, missing SpanID) {
	waiters := tr.waitOn[missing]
	if len(waiters) == 0 {
		return
	}
	delete(tr.waitOn, missing)
	var decided []SpanID
	for _, w := range waiters {
		s := &w.Subject
		d, missing, rule := tr.lookFor(s)
		if s.isTask() && !tr.isDecided(s) {
			d, missing, rule = tr.lookup(s.Parent)
		}
		switch {
		case tr.isDecided(s), s.isTask() && rule != "":
			t.retryTask(tr, w, d)
			decided = append(decided, s.Span)
		case rule == "":
			tr.rewait(missing, []*Waiter{w})
		default:
			t.release(tr, w, d, rule)
		}
	}
	for _, span := range decided {
		t.wake(tr, span)
	}
}

func (s *Subject) isTask() bool { return s.Task != nil && s.Declares }

// isDecided tells whether a task that waits is decided by now: by a stamp, or
// by another unit of the same span.
func (tr *trace) isDecided(s *Subject) bool { return s.isTask() && tr.nodes.at(s.Span).d != nil }

// retryTask places a task that waited, under its parent's decision.
func (t *Table) retryTask(tr *trace, w *Waiter, parent *Decision) {
	s := &w.Subject
	n := tr.nodes.at(s.Span)
	if n.d != nil {
		n.d = t.asTask(s, n.d)
	} else {
		n.d = t.decideTask(tr, s, parent)
	}
	n.pending = false
	t.store(tr, s.Span, n, nil)
	t.release(tr, w, n.d, n.d.Rule)
}

// rewait lets waiters wait for another span. The shorter list moves: else a
// long chain of spans would move all that wait at each of its links.
func (tr *trace) rewait(missing SpanID, waiters []*Waiter) {
	if len(waiters) == 0 {
		return
	}
	have := tr.waitOn[missing]
	if len(have) < len(waiters) {
		have, waiters = waiters, have
	}
	tr.waitOn[missing] = append(have, waiters...)
}

func (t *Table) release(tr *trace, w *Waiter, d *Decision, rule Rule) {
	t.wait--
	delete(tr.waiting, w.Subject.Fingerprint)
	t.out.Placed = append(t.out.Placed, Placed{Waiter: w, Decision: d, Rule: rule})
}

func (t *Table) touch(now int64, id TraceID) *trace {
	tr, ok := t.traces[id]
	if !ok {
		tr = &trace{id: id}
		tr.elem = t.recent.PushBack(tr)
		t.traces[id] = tr
	} else {
		t.recent.MoveToBack(tr.elem)
	}
	tr.touched = now
	return tr
}
