// Package collectorconfig_test starts every ready configuration of this folder
// in the built collector and sends it data.
package collectorconfig_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"

	"github.com/otel-wandb/otel-wandb/internal/collectortest"
	"github.com/otel-wandb/otel-wandb/internal/wandbtest"
)

// configs are the ready configurations, each with what a test run must change
// besides where it listens.
var configs = map[string]struct {
	overlays []string
	online   bool // it wants a W&B to upload to
}{
	"laptop.yaml": {},
	"wandb.yaml":  {online: true},
	"shared.yaml": {online: true, overlays: []string{anyProbePort}},
}

// anyProbePort has the health check listen where nobody else does.
const anyProbePort = "yaml:extensions::health_check::endpoint: localhost:0"

// standIn is a W&B, and the variables of W&B's own client that say so.
func standIn(t *testing.T) (*wandbtest.Server, []string) {
	t.Helper()
	w := wandbtest.New(wandbtest.Options{})
	srv := httptest.NewServer(w)
	t.Cleanup(w.Close)
	t.Cleanup(srv.Close)
	return w, []string{"WANDB_BASE_URL=" + srv.URL, "WANDB_API_KEY=" + wandbtest.Key, "WANDB_PROJECT=digits", "WANDB_ENTITY=ada"}
}

// With W&B's own variables set, runs are there.
func TestRunsGoToWandb(t *testing.T) {
	w, env := standIn(t)
	c := start(t, "wandb.yaml", env, "yaml:exporters::wandb::finish::linger: 10ms")
	traces := oneSpan("train")
	traces.ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(0).Attributes().PutStr("wandb.run.mode", "auto")
	c.postHTTP(t, "/v1/traces", marshal(t, ptraceotlp.NewExportRequestFromTraces(traces).MarshalProto))
	require.Eventually(t, func() bool {
		all := w.Runs()
		return len(all) == 1 && all[0].State == "finished"
	}, collectortest.Patience, 10*time.Millisecond)
	run := w.Runs()[0]
	assert.Equal(t, "ada/digits", run.Entity+"/"+run.Project)
	c.Stop(t)
	assert.Contains(t, c.Said(), "View run")
	assert.NotContains(t, c.Said(), wandbtest.Key)
	assert.Empty(t, w.Violations())
}

// Each client's runs go to W&B with the key that it brings, and are its own.
func TestClientsBringTheirKeys(t *testing.T) {
	const other = "local-2222222222222222222222222222222222222222"
	w := wandbtest.New(wandbtest.Options{APIKeys: []string{wandbtest.Key, other}})
	srv := httptest.NewServer(w)
	t.Cleanup(w.Close)
	t.Cleanup(srv.Close)
	c := start(t, "shared.yaml", []string{"WANDB_BASE_URL=" + srv.URL}, anyProbePort, "yaml:exporters::wandb::finish::linger: 10ms")
	send := func(key, id string, span byte) {
		traces := oneSpan("train")
		s := traces.ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(0)
		s.SetSpanID([8]byte{span})
		s.Attributes().PutStr("wandb.run.mode", "auto")
		s.Attributes().PutStr("wandb.run.id", id)
		row := s.Events().AppendEmpty()
		row.SetName("wandb.log")
		row.Attributes().PutInt("span", int64(span))
		c.postHTTP(t, "/v1/traces", marshal(t, ptraceotlp.NewExportRequestFromTraces(traces).MarshalProto), "x-wandb-api-key", key)
	}
	send(wandbtest.Key, "mine", 1)
	send(other, "theirs", 2)
	send(other, "mine", 3) // kept out, and the sender is not told: it would send it again
	require.Eventually(t, func() bool {
		all := w.Runs()
		return len(all) == 2 && all[0].State == "finished" && all[1].State == "finished"
	}, collectortest.Patience, 10*time.Millisecond)
	c.Stop(t)
	for _, run := range w.Runs() {
		require.Len(t, run.History, 1, run.ID)
		assert.Contains(t, run.History[0].Text, map[string]string{"mine": `"span":1`, "theirs": `"span":2`}[run.ID])
	}
	assert.Contains(t, c.Said(), "foreign_client")
	assert.NotContains(t, c.Said(), other)
	assert.NotContains(t, c.Said(), wandbtest.Key)
	assert.Empty(t, w.Violations())
}

