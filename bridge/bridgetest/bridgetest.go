// Package bridgetest lets tests see what a program's tasks would have sent to
// W&B, with neither a collector nor a file.
//
//	func TestTrain(t *testing.T) {
//		rec := bridgetest.New(t)
//		_, err := train(rec.Context(t.Context()), 10)
//		…
//		run := rec.Run("train")
//		if len(run.Rows) != 10 || run.ExitCode == nil || *run.ExitCode != 0 { … }
//	}
//
// What it shows is what was sent, in the order in which it was: what becomes of
// it in W&B (steps, histograms, a summary made of rows) is the exporter's work.
package bridgetest

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"

	"github.com/otel-wandb/otel-wandb/bridge"
	"github.com/otel-wandb/otel-wandb/internal/semconv"
)

// Run is one run, of all its tasks.
type Run struct {
	ID, Entity, Project string
	Group, Name         string   // as asked for; "" where nothing was
	Tasks               []string // names, in the order of their start; the first opened it
	Rows                []Row
	Config, Summary     map[string]any // set by tasks; keys as they were given
	Tags                []string
	Events              []Event // tables, media, alerts, exceptions, definitions of metrics
	ExitCode            *int64  // nil while the task that opened it runs

	seen map[string]bool // tasks' spans
}

// Row is what one call of Log logged. Whole numbers are int64, all others float64.
type Row struct {
	Values map[string]any
	Step   *int64 // nil where the program gave none
}

// Event is what a task said beside rows, as docs/conventions.md has it.
type Event struct {
	Name   string // wandb.alert, say
	Values map[string]any
}

// Recorder is a bridge whose runs stay in memory.
//
// ConcurrentSafe: a lock.
type Recorder struct {
	t      testing.TB
	bridge *bridge.Bridge

	mu   sync.Mutex // guards both
	runs []*Run
	at   map[[3]string]*Run // by entity, project, id
}

// New makes a bridge for a test, which ends with it. What the bridge has to say
// fails the test, unless an error handler is among the options.
func New(t testing.TB, opts ...bridge.SetupOption) *Recorder {
	t.Helper()
	r := &Recorder{t: t, at: map[[3]string]*Run{}}
	b, err := bridge.New(append([]bridge.SetupOption{
		bridge.WithDir(""), bridge.WithErrorHandler(func(err error) { t.Error(err) }),
	}, append(opts, bridge.WithSink(sink{r}))...)...)
	if err != nil {
		t.Fatal(err)
	}
	r.bridge = b
	t.Cleanup(func() {
		if err := b.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return r
}

// Context is a context under which tasks are recorded.
func (r *Recorder) Context(ctx context.Context) context.Context { return r.bridge.Context(ctx) }

// Runs are all runs so far, in the order of their start.
func (r *Recorder) Runs() []*Run {
	r.t.Helper()
	if err := r.bridge.ForceFlush(context.Background()); err != nil {
		r.t.Error(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]*Run, len(r.runs))
	for i, run := range r.runs {
		out[i] = run.clone()
	}
	return out
}

// Run is the one run that a task of that name opened. It fails the test where
// there is none, or more.
func (r *Recorder) Run(task string) *Run {
	r.t.Helper()
	var found []*Run
	for _, run := range r.Runs() {
		if run.Tasks[0] == task {
			found = append(found, run)
		}
	}
	if len(found) != 1 {
		r.t.Fatalf("bridgetest: %d runs were opened by a task %q, not one", len(found), task)
	}
	return found[0]
}

func (r *Run) clone() *Run {
	out := *r
	out.Tasks, out.Tags = slices.Clone(r.Tasks), slices.Clone(r.Tags)
	out.Rows, out.Events = slices.Clone(r.Rows), slices.Clone(r.Events)
	out.Config, out.Summary = maps.Clone(r.Config), maps.Clone(r.Summary)
	return &out
}

type sink struct{ *Recorder }

func (s sink) Shutdown(context.Context) error { return nil }

func (s sink) Export(_ context.Context, request []byte) error {
	in := ptraceotlp.NewExportRequest()
	if err := in.UnmarshalProto(request); err != nil {
		return bridge.Permanent(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, rs := range in.Traces().ResourceSpans().All() {
		for _, ss := range rs.ScopeSpans().All() {
			for _, span := range ss.Spans().All() {
				s.take(span)
			}
		}
	}
	return nil
}

func (s sink) take(span ptrace.Span) {
	of := span.Attributes().AsRaw()
	text := func(key string) string { v, _ := of[key].(string); return v }
	key := [3]string{text(semconv.Entity), text(semconv.Project), text(semconv.RunID)}
	run := s.at[key]
	if run == nil {
		run = &Run{Entity: key[0], Project: key[1], ID: key[2], Config: map[string]any{}, Summary: map[string]any{}, seen: map[string]bool{}}
		s.at[key] = run
		s.runs = append(s.runs, run)
	}
	task, owner := text(semconv.SpanName), text(semconv.Task) == text(semconv.RunOwner)
	if !run.seen[text(semconv.Task)] {
		run.seen[text(semconv.Task)] = true
		run.Tasks = append(run.Tasks, task)
	}
	for _, e := range span.Events().All() {
		run.event(task, owner, e.Name(), e.Attributes().AsRaw())
	}
}

func (r *Run) event(task string, owner bool, name string, said map[string]any) {
	switch name {
	case semconv.EventRunStart:
		r.start(task, owner, said)
	case semconv.EventLog:
		r.row(said)
	case semconv.EventConfig:
		maps.Copy(r.Config, values(said))
	case semconv.EventSummary:
		maps.Copy(r.Summary, values(said))
	case semconv.EventRunHeartbeat:
	case semconv.EventRunEnd:
		if code, ok := said[semconv.ExitCode].(int64); ok && owner {
			r.ExitCode = &code
		}
	default:
		r.Events = append(r.Events, Event{name, values(said)})
	}
}

func (r *Run) row(said map[string]any) {
	if piece, ok := said[semconv.Piece].(int64); ok && piece > 0 {
		maps.Copy(r.Rows[len(r.Rows)-1].Values, values(said)) // pieces of a row follow each other
		return
	}
	row := Row{Values: values(said)}
	if step, ok := said[semconv.Step].(int64); ok {
		row.Step = &step
	}
	r.Rows = append(r.Rows, row)
}

// values are what the program said, without what the bridge adds.
func values(said map[string]any) map[string]any {
	out := make(map[string]any, len(said))
	for k, v := range said {
		if !strings.HasPrefix(k, semconv.Prefix) {
			out[k] = v
		}
	}
	return out
}

func (r *Run) start(task string, owner bool, said map[string]any) {
	if name, ok := said[semconv.RunName].(string); ok {
		r.Name = name
	}
	if group, ok := said[semconv.RunGroup].(string); ok {
		r.Group = group
	}
	tags, _ := said[semconv.RunTags].([]any)
	for _, tag := range tags {
		if tag, ok := tag.(string); ok && !slices.Contains(r.Tags, tag) {
			r.Tags = append(r.Tags, tag)
		}
	}
	under := ""
	if !owner {
		under = task + "."
	}
	for k, v := range said {
		if k, ok := strings.CutPrefix(k, semconv.ConfigPrefix); ok {
			r.Config[under+k] = v
		}
	}
}
