package bridge

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/propagation"
)

// handedOver is a task's context in another process, and its run.
func handedOver(t *testing.T, opts ...ConfigOption) (carrier map[string]string, ctx context.Context, run *Run) {
	t.Helper()
	p := newProgram(t, WithEntity("e"), WithProject("p"))
	ctx, run, err := StartTask(WithConfig(p.ctx, opts...), "caller", WithGroup("g"))
	require.NoError(t, err)
	t.Cleanup(func() { run.End(nil); assert.Empty(t, p.said()) })
	carrier = map[string]string{}
	Inject(ctx, carrier)
	return carrier, ctx, run
}

func TestPropagation_EverythingOfARunTravels(t *testing.T) {
	carrier, _, caller := handedOver(t)
	p := newProgram(t, WithProject("another"))
	ctx := Extract(p.ctx, carrier)
	assert.Nil(t, RunFromContext(ctx), "no task of this process has a run yet")

	in, run, err := StartTask(ctx, "child", WithMode(ModeShared))
	require.NoError(t, err)
	assert.Equal(t, caller.coords, run.coords, "project and entity with the id")
	assert.Equal(t, []string{caller.Name(), "g"}, []string{run.Name(), run.Group()})
	assert.Equal(t, caller.self.TraceID(), run.self.TraceID(), "one trace")
	_, below, err := StartTask(in, "below")
	require.NoError(t, err)
	assert.Equal(t, caller.coords, below.coords)
	below.End(nil)
	run.End(nil)
	_, own, err := StartTask(ctx, "own", WithMode(ModeNew))
	require.NoError(t, err)
	assert.Equal(t, "g", own.Group(), "a new child is in the group of its parent's run")
	assert.Equal(t, "p", own.Project())
	own.End(nil)
	_, _, err = StartTask(ctx, "away", WithMode(ModeShared), WithProject("q"))
	require.ErrorIs(t, err, ErrElsewhere)
	assert.Empty(t, p.said())
}

func TestPropagation_TheProgramsOwnBaggageStays(t *testing.T) {
	p := newProgram(t)
	m, err := baggage.NewMember("user", "me")
	require.NoError(t, err)
	b, err := baggage.New(m)
	require.NoError(t, err)
	ctx, run, err := StartTask(baggage.ContextWithBaggage(p.ctx, b), "task")
	require.NoError(t, err)
	defer run.End(nil)
	assert.Equal(t, "user=me", baggage.FromContext(ctx).String(), "the bridge's are not in the context's")
	carrier := map[string]string{}
	Inject(ctx, carrier)
	there := Extract(t.Context(), carrier)
	assert.Equal(t, "user=me", baggage.FromContext(there).String())
	assert.Equal(t, run.ID(), stateOf(there).remote.coords.ID)
	Inject(ctx, nil)
}

// Config that is too large stays in the process; the run does not.
func TestPropagation_AtMost4KiB(t *testing.T) {
	p := newProgram(t)
	ctx := WithConfig(p.ctx, WithMode(ModeNew), WithConfigValues(map[string]any{"text": strings.Repeat("x ", 2000)}), WithNotes("n"))
	ctx, run, err := StartTask(ctx, "task")
	require.NoError(t, err)
	defer run.End(nil)
	for range 2 {
		carrier := map[string]string{}
		Inject(ctx, carrier)
		assert.LessOrEqual(t, len(carrier["baggage"]), 4096)
		st := stateOf(Extract(t.Context(), carrier))
		assert.Equal(t, run.coords, st.remote.coords)
		assert.Equal(t, ModeNew, st.scope.mode, "what is short goes along")
		assert.Empty(t, st.scope.config)
	}
	assert.Contains(t, only(t, p.said()), "4096")
}

func TestPropagation_NonsenseIsLeftOut(t *testing.T) {
	carrier, _, caller := handedOver(t)
	parent := carrier["traceparent"]
	for _, tt := range []struct{ name, baggage string }{
		{"no query", "wandb.run=%25zz"},
		{"no id", "wandb.run=p=x"},
		{"an id that is a path", "wandb.run=r=..%252Fx"},
		{"a project that is a path", "wandb.run=r=x&p=..%252Fx"},
		{"an owner that is none", "wandb.run=r=x&o=zz&s=1"},
		{"an owner too long", "wandb.run=r=x&o=0102030405060708ff&s=1"},
		{"a start that is none", "wandb.run=r=x&o=0102030405060708&s=now"},
		{"a scope that is none", "wandb.scope=x"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newProgram(t)
			ctx := Extract(p.ctx, map[string]string{"traceparent": parent, "baggage": tt.baggage})
			_, run, err := StartTask(ctx, "task")
			require.NoError(t, err)
			run.End(nil)
			assert.Equal(t, run.self.SpanID(), run.owner, "it has a run of its own")
			assert.Equal(t, caller.self.TraceID(), run.self.TraceID(), "in the caller's trace")
			assert.Contains(t, only(t, p.said()), "left out")
		})
	}
}

