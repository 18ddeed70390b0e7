package intake

import (
	"slices"
	"strings"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/otel-wandb/otel-wandb/exporter/internal/placement"
	"github.com/otel-wandb/otel-wandb/exporter/internal/run"
	"github.com/otel-wandb/otel-wandb/internal/runid"
	"github.com/otel-wandb/otel-wandb/internal/runmode"
	"github.com/otel-wandb/otel-wandb/internal/semconv"
)

// Traces reads a request of spans: one unit a span, in the request's order. td
// must not change while units refer to it.
func Traces(td ptrace.Traces, opts *Options) []placement.Unit {
	return new(reader).traces(td, opts)
}

func (r *reader) traces(td ptrace.Traces, opts *Options) []placement.Unit {
	r.opts, r.units = opts, slices.Grow(r.units, td.SpanCount())
	for _, rs := range td.ResourceSpans().All() {
		r.resource(rs.Resource().Attributes())
		for _, ss := range rs.ScopeSpans().All() {
			r.scope(ss.Scope())
			for _, span := range ss.Spans().All() {
				r.span(rs, ss, span)
			}
		}
	}
	return r.units
}

func (r *reader) resource(m pcommon.Map) {
	r.defs = defaults{resource: r.attributes(m), env: environment(m), source: source(m)}
	// A copy: units outlive this resource's turn.
	if asked := r.defs.resource.asked; asked != (runid.Coordinates{}) {
		r.defs.place = &asked
	}
}

func (r *reader) scope(s pcommon.InstrumentationScope) {
	r.defs.scope, r.defs.scopeName = r.attributes(s.Attributes()), s.Name()
}

func (r *reader) span(rs ptrace.ResourceSpans, ss ptrace.ScopeSpans, span ptrace.Span) {
	a := &r.item
	*a = attributes{}
	r.read(a, span.Attributes())
	s := placement.Subject{
		Trace: placement.TraceID(span.TraceID()), Span: placement.SpanID(span.SpanID()),
		Parent: placement.SpanID(span.ParentSpanID()), Name: cutText(span.Name()),
		Declares: true, Real: true, Resource: r.defs.place,
	}
	s.Fingerprint = spanHash(s.Trace, s.Span)
	var p Payload
	s.Stamp = r.stamp(a, &p.Drops)
	if a.carrier {
		r.carrier(a, &s, &p, span)
	} else {
		r.ordinary(a, &s, &p, span)
	}
	if a.replayed {
		p.Items = nil // what it logged, it logged when it first ran
	}
	s.Holds = s.Task != nil || len(p.Items) > 0 || len(p.Drops) > 0
	u := placement.Unit{Subject: s}
	if s.Holds {
		p.span = &spanSource{rs, ss, span}
		u.Payload = &p
	}
	r.units = append(r.units, u)
}

func (r *reader) ordinary(a *attributes, s *placement.Subject, p *Payload, span ptrace.Span) {
	p.Drops = append(p.Drops, a.bad...)
	mode := r.mode(a, s, &p.Drops)
	start, end := nanos(span.StartTimestamp()), nanos(span.EndTimestamp())
	at := from{span: s.Span, src: r.src(s.Span), name: s.Name, hash: s.Fingerprint}
	body := make([]run.Item, 0, span.Events().Len())
	for i, ev := range span.Events().All() {
		body = r.event(body, p, at.position(i+1), ev.Name(), nanos(ev.Timestamp()), ev.Attributes(), nil)
		s.Events = s.Events || strings.HasPrefix(ev.Name(), semconv.Prefix) || slices.Contains(r.opts.MetricEvents, ev.Name())
	}
	s.Events = s.Events || len(a.config) > 0 || len(a.summary) > 0
	rootless := mode == 0 && s.Stamp == nil && s.Parent == (placement.SpanID{}) && !r.opts.RootlessOff && s.Events
	if rootless {
		mode = runmode.Auto
	}
	if mode != 0 {
		r.badDefaults(p)
		s.Task = r.placementTask(a, s, mode, start)
		s.Task.Rootless = rootless
		p.Items = append(p.Items, run.Item{
			Kind: run.KindTask, Span: run.SpanID(s.Span), SpanName: s.Name, Task: r.runTask(a, s, start),
			End: &run.End{
				Time: end, ExitCode: a.exitCode, ProcessCode: a.processCode,
				Error: span.Status().Code() == ptrace.StatusCodeError,
			},
		})
	} else if len(a.config) > 0 || len(a.tags) > 0 {
		// No task, but it says something of the run: as a child on a shared run does.
		p.Items = append(p.Items, run.Item{
			Kind: run.KindTask, Span: run.SpanID(s.Span), SpanName: s.Name,
			Task: &run.Task{Trace: s.Trace, Start: start, Tags: a.tags, Config: a.config},
		})
	}
	if len(a.summary) > 0 {
		it := at.position(0).item(run.KindSummary, end)
		it.Values = a.summary
		p.Items = append(p.Items, it)
	}
	if p.Items == nil {
		p.Items = body
		return
	}
	p.Items = append(p.Items, body...)
}