func TestEveryConfigIsTested(t *testing.T) {
	var files []string
	for _, name := range glob(t, "*.yaml") {
		if !strings.HasPrefix(name, "manifest") {
			files = append(files, name)
		}
	}
	assert.ElementsMatch(t, files, slices.Collect(maps.Keys(configs)),
		"every configuration in this folder needs its entry in `configs`")
}

// The configuration as it is shipped, ports and all, is one the collector takes.
func TestConfigsValidate(t *testing.T) {
	for name := range configs {
		t.Run(name, func(t *testing.T) {
			said, err := collectortest.New(t).Validate(t, abs(t, name))
			require.NoError(t, err, said)
		})
	}
}

// Each configuration comes up, takes traces, logs and metrics over gRPC and HTTP, and
// ends with status 0 when told to.
func TestConfigsRun(t *testing.T) {
	for name, config := range configs {
		t.Run(name, func(t *testing.T) {
			var env []string
			if config.online {
				_, env = standIn(t)
			}
			c := start(t, name, env, config.overlays...)

			traces := ptraceotlp.NewExportRequestFromTraces(oneSpan("small"))
			logs := plogotlp.NewExportRequestFromLogs(oneRecord())
			c.postHTTP(t, "/v1/traces", marshal(t, traces.MarshalProto))
			metrics := pmetricotlp.NewExportRequestFromMetrics(oneReading())
			c.postHTTP(t, "/v1/logs", marshal(t, logs.MarshalProto))
			c.postHTTP(t, "/v1/metrics", marshal(t, metrics.MarshalProto))
			c.callGRPC(t, "opentelemetry.proto.collector.trace.v1.TraceService", marshal(t, traces.MarshalProto))
			c.callGRPC(t, "opentelemetry.proto.collector.logs.v1.LogsService", marshal(t, logs.MarshalProto))
			c.callGRPC(t, "opentelemetry.proto.collector.metrics.v1.MetricsService", marshal(t, metrics.MarshalProto))

			// gRPC's own limit is 4 MiB: a table in an event is soon past that.
			large := ptraceotlp.NewExportRequestFromTraces(oneSpan(strings.Repeat("x", 12<<20)))
			c.callGRPC(t, "opentelemetry.proto.collector.trace.v1.TraceService", marshal(t, large.MarshalProto))

			c.Stop(t)
		})
	}
}

// A second collector on the same machine needs two ports of its own, no more.
func TestTwoCollectorsSideBySide(t *testing.T) {
	first := start(t, "laptop.yaml", nil)
	second := start(t, "laptop.yaml", nil)
	first.Stop(t)
	second.Stop(t)
}

// The manifests and go.mod ask for one release of the Collector, and the wide
// distribution has everything of the lean one.
func TestManifestsAgree(t *testing.T) {
	module := regexp.MustCompile(`(?m)^\s*(?:- gomod: )?(go\.opentelemetry\.io/collector\S*|github\.com/\S+) (v\S+)`)
	release := map[string]string{} // "v0" and "v1" to the version of that line
	pins := func(file string) map[string]string {
		content, err := os.ReadFile(file)
		require.NoError(t, err)
		found := map[string]string{}
		for _, m := range module.FindAllStringSubmatch(string(content), -1) {
			if path, version := m[1], m[2]; strings.Contains(path, "opentelemetry.io/collector") ||
				strings.Contains(path, "opentelemetry-collector-contrib") || strings.Contains(path, "otel-wandb") {
				found[path] = version
			}
		}
		require.NotEmpty(t, found, "%s names no module", file)
		for path, version := range found {
			if strings.Contains(path, "otel-wandb/otel-wandb") {
				continue
			}
			line, _, _ := strings.Cut(version, ".")
			if want, ok := release[line]; ok {
				assert.Equal(t, want, version, "%s in %s is of another release than the rest", path, file)
			} else {
				release[line] = version
			}
		}
		return found
	}
	pins("../go.mod")
	lean, wide := pins("manifest.yaml"), pins("manifest-full.yaml")
	for path, version := range lean {
		assert.Equal(t, version, wide[path], "manifest-full.yaml lacks %s of manifest.yaml", path)
	}
	makefile, err := os.ReadFile("../Makefile")
	require.NoError(t, err)
	assert.Contains(t, string(makefile), "COLLECTOR_VERSION := "+release["v0"]+"\n", "the builder is of another release than the manifests")
}

