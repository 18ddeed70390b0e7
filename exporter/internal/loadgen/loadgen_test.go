package loadgen

import (
	"bytes"
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/otel-wandb/otel-wandb/exporter/internal/loadgen/otlpstub"
	"github.com/otel-wandb/otel-wandb/internal/semconv"
)

// receiver keeps what it got by identity, as the exporter does, and answers as
// the test says: before it keeps anything, or after.
type receiver struct {
	t      *testing.T
	answer func(context.Context) (before, after error)

	mu       sync.Mutex
	rows     map[string][]int64          // by run
	ids      map[string]int64            // identity -> row
	seqs     map[string]map[int64]string // run and writer -> seq -> event
	spans    map[pcommon.SpanID]string
	repeated int
	events   map[string]int
	lastSeq  map[string]int64
}

func newReceiver(t *testing.T) *receiver {
	return &receiver{
		t: t, rows: map[string][]int64{}, ids: map[string]int64{}, seqs: map[string]map[int64]string{},
		spans: map[pcommon.SpanID]string{}, events: map[string]int{}, lastSeq: map[string]int64{},
	}
}

func (r *receiver) receive(ctx context.Context, keep func()) error {
	var before, after error
	if r.answer != nil {
		before, after = r.answer(ctx)
	}
	if before != nil {
		return before
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	keep()
	return after
}

func (r *receiver) row(run, identity string, m pcommon.Map) {
	v, ok := m.Get("row")
	if !assert.True(r.t, ok) {
		return
	}
	for _, key := range []string{"loss", "accuracy", "lr"} {
		_, ok := m.Get(key)
		assert.True(r.t, ok, key)
	}
	if was, ok := r.ids[identity]; ok {
		r.repeated++
		assert.Equal(r.t, was, v.Int(), "the same identity, another row")
		return
	}
	r.ids[identity] = v.Int()
	r.rows[run] = append(r.rows[run], v.Int())
}

func str(m pcommon.Map, key string) string {
	v, _ := m.Get(key)
	return v.AsString()
}

func (r *receiver) stamped(m pcommon.Map) string {
	for _, key := range []string{semconv.RunID, semconv.RunOwner, semconv.Entity, semconv.Project, semconv.RunStartTime} {
		_, ok := m.Get(key)
		assert.True(r.t, ok, key)
	}
	return str(m, semconv.RunID)
}

func (r *receiver) Logs(ctx context.Context, data plog.Logs) error {
	return r.receive(ctx, func() {
		for _, lr := range data.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().All() {
			assert.Equal(r.t, semconv.EventLog, lr.EventName())
			run, row := r.stamped(lr.Attributes()), lr.Attributes()
			if lr.Body().Type() == pcommon.ValueTypeMap {
				row = lr.Body().Map()
				assert.Equal(r.t, 4, row.Len())
			}
			r.row(run, str(lr.Attributes(), semconv.LogRecordUID), row)
		}
	})
}

func (r *receiver) Traces(ctx context.Context, data ptrace.Traces) error {
	return r.receive(ctx, func() {
		for _, s := range data.ResourceSpans().At(0).ScopeSpans().At(0).Spans().All() {
			if _, ok := s.Attributes().Get(semconv.Carrier); ok {
				r.carrier(s)
				continue
			}
			run := ""
			want := 8
			if _, ok := s.Attributes().Get(semconv.RunID); ok {
				run, want = r.stamped(s.Attributes()), 13
			}
			assert.Equal(r.t, want, s.Attributes().Len())
			assert.Zero(r.t, s.Events().Len())
			if _, ok := r.spans[s.SpanID()]; ok {
				r.repeated++
			}
			r.spans[s.SpanID()] = run
		}
	})
}

func (r *receiver) carrier(s ptrace.Span) {
	run := r.stamped(s.Attributes())
	for _, e := range s.Events().All() {
		writer := run + " " + str(e.Attributes(), semconv.Writer)
		seq, ok := e.Attributes().Get(semconv.Seq)
		assert.True(r.t, ok)
		if r.seqs[writer] == nil {
			r.seqs[writer] = map[int64]string{}
		}
		if r.seqs[writer][seq.Int()] == "" {
			r.seqs[writer][seq.Int()] = e.Name()
			r.events[e.Name()]++
		}
		switch e.Name() {
		case semconv.EventLog:
			r.row(run, writer+" "+seq.AsString(), e.Attributes())
		case semconv.EventRunEnd:
			v, _ := e.Attributes().Get(semconv.LastSeq)
			r.lastSeq[writer] = v.Int()
		}
	}
}

func serve(t *testing.T, r *receiver) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := otlpstub.NewServer(r)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	return listener.Addr().String()
}

func (r *receiver) count() (n int64) {
	for _, rows := range r.rows {
		n += int64(len(rows))
	}
	return n
}

