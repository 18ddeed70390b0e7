package engine

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/otel-wandb/otel-wandb/exporter/internal/codec"
	"github.com/otel-wandb/otel-wandb/exporter/internal/intake"
	"github.com/otel-wandb/otel-wandb/exporter/internal/journal"
	"github.com/otel-wandb/otel-wandb/exporter/internal/placement"
	"github.com/otel-wandb/otel-wandb/exporter/internal/runlog"
)

// placer is the placement table with its journal. The engine's mutex guards it.
type placer struct {
	cfg     *Config
	count   *Counters
	table   *placement.Table
	journal *journal.Journal
	waits   map[journal.Ref]*waitRecord
	unsaved [][]byte              // entries that could not be appended: the next request tries again
	unkept  [][]*placement.Waiter // likewise, with their payloads in memory
	since   int64                 // bytes appended since the last snapshot
	// undelivered waited and are placed, and their runs could not be written:
	// nobody will send them again.
	undelivered []placement.Placed

	// The record read last: its units are often released together.
	readRef   journal.Ref
	readUnits []placement.Unit
}

// waitRecord is a journal entry with units that wait.
type waitRecord struct {
	bytes   int64
	waiting map[int]*placement.Waiter // by position in the entry
}

// entry is one record of the journal. One of its fields is set.
type entry struct {
	Saved *placement.Saved `cbor:"1,keyasint,omitempty"`
	Wait  *waitEntry       `cbor:"2,keyasint,omitempty"`
	Done  []doneEntry      `cbor:"3,keyasint,omitempty"`
	// Snapshot says that all before it counts only where Keep names it.
	Snapshot bool        `cbor:"4,keyasint,omitempty"`
	Keep     []doneEntry `cbor:"5,keyasint,omitempty"`
}

type waitEntry struct {
	Subjects []placement.Subject `cbor:"1,keyasint"`
	Arrived  int64               `cbor:"2,keyasint"`
	Payload  []byte              `cbor:"3,keyasint"`
}

type doneEntry struct {
	Ref   journal.Ref `cbor:"1,keyasint"`
	Units []int       `cbor:"2,keyasint"`
}

func encode(e entry) []byte {
	b, err := codec.Marshal(e)
	if err != nil {
		panic(err) // only types can fail to encode: a programmer's mistake
	}
	return b
}

// openPlacer reads the journal and gives what its waiters lead to.
func openPlacer(dir string, cfg *Config, count *Counters) (*placer, placement.Outcome, error) {
	p := &placer{cfg: cfg, count: count, table: placement.NewTable(cfg.Placement), waits: map[journal.Ref]*waitRecord{}}
	now := cfg.Now().UnixNano()
	restore := p.table.Restore()
	var err error
	p.journal, err = journal.Open(dir, cfg.Sync == runlog.SyncAlways, func(ref journal.Ref, b []byte) error {
		return p.replay(restore, now, ref, b)
	})
	if err != nil {
		return nil, placement.Outcome{}, err
	}
	if err := p.journal.Damage(); err != nil {
		count.drop(DropJournal, 1, err.Error()+": what waited behind that is lost; the disk may be failing")
	}
	var waiters []*placement.Waiter
	for ref, w := range p.waits {
		if len(w.waiting) == 0 {
			delete(p.waits, ref)
			continue
		}
		p.journal.Retain(ref, w.bytes)
		for i := range maxUnit(w.waiting) + 1 {
			if waiter := w.waiting[i]; waiter != nil {
				waiters = append(waiters, waiter)
			}
		}
	}
	out := restore.Waiters(now, waiters)
	if err := p.keep(out); err != nil {
		return nil, out, errors.Join(err, p.journal.Close())
	}
	if err := p.compact(true); err != nil {
		return nil, out, errors.Join(err, p.journal.Close())
	}
	return p, out, nil
}

func maxUnit(m map[int]*placement.Waiter) int {
	top := 0
	for i := range m {
		top = max(top, i)
	}
	return top
}

func (p *placer) replay(restore *placement.Restorer, now int64, ref journal.Ref, b []byte) error {
	var e entry
	if err := codec.Unmarshal(b, &e); err != nil {
		return err
	}
	switch {
	case e.Snapshot:
		restore.Reset()
		kept := map[journal.Ref]*waitRecord{}
		for _, k := range e.Keep {
			if w := p.waits[k.Ref]; w != nil {
				only := map[int]*placement.Waiter{}
				for _, i := range k.Units {
					only[i] = w.waiting[i]
				}
				w.waiting = only
				kept[k.Ref] = w
			}
		}
		p.waits = kept
	case e.Wait != nil:
		w := &waitRecord{bytes: int64(len(b)), waiting: map[int]*placement.Waiter{}}
		for i, s := range e.Wait.Subjects {
			w.waiting[i] = &placement.Waiter{
				Subject: s, Arrived: e.Wait.Arrived,
				Ref: placement.Ref{Record: uint64(ref), Unit: i},
			}
		}
		p.waits[ref] = w
	}
	for _, d := range e.Done {
		if w := p.waits[d.Ref]; w != nil {
			for _, i := range d.Units {
				delete(w.waiting, i)
			}
		}
	}
	if e.Saved != nil {
		return restore.Apply(now, *e.Saved)
	}
	return nil
}