// collector is a running collector.
type collector struct {
	*collectortest.Collector
	site *collectortest.Site
}

// start runs the collector with one of the configurations, at an address that
// nobody else has.
func start(t *testing.T, config string, env []string, overlays ...string) *collector {
	t.Helper()
	site := collectortest.New(t, append([]string{abs(t, config)}, overlays...)...)
	site.Env = env
	return &collector{site.StartReady(t), site}
}

// postHTTP sends an OTLP request over HTTP, with headers as name and value.
func (c *collector) postHTTP(t *testing.T, path string, request []byte, headers ...string) {
	t.Helper()
	require.NotEmpty(t, c.HTTP(), "the collector listens for no OTLP over HTTP")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: collectortest.Patience}
	post, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+c.HTTP()+path, bytes.NewReader(request))
	require.NoError(t, err)
	post.Header.Set("Content-Type", "application/x-protobuf")
	for i := 0; i < len(headers); i += 2 {
		post.Header.Set(headers[i], headers[i+1])
	}
	response, err := client.Do(post)
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, response.StatusCode, "%s: %s", path, body)
}

// callGRPC calls Export of an OTLP service. A unary call is an HTTP/2 request
// with a five-byte frame around the message: too little to import gRPC for.
func (c *collector) callGRPC(t *testing.T, service string, request []byte) {
	t.Helper()
	frame := append([]byte{0}, binary.BigEndian.AppendUint32(nil, uint32(len(request)))...)
	post, err := http.NewRequestWithContext(t.Context(), http.MethodPost,
		"http://"+c.site.Addr+"/"+service+"/Export", bytes.NewReader(append(frame, request...)))
	require.NoError(t, err)
	post.Header.Set("Content-Type", "application/grpc")
	post.Header.Set("TE", "trailers")

	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: protocols}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: collectortest.Patience}
	response, err := client.Do(post)
	require.NoError(t, err)
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	require.NoError(t, err)
	status, message := response.Trailer.Get("Grpc-Status"), response.Trailer.Get("Grpc-Message")
	if status == "" { // a refusal comes without body, its trailers as headers
		status, message = response.Header.Get("Grpc-Status"), response.Header.Get("Grpc-Message")
	}
	require.Equal(t, "0", status, "%s: %s", service, message)
}

func oneSpan(name string) ptrace.Traces {
	traces := ptrace.NewTraces()
	span := traces.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans().AppendEmpty()
	span.SetTraceID([16]byte{1})
	span.SetSpanID([8]byte{1})
	span.SetName(name)
	return traces
}

func oneRecord() plog.Logs {
	logs := plog.NewLogs()
	record := logs.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords().AppendEmpty()
	record.SetTraceID([16]byte{1})
	record.SetSpanID([8]byte{1})
	record.Body().SetStr("hello")
	return logs
}

func oneReading() pmetric.Metrics {
	metrics := pmetric.NewMetrics()
	metric := metrics.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty().Metrics().AppendEmpty()
	metric.SetName("loss")
	point := metric.SetEmptyGauge().DataPoints().AppendEmpty()
	point.SetTimestamp(1)
	point.SetDoubleValue(0.5)
	return metrics
}

func marshal(t *testing.T, message func() ([]byte, error)) []byte {
	t.Helper()
	encoded, err := message()
	require.NoError(t, err)
	return encoded
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	names, err := filepath.Glob(pattern)
	require.NoError(t, err)
	return names
}

func abs(t *testing.T, path string) string {
	t.Helper()
	path, err := filepath.Abs(path)
	require.NoError(t, err)
	return path
}
