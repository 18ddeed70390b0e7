package wandbexporter

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/otel-wandb/otel-wandb/internal/collectortest"
)

// patience bounds waits for what does happen, on any machine.
const patience = time.Minute

// collector is the built collector with this component behind an OTLP receiver.
type collector struct {
	*collectortest.Collector
	site *collectortest.Site
}

const collectorConfig = `
receivers:
  otlp: {protocols: {grpc: {max_recv_msg_size_mib: 16}, http: {}}}
exporters:
  wandb: {dir: "${env:WANDB_DIR}", finish: {linger: 1ms}%s}
service:
  pipelines:
    traces: {receivers: [otlp], exporters: [wandb]}
    logs: {receivers: [otlp], exporters: [wandb]}
    metrics: {receivers: [otlp], exporters: [wandb]}
  telemetry: {metrics: {level: none}}
`

func startCollector(t *testing.T, more string) *collector {
	t.Helper()
	site := collectortest.New(t, "yaml:"+fmt.Sprintf(collectorConfig, more))
	return &collector{site.StartReady(t), site}
}

// dial connects over gRPC.
func (c *collector) dial(t *testing.T) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(c.site.Addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, conn.Close()) })
	return conn
}

// Senders hear of every failure in a way that makes them keep the data and try
// again: over gRPC it is UNAVAILABLE, over HTTP 503. And then nothing is lost.
func TestSendersAreToldToTryAgain(t *testing.T) {
	c := startCollector(t, "")
	conn := c.dial(t)
	traces, logs, metrics := ptraceotlp.NewGRPCClient(conn), plogotlp.NewGRPCClient(conn), pmetricotlp.NewGRPCClient(conn)
	spans := ptraceotlp.NewExportRequestFromTraces(task(1, 2))
	records := plogotlp.NewExportRequestFromLogs(started(2))
	readings := pmetricotlp.NewExportRequestFromMetrics(reading(4, "loss"))
	viaHTTP := ptraceotlp.NewExportRequestFromTraces(task(3, 2))

	mend := breakDir(t, c.site.Dir)
	_, err := traces.Export(t.Context(), spans)
	assert.Equal(t, codes.Unavailable, status.Code(err), "%v", err)
	assert.ErrorContains(t, err, filepath.Join(c.site.Dir, "wandb"), "the sender's log says what is wrong")
	_, err = logs.Export(t.Context(), records)
	assert.Equal(t, codes.Unavailable, status.Code(err), "%v", err)
	_, err = metrics.Export(t.Context(), readings)
	assert.Equal(t, codes.Unavailable, status.Code(err), "%v", err)
	assert.Equal(t, http.StatusServiceUnavailable, c.post(t, viaHTTP))

	mend()
	_, err = traces.Export(t.Context(), spans)
	require.NoError(t, err)
	_, err = logs.Export(t.Context(), records)
	require.NoError(t, err)
	_, err = metrics.Export(t.Context(), readings)
	require.NoError(t, err)
	assert.Equal(t, http.StatusOK, c.post(t, viaHTTP))
	assert.Len(t, runs(t, c.site.Dir), 4)
}

func (c *collector) post(t *testing.T, request ptraceotlp.ExportRequest) int {
	t.Helper()
	body, err := request.MarshalProto()
	require.NoError(t, err)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	response, err := client.Post("http://"+c.HTTP()+"/v1/traces", "application/x-protobuf", bytes.NewReader(body))
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
	all := runs(t, c.site.Dir)
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
