package inprocess

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/otel/attribute"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/otel-wandb/otel-wandb/exporter/internal/engine"
)

func TestSpansAndLogRecordsAreOneRun(t *testing.T) {
	dir := t.TempDir()
	p := newProgram(t, dir, WithProject("digits"), WithEntity("ada"))
	p.task("train", 3, attribute.Int("wandb.config.layers", 2))
	p.shutdown(t.Context(), t)

	run := theRun(t, dir)
	assert.Equal(t, "digits", run.Project)
	assert.Equal(t, "ada", run.Entity)
	assert.EqualValues(t, 2, run.Config["layers"])
	assert.Len(t, run.Rows, 4)
	require.NotNil(t, run.Exit, "the task has ended, so shutting down ends the run")
	assert.Zero(t, *run.Exit)
	assert.Empty(t, p.said.all())
}

func TestWandbEnvironmentIsTheDefault(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("WANDB_DIR", dir)
	t.Setenv("WANDB_PROJECT", "from-env")
	t.Setenv("WANDB_ENTITY", "team")
	t.Setenv("WANDB_BASE_URL", "https://wandb.example/")
	e, err := New(t.Context())
	require.NoError(t, err)
	tp := sdktrace.NewTracerProvider(sdktrace.WithSyncer(e.Spans()))
	_, span := tp.Tracer("test").Start(t.Context(), "train", trace.WithAttributes(
		attribute.String("wandb.run.mode", "auto"), attribute.String("wandb.host", "https://wandb.example")))
	span.End()
	require.NoError(t, e.Shutdown(t.Context()))
	run := theRun(t, dir)
	assert.Equal(t, "from-env", run.Project)
	assert.Equal(t, "team", run.Entity)
}

func TestNewSaysWhatToMend(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for want, opts := range map[string][]Option{
		"WithDir is empty":                                {WithDir("")},
		`host "wandb.ai" is no base URL`:                  {WithHost("wandb.ai")},
		`host "ftp://x" is no base URL`:                   {WithAllowedHosts("ftp://x")},
		`project "a/b" holds one of`:                      {WithProject("a/b")},
		"WithProject is empty":                            {WithProject("")},
		`entity "a/b" holds one of`:                       {WithEntity("a/b")},
		`WithTaskRule("train", "sometimes"): the mode is`: {WithTaskRule("train", "sometimes")},
		"WithPark is 0":                                   {WithPark(0)},
		"WithPatience -1s":                                {WithPatience(-time.Second)},
		"WithErrorHandler is nil":                         {WithErrorHandler(nil)},
		"not a directory":                                 {WithDir(file)},
	} {
		t.Run(want, func(t *testing.T) {
			_, err := New(t.Context(), append([]Option{WithDir(t.TempDir())}, opts...)...)
			assert.ErrorContains(t, err, want)
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := New(ctx, WithDir(t.TempDir()))
	assert.ErrorIs(t, err, context.Canceled)
}

func TestTaskRulesAndMetricEvents(t *testing.T) {
	dir := t.TempDir()
	p := newProgram(t, dir, WithTaskRule("job-*", "auto"), WithMetricEvents("step done"))
	_, span := p.traces.Tracer("test").Start(t.Context(), "job-7")
	span.AddEvent("step done", trace.WithAttributes(attribute.Int("n", 1)))
	span.End()
	p.shutdown(t.Context(), t)
	assert.Len(t, theRun(t, dir).Rows, 1)
}

// What cannot be written is parked, tried again, and in the run once it can be.
func TestParksAndTriesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		disk := &failing{err: errors.New("the disk is full")}
		p := newProgram(t, dir, through(func(s sink) sink { disk.sink = s; return disk }))
		p.task("train", 2)
		stats := p.exporter.Stats()
		assert.Equal(t, Count{Spans: 1, LogRecords: 1}, stats.Parked)
		assert.Positive(t, stats.ParkedBytes)
		time.Sleep(time.Minute) // of the bubble
		assert.Equal(t, stats.Parked, p.exporter.Stats().Parked)
		require.Len(t, p.said.all(), 1, "said once, not with each try")
		assert.ErrorContains(t, p.said.all()[0], "the disk is full")
		assert.ErrorContains(t, p.said.all()[0], filepath.Join(dir, "wandb"))

		disk.set(nil)
		time.Sleep(lastDelay)
		synctest.Wait()
		assert.Equal(t, Stats{Dropped: map[string]int64{}}, p.exporter.Stats())
		p.shutdown(t.Context(), t)
		run := theRun(t, dir)
		assert.Len(t, run.Rows, 3)
		require.NotNil(t, run.Exit)
	})
}

func TestBusyIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		disk := &failing{err: engine.ErrBusy}
		p := newProgram(t, dir, through(func(s sink) sink { disk.sink = s; return disk }))
		p.task("train", 1)
		disk.set(nil)
		time.Sleep(firstDelay)
		synctest.Wait()
		assert.Zero(t, p.exporter.Stats().Parked)
		p.shutdown(t.Context(), t)
		assert.Len(t, theRun(t, dir).Rows, 2)
	})
}

// A request that fails for good does not keep back those behind it.
func TestOneRunThatFailsKeepsBackNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		disk := &picky{refuses: "held"}
		p := newProgram(t, dir, through(func(s sink) sink { disk.sink = s; return disk }))
		disk.setDown(true)
		for _, name := range []string{"held", "free"} {
			_, span := p.traces.Tracer("test").Start(t.Context(), name, trace.WithAttributes(attribute.String("wandb.run.mode", "auto")))
			span.End()
		}
		assert.Equal(t, 2, p.exporter.Stats().Parked.Spans)
		disk.setDown(false)
		time.Sleep(lastDelay)
		synctest.Wait()
		assert.Equal(t, 1, p.exporter.Stats().Parked.Spans)

		err := p.exporter.Shutdown(t.Context())
		assert.ErrorContains(t, err, "1 span not written to "+filepath.Join(dir, "wandb"))
		assert.ErrorContains(t, err, "held by another program")
		require.NotNil(t, theRun(t, dir).Exit, "what can be ended is ended")
	})
}

// picky refuses spans of one name, or, while it is down, all.
type picky struct {
	sink
	refuses string
	mu      sync.Mutex
	down    bool
}

func (p *picky) setDown(down bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = down
}

func (p *picky) Traces(ctx context.Context, td ptrace.Traces) error {
	p.mu.Lock()
	down := p.down
	p.mu.Unlock()
	name := td.ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(0).Name()
	if down || name == p.refuses {
		return errors.New("held by another program")
	}
	return p.sink.Traces(ctx, td)
}

// When the park is full the new request is refused; what waits goes on waiting.
func TestAFullParkRefusesWhatIsNew(t *testing.T) {
	disk := &failing{err: errors.New("the disk is full")}
	said := &heard{}
	e, err := New(t.Context(), WithDir(t.TempDir()), WithPark(2000), WithErrorHandler(said.Handle),
		through(func(s sink) sink { disk.sink = s; return disk }))
	require.NoError(t, err)
	spans := e.Spans()
	one := recorded(t, "one", 1200)
	require.NoError(t, spans.ExportSpans(t.Context(), one))
	err = spans.ExportSpans(t.Context(), one)
	assert.ErrorContains(t, err, "1 span lost")
	assert.ErrorContains(t, err, "WithPark")
	assert.ErrorContains(t, err, "the disk is full")
	assert.Equal(t, Count{Spans: 1}, e.Stats().Refused)
	assert.Equal(t, Count{Spans: 1}, e.Stats().Parked)
	disk.set(nil)
	require.NoError(t, e.ForceFlush(t.Context()))
	assert.Zero(t, e.Stats().Parked)
	require.NoError(t, e.Shutdown(t.Context()))
}

// recorded is one ended span with that many bytes in it.
func recorded(t *testing.T, name string, size int) []sdktrace.ReadOnlySpan {
	t.Helper()
	keep := &keeper{}
	tp := sdktrace.NewTracerProvider(sdktrace.WithSyncer(keep))
	_, span := tp.Tracer("test").Start(t.Context(), name, trace.WithAttributes(attribute.String("pad", string(make([]byte, size)))))
	span.End()
	return keep.spans
}

type keeper struct{ spans []sdktrace.ReadOnlySpan }

func (k *keeper) ExportSpans(_ context.Context, s []sdktrace.ReadOnlySpan) error {
	k.spans = append(k.spans, s...)
	return nil
}
func (*keeper) Shutdown(context.Context) error { return nil }

func TestShutdownDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		disk := &failing{err: errors.New("the disk is full")}
		p := newProgram(t, dir, through(func(s sink) sink { disk.sink = s; return disk }))
		p.task("train", 2)
		time.AfterFunc(3*time.Second, func() { disk.set(nil) })
		p.shutdown(t.Context(), t)
		assert.Len(t, theRun(t, dir).Rows, 3)
	})
}

