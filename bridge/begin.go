package bridge

import (
	"context"
	"math/rand/v2"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/otel-wandb/otel-wandb/bridge/internal/carrier"
	"github.com/otel-wandb/otel-wandb/internal/runid"
	"github.com/otel-wandb/otel-wandb/internal/runmode"
	"github.com/otel-wandb/otel-wandb/internal/semconv"
)

// plain starts a task that has no run.
func (b *Bridge) plain(ctx context.Context, name string, c *taskConfig) (context.Context, *Run) {
	ctx, span := b.tracer().Start(ctx, name, append([]trace.SpanStartOption{trace.WithAttributes(c.attrs...)}, c.span...)...)
	return ctx, &Run{bridge: b, task: name, span: span, self: span.SpanContext()}
}

// begin starts a task as planned.
func (b *Bridge) begin(ctx context.Context, st state, name string, c *taskConfig, p *plan) (context.Context, *Run) {
	r := &Run{bridge: b, task: name, start: startTime(c, b.clock)}

	// The span's run is not its parent's, or not known to be: the processor
	// must not stamp it, and this task does so itself below.
	quiet := st
	quiet.run = nil
	above := trace.SpanContextFromContext(ctx)
	opts := append([]trace.SpanStartOption{
		trace.WithTimestamp(r.start),
		trace.WithAttributes(attribute.String(semconv.RunMode, p.mode.String())),
		trace.WithAttributes(c.attrs...),
	}, c.span...)
	ctx, r.span = b.tracer().Start(withState(ctx, quiet), name, opts...)
	r.self = r.span.SpanContext()
	if !r.self.IsValid() || r.self.SpanID() == above.SpanID() {
		// No SDK makes spans here: the run lives all the same.
		r.self = ownIDs(above)
		ctx = trace.ContextWithSpanContext(ctx, r.self)
	}
	if above.IsValid() && above.TraceID() == r.self.TraceID() {
		r.parent = above.SpanID()
	}

	guest := r.settle(b, c, p)
	own := r.declare(c, p, guest)
	if !guest {
		r.stamp = append(stampOf(&r.place), linksOf(&r.place)...)
		own = append(own, stampOf(&r.place)...)
	} else {
		r.stamp = linksOf(&r.place)
		own = append(own, request(r.coords)...)
	}
	r.span.SetAttributes(append(linksOf(&r.place), own...)...)
	r.stream = b.pipeline.open(streamTask{
		Trace: r.self.TraceID(), Span: r.self.SpanID(), Parent: r.parent, Name: name,
		Run: r.coords, Owner: r.owner, OwnerStart: r.ownerStart,
	})
	r.carrier, _ = r.stream.(*carrier.Stream)
	r.said(r.stream.Start(own))
	r.stopped = make(chan struct{})
	ctx, r.cancel = stoppable(ctx)
	b.opened(r)
	if b.keyHere && r.coords.Entity == "" {
		b.whose.of(r.coords.Host) // so that the page is known when somebody wants it
	}

	st.run, st.remote, st.local, st.skipped = r, nil, true, false
	st.bridge, st.scope = b, st.scope.under()
	return withState(ctx, st), r
}

func startTime(c *taskConfig, clock func() time.Time) time.Time {
	cfg := trace.NewSpanStartConfig(c.span...)
	if t := cfg.Timestamp(); !t.IsZero() {
		return t
	}
	return clock()
}

// ownIDs are ids of our own, under the span that is above, if any. A trace that
// begins here counts as sampled: nobody has decided against it.
func ownIDs(above trace.SpanContext) trace.SpanContext {
	var span trace.SpanID
	for !span.IsValid() {
		fillRandom(span[:])
	}
	if above.IsValid() {
		return above.WithSpanID(span).WithRemote(false)
	}
	var id trace.TraceID
	for !id.IsValid() {
		fillRandom(id[:])
	}
	return trace.NewSpanContext(trace.SpanContextConfig{TraceID: id, SpanID: span, TraceFlags: trace.FlagsSampled})
}

func fillRandom(b []byte) {
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
}

