package main

import (
	"bufio"
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"go.opentelemetry.io/otel"
	"google.golang.org/grpc"

	"github.com/otel-wandb/otel-wandb/internal/semconv"
)

// received is what a collector would have got.
type received struct {
	mu      sync.Mutex
	spans   []ptrace.Span
	records []plog.LogRecord
}

func (r *received) traces(data ptrace.Traces) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, rs := range data.ResourceSpans().All() {
		for _, ss := range rs.ScopeSpans().All() {
			for _, s := range ss.Spans().All() {
				r.spans = append(r.spans, s)
			}
		}
	}
}

func (r *received) logs(data plog.Logs) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, rl := range data.ResourceLogs().All() {
		for _, sl := range rl.ScopeLogs().All() {
			for _, lr := range sl.LogRecords().All() {
				r.records = append(r.records, lr)
			}
		}
	}
}

type traceServer struct {
	ptraceotlp.UnimplementedGRPCServer
	*received
}

func (s *traceServer) Export(_ context.Context, req ptraceotlp.ExportRequest) (ptraceotlp.ExportResponse, error) {
	s.traces(req.Traces())
	return ptraceotlp.NewExportResponse(), nil
}

type logServer struct {
	plogotlp.UnimplementedGRPCServer
	*received
}

func (s *logServer) Export(_ context.Context, req plogotlp.ExportRequest) (plogotlp.ExportResponse, error) {
	s.logs(req.Logs())
	return plogotlp.NewExportResponse(), nil
}

func collector(t *testing.T) (string, *received) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server, got := grpc.NewServer(), new(received)
	ptraceotlp.RegisterGRPCServer(server, &traceServer{received: got})
	plogotlp.RegisterGRPCServer(server, &logServer{received: got})
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	return listener.Addr().String(), got
}

// program runs the workflow as a process of its own would: OpenTelemetry's
// globals are as they were afterwards.
func program(t *testing.T, out *bytes.Buffer, args ...string) error {
	t.Helper()
	return programFor(t.Context(), t, out, args...)
}

func programFor(ctx context.Context, t *testing.T, out *bytes.Buffer, args ...string) error {
	t.Helper()
	t.Setenv("WANDB_DIR", t.TempDir())
	tp, propagator, handler := otel.GetTracerProvider(), otel.GetTextMapPropagator(), otel.GetErrorHandler()
	defer func() {
		otel.SetTracerProvider(tp)
		otel.SetTextMapPropagator(propagator)
		otel.SetErrorHandler(handler)
	}()
	return run(ctx, args, out)
}

// What the doc comment promises is what is sent.
func TestWorkflowSendsWhatItSays(t *testing.T) {
	for _, scale := range []string{"1", "20"} {
		t.Run("scale "+scale, func(t *testing.T) {
			addr, got := collector(t)
			file := filepath.Join(t.TempDir(), "otlp.jsonl")
			var out bytes.Buffer
			require.NoError(t, program(t, &out, "-fast", "-endpoint", "http://"+addr, "-scale", scale, "-otlp-json", file))

			train := map[string]int{"1": 300, "20": 6000}[scale]
			rows := map[string]int{
				"train-workflow": 2, "prepare-data": shards, "train": train + epochs, // the helper's are its task's
				"evaluate": 1, "probe-lr": probeRows, "probe-large-batch": failAfterRows,
			}
			spans := map[string]int{
				"train-workflow": 1, "prepare-data": 1, "train": 1, "validate-batch": epochs,
				"evaluate": 1, "probe-lr": 1, "probe-large-batch": 1,
			}
			check(t, got, rows, spans)

			fromFile := new(received)
			readFile(t, file, fromFile)
			check(t, fromFile, rows, spans)

			for _, want := range []string{"train-workflow     finished", "probe-lr           finished    20 rows", "probe-large-batch  FAILED       5 rows"} {
				assert.Contains(t, out.String(), want)
			}
			for _, s := range got.spans {
				if s.Name() == "probe-large-batch" {
					assert.Contains(t, out.String(), s.TraceID().String()+"-"+s.SpanID().String())
				}
			}
		})
	}
}

