package placementtest

import (
	"fmt"
	"strconv"
	"time"

	"github.com/otel-wandb/otel-wandb/exporter/internal/codec"
	"github.com/otel-wandb/otel-wandb/exporter/internal/intake"
	"github.com/otel-wandb/otel-wandb/exporter/internal/placement"
)

// epoch is when every case begins, unix ns.
const epoch = int64(1_800_000_000_000_000_000)

// delivery is how arrivals reach the table.
type delivery struct {
	name     string
	together bool // all between two other lines in one request
	restart  bool // after every request
	snapshot bool // and the journal is made anew each time
}

var deliveries = []delivery{
	{name: "one by one"},
	{name: "in one request", together: true},
	{name: "with a restart after each", restart: true},
	{name: "with a restart from a snapshot after each", restart: true, snapshot: true},
}

// world is a table, its clock and its journal, and what came of each arrival.
type world struct {
	c      *Case
	cfg    placement.Config
	intake intake.Options
	table  *placement.Table
	now    int64
	by     delivery

	journal [][]byte // what Save gave, encoded
	waiting map[*placement.Waiter]*arrival
	placed  map[string][]found // by name
	drops   map[string][]string
	heard   map[string]*arrival // the last of each name
	parents map[string]string   // by name
	tasks   map[placement.SpanID]bool
	names   map[placement.SpanID]string
	broken  error // the first invariant that does not hold
}

func newWorld(c *Case, by delivery) (*world, error) {
	w := &world{
		c: c, by: by, now: epoch,
		cfg: placement.Config{
			Settle: time.Minute, Retention: 24 * time.Hour, Links: time.Hour, MaxLinks: 10_000, MaxWaiting: 10_000,
		},
		waiting: map[*placement.Waiter]*arrival{}, placed: map[string][]found{}, drops: map[string][]string{},
		heard: map[string]*arrival{}, parents: map[string]string{}, tasks: map[placement.SpanID]bool{}, names: map[placement.SpanID]string{},
	}
	for _, p := range c.config {
		if err := w.configure(p); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", c.File, c.Line, err)
		}
	}
	w.table = placement.NewTable(w.cfg)
	return w, nil
}

func (w *world) configure(p pair) (err error) {
	switch p.key {
	case "host":
		w.cfg.Default.Host = p.value
	case "entity":
		w.cfg.Default.Entity = p.value
	case "project":
		w.cfg.Default.Project = p.value
	case "allowed_host":
		w.cfg.AllowedHosts = append(w.cfg.AllowedHosts, p.value)
	case "settle":
		w.cfg.Settle, err = time.ParseDuration(p.value)
	case "retention":
		w.cfg.Retention, err = time.ParseDuration(p.value)
	case "links":
		w.cfg.Links, err = time.ParseDuration(p.value)
	case "max_links":
		w.cfg.MaxLinks, err = strconv.Atoi(p.value)
	case "max_waiting":
		w.cfg.MaxWaiting, err = strconv.Atoi(p.value)
	case "unknown_parent":
		w.cfg.OpenUnknown = p.value == "open"
	case "stamped_only":
		w.cfg.StampedOnly = p.value == "true"
	case "rootless":
		w.intake.RootlessOff = p.value == "off"
	case "task":
		w.intake.Rules = append(w.intake.Rules, intake.TaskRule{SpanName: p.value, Mode: "auto"})
	default:
		err = fmt.Errorf("config has no %q: use host, entity, project, allowed_host, settle, retention, links, max_links, max_waiting, unknown_parent=open, stamped_only=true, rootless=off, task", p.key)
	}
	return err
}

func (w *world) trace(name string) placement.TraceID { return traceID(w.c.traceOf(name)) }

func (w *world) span(name string) placement.SpanID {
	id := spanID(name)
	w.names[id] = name
	return id
}

func (w *world) nameOf(id placement.SpanID) string {
	if name, ok := w.names[id]; ok {
		return name
	}
	return id.String()
}

// arrive brings arrivals to the table, in requests as the delivery has them.
func (w *world) arrive(arrivals []*arrival) {
	if !w.by.together {
		for _, a := range arrivals {
			w.request([]*arrival{a})
		}
		return
	}
	w.request(arrivals)
}

func (w *world) request(arrivals []*arrival) {
	units := make([]placement.Unit, len(arrivals))
	for i, a := range arrivals {
		units[i] = w.unit(a)
		if p, ok := units[i].Payload.(*intake.Payload); ok {
			for _, d := range p.Drops {
				w.drops[a.name] = append(w.drops[a.name], d.Reason)
			}
		}
		units[i].Payload = a
		w.heard[a.name] = a
		if a.parent != "" {
			w.parents[a.name] = a.parent
		}
	}
	w.take(w.table.Place(w.now, units))
	if w.by.restart {
		w.restart()
	}
}

