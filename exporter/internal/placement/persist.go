package placement

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/otel-wandb/otel-wandb/internal/runid"
)

// Saved is what the journal keeps of placement: decisions, each once, and the
// spans they and plain links belong to. It is applied in the order it was made.
type Saved struct {
	Decisions []savedDecision `cbor:"1,keyasint,omitempty"`
	Links     []savedLinks    `cbor:"2,keyasint,omitempty"`
}

// Empty tells whether there is nothing to keep.
func (s Saved) Empty() bool { return len(s.Decisions) == 0 && len(s.Links) == 0 }

type savedDecision struct {
	ID         uint64            `cbor:"1,keyasint"`
	Up         uint64            `cbor:"2,keyasint,omitempty"`
	Run        runid.Coordinates `cbor:"3,keyasint"`
	Reason     Reason            `cbor:"4,keyasint,omitempty"`
	Text       string            `cbor:"5,keyasint,omitempty"`
	Rule       Rule              `cbor:"6,keyasint"`
	Role       Role              `cbor:"7,keyasint,omitempty"`
	Trace      TraceID           `cbor:"8,keyasint"`
	Span       SpanID            `cbor:"9,keyasint"`
	OwnerSpan  SpanID            `cbor:"10,keyasint"`
	OwnerStart int64             `cbor:"11,keyasint,omitempty"`
	Group      string            `cbor:"12,keyasint,omitempty"`
	AskedID    string            `cbor:"13,keyasint,omitempty"`
	DefaultIDs []string          `cbor:"14,keyasint,omitempty"`
}

// savedLinks packs the spans of one trace: span, parent, flags, decision.
type savedLinks struct {
	Trace  TraceID `cbor:"1,keyasint"`
	Packed []byte  `cbor:"2,keyasint"`
}

// Flags of a packed link. Their numbers are in files: they never change.
const (
	flagKnown   byte = 1
	flagDecided byte = 2
	flagRoot    byte = 4
)

// Save turns what a call learned into what the journal keeps.
func Save(learned []Learned) Saved {
	var s Saved
	for i := range learned {
		l := &learned[i]
		if d := l.Decision; d != nil && !d.saved {
			s.decision(d)
		}
		if n := len(s.Links); n == 0 || s.Links[n-1].Trace != l.Trace {
			s.Links = append(s.Links, savedLinks{Trace: l.Trace})
		}
		at := &s.Links[len(s.Links)-1].Packed
		*at = appendLink(*at, l.Span, node{parent: l.Parent, known: l.Known, root: l.Root, d: l.Decision})
	}
	return s
}

// decision appends d, those above it first.
func (s *Saved) decision(d *Decision) {
	var up uint64
	if d.Up != nil {
		if !d.Up.saved {
			s.decision(d.Up)
		}
		up = d.Up.id
	}
	d.saved = true
	s.Decisions = append(s.Decisions, savedDecision{
		ID: d.id, Up: up, Run: d.Run, Reason: d.Reason, Text: d.Text, Rule: d.Rule, Role: d.Role,
		Trace: d.Trace, Span: d.Span, OwnerSpan: d.OwnerSpan, OwnerStart: d.OwnerStart,
		Group: d.Group, AskedID: d.AskedID, DefaultIDs: d.defaultIDs,
	})
}

func appendLink(b []byte, span SpanID, n node) []byte {
	var flags byte
	if n.known {
		flags |= flagKnown
	}
	if n.d != nil {
		flags |= flagDecided
	}
	if n.root {
		flags |= flagRoot
	}
	b = append(b, flags)
	b = append(b, span[:]...)
	b = append(b, n.parent[:]...)
	if n.d != nil {
		b = binary.AppendUvarint(b, n.d.id)
	}
	return b
}

// Snapshot is all that the table knows, as Saved: with it a journal can start
// afresh. Waiters are not in it.
func (t *Table) Snapshot() Saved {
	var s Saved
	done := map[uint64]bool{}
	var add func(d *Decision)
	add = func(d *Decision) {
		if d == nil || done[d.id] {
			return
		}
		done[d.id] = true
		add(d.Up)
		d.saved = true
		up := d.Up
		d.Up = nil // decision must not write those above again
		s.decision(d)
		d.Up = up
		if up != nil {
			s.Decisions[len(s.Decisions)-1].Up = up.id
		}
	}
	for e := t.recent.Front(); e != nil; e = e.Next() {
		tr := e.Value.(*trace)
		if tr.nodes.len() == 0 {
			continue
		}
		links := savedLinks{Trace: tr.id}
		for span, n := range tr.nodes.all() {
			add(n.d)
			links.Packed = appendLink(links.Packed, span, n)
		}
		s.Links = append(s.Links, links)
	}
	return s
}

