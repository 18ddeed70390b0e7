package bridge

import (
	"context"
	"errors"
	"net"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/propagation"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
)

// remote is a service of another program. gRPC's own health service stands in
// for one that a program would define.
type remote struct {
	healthpb.UnimplementedHealthServer
	program *program
	mode    Mode
	got     metadata.MD
	run     *Run
	user    string
}

func (r *remote) Check(ctx context.Context, _ *healthpb.HealthCheckRequest) (_ *healthpb.HealthCheckResponse, err error) {
	r.got, _ = metadata.FromIncomingContext(ctx)
	r.user = baggage.FromContext(ctx).Member("user").Value()
	_, run, err := StartTask(r.program.Context(ctx), "evaluate", WithMode(r.mode))
	if err != nil {
		return nil, err
	}
	defer run.End(&err)
	r.run = run
	run.Log(map[string]any{"accuracy": 0.5})
	return &healthpb.HealthCheckResponse{Status: healthpb.HealthCheckResponse_SERVING}, nil
}

// serve is a server of that service, and a connection to it that tells of runs as
// the propagator does.
func (r *remote) serve(t *testing.T, callers propagation.TextMapPropagator, caller *program) healthpb.HealthClient {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := grpc.NewServer(grpc.StatsHandler(otelgrpc.NewServerHandler(
		otelgrpc.WithPropagators(RunPropagator()), otelgrpc.WithTracerProvider(r.program.provider))))
	healthpb.RegisterHealthServer(server, r)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithStatsHandler(otelgrpc.NewClientHandler(otelgrpc.WithPropagators(callers), otelgrpc.WithTracerProvider(caller.provider))))
	require.NoError(t, err)
	t.Cleanup(func() {
		assert.NoError(t, conn.Close())
		server.Stop()
		if err := <-served; !errors.Is(err, grpc.ErrServerStopped) {
			assert.NoError(t, err)
		}
	})
	return healthpb.NewHealthClient(conn)
}

// Parent and child are two programs, with otelgrpc's handlers between them.
func TestPropagation_GRPC(t *testing.T) {
	w3c := propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})
	for _, tt := range []struct {
		name       string
		propagator propagation.TextMapPropagator
		trust      bool
		mode       Mode
		refused    bool
		joins      bool
		told       bool
	}{
		{"joins its caller's run", RunPropagator(), true, ModeAuto, false, true, true},
		{"shared joins it too", RunPropagator(), true, ModeShared, false, true, true},
		{"new is in its group", RunPropagator(), true, ModeNew, false, false, true},
		{"a server that trusts nobody", RunPropagator(), false, ModeAuto, false, false, true},
		{"and has nothing to share", RunPropagator(), false, ModeShared, true, false, true},
		{"a connection to strangers", Propagator(w3c), true, ModeAuto, false, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			caller := newProgram(t, WithEntity("e"), WithProject("p"))
			var trust []SetupOption
			if tt.trust {
				trust = append(trust, TrustCallers())
			}
			service := &remote{program: newProgram(t, append(trust, WithProject("its-own"))...), mode: tt.mode}
			client := service.serve(t, tt.propagator, caller)

			user, err := baggage.NewMember("user", "me")
			require.NoError(t, err)
			b, err := baggage.New(user)
			require.NoError(t, err)
			ctx, run, err := StartTask(baggage.ContextWithBaggage(caller.ctx, b), "caller", WithGroup("g"))
			require.NoError(t, err)
			_, err = client.Check(ctx, &healthpb.HealthCheckRequest{})
			run.End(nil)

			assert.Equal(t, "me", service.user, "the program's own baggage travels")
			told, err2 := baggage.Parse(only(t, service.got["baggage"]))
			require.NoError(t, err2)
			assert.Equal(t, tt.told, told.Member("wandb.run").Value() != "")
			if tt.refused {
				require.ErrorContains(t, err, "needs a parent run", "the method answers with it")
				return
			}
			require.NoError(t, err)
			child := service.run
			assert.Equal(t, run.self.TraceID(), child.self.TraceID(), "one trace, over the spans of client and server")
			assert.Equal(t, tt.joins, child.coords == run.coords)
			if tt.mode == ModeNew {
				assert.Equal(t, []string{"g", "e", "p"}, []string{child.Group(), child.Entity(), child.Project()})
			}
			assert.Len(t, only(t, service.program.sent.of("evaluate")).rows, 1)
			_, call := caller.span(t, "grpc.health.v1.Health/Check")
			assert.Equal(t, run.self.SpanID(), call.Parent().SpanID())
			assert.Empty(t, caller.said())
			assert.Empty(t, service.program.said())
		})
	}
}