// pass lets time pass, with ticks in between as the engine has them.
func (w *world) pass(d time.Duration) {
	const ticks = 100
	end := w.now + int64(d)
	for i := range ticks {
		w.now = end - int64(d)*int64(ticks-1-i)/ticks
		w.take(w.table.Expire(w.now))
	}
}

// take keeps what a call found, as the engine does.
func (w *world) take(out placement.Outcome) {
	for _, waiter := range out.Waiting {
		w.waiting[waiter] = waiter.Payload.(*arrival)
	}
	for i := range out.Placed {
		w.place(&out.Placed[i])
	}
	for _, u := range out.WaitingFull {
		w.drop(u, "waiting_full")
	}
	for _, u := range out.LinksFull {
		w.drop(u, "links_full")
	}
	if saved := placement.Save(out.Learned); !saved.Empty() {
		w.keep(saved)
	}
	w.check(out)
}

func (w *world) drop(u *placement.Unit, reason string) {
	name := u.Payload.(*arrival).name
	w.drops[name] = append(w.drops[name], reason)
}

func (w *world) place(p *placement.Placed) {
	var s *placement.Subject
	var a *arrival
	if p.Unit != nil {
		s, a = &p.Unit.Subject, p.Unit.Payload.(*arrival)
	} else {
		s, a = &p.Waiter.Subject, p.Waiter.Payload.(*arrival)
		if _, waited := w.waiting[p.Waiter]; !waited {
			w.violated("%s is placed twice", a.name)
		}
		delete(w.waiting, p.Waiter)
	}
	f := found{decision: p.Decision, rule: p.Rule}
	w.stays(a, f)
	w.ownerFirst(a, s, p.Decision)
	w.placed[a.name] = append(w.placed[a.name], f)
}

func (w *world) keep(saved placement.Saved) {
	b, err := codec.Marshal(saved)
	if err != nil {
		w.violated("what was learned cannot be saved: %v", err)
	}
	w.journal = append(w.journal, b)
}

// restart makes a new table of what a kill leaves behind: the journal, and what waits.
func (w *world) restart() {
	if w.by.snapshot {
		w.journal = nil
		w.keep(w.table.Snapshot())
	}
	w.table = placement.NewTable(w.cfg)
	restore := w.table.Restore()
	for _, b := range w.journal {
		var saved placement.Saved
		err := codec.Unmarshal(b, &saved)
		if err == nil {
			err = restore.Apply(w.now, saved)
		}
		if err != nil {
			w.violated("the journal cannot be read back: %v", err)
		}
	}
	old := w.waiting
	w.waiting = map[*placement.Waiter]*arrival{}
	var waiters []*placement.Waiter
	for waiter, a := range old {
		b, err := codec.Marshal(waiter.Subject)
		again := &placement.Waiter{Payload: a, Arrived: waiter.Arrived}
		if err == nil {
			err = codec.Unmarshal(b, &again.Subject)
		}
		if err != nil {
			w.violated("what waits cannot be saved: %v", err)
		}
		w.waiting[again] = a
		waiters = append(waiters, again)
	}
	w.take(restore.Waiters(w.now, waiters))
}

// find says where a name is: where its items went, that it waits, or, for a
// span that holds nothing, where an item of it would go.
func (w *world) find(name string) (found, error) {
	if _, ok := w.heard[name]; !ok {
		return found{}, fmt.Errorf("nothing called %q has arrived: check the name, or move the line down", name)
	}
	for _, waits := range w.waiting {
		if waits.name == name {
			return w.waitingFor(name), nil
		}
	}
	if placed := w.placed[name]; len(placed) > 0 {
		return placed[len(placed)-1], nil
	}
	return w.lookup(name), nil
}

func (w *world) lookup(name string) found {
	d, missing, rule := w.table.Lookup(w.trace(name), w.span(name))
	return found{waits: rule == "", missing: missing, decision: d, rule: rule, missName: w.nameOf(missing)}
}

// waitingFor says for which span a name waits. A task waits for its parent's.
func (w *world) waitingFor(name string) found {
	f := w.lookup(name)
	if parent := w.parents[name]; parent != "" && f.waits && f.missing == w.span(name) {
		f = w.lookup(parent)
	}
	f.waits = true
	return f
}