func TestRowsArriveAsReported(t *testing.T) {
	for _, o := range []Options{
		{Kind: LogRows, Items: 5000, Runs: 7, Clients: 3},
		{Kind: LogRows, Items: 1000, Runs: 1, Clients: 4, Attributes: true, Prebuild: true},
		{Kind: LogRows, Items: 1001, Runs: 100, Clients: 2, PerRequest: 50, RunsPerRequest: 10},
		{Kind: CarrierRows, Items: 5000, Runs: 7, Clients: 3, Lifecycle: true},
		{Kind: CarrierRows, Items: 1000, Runs: 2, Clients: 5, PerRequest: 100, PerCarrier: 16, Prebuild: true},
		{Kind: CarrierRows, Items: 3, Runs: 2, Clients: 5},
	} {
		t.Run(string(o.Kind), func(t *testing.T) {
			r := newReceiver(t)
			o.Addr = serve(t, r)
			var ledger bytes.Buffer
			o.Acked = NewLedger(&ledger).Acked
			report, err := Run(t.Context(), o)
			require.NoError(t, err)
			assert.EqualValues(t, o.Items, report.Items)
			assert.EqualValues(t, o.Items, report.Sent)
			assert.EqualValues(t, o.Items, report.Rows.Count())
			assert.EqualValues(t, o.Items, r.count())
			assert.Positive(t, report.Rate())
			assert.LessOrEqual(t, len(r.rows), o.Runs)
			require.NoError(t, report.Rows.Check(r.rows))
			kept, err := ReadLedger(&ledger)
			require.NoError(t, err)
			assert.Equal(t, report.Rows, kept)
			for writer, events := range r.seqs {
				for seq := range len(events) {
					assert.NotEmpty(t, events[int64(seq)+1], "%s: a gap at %d", writer, seq+1)
				}
				if o.Lifecycle {
					assert.Equal(t, semconv.EventRunStart, events[1])
					assert.Equal(t, semconv.EventRunEnd, events[int64(len(events))])
					assert.EqualValues(t, len(events), r.lastSeq[writer])
				}
			}
			if o.Lifecycle {
				assert.Equal(t, o.Runs, r.events[semconv.EventRunStart])
				assert.Equal(t, o.Runs, r.events[semconv.EventRunEnd])
			}
		})
	}
}

func TestSpans(t *testing.T) {
	for _, kind := range []Kind{Spans, Unmarked} {
		t.Run(string(kind), func(t *testing.T) {
			r := newReceiver(t)
			report, err := Run(t.Context(), Options{Addr: serve(t, r), Kind: kind, Items: 3000, Runs: 10, Clients: 4, PerRequest: 100})
			require.NoError(t, err)
			assert.EqualValues(t, 3000, report.Items)
			assert.Len(t, r.spans, 3000, "each span has an id of its own")
			assert.Empty(t, report.Rows)
			runs := map[string]int{}
			for _, run := range r.spans {
				runs[run]++
			}
			assert.Len(t, runs, map[Kind]int{Spans: 10, Unmarked: 1}[kind])
		})
	}
}

// The receiver fails before or after it kept a request, hangs, and is killed
// and started again, connections and all.
func TestRetriesUntilAcknowledged(t *testing.T) {
	for _, kind := range []Kind{LogRows, CarrierRows} {
		t.Run(string(kind), func(t *testing.T) {
			r := newReceiver(t)
			var calls atomic.Int64
			kill := make(chan struct{}, 1)
			r.answer = func(ctx context.Context) (before, after error) {
				unavailable := status.Error(codes.Unavailable, "not now")
				switch n := calls.Add(1); {
				case n%41 == 0:
					select {
					case kill <- struct{}{}:
					default:
					}
				case n%50 == 0:
					<-ctx.Done()
				case n%7 == 0:
					return unavailable, nil
				case n%5 == 0:
					return nil, unavailable
				}
				return nil, nil
			}
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			addr := listener.Addr().String()
			ctx, done := context.WithCancel(t.Context())
			restarts, stopped := 0, make(chan struct{})
			go func() {
				defer close(stopped)
				for {
					server := otlpstub.NewServer(r)
					served := make(chan struct{})
					go func() { defer close(served); _ = server.Serve(listener) }()
					select {
					case <-ctx.Done():
					case <-kill:
						restarts++
					}
					server.Stop() // connections are cut in the middle
					<-served
					if ctx.Err() != nil {
						return
					}
					assert.EventuallyWithT(t, func(c *assert.CollectT) {
						listener, err = net.Listen("tcp", addr)
						assert.NoError(c, err)
					}, 10*time.Second, 10*time.Millisecond)
				}
			}()
			report, err := Run(ctx, Options{
				Addr: addr, Kind: kind, Items: 10_000, Runs: 5, Clients: 4, PerRequest: 50,
				Timeout: 200 * time.Millisecond, Lifecycle: kind == CarrierRows,
			})
			done()
			<-stopped
			require.NoError(t, err)
			r.mu.Lock() // a handler may outlive its server
			defer r.mu.Unlock()
			assert.EqualValues(t, 10_000, report.Rows.Count())
			assert.Greater(t, report.Attempts, report.Requests)
			assert.Positive(t, r.repeated, "some were kept and not acknowledged: the test is about them")
			assert.Positive(t, restarts)
			require.NoError(t, report.Rows.Check(r.rows))
			for writer, events := range r.seqs {
				assert.Len(t, events, int(r.lastSeq[writer]))
			}
		})
	}
}

