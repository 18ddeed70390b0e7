package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/otel-wandb/otel-wandb/exporter/inprocess"
	"github.com/otel-wandb/otel-wandb/internal/wandbtest"
)

// asTool makes the test's own program the tool: see TestMain.
const asTool = "OTEL_WANDB_TEST_AS_TOOL"

// offline is a directory of runs and a W&B server that a real process syncs it to.
type offline struct {
	*testing.T
	dir    string
	server *wandbtest.Server
	url    string
	before atomic.Pointer[func() (served func())] // is called with each request, and what it gives behind it
}

// newOffline writes runs of so many rows.
func newOffline(t *testing.T, rows map[string]int) *offline {
	o := &offline{T: t, dir: t.TempDir(), server: wandbtest.New(wandbtest.Options{StreamLimit: wandbtest.Limit{Requests: 1e6, Window: time.Minute}})}
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if before := o.before.Load(); before != nil {
			defer (*before)()()
		}
		o.server.ServeHTTP(w, r)
	}))
	t.Cleanup(func() { o.server.Close(); web.Close() })
	o.url = web.URL
	e, err := inprocess.New(t.Context(), inprocess.WithDir(o.dir), inprocess.WithProject("demo"), inprocess.WithHost("https://api.wandb.ai"))
	require.NoError(t, err)
	tp := sdktrace.NewTracerProvider(sdktrace.WithSyncer(e.Spans()))
	for id, n := range rows {
		_, span := tp.Tracer("test").Start(t.Context(), "train", trace.WithAttributes(
			attribute.String("wandb.run.mode", "auto"), attribute.String("wandb.run.id", id),
		))
		for i := range n {
			span.AddEvent("wandb.log", trace.WithAttributes(attribute.Int("at", i)))
		}
		span.End()
	}
	require.NoError(t, tp.Shutdown(t.Context()))
	require.NoError(t, e.Shutdown(t.Context()))
	return o
}

// tool is `otel-wandb args…` as a process, not started.
func (o *offline) tool(out *bytes.Buffer, args ...string) *exec.Cmd {
	exe, err := os.Executable()
	require.NoError(o, err)
	c := exec.CommandContext(o.Context(), exe, args...)
	c.Env = append(os.Environ(), asTool+"=1", "WANDB_BASE_URL="+o.url, "WANDB_API_KEY="+wandbtest.Key, "WANDB_DIR="+o.dir)
	c.Stdout, c.Stderr = out, out
	return c
}

// status runs it and gives its exit status.
func (o *offline) status(args ...string) (code int, out string) {
	o.Helper()
	var b bytes.Buffer
	c := o.tool(&b, args...)
	if err := c.Run(); c.ProcessState == nil {
		require.NoError(o, err)
	}
	assert.NotContains(o, b.String(), wandbtest.Key)
	return c.ProcessState.ExitCode(), b.String()
}

func (o *offline) whole(id string, rows int) {
	o.Helper()
	r, ok := o.server.Run("", "demo", id)
	require.True(o, ok, id)
	require.Len(o, r.History, rows, id)
	for i, row := range r.Rows() {
		assert.Equal(o, fmt.Sprint(i), fmt.Sprint(row["at"]))
	}
	assert.Equal(o, "finished", r.State)
	assert.Empty(o, o.server.Violations())
}

func TestSyncExitStatusIsTheTruth(t *testing.T) {
	o := newOffline(t, map[string]int{"a": 3, "b": 2})
	code, out := o.status("sync", "--dry-run")
	assert.Equal(t, exitFindings, code, out)
	assert.Contains(t, out, "demo/a: 3 rows of 3 to send")
	assert.Empty(t, o.server.Requests())

	o.server.Script("UpsertBucket", wandbtest.Fault{Status: 403})
	code, out = o.status("sync")
	assert.Equal(t, exitFindings, code, out)
	assert.Contains(t, out, "1 uploaded · 1 stopped")
	code, out = o.status("ls", o.dir)
	assert.Equal(t, 0, code, out)

	code, out = o.status("sync")
	assert.Equal(t, 0, code, out)
	o.whole("a", 3)
	o.whole("b", 2)
	code, out = o.status("sync", "--json")
	assert.Equal(t, 0, code, out)
	var report struct {
		Complete bool
		Runs     []struct{ Outcome string }
	}
	require.NoError(t, json.Unmarshal([]byte(out), &report))
	assert.True(t, report.Complete)
	assert.Len(t, report.Runs, 2)

	code, out = o.status("sync", o.dir+"/none")
	assert.Equal(t, exitError, code, out)
	code, out = o.status("sync", "--base-url", "https://wandb.ai")
	assert.Equal(t, exitError, code, out)
	assert.Contains(t, out, "use https://api.wandb.ai")
}

// However a sync ends on the way, the next one goes on, and each line is at W&B once.
func TestSyncGoesOnAfterASignal(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no signals between processes")
	}
	for sig, at := range map[syscall.Signal][]int{syscall.SIGKILL: {1, 3, 5, 8}, syscall.SIGINT: {4}, syscall.SIGTERM: {6}} {
		for _, nth := range at {
			t.Run(fmt.Sprintf("%v at request %d", sig, nth), func(t *testing.T) {
				o := newOffline(t, map[string]int{"a": 3, "b": 3})
				var out bytes.Buffer
				c := o.tool(&out, "sync", "--parallel", "1")
				requests := make(chan struct{}, 100)
				goOn, taken := make(chan struct{}), make(chan struct{})
				var seen atomic.Int64
				hold := func() func() {
					if seen.Add(1) != int64(nth) {
						return func() {}
					}
					requests <- struct{}{}
					<-goOn // the server takes it when the tool is gone
					return func() { close(taken) }
				}
				o.before.Store(&hold)
				require.NoError(t, c.Start())
				<-requests
				require.NoError(t, c.Process.Signal(sig))
				_ = c.Wait()
				close(goOn)
				<-taken // before the next sync, or it would be in the midst of it
				if sig == syscall.SIGKILL {
					assert.Equal(t, -1, c.ProcessState.ExitCode())
				} else {
					assert.Equal(t, exitFindings, c.ProcessState.ExitCode(), out.String())
					assert.Contains(t, out.String(), "interrupted")
					assert.Contains(t, out.String(), "goes on where it stopped")
				}
				code, text := o.status("sync")
				assert.Equal(t, 0, code, text)
				o.whole("a", 3)
				o.whole("b", 3)
			})
		}
	}
}

func TestDoctorExitStatus(t *testing.T) {
	o := newOffline(t, map[string]int{"a": 1})
	code, out := o.status("doctor", "--endpoint", "none")
	assert.Equal(t, 0, code, out)
	assert.Contains(t, out, "to upload: 1 of 1, rows: 1")
	assert.Empty(t, o.server.Runs())
	code, out = o.status("doctor", "--endpoint", "none", "--entity", "others", "--json")
	assert.Equal(t, exitFindings, code, out)
	var report struct {
		Checks []struct{ Name, Status, Fix string }
	}
	require.NoError(t, json.Unmarshal([]byte(out), &report))
	assert.NotEmpty(t, report.Checks)
}
