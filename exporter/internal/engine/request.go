package engine

import (
	"errors"
	"sync"

	"github.com/otel-wandb/otel-wandb/exporter/internal/intake"
	"github.com/otel-wandb/otel-wandb/exporter/internal/placement"
	"github.com/otel-wandb/otel-wandb/exporter/internal/run"
	"github.com/otel-wandb/otel-wandb/internal/runid"
)

// request is one Consume under way: it is answered when every run it brings
// something to has written it.
type request struct {
	wg       sync.WaitGroup
	mu       sync.Mutex
	err      error
	released []placement.Placed // waited, and were placed with it: the journal may forget them
}

func newRequest() *request { return &request{} }

func (r *request) wait() error {
	r.wg.Wait()
	return r.err
}

func (r *request) answer(err error) {
	if err != nil {
		r.mu.Lock()
		r.err = errors.Join(r.err, err)
		r.mu.Unlock()
	}
	r.wg.Done()
}

// parcel is what one request brings to one run.
type parcel struct {
	req        *request
	key        runid.Coordinates
	deliveries []run.Delivery
	drops      []run.Drop
	joined     bool // all are metric points that name no run
}

func (p *parcel) points() (n int) {
	for i := range p.deliveries {
		n += len(p.deliveries[i].Items)
	}
	return n
}

// builder sorts a request's units by run.
type builder struct {
	req      *request
	parcels  []*parcel
	byRun    map[runid.Coordinates]*parcel
	last     *parcel
	joined   map[runid.Coordinates]*parcel // of metric points that name no run
	contexts map[contextKey]*run.Context
	expect   int // units to come: nearly always of one run

	lastKey contextKey // and its context: units of one span come in a row
	lastCtx *run.Context
}

type contextKey struct {
	d      *placement.Decision
	task   bool
	client string
	label  string
}

func (b *builder) add(s *placement.Subject, p *intake.Payload, d *placement.Decision) {
	at := b.last
	if at == nil || at.key != d.Run {
		at = b.parcel(d.Run)
		b.last = at
	}
	at.deliveries = append(at.deliveries, run.Delivery{Context: b.context(s, d, p.Points), Items: p.Items})
	at.drops = append(at.drops, p.Drops...)
}

func (b *builder) parcel(key runid.Coordinates) *parcel {
	if p := b.byRun[key]; p != nil {
		return p
	}
	if b.byRun == nil {
		b.byRun = map[runid.Coordinates]*parcel{}
	}
	p := &parcel{req: b.req, key: key}
	if len(b.byRun) == 0 {
		p.deliveries = make([]run.Delivery, 0, b.expect)
	}
	b.byRun[key] = p
	b.parcels = append(b.parcels, p)
	return p
}

// joinParcel is a parcel apart: what is in it may come to nothing.
func (b *builder) joinParcel(key runid.Coordinates) *parcel {
	p := b.joined[key]
	if p == nil {
		if b.joined == nil {
			b.joined = map[runid.Coordinates]*parcel{}
		}
		p = &parcel{req: b.req, key: key, joined: true}
		b.joined[key] = p
		b.parcels = append(b.parcels, p)
	}
	return p
}

func (b *builder) context(s *placement.Subject, d *placement.Decision, points *intake.Points) *run.Context {
	label := ""
	if points != nil {
		label = points.Label
	}
	key := contextKey{d, s.Task != nil && d.Span == s.Span, s.Client, label}
	if b.lastCtx != nil && key == b.lastKey {
		return b.lastCtx
	}
	if c := b.contexts[key]; c != nil {
		b.lastKey, b.lastCtx = key, c
		return c
	}
	c := &run.Context{
		OwnerSpan: run.SpanID(d.OwnerSpan), OwnerStart: d.OwnerStart, Trace: d.Trace, Group: d.Group, AskedID: d.AskedID,
		Client: s.Client, Label: label,
	}
	if key.task {
		c.Role = roles[d.Role]
	}
	if b.contexts == nil {
		b.contexts = map[contextKey]*run.Context{}
	}
	b.contexts[key] = c
	b.lastKey, b.lastCtx = key, c
	return c
}

var roles = map[placement.Role]run.Role{
	placement.RoleOwner: run.RoleOwner, placement.RoleMember: run.RoleMember, placement.RoleGuest: run.RoleGuest,
}

func (b *builder) send(e *Engine) {
	for _, p := range b.parcels {
		b.req.wg.Add(1)
		e.shardOf(p.key).send(p)
	}
}