// keep writes to the journal what a call of the table found: what waits, and
// what was learned.
func (p *placer) keep(out placement.Outcome) error {
	p.unkept = append(p.unkept, groupWaiters(out.Waiting)...)
	for len(p.unkept) > 0 {
		if err := p.keepWaiting(p.unkept[0]); err != nil {
			return err
		}
		p.unkept = p.unkept[1:]
	}
	if saved := placement.Save(out.Learned); !saved.Empty() {
		p.unsaved = append(p.unsaved, encode(entry{Saved: &saved}))
	}
	for len(p.unsaved) > 0 {
		if _, err := p.append(p.unsaved[0]); err != nil {
			return err
		}
		p.unsaved = p.unsaved[1:]
	}
	return nil
}

// behind tells whether the journal lacks something that was found: until it
// has that, nothing more is taken in, or memory would fill.
func (p *placer) behind() bool { return len(p.unkept) > 0 || len(p.unsaved) > maxUnsaved }

// maxUnsaved is far more than one request leaves to the next.
const maxUnsaved = 64

// redeliver are units to be tried again, so many at a time.
func (p *placer) redeliver() []placement.Placed {
	n := min(len(p.undelivered), 10_000)
	again := p.undelivered[:n:n]
	if p.undelivered = p.undelivered[n:]; len(p.undelivered) == 0 {
		p.undelivered = nil
	}
	return again
}

func (p *placer) append(b []byte) (journal.Ref, error) {
	ref, err := p.journal.Append(b)
	if err == nil {
		p.since += int64(len(b))
	}
	return ref, err
}

// unitsPerEntry bounds what is read to get one unit back.
const unitsPerEntry = 1000

// byEntry moves what waited and has no run to the end, entry by entry: a great
// many are given up in any order, and each entry would be read for each of them.
func byEntry(placed []placement.Placed) []placement.Placed {
	homeless := func(p *placement.Placed) bool {
		return p.Waiter != nil && (p.Decision == nil || p.Decision.Refused())
	}
	slices.SortStableFunc(placed, func(a, b placement.Placed) int {
		switch inA, inB := homeless(&a), homeless(&b); {
		case inA && inB:
			return cmp.Or(cmp.Compare(a.Waiter.Ref.Record, b.Waiter.Ref.Record), cmp.Compare(a.Waiter.Ref.Unit, b.Waiter.Ref.Unit))
		case inA:
			return 1
		case inB:
			return -1
		default:
			return 0
		}
	})
	return placed
}

// groupWaiters puts the waiters of one trace together; those placed meanwhile
// need no journal.
func groupWaiters(waiters []*placement.Waiter) (groups [][]*placement.Waiter) {
	at := map[placement.TraceID]int{}
	for _, w := range waiters {
		if w.Payload == nil {
			continue // placed by a later unit of the same request
		}
		i, ok := at[w.Subject.Trace]
		if !ok {
			i = len(groups)
			at[w.Subject.Trace] = i
			groups = append(groups, nil)
		}
		if len(groups[i]) == unitsPerEntry {
			i = len(groups)
			at[w.Subject.Trace] = i
			groups = append(groups, nil)
		}
		groups[i] = append(groups[i], w)
	}
	return groups
}

func (p *placer) keepWaiting(waiters []*placement.Waiter) error {
	waiters = slices.DeleteFunc(waiters, func(w *placement.Waiter) bool { return w.Payload == nil })
	if len(waiters) == 0 {
		return nil // placed since an earlier try
	}
	e := waitEntry{Arrived: waiters[0].Arrived}
	var payloads []*intake.Payload
	for _, w := range waiters {
		e.Subjects = append(e.Subjects, w.Subject)
		payloads = append(payloads, w.Payload.(*intake.Payload))
	}
	var err error
	if e.Payload, err = intake.Encode(payloads); err != nil {
		return err
	}
	b := encode(entry{Wait: &e})
	ref, err := p.append(b)
	if err != nil {
		// They wait in memory; the sender, told to send again, finds them waiting
		// and could take that for safe. So the next request tries again first.
		return err
	}
	p.journal.Retain(ref, int64(len(b)))
	rec := &waitRecord{bytes: int64(len(b)), waiting: map[int]*placement.Waiter{}}
	for i, w := range waiters {
		w.Ref = placement.Ref{Record: uint64(ref), Unit: i, Bytes: int64(len(b) / len(waiters))}
		w.Payload = nil // the journal has it
		rec.waiting[i] = w
	}
	p.waits[ref] = rec
	p.count.add(CountWaited, int64(len(waiters)))
	return nil
}