func TestPropagation_NoHostInBaggage(t *testing.T) {
	p := newProgram(t)
	ctx, run, err := StartTask(p.ctx, "task", WithHost("https://b.example"))
	require.NoError(t, err)
	defer run.End(nil)
	carrier := map[string]string{}
	Inject(ctx, carrier)
	assert.NotContains(t, carrier["baggage"], "b.example")
	env := Environ(ctx)
	assert.Contains(t, env, "WANDB_BASE_URL=https://b.example", "a subprocess is of the same program")

	there := newProgramIn(t, environment(env))
	_, far, err := StartTask(there.ctx, "far")
	require.NoError(t, err)
	assert.Equal(t, run.coords, far.coords)
	far.End(nil)
	evil := newProgram(t)
	_, far, err = StartTask(Extract(evil.ctx, map[string]string{"baggage": "wandb.run=r=x&h=https:%2F%2Fevil.example"}), "far")
	require.NoError(t, err)
	assert.Empty(t, far.coords.Host)
	far.End(nil)
}

func environment(list []string) map[string]string {
	out := map[string]string{}
	for _, kv := range list {
		k, v, _ := strings.Cut(kv, "=")
		out[k] = v
	}
	return out
}

func TestEnviron(t *testing.T) {
	_, ctx, caller := handedOver(t, WithTags("a"))
	env := environment(Environ(ctx))
	assert.Equal(t, []string{"BAGGAGE", "TRACEPARENT"}, mapKeys(env))
	p := newProgramIn(t, env)
	_, run, err := StartTask(p.ctx, "sub")
	require.NoError(t, err)
	assert.Equal(t, caller.coords, run.coords, "the environment always counts")
	assert.Equal(t, caller.self.SpanID(), run.parent)
	run.End(nil)

	// Under a span, the environment says nothing: that span has a parent of its own.
	in, span := p.provider.Tracer("").Start(p.ctx, "request")
	_, run, err = StartTask(in, "in request")
	require.NoError(t, err)
	assert.NotEqual(t, caller.ID(), run.ID())
	run.End(nil)
	span.End()
	assert.Empty(t, Environ(t.Context()))
}

func mapKeys(m map[string]string) []string {
	out := map[string]any{}
	for k := range m {
		out[k] = nil
	}
	return keys(out)
}

// Who calls a server names a run in baggage. It counts only with TrustCallers.
func TestTrustCallers(t *testing.T) {
	carrier, _, caller := handedOver(t)
	w3c := propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})
	for _, trust := range []bool{false, true} {
		var opts []SetupOption
		if trust {
			opts = append(opts, TrustCallers())
		}
		p := newProgram(t, opts...)
		ctx := w3c.Extract(p.ctx, propagation.MapCarrier(carrier)) // as an instrumented server does
		in, run, err := StartTask(ctx, "handle")
		require.NoError(t, err)
		assert.Equal(t, trust, run.ID() == caller.ID())
		run.End(nil)

		// What the caller said goes to nobody that instrumentation calls.
		out := propagation.HeaderCarrier{}
		Propagator(w3c).Inject(in, out)
		assert.NotContains(t, out.Get("baggage"), "wandb")
		assert.NotEmpty(t, out.Get("traceparent"))
	}
}

func TestTransport(t *testing.T) {
	_, ctx, caller := handedOver(t, WithTags("a"))
	var got http.Header
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.Header }))
	defer server.Close()
	defer server.CloseClientConnections()
	host := strings.TrimPrefix(server.URL, "http://")
	base := &http.Transport{DisableKeepAlives: true}
	for _, tt := range []struct {
		name, header string
		hosts        []string
		sent         bool
		rest         string
	}{
		{"an allowed host", "", []string{"127.0.0.1"}, true, ""},
		{"with its port", "", []string{host}, true, ""},
		{"another host", "", []string{"b.example"}, false, ""},
		{"no host", "", nil, false, ""},
		{"other baggage stays", "user=me", []string{host}, true, "user=me"},
		{"other baggage stays on the way to others", "user=me", nil, false, "user=me"},
		{"a caller's members are not handed on", "user=me,wandb.run=r=x", nil, false, "user=me"},
		{"nor those alone", "wandb.run=r=x", nil, false, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL, http.NoBody)
			require.NoError(t, err)
			if tt.header != "" {
				r.Header.Set("baggage", tt.header)
			}
			before := r.Header.Clone()
			resp, err := Transport(base, tt.hosts...).RoundTrip(r)
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
			assert.Equal(t, before, r.Header, "the caller's request is not changed")
			b, err := baggage.Parse(got.Get("baggage"))
			require.NoError(t, err)
			assert.Equal(t, tt.sent, strings.Contains(b.Member("wandb.run").Value(), "r="+caller.ID()))
			assert.Equal(t, tt.sent, got.Get("traceparent") != "")
			assert.Equal(t, tt.rest, withoutMembers(b).String())
			if !tt.sent {
				assert.NotContains(t, got.Get("baggage"), "wandb")
			}
		})
	}
	allows := &transport{hosts: []string{"*.example.com"}}
	assert.True(t, allows.allows("a.Example.com", "a.example.com:80"))
	assert.False(t, allows.allows("example.com", "example.com"))
	assert.False(t, allows.allows("evilexample.com", "evilexample.com"))
}