// A disk that stays full does not keep the program from ending: after its
// context, or else its patience, Shutdown says what is lost.
func TestShutdownGivesUpWithItsContext(t *testing.T) {
	for name, test := range map[string]struct {
		limit time.Duration // of the context; 0: none
		took  time.Duration
	}{
		"deadline": {2 * time.Second, 2 * time.Second},
		"patience": {0, 30 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir := t.TempDir()
				disk := &failing{err: errors.New("the disk is full")}
				p := newProgram(t, dir, through(func(s sink) sink { disk.sink = s; return disk }))
				p.task("train", 2)
				ctx := t.Context()
				if test.limit > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, test.limit)
					defer cancel()
				}
				began := time.Now()
				require.NoError(t, p.traces.Shutdown(ctx))
				assert.Zero(t, time.Since(began), "the tracer provider does not wait for itself")
				err := p.exporter.Shutdown(ctx)
				assert.Equal(t, test.took, time.Since(began))
				assert.ErrorIs(t, err, context.DeadlineExceeded)
				assert.ErrorContains(t, err, "1 span and 1 log record not written to "+filepath.Join(dir, "wandb"))
				assert.ErrorContains(t, err, "the disk is full")
				assert.NoError(t, p.exporter.Shutdown(t.Context()), "a second call has nothing to do")
			})
		})
	}
}

// A context that has ended already still ends the runs that it can.
func TestShutdownWithAnEndedContextEndsRuns(t *testing.T) {
	dir := t.TempDir()
	p := newProgram(t, dir)
	p.task("train", 1)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, p.exporter.Shutdown(ctx))
	require.NotNil(t, theRun(t, dir).Exit)
}

// A disk that hangs holds back no one who waits with a deadline.
func TestShutdownOfAHangingDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &hanging{release: make(chan struct{})}
		p := newProgram(t, t.TempDir(), through(func(s sink) sink { disk.sink = s; return disk }))
		go p.task("train", 1)
		synctest.Wait() // it hangs
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		err := p.exporter.Shutdown(ctx)
		assert.ErrorContains(t, err, "does not answer")
		assert.Equal(t, time.Second+endGrace, time.Since(began))
		close(disk.release)
		<-p.exporter.ended
	})
}

type hanging struct {
	sink
	release chan struct{}
}

func (h *hanging) Traces(ctx context.Context, td ptrace.Traces) error {
	<-h.release
	return h.sink.Traces(ctx, td)
}

func TestForceFlushWaitsForWhatIsParkedNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &failing{err: errors.New("the disk is full")}
		p := newProgram(t, t.TempDir(), through(func(s sink) sink { disk.sink = s; return disk }))
		require.NoError(t, p.exporter.ForceFlush(t.Context()), "nothing is parked")
		p.task("train", 1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		assert.ErrorContains(t, p.exporter.ForceFlush(ctx), "1 span and 1 log record not written")
		disk.set(nil)
		require.NoError(t, p.exporter.ForceFlush(t.Context()))
		p.shutdown(t.Context(), t)
	})
}

func TestNothingIsTakenAfterShutdown(t *testing.T) {
	p := newProgram(t, t.TempDir())
	face, records := p.exporter.Spans(), p.exporter.Logs()
	spans := recorded(t, "late", 1)
	require.NoError(t, face.Shutdown(t.Context()))
	require.NoError(t, face.Shutdown(t.Context()))
	require.NoError(t, records.Shutdown(t.Context()))
	assert.ErrorIs(t, face.ExportSpans(t.Context(), spans), errShutdown)
	assert.ErrorIs(t, records.Export(t.Context(), make([]sdklog.Record, 1)), sdklog.ErrExporterShutdown)
	assert.NoError(t, p.exporter.Spans().ExportSpans(t.Context(), spans), "the exporter itself goes on")
	p.shutdown(t.Context(), t)
	assert.ErrorIs(t, p.exporter.Spans().ExportSpans(t.Context(), spans), errShutdown)
	assert.NoError(t, p.exporter.ForceFlush(t.Context()))
}

// A bug of the exporter is an error, said once; the program goes on.
func TestAPanicIsAnError(t *testing.T) {
	var inner sink
	p := newProgram(t, t.TempDir(), through(func(s sink) sink { inner = s; return panicking{s} }))
	err := p.exporter.Spans().ExportSpans(t.Context(), recorded(t, "train", 1))
	assert.ErrorContains(t, err, "a bug in the exporter")
	assert.ErrorContains(t, err, "oh no")
	assert.Error(t, p.exporter.Spans().ExportSpans(t.Context(), recorded(t, "train", 1)))
	assert.Len(t, p.said.all(), 1)
	require.NoError(t, p.exporter.Shutdown(t.Context()))
	require.NoError(t, inner.Shutdown(t.Context()))
}