// Restorer puts a journal's content back into a table.
type Restorer struct {
	t         *Table
	decisions map[uint64]*Decision
}

// Restore begins to fill an empty table.
func (t *Table) Restore() *Restorer {
	return &Restorer{t: t, decisions: map[uint64]*Decision{}}
}

// Reset forgets all that was restored: a snapshot follows.
func (r *Restorer) Reset() {
	*r.t = *NewTable(r.t.cfg)
	*r = *r.t.Restore()
}

// Apply adds one entry.
func (r *Restorer) Apply(now int64, s Saved) error {
	for i := range s.Decisions {
		sd := &s.Decisions[i]
		r.decisions[sd.ID] = &Decision{
			Run: sd.Run, Reason: sd.Reason, Text: sd.Text, Rule: sd.Rule, Role: sd.Role, Trace: sd.Trace,
			Span: sd.Span, OwnerSpan: sd.OwnerSpan, OwnerStart: sd.OwnerStart, Group: sd.Group,
			AskedID: sd.AskedID, Up: r.decisions[sd.Up], defaultIDs: sd.DefaultIDs, id: sd.ID, saved: true,
		}
		r.t.nextID = max(r.t.nextID, sd.ID+1)
	}
	for _, l := range s.Links {
		if err := r.links(now, l); err != nil {
			return err
		}
	}
	return nil
}

func (r *Restorer) links(now int64, l savedLinks) error {
	tr := r.t.touch(now, l.Trace)
	for b := l.Packed; len(b) > 0; {
		if len(b) < 17 {
			return fmt.Errorf("journal: trace %s: link record ends after %d of 17 bytes", l.Trace, len(b))
		}
		flags := b[0]
		var span SpanID
		n := node{known: flags&flagKnown != 0, root: flags&flagRoot != 0}
		copy(span[:], b[1:9])
		copy(n.parent[:], b[9:17])
		b = b[17:]
		if flags&flagDecided != 0 {
			id, size := binary.Uvarint(b)
			if size <= 0 || r.decisions[id] == nil {
				return fmt.Errorf("journal: trace %s, span %s: decision %d is not in the journal", l.Trace, span, id)
			}
			b = b[size:]
			n.d = r.decisions[id]
			tr.decided = true
		}
		if _, seen := tr.nodes.get(span); !seen {
			r.t.links++
		}
		tr.nodes.set(span, n)
		if n.root {
			tr.rootAt = now // the time the exporter was down does not count
		}
	}
	return nil
}

// Waiters puts back what waited. What can be placed meanwhile comes out as
// Placed: the exporter died after the decision and before the rows were written.
func (r *Restorer) Waiters(now int64, waiters []*Waiter) Outcome {
	var out Outcome
	t := r.t
	t.out = &out
	t.from = now
	// Owners before their rows: a decision is made after those above it.
	waiters = slices.SortedStableFunc(slices.Values(waiters), func(a, b *Waiter) int {
		return cmp.Compare(t.madeAs(a), t.madeAs(b))
	})
	for _, w := range waiters {
		s := &w.Subject
		tr := t.touch(now, s.Trace)
		if n := tr.nodes.at(s.Span); s.isTask() && n.d == nil {
			n.parent, n.known, n.pending = s.Parent, true, true
			if _, seen := tr.nodes.get(s.Span); !seen {
				t.links++
			}
			tr.nodes.set(s.Span, n)
		}
	}
	for _, w := range waiters {
		t.addWaiter(t.traces[w.Subject.Trace], w.Subject.Span, w)
	}
	// Each waits for its own span at first; looking again finds the real one.
	for _, w := range waiters {
		t.review(t.traces[w.Subject.Trace], w.Subject.Span)
	}
	// The journal does not say what was forgotten.
	for t.cfg.MaxLinks > 0 && t.links > t.cfg.MaxLinks && t.makeRoom(nil) {
	}
	t.out = nil
	return out
}

// madeAs is the number of the decision that a task which waits has got already;
// those without one come last.
func (t *Table) madeAs(w *Waiter) uint64 {
	s := &w.Subject
	if tr := t.traces[s.Trace]; tr != nil && tr.isDecided(s) {
		return tr.nodes.at(s.Span).d.id
	}
	return math.MaxUint64
}
