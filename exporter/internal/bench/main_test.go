package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.uber.org/goleak"

	"github.com/otel-wandb/otel-wandb/exporter/internal/dotwandb"
	"github.com/otel-wandb/otel-wandb/exporter/internal/loadgen/otlpstub"
	"github.com/otel-wandb/otel-wandb/internal/semconv"
)

// pretend makes the test binary behave as a collector: "" no, else how.
const pretend = "BENCH_TEST_COLLECTOR"

func TestMain(m *testing.M) {
	if how := os.Getenv(pretend); how != "" {
		if err := pretendCollector(os.Args[len(os.Args)-1], how); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// rows is a receiver that keeps rows by run.
type rows struct {
	mu      sync.Mutex
	byRun   map[string][]int64
	byTrace map[pcommon.TraceID]string // the run of a trace, as a stamp said it
}

func (r *rows) add(trace pcommon.TraceID, run, row pcommon.Map) {
	if id, ok := run.Get(semconv.RunID); ok {
		r.byTrace[trace] = id.Str()
	}
	n, ok := row.Get("row")
	if ok {
		r.byRun[r.byTrace[trace]] = append(r.byRun[r.byTrace[trace]], n.Int())
	}
}

func (r *rows) Traces(_ context.Context, data ptrace.Traces) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range data.ResourceSpans().At(0).ScopeSpans().At(0).Spans().All() {
		for _, e := range s.Events().All() {
			r.add(s.TraceID(), s.Attributes(), e.Attributes())
		}
	}
	return nil
}

func (r *rows) Logs(_ context.Context, data plog.Logs) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, lr := range data.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().All() {
		r.add(lr.TraceID(), lr.Attributes(), lr.Body().Map())
	}
	return nil
}

func pretendCollector(config, how string) error {
	if how == "broken" {
		return fmt.Errorf("cannot unmarshal the configuration")
	}
	text, err := os.ReadFile(config)
	if err != nil {
		return err
	}
	terminated, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	addr := regexp.MustCompile(`endpoint: "([^"]*)"`).FindSubmatch(text)[1]
	listener, err := net.Listen("tcp", string(addr))
	if err != nil {
		return err
	}
	received := &rows{byRun: map[string][]int64{}, byTrace: map[pcommon.TraceID]string{}}
	server := otlpstub.NewServer(received)
	go func() { <-terminated.Done(); server.GracefulStop() }()
	if err := server.Serve(listener); err != nil {
		return err
	}
	dir := regexp.MustCompile(`wandb: {dir: "([^"]*)"`).FindSubmatch(text)
	if dir == nil {
		return nil // nop
	}
	for run, numbers := range received.byRun {
		framer, log := dotwandb.NewFramer(dotwandb.FileHeaderSize), dotwandb.AppendFileHeader(nil)
		add := func(r dotwandb.Record) { log = framer.Append(log, r.Append(nil)) }
		add(dotwandb.Record{Run: &dotwandb.Run{ID: run}})
		for i, n := range numbers {
			if how == "forgetful" && i == 7 {
				continue
			}
			add(dotwandb.Record{History: &dotwandb.History{Items: []dotwandb.Item{{Key: "row", JSON: fmt.Sprint(n)}}}})
		}
		if err := os.WriteFile(filepath.Join(string(dir[1]), run+".wandb"), log, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func bench(t *testing.T, how string, args ...string) (string, error) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("CPU times come from /proc")
	}
	t.Setenv(pretend, how)
	t.Setenv("GORACE", "atexit_sleep_ms=0") // the race detector sleeps before a program exits
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	var out bytes.Buffer
	err := run(t.Context(), append([]string{"-collector", os.Args[0], "-n", "2000", "-reps", "1", "-runs", "3"}, args...), &out, t.Output())
	left, globErr := filepath.Glob(filepath.Join(temp, "*"))
	require.NoError(t, globErr)
	assert.Empty(t, left, "files are left behind")
	return out.String(), err
}

func TestTable(t *testing.T) {
	out, err := bench(t, "good", "-reps", "2")
	require.NoError(t, err)
	for _, s := range scenarios {
		for _, pipeline := range pipelines {
			assert.Contains(t, out, fmt.Sprintf("\n| %s | %s | ", s.name, pipeline))
		}
	}
	var columns []int
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, "|") {
			columns = append(columns, strings.Count(line, "|"))
		}
	}
	assert.Len(t, columns, 2+len(scenarios)*len(pipelines))
	for _, n := range columns {
		assert.Equal(t, 11, n)
	}
	assert.Contains(t, out, "2000 items a measurement, 3 runs, 4 connections, medians of 2")
	assert.Contains(t, out, "-n 2000")
}

func TestLostRowsAreAnError(t *testing.T) {
	_, err := bench(t, "forgetful", "-only", "log records")
	require.ErrorContains(t, err, "rows as log records, otlp→wandb")
	require.ErrorContains(t, err, "was acknowledged and is not there")
	_, err = bench(t, "forgetful", "-only", "log records", "-check=false")
	require.NoError(t, err)
}

func TestCollectorThatDoesNotStart(t *testing.T) {
	_, err := bench(t, "broken")
	require.ErrorContains(t, err, "it does not start")
	require.ErrorContains(t, err, "cannot unmarshal the configuration", "what the collector said")
}

func TestArguments(t *testing.T) {
	_, err := bench(t, "good", "-collector", "no/such/file")
	require.ErrorContains(t, err, "run make build")
	_, err = bench(t, "good", "-only", "nothing")
	require.ErrorContains(t, err, "no scenario")
	_, err = bench(t, "good", "-n", "0")
	require.ErrorContains(t, err, "at least 1")
}

func TestMedian(t *testing.T) {
	rs := []result{{cpu: 3}, {cpu: 1}, {cpu: 2}}
	cpu := func(r result) float64 { return r.cpu }
	assert.InDelta(t, 2, median(rs, cpu), 1e-9)
	assert.InDelta(t, 2, median(rs[:2], cpu), 1e-9)
	assert.Equal(t, "1.00–3.00", spread(rs, cpu))
	assert.Equal(t, "–", ratio(1, 0))
}
