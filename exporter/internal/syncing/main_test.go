package syncing

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/goleak"

	"github.com/otel-wandb/otel-wandb/exporter/inprocess"
	"github.com/otel-wandb/otel-wandb/exporter/internal/pace"
	"github.com/otel-wandb/otel-wandb/internal/wandbtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fixture is a W&B server with an address, and a directory of runs.
type fixture struct {
	*testing.T
	server *wandbtest.Server
	url    string
	host   string // that the programs say
	dir    string
	env    map[string]string
	// before is called with each request before the server has it.
	before atomic.Pointer[func(*http.Request)]
}

func (f *fixture) onRequest(do func(*http.Request)) { f.before.Store(&do) }

func newFixture(t *testing.T, opts wandbtest.Options) *fixture {
	f := &fixture{T: t, server: wandbtest.New(opts), dir: t.TempDir(), host: "https://api.wandb.ai"}
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if before := f.before.Load(); before != nil {
			(*before)(r)
		}
		f.server.ServeHTTP(w, r)
	}))
	t.Cleanup(func() { f.server.Close(); web.Close() })
	f.url = web.URL
	f.env = map[string]string{"WANDB_BASE_URL": f.url, "WANDB_API_KEY": wandbtest.Key}
	return f
}

// offline writes a run as a program without a collector does.
func (f *fixture) offline(id string, rows int) {
	f.Helper()
	f.write(func(tr trace.Tracer) { task(f.Context(), tr, id, rows).End() })
}

func task(ctx context.Context, tr trace.Tracer, id string, rows int) trace.Span {
	_, span := tr.Start(ctx, "train", trace.WithAttributes(
		attribute.String("wandb.run.mode", "auto"), attribute.String("wandb.run.id", id),
	))
	for i := range rows {
		span.AddEvent("wandb.log", trace.WithAttributes(attribute.Float64("loss", 1/float64(i+1)), attribute.String("at", fmt.Sprint(i))))
	}
	return span
}

// write lets a program write to the directory.
func (f *fixture) write(program func(trace.Tracer)) {
	f.Helper()
	e, err := inprocess.New(f.Context(), inprocess.WithDir(f.dir), inprocess.WithProject("demo"), inprocess.WithHost(f.host))
	require.NoError(f, err)
	tp := sdktrace.NewTracerProvider(sdktrace.WithSyncer(e.Spans()))
	program(tp.Tracer("test"))
	require.NoError(f, tp.Shutdown(f.Context()))
	require.NoError(f, e.Shutdown(f.Context()))
}

func (f *fixture) options(change ...func(*Options)) Options {
	o := Options{Dir: f.dir, SkipSynced: true, Pace: pace.New(pace.Options{Rate: 1000, GraphQLRate: 1000}), Getenv: func(k string) string { return f.env[k] }, Home: f.TempDir()}
	for _, c := range change {
		c(&o)
	}
	return o
}

func (f *fixture) sync(change ...func(*Options)) *Report {
	f.Helper()
	r, err := Sync(f.Context(), f.options(change...))
	require.NoError(f, err)
	return r
}

// whole checks that W&B has a run's rows once and in order, and its end.
func (f *fixture) whole(id string, rows int) {
	f.Helper()
	r, ok := f.server.Run("", "demo", id)
	require.True(f, ok, "W&B has no run %s", id)
	got := r.Rows()
	require.Len(f, got, rows, id)
	for i, row := range got {
		assert.Equal(f, fmt.Sprint(i), row["at"], "row %d of %s", i, id)
	}
	assert.Equal(f, "finished", r.State, id)
	assert.Empty(f, f.server.Violations())
}

// outcomes are the outcomes of a report by run.
func outcomes(r *Report) map[string]Outcome {
	m := map[string]Outcome{}
	for _, x := range r.Runs {
		m[x.Run] = x.Outcome
	}
	return m
}

// markers are the runs that `wandb sync` leaves alone.
func (f *fixture) markers() (names []string) {
	f.Helper()
	found, err := filepath.Glob(filepath.Join(f.dir, "wandb", "offline-*", "*.synced"))
	require.NoError(f, err)
	for _, m := range found {
		names = append(names, filepath.Base(m))
	}
	return names
}
