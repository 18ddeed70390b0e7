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

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
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

// What the doc comment promises is what is sent.
func TestWorkflowSendsWhatItSays(t *testing.T) {
	for _, scale := range []string{"1", "20"} {
		t.Run("scale "+scale, func(t *testing.T) {
			addr, got := collector(t)
			file := filepath.Join(t.TempDir(), "otlp.jsonl")
			var out bytes.Buffer
			require.NoError(t, run(t.Context(), []string{"-fast", "-endpoint", "http://" + addr, "-scale", scale, "-otlp-json", file}, &out))

			train := map[string]int{"1": 300, "20": 6000}[scale]
			rows := map[string]int{
				"train-workflow": 2, "prepare-data": shards, "train": train, "validate-batch": epochs,
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

func check(t *testing.T, got *received, wantRows, wantSpans map[string]int) {
	t.Helper()
	names := map[pcommon.SpanID]string{}
	parents := map[string]string{}
	rows, spans, starts := map[string]int{}, map[string]int{}, map[string]string{}
	for _, s := range got.spans {
		names[s.SpanID()] = s.Name()
		parents[s.Name()] = s.ParentSpanID().String()
		spans[s.Name()]++
		assert.Zero(t, s.DroppedEventsCount(), "%s: rows lost to the limit on events", s.Name())
		for _, e := range s.Events().All() {
			if e.Name() == semconv.EventLog {
				rows[s.Name()]++
			}
		}
		if s.Name() == "probe-large-batch" {
			assert.Equal(t, ptrace.StatusCodeError, s.Status().Code())
		} else {
			assert.NotEqual(t, ptrace.StatusCodeError, s.Status().Code(), s.Name())
		}
	}
	uids := map[string]bool{}
	for _, r := range got.records {
		name := names[r.SpanID()]
		require.NotEmpty(t, name, "a log record of no span")
		switch r.EventName() {
		case semconv.EventLog:
			rows[name]++
			assert.Equal(t, pcommon.ValueTypeMap, r.Body().Type())
			uid, _ := r.Attributes().Get(semconv.LogRecordUID)
			assert.False(t, uids[uid.Str()], "uid %q twice", uid.Str())
			uids[uid.Str()] = true
		case semconv.EventRunStart:
			mode, _ := r.Attributes().Get(semconv.RunMode)
			starts[name] = mode.Str()
			var parent string
			if v, ok := r.Attributes().Get(semconv.ParentSpanID); ok {
				parent = v.Str()
			}
			assert.Equal(t, parents[name], parent, "%s: parent in its start event", name)
		}
	}
	assert.Equal(t, wantRows, rows)
	assert.Equal(t, wantSpans, spans)
	assert.Equal(t, map[string]string{
		"train-workflow": "auto", "prepare-data": "auto", "probe-lr": "new", "train": "auto",
		"evaluate": "shared", "probe-large-batch": "new",
	}, starts)
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
	require.NoError(t, run(t.Context(), []string{"-fast", "-endpoint", sendNothing, "-otlp-json", file}, &out))
	got := new(received)
	readFile(t, file, got)
	assert.Len(t, got.spans, 12)
	assert.Contains(t, out.String(), "not sent")
}

func TestNoCollectorSaysWhatToDo(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := listener.Addr().String()
	require.NoError(t, listener.Close())
	err = run(t.Context(), []string{"-fast", "-endpoint", addr}, new(bytes.Buffer))
	require.ErrorContains(t, err, "no collector at "+addr+": start one with")
}

func TestRefusedExportFails(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := grpc.NewServer() // a gRPC server that does not speak OTLP
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	err = run(t.Context(), []string{"-fast", "-endpoint", listener.Addr().String()}, new(bytes.Buffer))
	require.ErrorContains(t, err, "not everything reached")
}

func TestScaleIsChecked(t *testing.T) {
	require.ErrorContains(t, run(t.Context(), []string{"-scale", "0"}, new(bytes.Buffer)), "at least 1")
}
