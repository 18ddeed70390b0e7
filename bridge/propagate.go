package bridge

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/otel-wandb/otel-wandb/internal/semconv"
)

// maxMembers bounds the bridge's members of baggage, in bytes as sent.
const maxMembers = 4 << 10

// W3C names of what is propagated.
const (
	traceParent   = "traceparent"
	traceState    = "tracestate"
	baggageHeader = "baggage"
)

// Inject writes into carrier what another process needs to be under ctx's task:
// the keys traceparent, tracestate and baggage. The other side calls [Extract].
// Use it for inputs of a workflow engine, messages of a queue and the like; for
// HTTP there is [Transport], for subprocesses [Environ].
//
// Baggage carries where the run is, and what the scopes around ctx say; never
// a key or a host. Scopes that take more than 4 KiB stay behind, with a warning.
func Inject(ctx context.Context, carrier map[string]string) {
	if carrier == nil {
		return
	}
	to := propagation.MapCarrier(carrier)
	propagation.TraceContext{}.Inject(ctx, to)
	if b := withMembers(ctx, baggage.FromContext(ctx)); b.Len() > 0 {
		carrier[baggageHeader] = b.String()
	}
}

// Extract returns a context under the task that [Inject] was called in. The
// carrier is trusted: use it for what comes from the program's own side, not
// for headers of whoever calls a server (see [TrustCallers]). What makes no
// sense is left out.
func Extract(ctx context.Context, carrier map[string]string) context.Context {
	return extract(ctx, carrier, false)
}

func extract(ctx context.Context, carrier map[string]string, outermost bool) context.Context {
	from := propagation.MapCarrier(carrier)
	ctx = propagation.TraceContext{}.Extract(ctx, from)
	if carrier[baggageHeader] == "" {
		return ctx
	}
	b, err := baggage.Parse(carrier[baggageHeader])
	if err != nil {
		st := stateOf(ctx)
		st.use().report(fmt.Errorf("wandb bridge: baggage that was handed over: %w", err))
	}
	ctx = adopt(ctx, b, outermost)
	if rest := withoutMembers(b); rest.Len() > 0 {
		ctx = baggage.ContextWithBaggage(ctx, rest)
	}
	return ctx
}

// adopt takes the bridge's members of b for the context's parent. outermost
// lays the scope that was handed over under the context's own.
func adopt(ctx context.Context, b baggage.Baggage, outermost bool) context.Context {
	run, scope := b.Member(semconv.BaggageRun).Value(), b.Member(semconv.BaggageScope).Value()
	if run == "" && scope == "" {
		return ctx
	}
	st := stateOf(ctx)
	place, err := decodePlace(run)
	s, had, scopeErr := decodeScope(scope)
	if err = errors.Join(err, scopeErr); err != nil {
		st.use().report(fmt.Errorf("wandb bridge: what was handed over of the caller's run is left out: %w", err))
	}
	if place != nil {
		place.config, place.tags = had.config, had.tags
		st.run, st.remote, st.local, st.skipped = nil, place, false, false
	}
	if outermost {
		st.scope = s.with(st.scope)
	} else {
		st.scope = st.scope.with(s)
	}
	return withState(ctx, st)
}

// arrive is ctx, under the caller's run where the program has been told of one:
// by its environment, or by a caller it trusts.
func (b *Bridge) arrive(ctx context.Context) context.Context {
	st := stateOf(ctx)
	if !st.local && st.remote == nil {
		if b.trust {
			ctx = adopt(ctx, baggage.FromContext(ctx), true)
		}
		if b.environ != nil && !trace.SpanContextFromContext(ctx).IsValid() {
			ctx = extract(ctx, b.environ, true)
		}
		st = stateOf(ctx)
	}
	if st.remote != nil && st.remote.coords.Host == "" && b.scope != nil && b.scope.coords.Host != "" {
		there := *st.remote // a host is never handed over: it is this program's
		there.coords.Host = b.scope.coords.Host
		st.remote = &there
		ctx = withState(ctx, st)
	}
	return ctx
}

// withMembers adds the context's run and scope to baggage.
func withMembers(ctx context.Context, to baggage.Baggage) baggage.Baggage {
	st := stateOf(ctx)
	to = withoutMembers(to)
	parent := st.parent()
	run, err := baggage.NewMemberRaw(semconv.BaggageRun, encodePlace(parent))
	left := maxMembers
	if parent != nil && err == nil {
		if next, err := to.SetMember(run); err == nil && len(run.String()) <= left {
			to = next
			left -= len(run.String()) + 1
		} else {
			st.use().report(fmt.Errorf("wandb bridge: there is no room in baggage for run %s: what is called is not on it; send less baggage", parent.coords))
		}
	}
	// All of the scope, else all but what can be long.
	for i, s := range []*scope{st.scope, st.scope.short()} {
		text := encodeScope(s, parent)
		if text == "" {
			break
		}
		m, err := baggage.NewMemberRaw(semconv.BaggageScope, text)
		if err == nil && len(m.String()) <= left {
			if next, err := to.SetMember(m); err == nil {
				return next
			}
		}
		if i == 0 {
			st.use().report(fmt.Errorf("wandb bridge: config, tags and notes of the scope take more than the %d bytes that are left of %d in baggage: they stay in this process; hand large config over as an input", left, maxMembers))
		}
	}
	return to
}

func withoutMembers(b baggage.Baggage) baggage.Baggage {
	return b.DeleteMember(semconv.BaggageRun).DeleteMember(semconv.BaggageScope)
}

// Environ is what a subprocess needs in its environment to be under ctx's task:
// TRACEPARENT, TRACESTATE and BAGGAGE, and WANDB_BASE_URL where the run is not
// on the default server. Its own [Setup] reads them.
//
//	cmd := exec.CommandContext(ctx, "evaluate")
//	cmd.Env = append(os.Environ(), bridge.Environ(ctx)...)
func Environ(ctx context.Context) []string {
	carrier := map[string]string{}
	Inject(ctx, carrier)
	var out []string
	for _, key := range []string{traceParent, traceState, baggageHeader} {
		if v := carrier[key]; v != "" {
			out = append(out, strings.ToUpper(key)+"="+v)
		}
	}
	st := stateOf(ctx)
	if p := st.parent(); p != nil && p.coords.Host != "" {
		out = append(out, envHost+"="+p.coords.Host)
	}
	return out
}

func environCarrier(env func(string) string) map[string]string {
	out := map[string]string{}
	for _, key := range []string{traceParent, traceState, baggageHeader} {
		if v := env(strings.ToUpper(key)); v != "" {
			out[key] = v
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}
