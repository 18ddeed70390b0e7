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
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploggrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/log"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	coltracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"

	"github.com/otel-wandb/otel-wandb/internal/semconv"
)

const scopeName = "github.com/otel-wandb/otel-wandb/examples/plain"

// sendNothing is the endpoint of a run that only writes its -otlp-json file.
const sendNothing = "none"

func defaultEndpoint() string {
	if e := os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT"); e != "" {
		return e
	}
	return "localhost:4317"
}

// telemetry is an ordinary setup of OpenTelemetry: both SDKs, one connection.
type telemetry struct {
	tracer trace.Tracer
	logger log.Logger

	traces *sdktrace.TracerProvider
	logs   *sdklog.LoggerProvider
	conn   *grpc.ClientConn
	file   *os.File

	mu   sync.Mutex
	errs []error
}

func connect(endpoint, file string, rows int) (*telemetry, error) {
	target, creds := strings.TrimSuffix(endpoint, "/"), insecure.NewCredentials()
	if host, ok := strings.CutPrefix(target, "https://"); ok {
		target, creds = host, credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS12})
	}
	target = strings.TrimPrefix(target, "http://")

	t := new(telemetry)
	options := []grpc.DialOption{grpc.WithTransportCredentials(creds)}
	if file != "" {
		var err error
		if t.file, err = os.Create(file); err != nil {
			return nil, fmt.Errorf("the file for -otlp-json: %w", err)
		}
		options = append(options, grpc.WithChainUnaryInterceptor(t.write))
	}
	if endpoint == sendNothing {
		target = "localhost:0" // never dialled
		options = append(options, grpc.WithChainUnaryInterceptor(discard))
	} else if err := reachable(target); err != nil {
		return nil, err
	}

	// Both exporters share one connection. Exports fail in the background: the
	// handler keeps their errors, so that the program can end with them.
	otel.SetErrorHandler(otel.ErrorHandlerFunc(t.failed))
	conn, err := grpc.NewClient(target, options...)
	if err != nil {
		return nil, fmt.Errorf("endpoint %q: %w", endpoint, err)
	}
	t.conn = conn
	ctx := context.Background()
	spans, err := otlptracegrpc.New(ctx, otlptracegrpc.WithGRPCConn(conn))
	if err != nil {
		return nil, err
	}
	records, err := otlploggrpc.New(ctx, otlploggrpc.WithGRPCConn(conn))
	if err != nil {
		return nil, err
	}

	// Attributes of the resource are defaults for everything in it.
	res := resource.NewSchemaless(
		attribute.String("service.name", "plain"),
		attribute.String(semconv.Project, "otel-wandb-examples"))
	t.traces = sdktrace.NewTracerProvider(sdktrace.WithResource(res), sdktrace.WithBatcher(spans,
		sdktrace.WithBatchTimeout(200*time.Millisecond), // the default is 5 s
		sdktrace.WithBlocking()))                        // the default drops when the queue is full
	t.logs = sdklog.NewLoggerProvider(sdklog.WithResource(res), sdklog.WithProcessor(sdklog.NewBatchProcessor(records,
		sdklog.WithExportInterval(200*time.Millisecond), // the default is 1 s
		sdklog.WithMaxQueueSize(2*rows+1024))))          // when full, it overwrites: have room for all
	t.tracer = t.traces.Tracer(scopeName)
	t.logger = t.logs.Logger(scopeName)
	return t, nil
}

// reachable asks early, for exporters would retry for a minute, and then tell
// no more than a log line.
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
	for _, err := range []error{t.traces.Shutdown(ctx), t.logs.Shutdown(ctx), t.conn.Close()} {
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