// carrier reads a span that only carries events for a task: it is no task
// itself, and makes no other span one.
func (r *reader) carrier(a *attributes, s *placement.Subject, p *Payload, span ptrace.Span) {
	at := from{hash: s.Fingerprint, carrier: true, writer: a.writer, name: a.spanName}
	s.Declares, s.Real = false, false
	if task, ok := spanID(a.task); ok {
		s.Span = task
		s.Parent = placement.SpanID{}
		if parent, ok := spanID(a.parent); ok {
			s.Parent = parent
		}
		s.Name = a.spanName
		s.Declares = s.Stamp != nil // unstamped, it knows no more than its task will say
	} else if s.Parent != (placement.SpanID{}) {
		s.Span = s.Parent
		s.Parent = placement.SpanID{}
	}
	at.span, at.src = s.Span, r.src(s.Span)
	p.Items = make([]run.Item, 0, span.Events().Len())
	for i, ev := range span.Events().All() {
		p.Items = r.event(p.Items, p, at.position(i+1), ev.Name(), nanos(ev.Timestamp()), ev.Attributes(), s)
		s.Events = true
	}
}

// from is where an event comes from: what makes its identity and its order.
type from struct {
	span    placement.SpanID // spoken for
	src     string           // the same, raw
	name    string           // that span's
	hash    uint64           // of what it stands in
	pos     int              // in that
	carrier bool
	writer  string
	record  bool              // a log record: no positions
	event   string            // that a log record is
	trace   placement.TraceID // of a log record
}

// who names the span for people; a log record, which may know its id only, by
// what it is besides.
func (f from) who() string {
	who := "span " + clip(f.name)
	if f.name == "" {
		who = "span " + f.span.String()
	}
	if f.record {
		who = "log record " + clip(f.event) + " of " + who + " of trace " + f.trace.String()
	}
	return who
}

func (f from) position(i int) from {
	f.pos = i
	return f
}

func (f from) item(kind run.Kind, at int64) run.Item {
	it := run.Item{
		Kind: kind, Span: run.SpanID(f.span), SpanName: f.name, Carrier: f.carrier,
		ID:    run.ID{Hash: f.hash, Pos: uint32(f.pos)},
		Order: run.Order{Time: at, Src: f.src, N: uint64(f.pos)},
	}
	if f.record {
		it.ID.Pos = 0
		it.Order.N = f.hash
	}
	return it
}

// numbered gives an item the identity of a writer's sequence number, where the
// event has one.
func numbered(it *run.Item, writer string, m pcommon.Map) {
	if v, ok := m.Get(semconv.Writer); ok {
		writer = text(v)
	}
	v, ok := m.Get(semconv.Seq)
	if !ok || writer == "" {
		return
	}
	if n := integer(v); n != nil && *n > 0 {
		it.ID = run.ID{Writer: writer, Seq: uint64(*n)}
		it.Order.Src, it.Order.N = writer, uint64(*n)
	}
}
