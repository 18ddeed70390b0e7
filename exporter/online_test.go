package wandbexporter

import (
	"context"
	"io/fs"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/client"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/config/configopaque"

	"github.com/otel-wandb/otel-wandb/internal/semconv"
	"github.com/otel-wandb/otel-wandb/internal/wandbtest"
)

// standIn is a W&B server, and a configuration that uploads to it.
func standIn(t *testing.T, opts wandbtest.Options) (*wandbtest.Server, *Config) {
	t.Helper()
	t.Setenv("NETRC", t.TempDir()+"/none") // no key of the machine's gets in between
	w := wandbtest.New(opts)
	srv := httptest.NewServer(w)
	t.Cleanup(w.Close)
	t.Cleanup(srv.Close)
	cfg := configIn(t.TempDir())
	cfg.Mode, cfg.Host, cfg.Project, cfg.APIKey = modeOnline, srv.URL, "digits", configopaque.String(wandbtest.Key)
	return w, cfg
}

// A task's run is at W&B while its span is open, and complete after its end.
func TestOnline(t *testing.T) {
	w, cfg := standIn(t, wandbtest.Options{})
	p := newPair(t, nopSettings(), cfg)
	p.start(t, nopHost())
	require.NoError(t, p.logs.ConsumeLogs(t.Context(), started(1)))
	require.Eventually(t, func() bool {
		all := w.Runs()
		return len(all) == 1 && all[0].State == "running"
	}, 10*time.Second, 10*time.Millisecond)
	require.NoError(t, p.traces.ConsumeTraces(t.Context(), task(1, 3)))
	require.Eventually(t, func() bool { return w.Runs()[0].State == "finished" }, 10*time.Second, 10*time.Millisecond)
	p.shutdown(t)
	run := w.Runs()[0]
	assert.Len(t, run.History, 3)
	assert.Equal(t, "digits", run.Project)
	assert.Empty(t, w.Violations())
}

// What W&B did not get before the exporter ended goes up after the next start,
// each row once.
func TestOnlineGoesOnAfterARestart(t *testing.T) {
	w, cfg := standIn(t, wandbtest.Options{})
	p := newPair(t, nopSettings(), cfg)
	p.start(t, nopHost())
	require.NoError(t, p.logs.ConsumeLogs(t.Context(), started(1)))
	require.NoError(t, p.logs.ConsumeLogs(t.Context(), record(1, "wandb.log")))
	p.shutdown(t)
	require.Len(t, w.Runs(), 1, "shutting down sends what there is")
	assert.Equal(t, "running", w.Runs()[0].State)
	assert.Len(t, w.Runs()[0].History, 1)

	p = newPair(t, nopSettings(), cfg)
	p.start(t, nopHost())
	require.NoError(t, p.traces.ConsumeTraces(t.Context(), task(1, 3)))
	require.Eventually(t, func() bool { return w.Runs()[0].State == "finished" }, 10*time.Second, 10*time.Millisecond)
	p.shutdown(t)
	assert.Len(t, w.Runs()[0].History, 4)
	assert.Len(t, w.Runs(), 1)
}

// A run that W&B refuses stops, is said, and harms no other.
func TestOnlineRefused(t *testing.T) {
	w, cfg := standIn(t, wandbtest.Options{})
	w.Script("UpsertBucket", wandbtest.Fault{Status: 404})
	tel := newPair(t, nopSettings(), cfg)
	host := &reporter{Host: nopHost()}
	tel.start(t, host)
	require.NoError(t, tel.traces.ConsumeTraces(t.Context(), task(1, 1)))
	require.Eventually(t, func() bool {
		s := host.statuses()
		return len(s) > 0 && s[len(s)-1] == componentstatus.StatusRecoverableError
	}, 10*time.Second, 10*time.Millisecond)
	require.NoError(t, tel.traces.ConsumeTraces(t.Context(), task(2, 1)))
	require.Eventually(t, func() bool {
		all := w.Runs()
		return len(all) == 1 && all[0].State == "finished"
	}, 10*time.Second, 10*time.Millisecond)
	tel.shutdown(t)
}

