package wandbexporter

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

// patience bounds waits for what does happen, on any machine.
const patience = time.Minute

// collector is the built collector with this component behind an OTLP receiver.
type collector struct {
	dir    string // of runs
	grpc   string // addresses
	http   string
	output bytes.Buffer // complete once exited is closed
	exited chan struct{}
}

const collectorConfig = `
receivers:
  otlp: {protocols: {grpc: {endpoint: "localhost:0", max_recv_msg_size_mib: 16}, http: {endpoint: "localhost:0"}}}
exporters:
  wandb: {dir: %q, finish: {linger: 1ms}%s}
service:
  pipelines:
    traces: {receivers: [otlp], exporters: [wandb]}
    logs: {receivers: [otlp], exporters: [wandb]}
  telemetry: {metrics: {level: none}}
`

func startCollector(t *testing.T, more string) *collector {
	t.Helper()
	program, err := filepath.Abs("../bin/otelcol-wandb")
	require.NoError(t, err)
	_, err = os.Stat(program)
	require.NoError(t, err, "the collector is not built: run make build")

	c := &collector{dir: t.TempDir(), exited: make(chan struct{})}
	cmd := exec.Command(program, "--config", "yaml:"+fmt.Sprintf(collectorConfig, c.dir, more))
	cmd.Dir = t.TempDir()
	stderr, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	ready := make(chan struct{})
	go func() {
		defer close(c.exited)
		lines := bufio.NewScanner(io.TeeReader(stderr, &c.output))
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			switch line := lines.Text(); {
			case strings.Contains(line, "Starting GRPC server"):
				c.grpc = endpoint(line)
			case strings.Contains(line, "Starting HTTP server"):
				c.http = endpoint(line)
			case strings.Contains(line, "Everything is ready."):
				close(ready)
			}
		}
		_ = cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-c.exited
		if t.Failed() {
			t.Logf("output of the collector:\n%s", &c.output)
		}
	})
	select {
	case <-ready:
	case <-c.exited:
		require.Fail(t, "the collector ended before it was ready")
	case <-time.After(patience):
		require.Fail(t, "the collector was not ready in time")
	}
	return c
}

// endpoint reads the address out of a line of the collector's log.
func endpoint(line string) string {
	var fields struct {
		Endpoint string `json:"endpoint"`
	}
	if at := strings.IndexByte(line, '{'); at >= 0 {
		_ = json.Unmarshal([]byte(line[at:]), &fields)
	}
	return fields.Endpoint
}

// dial connects over gRPC.
func (c *collector) dial(t *testing.T) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(c.grpc, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, conn.Close()) })
	return conn
}

// Senders hear of every failure in a way that makes them keep the data and try
// again: over gRPC it is UNAVAILABLE, over HTTP 503. And then nothing is lost.
func TestSendersAreToldToTryAgain(t *testing.T) {
	c := startCollector(t, "")
	conn := c.dial(t)
	traces, logs := ptraceotlp.NewGRPCClient(conn), plogotlp.NewGRPCClient(conn)
	spans := ptraceotlp.NewExportRequestFromTraces(task(1, 2))
	records := plogotlp.NewExportRequestFromLogs(started(2))
	viaHTTP := ptraceotlp.NewExportRequestFromTraces(task(3, 2))

	mend := breakDir(t, c.dir)
	_, err := traces.Export(t.Context(), spans)
	assert.Equal(t, codes.Unavailable, status.Code(err), "%v", err)
	assert.ErrorContains(t, err, filepath.Join(c.dir, "wandb"), "the sender's log says what is wrong")
	_, err = logs.Export(t.Context(), records)
	assert.Equal(t, codes.Unavailable, status.Code(err), "%v", err)
	assert.Equal(t, http.StatusServiceUnavailable, c.post(t, viaHTTP))

	mend()
	_, err = traces.Export(t.Context(), spans)
	require.NoError(t, err)
	_, err = logs.Export(t.Context(), records)
	require.NoError(t, err)
	assert.Equal(t, http.StatusOK, c.post(t, viaHTTP))
	assert.Len(t, runs(t, c.dir), 3)
}

func (c *collector) post(t *testing.T, request ptraceotlp.ExportRequest) int {
	t.Helper()
	body, err := request.MarshalProto()
	require.NoError(t, err)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	response, err := client.Post("http://"+c.http+"/v1/traces", "application/x-protobuf", bytes.NewReader(body))
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	return response.StatusCode
}

// A collector with too much in flight says the same, and takes it later.
func TestABusyCollectorConcurrentSafe(t *testing.T) {
	c := startCollector(t, ", max_in_flight_mib: 1")
	client := ptraceotlp.NewGRPCClient(c.dial(t))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()

	var busy atomic.Bool // some request was sent back
	var sent atomic.Int32
	var senders sync.WaitGroup
	for range 4 {
		senders.Go(func() {
			for !busy.Load() {
				request := ptraceotlp.NewExportRequestFromTraces(large(byte(sent.Add(1))))
				for {
					_, err := client.Export(ctx, request)
					if err == nil {
						break
					}
					busy.Store(true)
					if !assert.Equal(t, codes.Unavailable, status.Code(err), "%v", err) ||
						!assert.ErrorContains(t, err, "max_in_flight_mib") {
						return
					}
				}
			}
		})
	}
	senders.Wait()
	require.True(t, busy.Load())
	all := runs(t, c.dir)
	assert.Len(t, all, int(min(sent.Load(), 255)))
	for _, run := range all {
		assert.Len(t, run.Rows, 1)
	}
}

// large is a task with one row of most of a mebibyte.
func large(n byte) ptrace.Traces {
	td := task(n, 1)
	td.ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(0).Events().At(0).Attributes().
		PutStr("text", strings.Repeat("x", 700<<10))
	return td
}
