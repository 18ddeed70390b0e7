package inprocess

import (
	"context"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/otel-wandb/otel-wandb/internal/semconv"
	"github.com/otel-wandb/otel-wandb/internal/wandbtest"
)

// page collects the lines with a run's page.
type page struct {
	mu    sync.Mutex
	lines []string
}

func (p *page) say(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lines = append(p.lines, line)
}

func standIn(t *testing.T, opts ...Option) (*wandbtest.Server, []Option) {
	t.Helper()
	t.Setenv("NETRC", t.TempDir()+"/none")
	w := wandbtest.New(wandbtest.Options{})
	srv := httptest.NewServer(w)
	t.Cleanup(w.Close)
	t.Cleanup(srv.Close)
	return w, append(opts, WithHost(srv.URL), WithUpload(true), WithAPIKey(wandbtest.Key), WithHTTPClient(srv.Client()))
}

// All that a program wrote is at W&B when Shutdown returns, the end too, and
// the run's page was said.
func TestOnline(t *testing.T) {
	links := &page{}
	w, opts := standIn(t, WithLinks(links.say))
	p := newProgram(t, t.TempDir(), opts...)
	p.task("train", 3)
	p.shutdown(t.Context(), t)
	all := w.Runs()
	require.Len(t, all, 1)
	assert.Equal(t, "finished", all[0].State)
	assert.Len(t, all[0].History, 4)
	assert.Empty(t, w.Violations())
	require.Len(t, links.lines, 2)
	assert.Contains(t, links.lines[0], "View run train")
	assert.Contains(t, links.lines[0], "/runs/"+all[0].ID)
	assert.Contains(t, links.lines[1], "finished")
}

// A table that a span logs is at W&B under the name that its row has for it.
func TestOnlineTable(t *testing.T) {
	w, opts := standIn(t, WithLinks(nil))
	p := newProgram(t, t.TempDir(), opts...)
	_, span := p.traces.Tracer("test").Start(t.Context(), "train", trace.WithAttributes(attribute.String(semconv.RunMode, "auto")))
	span.AddEvent(semconv.EventTable, trace.WithAttributes(
		attribute.String(semconv.MediaKey, "errors"), attribute.StringSlice(semconv.TableColumns, []string{"label", "certainty"}),
		attribute.String(semconv.MediaData, `[["cat",0.5],["dog",null]]`)))
	span.End()
	p.shutdown(t.Context(), t)
	require.Len(t, w.Runs(), 1)
	run := w.Runs()[0]
	require.Len(t, run.History, 1)
	value, _ := run.Rows()[0]["errors"].(map[string]any)
	assert.Equal(t, "table-file", value["_type"])
	assert.JSONEq(t, `{"columns":["label","certainty"],"data":[["cat",0.5],["dog",null]]}`, string(run.Files[value["path"].(string)]))
	assert.Equal(t, value, run.Summary()["errors"])
	assert.Contains(t, run.Uploaded, value["path"])
	assert.Contains(t, run.Uploaded, "config.yaml")
	require.Len(t, w.Artifacts(), 1)
	made := w.Artifacts()[0]
	assert.Equal(t, "COMMITTED", made.State)
	assert.Equal(t, "run-"+run.ID+"-errors", made.Name)
	assert.Equal(t, "wandb-client-artifact://"+made.ClientID+"/errors.table.json", value["artifact_path"])
	assert.Equal(t, "wandb-client-artifact://"+made.SequenceID+":latest/errors.table.json", value["_latest_artifact_path"])
	assert.Contains(t, string(made.Files["errors.table.json"]), `"data": [["cat", 0.5], ["dog", null]], "log_mode": "IMMUTABLE", "ncols": 2, "nrows": 2}`)
	assert.Empty(t, w.Violations())
}

// W&B away: the program ends in time, and the next one uploads what is left.
func TestOnlineLater(t *testing.T) {
	w, opts := standIn(t, WithLinks(nil))
	down := make([]wandbtest.Fault, 50)
	for i := range down {
		down[i] = wandbtest.Fault{Status: 503}
	}
	w.Script("UpsertBucket", down...)
	dir := t.TempDir()
	p := newProgram(t, dir, append(opts, WithPatience(time.Second))...)
	p.task("train", 3)
	began := time.Now()
	p.shutdown(t.Context(), t)
	assert.Less(t, time.Since(began), 10*time.Second)
	assert.Empty(t, w.Runs())
	w.Script("UpsertBucket")

	p = newProgram(t, dir, opts...)
	require.Eventually(t, func() bool { all := w.Runs(); return len(all) == 1 && all[0].State == "finished" }, time.Minute, 10*time.Millisecond)
	p.shutdown(t.Context(), t)
	assert.Len(t, w.Runs()[0].History, 4)
}

// The stop button reaches who listens at a sink.
func TestStopIsHeard(t *testing.T) {
	w, opts := standIn(t, WithLinks(nil))
	p := newProgram(t, t.TempDir(), opts...)
	heard := make(chan string, 10)
	p.exporter.Sink().OnStop(func(_, _, project, run string) { heard <- project + "/" + run })
	ctx, span := p.traces.Tracer("test").Start(context.Background(), "train")
	_ = ctx
	sink := p.exporter.Sink()
	require.NoError(t, sink.Export(t.Context(), aTask(t)))
	require.Eventually(t, func() bool { return len(w.Runs()) == 1 }, time.Minute, 10*time.Millisecond)
	run := w.Runs()[0]
	require.True(t, w.Stop(run.Entity, run.Project, run.ID))
	require.NoError(t, sink.Export(t.Context(), aTask(t)))
	select {
	case got := <-heard:
		assert.Equal(t, run.Project+"/"+run.ID, got)
	case <-time.After(time.Minute):
		t.Fatal("nobody was told")
	}
	span.End()
	p.shutdown(t.Context(), t)
}

// Where runs go without an option: by W&B's own variables.
func TestModeOfTheEnvironment(t *testing.T) {
	for name, tt := range map[string]struct {
		env  map[string]string
		want string
	}{
		"nothing":            {nil, modeOffline},
		"a key":              {map[string]string{"WANDB_API_KEY": "k"}, modeOnline},
		"a token":            {map[string]string{"WANDB_IDENTITY_TOKEN_FILE": "f"}, modeOnline},
		"a key, but offline": {map[string]string{"WANDB_API_KEY": "k", "WANDB_MODE": "offline"}, modeOffline},
		"online by name":     {map[string]string{"WANDB_MODE": "online"}, modeOnline},
		"the old name":       {map[string]string{"WANDB_MODE": "run"}, modeOnline},
		"disabled":           {map[string]string{"WANDB_API_KEY": "k", "WANDB_MODE": "disabled"}, modeOffline},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tt.want, modeOf(func(key string) string { return tt.env[key] }))
		})
	}
}