// settle says which run the task is on, now that its ids are known.
func (r *Run) settle(b *Bridge, c *taskConfig, p *plan) (guest bool) {
	r.config, r.tags = p.says.config, p.says.tags
	if p.outcome == runmode.Joins {
		r.join(p.parent)
		return r.owner == trace.SpanID{}
	}
	r.coords = p.where
	derived, group := r.derive(b, c, p)
	if r.coords.ID == "" {
		r.coords.ID = derived
	} else {
		group = ""
	}
	// An owner is a task none of whose ancestors is on the same run.
	if up := p.parent.above(r.coords); up != nil {
		r.join(up)
		r.up = p.parent
		return r.owner == trace.SpanID{}
	}
	r.up = p.parent
	r.name = p.says.name
	if r.name == "" {
		r.name = r.task + "-" + r.self.SpanID().String()[:6]
	}
	switch {
	case p.says.group != "":
		r.group = p.says.group
	case group != "" && p.common:
		r.group = group
	case p.mode == runmode.New && p.parent != nil:
		if r.group = p.parent.group; r.group == "" {
			r.group = p.parent.coords.ID
		}
	case group != "" && p.outer && r.parent.IsValid():
		// Ranks that were started under one span have its trace in common.
		r.group = r.self.TraceID().String()
	default:
		r.group = group
	}
	if p.outcome == runmode.Guest {
		return true
	}
	r.owner, r.ownerStart = r.self.SpanID(), r.start
	return false
}

// join puts the task on a run that is there.
func (r *Run) join(run *place) {
	r.coords, r.name, r.group = run.coords, run.name, run.group
	r.owner, r.ownerStart = run.owner, run.ownerStart
	r.config, r.tags = mergeConfig(run.config, r.config), joinTags(run.tags, r.tags)
	r.up = run
}

// derive is the id of a task that asks for none, and the group its ranks make.
func (r *Run) derive(b *Bridge, c *taskConfig, p *plan) (id, group string) {
	var flyteRun, flyteAction string
	from := c.attrs
	if p.outer {
		from = append(from[:len(from):len(from)], b.resource...)
	}
	for _, kv := range from {
		switch {
		case kv.Key == semconv.FlyteRunName && flyteRun == "":
			flyteRun = kv.Value.String()
		case kv.Key == semconv.FlyteActionName && flyteAction == "":
			flyteAction = kv.Value.String()
		}
	}
	p.common = flyteRun != "" && flyteAction != ""
	base := runid.Base(flyteRun, flyteAction, r.self.TraceID().String(), r.self.SpanID().String())
	clean, changed := runid.Sanitize(base)
	if changed {
		p.asked = base
	}
	id, group = p.ranks.Derive(clean, p.mode == runmode.New)
	id, _ = runid.Sanitize(id) // a suffix may make it too long
	return id, group
}

// declare is what the task says of itself: what its start event and its span
// carry beside stamp and links.
func (r *Run) declare(c *taskConfig, p *plan, guest bool) []attribute.KeyValue {
	mode := p.mode
	if guest && p.outcome == runmode.Joins {
		mode = runmode.Shared // whoever hears this task first must not take it for the run's owner
	}
	out := []attribute.KeyValue{attribute.String(semconv.RunMode, mode.String())}
	text := func(key, value string) {
		if value != "" {
			out = append(out, attribute.String(key, value))
		}
	}
	number := func(key string, n int) { out = append(out, attribute.Int(key, n)) }

	var had *place // whose words need not be said again
	if r.owner == r.self.SpanID() || guest && p.outcome != runmode.Joins {
		text(semconv.RunName, p.says.name)
		text(semconv.RunGroup, r.group)
		text(semconv.RunJobType, p.says.jobType)
		text(semconv.RunNotes, p.says.notes)
		if p.asked != "" {
			text(semconv.ConfigPrefix+semconv.ConfigAskedID, p.asked)
		}
	} else {
		had = p.parent.above(r.coords)
	}
	text(semconv.RunRetryOf, c.retryOf)
	text(semconv.RunResume, string(c.resume))
	if c.attempt != nil {
		number(semconv.RunAttempt, *c.attempt)
	}
	if p.ranks.Distributed() {
		number(semconv.Rank, p.ranks.Rank)
		number(semconv.LocalRank, p.ranks.LocalRank)
		number(semconv.WorldSize, p.ranks.WorldSize)
		number(semconv.LocalWorldSize, p.ranks.LocalWorldSize)
		number(semconv.Worker, p.ranks.Worker)
		if p.ranks.WorkerScope {
			text(semconv.RankScope, string(RankScopeWorker))
		}
	}
	out = append(out, p.says.differs(had)...)
	for _, kv := range c.attrs {
		if kv.Key == semconv.FlyteRunName || kv.Key == semconv.FlyteActionName {
			out = append(out, kv)
		}
	}
	return out
}