// check looks at what carriers say: they bring each task's start, rows and end,
// beside the spans themselves.
func check(t *testing.T, got *received, wantRows, wantSpans map[string]int) {
	t.Helper()
	names := map[string]string{} // by span id, hex
	rows, spans, starts, ends := map[string]int{}, map[string]int{}, map[string]string{}, map[string]int64{}
	for _, s := range got.spans {
		if _, carrier := s.Attributes().Get(semconv.Carrier); carrier {
			continue
		}
		names[s.SpanID().String()] = s.Name()
		spans[s.Name()]++
		if s.Name() == "probe-large-batch" {
			assert.Equal(t, ptrace.StatusCodeError, s.Status().Code())
		} else {
			assert.NotEqual(t, ptrace.StatusCodeError, s.Status().Code(), s.Name())
		}
	}
	for _, s := range got.spans {
		if _, carrier := s.Attributes().Get(semconv.Carrier); !carrier {
			continue
		}
		task, _ := s.Attributes().Get(semconv.Task)
		name := names[task.Str()]
		require.NotEmpty(t, name, "a carrier of no span")
		for _, e := range s.Events().All() {
			switch e.Name() {
			case semconv.EventLog:
				rows[name]++
			case semconv.EventRunStart:
				mode, _ := e.Attributes().Get(semconv.RunMode)
				starts[name] = mode.Str()
			case semconv.EventRunEnd:
				code, _ := e.Attributes().Get(semconv.ExitCode)
				ends[name] = code.Int()
			}
		}
	}
	assert.Equal(t, wantRows, rows)
	assert.Equal(t, wantSpans, spans)
	assert.Equal(t, map[string]string{
		"train-workflow": "auto", "prepare-data": "auto", "probe-lr": "new", "train": "auto",
		"evaluate": "shared", "probe-large-batch": "new",
	}, starts)
	assert.Equal(t, map[string]int64{
		"train-workflow": 0, "prepare-data": 0, "probe-lr": 0, "train": 0, "evaluate": 0, "probe-large-batch": 1,
	}, ends)
	assert.Len(t, got.records, 2+shards+epochs+1, "lines of the console")
}

func readFile(t *testing.T, file string, into *received) {
	t.Helper()
	f, err := os.Open(file)
	require.NoError(t, err)
	defer func() { require.NoError(t, f.Close()) }()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), `{"resourceSpans"`) {
			traces, err := new(ptrace.JSONUnmarshaler).UnmarshalTraces(lines.Bytes())
			require.NoError(t, err)
			into.traces(traces)
		} else {
			logs, err := new(plog.JSONUnmarshaler).UnmarshalLogs(lines.Bytes())
			require.NoError(t, err)
			into.logs(logs)
		}
	}
	require.NoError(t, lines.Err())
}

func TestFileOnly(t *testing.T) {
	file := filepath.Join(t.TempDir(), "otlp.jsonl")
	var out bytes.Buffer
	require.NoError(t, program(t, &out, "-fast", "-endpoint", sendNothing, "-otlp-json", file))
	got := new(received)
	readFile(t, file, got)
	assert.GreaterOrEqual(t, len(got.spans), 12)
	assert.Contains(t, out.String(), "not sent")
}

func TestNoCollectorSaysWhatToDo(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := listener.Addr().String()
	require.NoError(t, listener.Close())
	err = program(t, new(bytes.Buffer), "-fast", "-endpoint", addr)
	require.ErrorContains(t, err, "no collector at "+addr+": start one with")
}

func TestRefusedExportFails(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := grpc.NewServer() // a gRPC server that does not speak OTLP
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second) // the bridge would hope for ten
	defer cancel()
	err = programFor(ctx, t, new(bytes.Buffer), "-fast", "-endpoint", listener.Addr().String())
	require.ErrorContains(t, err, "not everything reached")
}

func TestScaleIsChecked(t *testing.T) {
	require.ErrorContains(t, program(t, new(bytes.Buffer), "-scale", "0"), "at least 1")
}