type panicking struct{ sink }

func (panicking) Traces(context.Context, ptrace.Traces) error { panic("oh no") }

// One byte that is not UTF-8 costs its own letter, not the request.
func TestTextThatIsNotUTF8(t *testing.T) {
	dir := t.TempDir()
	p := newProgram(t, dir)
	p.task("caf\xe9", 1, attribute.StringSlice("wandb.run.tags", []string{"a\xff"}), attribute.String("wandb.config.k\xfe", "v\xfd"))
	p.shutdown(t.Context(), t)
	run := theRun(t, dir)
	assert.Contains(t, run.Name, "caf\uFFFD")
	assert.Equal(t, []string{"a\uFFFD"}, run.Tags)
	assert.Equal(t, "v\uFFFD", run.Config["k\uFFFD"])
	assert.Empty(t, p.said.all())
}

// A task whose parent is in another program, and never comes here, is a run of
// its own: when the program ends nothing else can come.
func TestARemoteParentDoesNotHoldARunBack(t *testing.T) {
	dir := t.TempDir()
	p := newProgram(t, dir)
	remote := trace.ContextWithRemoteSpanContext(t.Context(), trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled, Remote: true,
	}))
	_, span := p.traces.Tracer("test").Start(remote, "train", trace.WithAttributes(attribute.String("wandb.run.mode", "auto")))
	span.AddEvent("wandb.log", trace.WithAttributes(attribute.Int("n", 1)))
	span.End()
	p.shutdown(t.Context(), t)
	run := theRun(t, dir)
	assert.Len(t, run.Rows, 1)
	require.NotNil(t, run.Exit)
}

func TestDropsAreSaidAndCounted(t *testing.T) {
	p := newProgram(t, t.TempDir())
	ctx, span := p.traces.Tracer("test").Start(t.Context(), "outer")
	_, inner := p.traces.Tracer("test").Start(ctx, "inner")
	inner.AddEvent("wandb.log", trace.WithAttributes(attribute.Int("n", 1)))
	inner.End()
	span.End()
	p.shutdown(t.Context(), t)
	assert.Equal(t, map[string]int64{"no_task": 1}, p.exporter.Stats().Dropped)
	require.Len(t, p.said.all(), 1)
	assert.ErrorContains(t, p.said.all()[0], "wandb.run.mode=auto")
	assert.ErrorContains(t, p.said.all()[0], "reason=no_task")
}

func TestUseFromManyGoroutinesConcurrentSafe(t *testing.T) {
	dir := t.TempDir()
	disk := &failing{}
	p := newProgram(t, dir, WithPatience(patience), through(func(s sink) sink { disk.sink = s; return disk }))
	const writers, tasks, rows = 8, 10, 5
	var writing sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			for i := range tasks {
				p.task(fmt.Sprintf("task-%d-%d", w, i), rows)
				p.exporter.Stats()
			}
		})
	}
	var moody sync.WaitGroup
	stop := make(chan struct{})
	moody.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				disk.set(nil)
				return
			default:
			}
			if i%2 == 0 {
				disk.set(errors.New("now and then"))
			} else {
				disk.set(nil)
				assert.NoError(t, p.exporter.ForceFlush(t.Context()))
			}
		}
	})
	writing.Wait()
	close(stop)
	moody.Wait()
	p.shutdown(t.Context(), t)

	runs := readRuns(t, dir)
	assert.Len(t, runs, writers*tasks)
	for id, run := range runs {
		assert.Len(t, run.Rows, rows+1, "run %s", id)
		assert.NotNil(t, run.Exit, "run %s", id)
	}
}

func TestSeveralExportersInOneFolderConcurrentSafe(t *testing.T) {
	dir := t.TempDir()
	var programs sync.WaitGroup
	for i := range 4 {
		p := newProgram(t, dir)
		programs.Go(func() {
			for range 5 {
				p.task(fmt.Sprintf("program-%d", i), 3)
			}
			assert.NoError(t, p.exporter.Shutdown(t.Context()))
			assert.Empty(t, p.said.all())
		})
	}
	programs.Wait()
	runs := readRuns(t, dir)
	assert.Len(t, runs, 20)
	for id, run := range runs {
		assert.Len(t, run.Rows, 4, "run %s", id)
		assert.NotNil(t, run.Exit, "run %s", id)
	}
}
