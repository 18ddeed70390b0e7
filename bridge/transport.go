package bridge

import (
	"context"
	"net/http"
	"strings"

	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/propagation"
)

// Transport puts servers at these hosts under the task that calls them: their
// tasks join its run, where they trust their callers ([TrustCallers]). A host
// is a name for any port, "name:port", or "*.example.com" for all below. To
// other hosts nothing of runs is sent, not even what a caller has handed on.
// base may be nil for http.DefaultTransport.
//
//	client := &http.Client{Transport: otelhttp.NewTransport(bridge.Transport(nil, "evaluator.internal"))}
//
// ConcurrentSafe: as base is.
func Transport(base http.RoundTripper, hosts ...string) http.RoundTripper {
	if base == nil {
		base = http.DefaultTransport
	}
	return &transport{base: base, hosts: append([]string(nil), hosts...)}
}

type transport struct {
	base  http.RoundTripper
	hosts []string
}

func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx := r.Context()
	header := propagation.HeaderCarrier(r.Header)
	was, err := baggage.Parse(strings.Join(r.Header.Values(baggageHeader), ","))
	if err != nil {
		was = baggage.Baggage{} // somebody else's; it is sent as it is
	}
	now := withoutMembers(was)
	allowed := t.allows(r.URL.Hostname(), r.URL.Host)
	if allowed {
		now = withMembers(ctx, now)
	}
	trace := allowed && header.Get(traceParent) == ""
	if now.String() == was.String() && !trace {
		return t.base.RoundTrip(r)
	}
	r = r.Clone(ctx) // a RoundTripper must not change the caller's
	header = propagation.HeaderCarrier(r.Header)
	if trace {
		propagation.TraceContext{}.Inject(ctx, header)
	}
	if now.Len() > 0 {
		header.Set(baggageHeader, now.String())
	} else {
		r.Header.Del(baggageHeader)
	}
	return t.base.RoundTrip(r)
}

func (t *transport) allows(name, withPort string) bool {
	for _, h := range t.hosts {
		if strings.EqualFold(h, name) || strings.EqualFold(h, withPort) {
			return true
		}
		if below, ok := strings.CutPrefix(h, "*"); ok && strings.HasPrefix(below, ".") &&
			len(name) > len(below) && strings.EqualFold(name[len(name)-len(below):], below) {
			return true
		}
	}
	return false
}

// Propagator keeps the bridge's members of baggage, which a caller may have
// handed over, out of what inner injects: inner does not know to whom that
// goes. [Transport] and [Inject] do. [Setup] registers W3C's propagators so.
func Propagator(inner propagation.TextMapPropagator) propagation.TextMapPropagator {
	return keeper{inner}
}

type keeper struct{ propagation.TextMapPropagator }

func (k keeper) Inject(ctx context.Context, to propagation.TextMapCarrier) {
	b := baggage.FromContext(ctx)
	if rest := withoutMembers(b); rest.Len() != b.Len() {
		ctx = baggage.ContextWithBaggage(ctx, rest)
	}
	k.TextMapPropagator.Inject(ctx, to)
}

// RunPropagator is for the instrumentation of a connection to a server of one's
// own, as [Transport] is for HTTP: what is called over it is under the calling
// task, and where the server trusts its callers ([TrustCallers]) its tasks join
// the run. Who is called is the connection's matter: give it to no client of
// strangers. It speaks W3C trace context and baggage.
//
//	conn, err := grpc.NewClient("evaluator.internal:443", credentials, grpc.WithStatsHandler(
//		otelgrpc.NewClientHandler(otelgrpc.WithPropagators(bridge.RunPropagator()))))
//
// The server takes otelgrpc.NewServerHandler, with any propagator for W3C's
// trace context and baggage: this one, or that of [Setup].
//
// ConcurrentSafe: it has no state.
func RunPropagator() propagation.TextMapPropagator {
	return teller{propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})}
}

type teller struct{ propagation.TextMapPropagator }

func (t teller) Inject(ctx context.Context, to propagation.TextMapCarrier) {
	ctx = baggage.ContextWithBaggage(ctx, withMembers(ctx, baggage.FromContext(ctx)))
	t.TextMapPropagator.Inject(ctx, to)
}
