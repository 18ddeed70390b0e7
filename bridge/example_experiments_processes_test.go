package bridge_test

import (
	"context"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/http/httptest"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/otel-wandb/otel-wandb/bridge"
)

var assess = bridge.Task("assess", func(ctx context.Context, accuracy float64) (string, error) {
	run := bridge.RunFromContext(ctx)
	run.Log(map[string]any{"accuracy": accuracy})
	return run.ID(), nil
})

// An HTTP server whose handler calls a task, and its caller in another program.
func Example_overHTTP() {
	ctx, collector := connected(bridge.TrustCallers())
	defer collector.show()
	w3c := propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// As otelhttp.NewHandler does.
		if _, err := assess(w3c.Extract(ctx, propagation.HeaderCarrier(r.Header)), 0.9); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.WriteHeader(http.StatusOK)
	}))
	defer server.Close()

	deploy := bridge.Task("deploy", func(ctx context.Context, url string) (int, error) {
		client := &http.Client{Transport: bridge.Transport(nil, "127.0.0.1", "*.internal")}
		defer client.CloseIdleConnections()
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, http.NoBody)
		if err != nil {
			return 0, err
		}
		resp, err := client.Do(r)
		if err != nil {
			return 0, err
		}
		return resp.StatusCode, resp.Body.Close()
	})
	fmt.Println(deploy(ctx, server.URL))
	// Output:
	// 200 <nil>
	// run of deploy in team/vision: finished
	//   assess logs accuracy=0.9
}

// health stands in for a service of the program's own.
type health struct {
	healthpb.UnimplementedHealthServer
}

func (health) Check(ctx context.Context, _ *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	_, err := assess(ctx, 0.8)
	return &healthpb.HealthCheckResponse{}, err
}

// A gRPC server whose method calls a task, and its caller in another program.
func Example_overGRPC() {
	collector := serving()
	defer collector.show()

	program := func() error {
		ctx := context.Background()
		b, err := bridge.Setup(ctx, bridge.TrustCallers())
		if err != nil {
			log.Print(err)
		}
		defer b.Shutdown(context.Background())

		// The server. Its callers are all of this program: it trusts them.
		server := grpc.NewServer(grpc.StatsHandler(
			otelgrpc.NewServerHandler(otelgrpc.WithPropagators(otel.GetTextMapPropagator()))))
		healthpb.RegisterHealthServer(server, health{})
		listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		go func() { _ = server.Serve(listener) }()
		defer server.Stop()

		// The client. This connection leads to a server of ours, so it tells of the run.
		conn, err := grpc.NewClient(listener.Addr().String(),
			grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithStatsHandler(otelgrpc.NewClientHandler(otelgrpc.WithPropagators(bridge.RunPropagator()))))
		if err != nil {
			return err
		}
		defer conn.Close()

		ctx, run, err := bridge.StartTask(ctx, "release")
		if err != nil {
			return err
		}
		defer run.End(&err)
		_, err = healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{})
		return err
	}
	fmt.Println(program())
	// Output:
	// <nil>
	// run of release in team/vision: finished
	//   assess logs accuracy=0.8
}