// A program that says that it may soon be ended has W&B be patient with it, and
// a run that is not heard of any more is not said to have ended.
func TestOnlinePreempted(t *testing.T) {
	w, cfg := standIn(t, wandbtest.Options{})
	cfg.Run.AbandonAfter = 5 * time.Second // long beside the second in which requests are collected
	p := newPair(t, nopSettings(), cfg)
	p.start(t, nopHost())
	require.NoError(t, p.logs.ConsumeLogs(t.Context(), started(1)))
	beat := record(1, semconv.EventRunHeartbeat)
	beat.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().At(0).Attributes().PutBool(semconv.Preempting, true)
	require.Eventually(t, func() bool { return len(w.Runs()) == 1 }, 10*time.Second, 10*time.Millisecond)
	require.NoError(t, p.logs.ConsumeLogs(t.Context(), beat))
	require.Eventually(t, func() bool { return w.Runs()[0].State == "preempting" }, 10*time.Second, 10*time.Millisecond)
	require.Eventually(t, func() bool {
		r := runs(t, cfg.Dir)
		return len(r) == 1 && r[0].Exit != nil
	}, 30*time.Second, 10*time.Millisecond)
	p.shutdown(t)
	assert.Equal(t, int32(254), *runs(t, cfg.Dir)[0].Exit)
	assert.Nil(t, w.Runs()[0].ExitCode)
}

// A client's key uploads the runs that it opened, also after a restart, once it
// is heard again; another client's does not.
func TestOnlineWithTheClientsKey(t *testing.T) {
	w, cfg := standIn(t, wandbtest.Options{APIKeys: []string{wandbtest.Key}})
	t.Setenv("WANDB_API_KEY", "")
	cfg.APIKey, cfg.ClientAPIKey = "", "x-wandb-api-key"
	as := func(key string) context.Context {
		return client.NewContext(t.Context(), client.Info{Metadata: client.NewMetadata(map[string][]string{"x-wandb-api-key": {key}})})
	}
	p := newPair(t, nopSettings(), cfg)
	p.start(t, nopHost())
	require.NoError(t, p.logs.ConsumeLogs(as(wandbtest.Key), started(1)))
	require.Eventually(t, func() bool { return len(w.Runs()) == 1 }, 10*time.Second, 10*time.Millisecond)
	p.shutdown(t)

	p = newPair(t, nopSettings(), cfg)
	p.start(t, nopHost())
	other := "local-1111111111111111111111111111111111111111"
	require.NoError(t, p.logs.ConsumeLogs(as(other), record(1, semconv.EventLog)))
	require.NoError(t, p.traces.ConsumeTraces(as(wandbtest.Key), task(1, 2)))
	p.shutdown(t)
	assert.Len(t, runs(t, cfg.Dir)[0].Rows, 2)

	p = newPair(t, nopSettings(), cfg)
	p.start(t, nopHost())
	require.NoError(t, p.traces.ConsumeTraces(as(wandbtest.Key), task(2, 1)))
	require.Eventually(t, func() bool {
		all := w.Runs()
		return len(all) == 2 && all[0].State == "finished" && all[1].State == "finished"
	}, 30*time.Second, 10*time.Millisecond)
	p.shutdown(t)
	assert.Len(t, w.Runs()[0].History, 2)
	for _, path := range files(t, cfg.Dir) {
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		assert.NotContains(t, string(b), wandbtest.Key, path)
	}
}

func files(t *testing.T, dir string) (all []string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			all = append(all, path)
		}
		return err
	}))
	require.NotEmpty(t, all)
	return all
}

// Without a key an exporter that is to upload does not start, and says what to do.
func TestOnlineWithoutAKey(t *testing.T) {
	_, cfg := standIn(t, wandbtest.Options{})
	cfg.APIKey = ""
	t.Setenv("WANDB_API_KEY", "")
	p := newPair(t, nopSettings(), cfg)
	err := p.traces.Start(t.Context(), nopHost())
	assert.ErrorContains(t, err, "WANDB_API_KEY")
	assert.ErrorContains(t, err, "`mode: offline`")
	p.shutdown(t)
}

// While too much waits for W&B, senders keep what they have.
func TestOnlineBehind(t *testing.T) {
	w, cfg := standIn(t, wandbtest.Options{})
	cfg.Upload.MaxBehindMiB = 1
	w.Script(wandbtest.FileStream, wandbtest.Fault{Status: 503})
	p := newPair(t, nopSettings(), cfg)
	p.start(t, nopHost())
	n := byte(0)
	require.Eventually(t, func() bool {
		n++
		return p.traces.ConsumeTraces(t.Context(), task(n, 3000)) != nil
	}, 20*time.Second, 400*time.Millisecond) // few runs: they share what W&B allows
	require.Eventually(t, func() bool { return p.traces.ConsumeTraces(t.Context(), task(n, 3000)) == nil }, 30*time.Second, 10*time.Millisecond)
	p.shutdown(t)
}