func TestEndlessLoadEndsWithTheContext(t *testing.T) {
	r := newReceiver(t)
	addr := serve(t, r)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var acked int64
	report, err := Run(ctx, Options{Addr: addr, Kind: LogRows, Clients: 2, PerRequest: 10, Rate: 1000, Acked: func(_ string, first, last int64) error {
		if acked += last - first + 1; acked >= 60 {
			cancel()
		}
		return nil
	}})
	require.NoError(t, err)
	assert.GreaterOrEqual(t, report.Items, int64(60))
	assert.GreaterOrEqual(t, report.Elapsed, 20*time.Millisecond, "60 rows at 1000 a second by two clients")
	r.mu.Lock()
	require.NoError(t, report.Rows.Check(r.rows))
	r.mu.Unlock()

	_, err = Run(ctx, Options{Addr: addr, Kind: LogRows, Items: 10})
	require.ErrorIs(t, err, context.Canceled, "a load that is not complete")
}

func TestRefusedForGood(t *testing.T) {
	r := newReceiver(t)
	r.answer = func(context.Context) (before, after error) { return status.Error(codes.InvalidArgument, "no"), nil }
	_, err := Run(t.Context(), Options{Addr: serve(t, r), Kind: Spans, Items: 10, Clients: 3})
	require.ErrorContains(t, err, "refused")

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := grpc.NewServer() // does not speak OTLP
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	_, err = Run(t.Context(), Options{Addr: listener.Addr().String(), Kind: LogRows, Items: 10})
	require.ErrorContains(t, err, "refused")
}

func TestLedgerThatFailsEndsTheLoad(t *testing.T) {
	full := errors.New("disk full")
	_, err := Run(t.Context(), Options{
		Addr: serve(t, newReceiver(t)), Kind: LogRows, Items: 10,
		Acked: func(string, int64, int64) error { return full },
	})
	require.ErrorIs(t, err, full)
}

// The same session again is the same load again: nothing new for a receiver
// that knows identities.
func TestSameSessionSameItems(t *testing.T) {
	for _, kind := range []Kind{LogRows, CarrierRows, Spans, Unmarked} {
		r := newReceiver(t)
		o := Options{Addr: serve(t, r), Kind: kind, Items: 700, Runs: 3, Clients: 2, Session: "again", StartTime: time.Unix(1e9, 0)}
		for range 2 {
			_, err := Run(t.Context(), o)
			require.NoError(t, err)
		}
		assert.Equal(t, 700, r.repeated, kind)
		assert.Equal(t, 700, int(r.count())+len(r.spans), kind)
	}
}

func TestOptions(t *testing.T) {
	for _, o := range []Options{{}, {Kind: "rows"}, {Kind: Spans, Items: -1}, {Kind: Spans, Prebuild: true}} {
		_, err := Run(t.Context(), o)
		require.Error(t, err)
	}
}

func TestCheck(t *testing.T) {
	rows := Rows{}
	rows.Add("a", 0, 4)
	rows.Add("a", 1000, 1001)
	rows.Add("a", 5, 6)
	assert.Equal(t, Rows{"a": {{0, 6}, {1000, 1001}}}, rows)
	require.NoError(t, rows.Check(map[string][]int64{"a": {1001, 1000, 0, 1, 2, 3, 4, 5, 6, 7}, "b": {1}}))
	err := rows.Check(map[string][]int64{"a": {0, 0, 1, 2, 3, 4, 5, 6, 1000}})
	require.ErrorContains(t, err, "row 0 more than once")
	require.ErrorContains(t, err, "row 1001 was acknowledged and is not there")
	require.ErrorContains(t, rows.Check(nil), "9 rows are wrong")
}

func TestReadLedger(t *testing.T) {
	rows, err := ReadLedger(strings.NewReader("a 0 4\nb 0 0\na 5 9\na 10 1"))
	require.NoError(t, err)
	assert.Equal(t, Rows{"a": {{0, 9}}, "b": {{0, 0}}}, rows, "the torn line is left out")
	_, err = ReadLedger(strings.NewReader("a 0\n"))
	require.ErrorContains(t, err, "line 1")
}
