package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploggrpc"
	"go.opentelemetry.io/otel/log"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	coltracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"

	"github.com/otel-wandb/otel-wandb/bridge"
)

// sendNothing is the endpoint of a run that only writes its -otlp-json file.
const sendNothing = "none"

func defaultEndpoint() string {
	if e := os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT"); e != "" {
		return e
	}
	return "localhost:4317"
}

// telemetry is the bridge, and beside it OpenTelemetry's SDK of log records, for
// console lines. A program without those needs bridge.Setup alone.
type telemetry struct {
	bridge *bridge.Bridge
	logger log.Logger

	logs *sdklog.LoggerProvider
	conn *grpc.ClientConn
	file *os.File

	mu   sync.Mutex
	errs []error
}

func connect(ctx context.Context, endpoint, file string) (*telemetry, error) {
	url := strings.TrimSuffix(endpoint, "/")
	if !strings.Contains(url, "://") {
		url = "http://" + url
	}
	target, creds := strings.TrimPrefix(url, "http://"), insecure.NewCredentials()
	if host, ok := strings.CutPrefix(url, "https://"); ok {
		target, creds = host, credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS12})
	}

	t := new(telemetry)
	setup := []bridge.SetupOption{bridge.WithProject("otel-wandb-examples"), bridge.WithEndpoint(url)}
	dial := []grpc.DialOption{grpc.WithTransportCredentials(creds)}
	if endpoint == sendNothing {
		target = "localhost:0" // never dialled
	} else if err := reachable(target); err != nil {
		return nil, err
	}
	if file != "" {
		var err error
		if t.file, err = os.Create(file); err != nil {
			return nil, fmt.Errorf("the file for -otlp-json: %w", err)
		}
		dial = append(dial, grpc.WithChainUnaryInterceptor(t.write))
	}
	if endpoint == sendNothing {
		dial = append(dial, grpc.WithChainUnaryInterceptor(discard))
	}
	conn, err := grpc.NewClient(target, dial...)
	if err != nil {
		return nil, fmt.Errorf("endpoint %q: %w", endpoint, err)
	}
	t.conn = conn
	if file != "" || endpoint == sendNothing {
		setup = append(setup, bridge.WithSink(sink{conn})) // over the connection that is listened in to
	}

	// Log records fail in the background: the handler keeps their errors, so
	// that the program can end with them. What the bridge says is no such error:
	// it goes on trying, and its Shutdown tells what came of it.
	otel.SetErrorHandler(otel.ErrorHandlerFunc(t.failed))
	setup = append(setup, bridge.WithErrorHandler(func(err error) { fmt.Fprintln(os.Stderr, "workflow:", err) }))
	if t.bridge, err = bridge.Setup(ctx, setup...); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	records, err := otlploggrpc.New(ctx, otlploggrpc.WithGRPCConn(conn))
	if err != nil {
		return nil, errors.Join(err, t.bridge.Shutdown(ctx), conn.Close())
	}
	// Each line at once, not in batches: to be seen while the run grows.
	t.logs = sdklog.NewLoggerProvider(sdklog.WithProcessor(sdklog.NewSimpleProcessor(records)))
	t.logger = t.logs.Logger("github.com/otel-wandb/otel-wandb/examples/workflow")
	return t, nil
}

// reachable asks early: the bridge would wait for a collector, and a program
// goes on without. Here it is the only thing to see.
func reachable(target string) error {
	conn, err := net.DialTimeout("tcp", target, 2*time.Second)
	if err != nil {
		return fmt.Errorf(`no collector at %s: start one with

    bin/otelcol-wandb --config collector-config/laptop.yaml

or name another with -endpoint host:port (OTLP over gRPC). (%w)`, target, err)
	}
	return conn.Close()
}

func (t *telemetry) failed(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.errs = append(t.errs, err)
}

// close sends what is left, and returns all that went wrong.
func (t *telemetry) close(ctx context.Context) error {
	for _, err := range []error{t.bridge.Shutdown(ctx), t.logs.Shutdown(ctx), t.conn.Close()} {
		if err != nil {
			t.failed(err)
		}
	}
	if t.file != nil {
		if err := t.file.Close(); err != nil {
			t.failed(err)
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return errors.Join(t.errs...)
}

// ---- -otlp-json

// sink sends what the bridge sends, over a connection of the program's own.
type sink struct{ conn *grpc.ClientConn }

func (s sink) Export(ctx context.Context, request []byte) error {
	message := new(coltracepb.ExportTraceServiceRequest)
	if err := proto.Unmarshal(request, message); err != nil {
		return err
	}
	_, err := coltracepb.NewTraceServiceClient(s.conn).Export(ctx, message)
	return err
}

func (sink) Shutdown(context.Context) error { return nil } // log records go on

// write appends each request that was accepted to the file, in the form of the
// Collector's file exporter. An interceptor sees the requests of both signals.
func (t *telemetry) write(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	if err := invoke(ctx, method, req, reply, cc, opts...); err != nil {
		return err
	}
	line, err := otlpJSON(req.(proto.Message))
	if err == nil {
		t.mu.Lock()
		_, err = t.file.Write(append(line, '\n'))
		t.mu.Unlock()
	}
	if err != nil {
		// The collector has the data: not an error of the export, which would
		// be repeated.
		t.failed(fmt.Errorf("the file for -otlp-json: %w", err))
	}
	return nil
}

// otlpJSON goes by way of pdata, because OTLP's JSON is not protobuf's own.
func otlpJSON(req proto.Message) ([]byte, error) {
	data, err := proto.Marshal(req)
	if err != nil {
		return nil, err
	}
	if _, ok := req.(*coltracepb.ExportTraceServiceRequest); ok {
		traces, err := new(ptrace.ProtoUnmarshaler).UnmarshalTraces(data)
		if err != nil {
			return nil, err
		}
		return new(ptrace.JSONMarshaler).MarshalTraces(traces)
	}
	logs, err := new(plog.ProtoUnmarshaler).UnmarshalLogs(data)
	if err != nil {
		return nil, err
	}
	return new(plog.JSONMarshaler).MarshalLogs(logs)
}

func discard(context.Context, string, any, any, *grpc.ClientConn, grpc.UnaryInvoker, ...grpc.CallOption) error {
	return nil
}
