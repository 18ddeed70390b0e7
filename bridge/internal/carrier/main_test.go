package carrier

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"go.opentelemetry.io/otel/attribute"
	"go.uber.org/goleak"

	"github.com/otel-wandb/otel-wandb/internal/runid"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(victimDir); dir != "" {
		victim(dir)
		return
	}
	goleak.VerifyTestMain(m)
}

var (
	start = time.Unix(1_700_000_000, 0).UTC()
	owner = Task{
		Trace: [16]byte{1}, Span: [8]byte{2}, Name: "train", Owner: [8]byte{2}, OwnerStart: start,
		Run: runid.Coordinates{Entity: "e", Project: "p", ID: "r"},
	}
)

// collector is a sink that keeps what arrives, as the collector reads it.
type collector struct {
	// answer is asked before a request is applied; after it is. nil: no error.
	answer, after func(n int) error

	mu       sync.Mutex
	attempts int
	spans    []ptrace.Span
	resource pcommon.Map
	sizes    []int
	times    []time.Time
	closed   bool
}

func (c *collector) Export(_ context.Context, request []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.attempts
	c.attempts++
	if c.answer != nil {
		if err := c.answer(n); err != nil {
			return err
		}
	}
	r := ptraceotlp.NewExportRequest()
	if err := r.UnmarshalProto(request); err != nil {
		return fmt.Errorf("a request that cannot be read: %w", err)
	}
	for _, rs := range r.Traces().ResourceSpans().All() {
		c.resource = rs.Resource().Attributes()
		for _, ss := range rs.ScopeSpans().All() {
			if ss.Scope().Name() != ScopeName {
				return errors.New("scope " + ss.Scope().Name())
			}
			for _, span := range ss.Spans().All() {
				c.spans = append(c.spans, span)
			}
		}
	}
	c.sizes = append(c.sizes, len(request))
	c.times = append(c.times, time.Now())
	if c.after != nil {
		return c.after(n)
	}
	return nil
}

func (c *collector) Shutdown(context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	return nil
}

func (c *collector) tried() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.attempts
}

// event is one event as it arrived.
type event struct {
	name   string
	task   string
	writer string
	seq    int64
	at     time.Time
	attrs  map[string]any
}

// events are all that arrived, in their order; repeats too.
func (c *collector) events() (all []event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.spans {
		task, _ := s.Attributes().Get("wandb.task")
		for _, e := range s.Events().All() {
			attrs := e.Attributes().AsRaw()
			all = append(all, event{
				name: e.Name(), task: task.Str(), writer: attrs["wandb.writer"].(string), seq: attrs["wandb.seq"].(int64),
				at: e.Timestamp().AsTime(), attrs: attrs,
			})
		}
	}
	return all
}

func (c *collector) values(key string) (values []any) {
	for _, e := range c.events() {
		if v, ok := e.attrs[key]; ok {
			values = append(values, v)
		}
	}
	return values
}

// said keeps what a pipeline reports.
type said struct {
	bubble bool

	mu   sync.Mutex
	errs []error
}

func (s *said) report(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.errs = append(s.errs, err)
}

// all is what was said; in a bubble, up to now.
func (s *said) all() []error {
	if s.bubble {
		synctest.Wait()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.errs)
}

// open starts a pipeline and shuts it down with the test, where that has not
// done so; its report must have been read then.
func open(t *testing.T, cfg Config) (*Pipeline, *said) {
	t.Helper()
	s := &said{bubble: true}
	cfg.Report = s.report
	p, err := Start(cfg)
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = p.Shutdown(ctx) // what the test cared for it has seen
	})
	return p, s
}

func number(i int) []attribute.KeyValue { return []attribute.KeyValue{attribute.Int("row", i)} }

func logRows(t *testing.T, s *Stream, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		require.NoError(t, s.Row(start.Add(time.Duration(i)*time.Millisecond), 0, false, number(i), nil))
	}
}

// wantSeqs fails unless the sequence numbers of each writer are 1, 2, … in order.
func wantSeqs(t *testing.T, events []event) {
	t.Helper()
	last := map[string]int64{}
	for i, e := range events {
		require.Equal(t, last[e.writer]+1, e.seq, "event %d, %s, of writer %s", i, e.name, e.writer)
		last[e.writer] = e.seq
	}
}