// payload is what a placed unit carries: at hand, or read from the journal.
func (p *placer) payload(placed *placement.Placed) (*placement.Subject, *intake.Payload, error) {
	if placed.Unit != nil {
		payload, _ := placed.Unit.Payload.(*intake.Payload)
		return &placed.Unit.Subject, payload, nil
	}
	w := placed.Waiter
	if payload, ok := w.Payload.(*intake.Payload); ok {
		w.Payload = nil // keep sees that it waits no more
		return &w.Subject, payload, nil
	}
	units, err := p.read(journal.Ref(w.Ref.Record))
	if err != nil {
		return &w.Subject, nil, err
	}
	if w.Ref.Unit >= len(units) {
		return &w.Subject, nil, fmt.Errorf("journal: entry %d has %d units, want unit %d", w.Ref.Record, len(units), w.Ref.Unit)
	}
	payload, _ := units[w.Ref.Unit].Payload.(*intake.Payload)
	return &w.Subject, payload, nil
}

func (p *placer) read(ref journal.Ref) ([]placement.Unit, error) {
	if p.readRef == ref && p.readUnits != nil {
		return p.readUnits, nil
	}
	b, err := p.journal.Read(ref)
	if err != nil {
		return nil, err
	}
	var e entry
	if err := codec.Unmarshal(b, &e); err != nil {
		return nil, err
	}
	if e.Wait == nil {
		return nil, fmt.Errorf("journal: entry %d holds nothing that waits", ref)
	}
	units, err := intake.Decode(e.Wait.Payload, &p.cfg.Intake)
	if err != nil {
		return nil, err
	}
	p.readRef, p.readUnits = ref, units
	return units, nil
}

// done lets the journal forget waiters whose items are in their runs. Losing
// this note is harmless: their runs recognise the repeat.
func (p *placer) done(released []placement.Placed) {
	by := map[journal.Ref][]int{}
	for i := range released {
		w := released[i].Waiter
		ref := journal.Ref(w.Ref.Record)
		rec := p.waits[ref]
		if rec == nil || rec.waiting[w.Ref.Unit] == nil {
			continue
		}
		delete(rec.waiting, w.Ref.Unit)
		by[ref] = append(by[ref], w.Ref.Unit)
		if len(rec.waiting) == 0 {
			p.journal.Retain(ref, -rec.bytes)
			delete(p.waits, ref)
		}
	}
	e := entry{}
	for ref, units := range by {
		e.Done = append(e.Done, doneEntry{Ref: ref, Units: units})
	}
	if len(e.Done) > 0 {
		p.unsaved = append(p.unsaved, encode(e)) // with the next append
	}
	p.readRef, p.readUnits = 0, nil
}

// snapshotAfter is how much is appended before the journal starts afresh; a
// variable for tests.
var snapshotAfter int64 = 32 << 20

// compact starts the journal afresh when that is worth it: links and decisions
// in one snapshot, waiters in mostly empty segments moved.
func (p *placer) compact(now bool) error {
	if !now && p.since < snapshotAfter {
		return nil
	}
	if err := p.keep(placement.Outcome{}); err != nil { // what is unsaved comes first
		return err
	}
	if err := p.moveSparse(); err != nil {
		return err
	}
	saved := p.table.Snapshot()
	err := p.journal.Compact(func(add func([]byte)) {
		first := entry{Snapshot: true, Saved: &saved}
		for ref, w := range p.waits {
			k := doneEntry{Ref: ref}
			for i := range w.waiting {
				k.Units = append(k.Units, i)
			}
			first.Keep = append(first.Keep, k)
		}
		add(encode(first))
	})
	p.since = 0
	return err
}

// moveSparse appends again what little waits in old segments, so that those
// can go. Otherwise one span that waits for a day would keep 8 MiB.
func (p *placer) moveSparse() error {
	for ref, w := range p.waits {
		if !p.journal.Sparse(ref) {
			continue
		}
		b, err := p.journal.Read(ref)
		if err != nil {
			return err
		}
		to, err := p.append(b)
		if err != nil {
			return err
		}
		p.journal.Retain(to, w.bytes)
		p.journal.Retain(ref, -w.bytes)
		for _, waiter := range w.waiting {
			waiter.Ref.Record = uint64(to)
		}
		delete(p.waits, ref)
		p.waits[to] = w
	}
	return nil
}

func (p *placer) close() error {
	return errors.Join(p.keep(placement.Outcome{}), p.journal.Close())
}
