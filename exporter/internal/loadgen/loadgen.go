// Package loadgen sends OTLP load whose outcome is known, for benchmarks and
// for tests that kill the receiver under it.
//
// Every row has a unique number in its run, the metric "row". A row is
// acknowledged when the request it is in was answered without an error; the
// generator keeps, and can write to a ledger, which rows those are. Rows.Check
// then holds a run log against it: every acknowledged row once, none twice.
//
// A request that was not acknowledged is sent again, the same bytes, until it
// is or the context ends. Who starts over with the same Session, StartTime and
// options sends the same items again.
package loadgen

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
)

// Kind is what the items of a load are.
type Kind string

const (
	// Spans are stamped, have eight attributes, and hold nothing to log.
	Spans Kind = "spans"
	// LogRows are rows as stamped log records wandb.log.
	LogRows Kind = "log-rows"
	// CarrierRows are rows as events of carriers, numbered by writer and sequence.
	CarrierRows Kind = "carrier-rows"
	// Unmarked are spans that say nothing about W&B.
	Unmarked Kind = "unmarked"
)

// Kinds are all of them, in the order of the documentation.
var Kinds = []Kind{Spans, LogRows, CarrierRows, Unmarked}

// Rows reports whether items of this kind are rows.
func (k Kind) Rows() bool { return k == LogRows || k == CarrierRows }

// Options of a load. The zero value of all but Addr and Kind has a default.
type Options struct {
	Addr string // host:port of an OTLP/gRPC receiver, without TLS
	Kind Kind

	Items          int // how many spans or rows; 0: until the context ends
	Runs           int // spread over so many runs, in turn, a request each; default 1
	Clients        int // so many connections, one request in flight on each; default 1
	PerRequest     int // items a request; default 512
	RunsPerRequest int // a request's items come from so many runs, as behind a gateway; default 1, as from a program
	PerCarrier     int // CarrierRows: rows a carrier; default 64

	Entity, Project string    // default "loadgen", "loadgen"
	Session         string    // part of every id; default random
	StartTime       time.Time // of the runs; default an hour ago

	Attributes bool          // LogRows: the row is the record's attributes, not its body
	Bare       bool          // LogRows: no stamp and no uid, only trace and span; needs Lifecycle, which says whose they are
	Lifecycle  bool          // announce each run before the load, end it after: by carriers, not counted as items
	Prebuild   bool          // build all requests before the clock starts; needs Items
	Rate       float64       // items a second over all clients; 0: as fast as they are acknowledged
	Timeout    time.Duration // of one attempt; default 10 s

	// Acked is called for each run of each acknowledged request that held rows:
	// the numbers from first to last are in. One call at a time. An error ends
	// the load.
	Acked func(run string, first, last int64) error
}

func (o Options) withDefaults() (Options, error) {
	if !slices.Contains(Kinds, o.Kind) {
		return o, fmt.Errorf("kind %q: it must be one of %v", o.Kind, Kinds)
	}
	if o.Items < 0 || o.Prebuild && o.Items == 0 {
		return o, errors.New("the number of items must not be negative, and must be set where Prebuild is")
	}
	for _, n := range []struct {
		of *int
		to int
	}{{&o.Runs, 1}, {&o.Clients, 1}, {&o.PerRequest, 512}, {&o.RunsPerRequest, 1}, {&o.PerCarrier, 64}} {
		if *n.of <= 0 {
			*n.of = n.to
		}
	}
	if o.Bare && !o.Lifecycle {
		return o, errors.New("rows without a stamp need Lifecycle: nothing else says which run their span is on")
	}
	o.RunsPerRequest = min(o.RunsPerRequest, o.PerRequest)
	if o.Entity == "" {
		o.Entity = "loadgen"
	}
	if o.Project == "" {
		o.Project = "loadgen"
	}
	if o.Session == "" {
		o.Session = fmt.Sprintf("%08x", rand.Uint32())
	}
	if o.StartTime.IsZero() {
		o.StartTime = time.Now().Add(-time.Hour)
	}
	if o.Timeout <= 0 {
		o.Timeout = 10 * time.Second
	}
	return o, nil
}

// Report is what a load came to. Announcements and ends of runs are not in it.
type Report struct {
	Session  string
	Items    int64         // acknowledged
	Requests int64         // acknowledged
	Bytes    int64         // of acknowledged requests, without compression
	Sent     int64         // items sent, those that were sent again too
	Attempts int64         // requests sent, those that were sent again too
	Elapsed  time.Duration // first to last
	P50, P99 time.Duration // from a request's first attempt to its acknowledgement
	Rows     Rows          // acknowledged rows
}

// Rate is how many items were acknowledged a second.
func (r Report) Rate() float64 {
	if r.Elapsed <= 0 {
		return 0
	}
	return float64(r.Items) / r.Elapsed.Seconds()
}

func (r Report) String() string {
	return fmt.Sprintf("%d items acknowledged (%.0f/s) in %d requests of %.1f MB together; %d items sent in %d attempts; p50 %v, p99 %v",
		r.Items, r.Rate(), r.Requests, float64(r.Bytes)/1e6, r.Sent, r.Attempts, r.P50.Round(10*time.Microsecond), r.P99.Round(10*time.Microsecond))
}

// Run sends the load. The report is valid with an error too. Where Items is
// set, it is an error that the context ends first.
func Run(ctx context.Context, options Options) (Report, error) {
	options, err := options.withDefaults()
	if err != nil {
		return Report{}, err
	}
	l := &load{Options: options, report: Report{Session: options.Session, Rows: Rows{}}}
	clients := make([]*client, 0, options.Clients)
	defer func() {
		for _, c := range clients {
			_ = c.conn.Close()
		}
	}()
	for i := range options.Clients {
		conn, err := connect(options.Addr)
		if err != nil {
			return Report{}, err
		}
		clients = append(clients, &client{load: l, builder: newBuilder(options, i), conn: conn})
		if options.Prebuild {
			clients[i].prebuild()
		}
	}

	if options.Lifecycle {
		if err := l.each(ctx, clients, (*client).announce); err != nil {
			return l.report, err
		}
	}
	l.start = time.Now()
	err = l.each(ctx, clients, (*client).run)
	l.finish()
	if err == nil && options.Lifecycle && ctx.Err() == nil {
		err = l.each(ctx, clients, (*client).end)
	}
	return l.report, err
}

func connect(addr string) (*grpc.ClientConn, error) {
	return grpc.NewClient(addr,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{
			// The receiver is killed and started again: be back soon.
			Backoff:           backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 500 * time.Millisecond},
			MinConnectTimeout: time.Second,
		}))
}

// load is what the clients of one Run share.
type load struct {
	Options
	start time.Time

	mu        sync.Mutex
	report    Report
	latencies []time.Duration
}

// each calls f for all clients at once; the first error stops the others.
func (l *load) each(ctx context.Context, clients []*client, f func(*client, context.Context) error) error {
	running, stop := context.WithCancel(ctx)
	defer stop()
	var wg sync.WaitGroup
	var once sync.Once
	var first error
	for _, c := range clients {
		wg.Go(func() {
			if err := f(c, running); err != nil {
				once.Do(func() { first = err })
				stop()
			}
		})
	}
	wg.Wait()
	if l.Items == 0 && ctx.Err() != nil {
		return nil
	}
	return first
}

func (l *load) attempted(r request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.report.Sent += int64(r.items)
	l.report.Attempts++
}

func (l *load) acked(r request, took time.Duration) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.report.Items += int64(r.items)
	l.report.Requests++
	l.report.Bytes += int64(len(r.body))
	l.latencies = append(l.latencies, took)
	for _, row := range r.rows {
		l.report.Rows.Add(row.run, row.first, row.last)
		if l.Acked != nil {
			if err := l.Acked(row.run, row.first, row.last); err != nil {
				return fmt.Errorf("keeping what was acknowledged: %w", err)
			}
		}
	}
	return nil
}

func (l *load) finish() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.report.Elapsed = time.Since(l.start)
	if n := len(l.latencies); n > 0 {
		slices.Sort(l.latencies)
		l.report.P50, l.report.P99 = l.latencies[n/2], l.latencies[n*99/100]
	}
}

// client is one sender, with a connection and a writer id of its own.
type client struct {
	*load
	*builder
	conn  *grpc.ClientConn
	built []request
	sent  int // items, for the rate
}

func (c *client) prebuild() {
	for {
		r, ok := c.builder.next()
		if !ok {
			return
		}
		c.built = append(c.built, r)
	}
}

func (c *client) next() (request, bool) {
	if !c.Prebuild {
		return c.builder.next()
	}
	if len(c.built) == 0 {
		return request{}, false
	}
	r := c.built[0]
	c.built[0] = request{} // let go of its bytes
	c.built = c.built[1:]
	return r, true
}

func (c *client) run(ctx context.Context) error {
	for {
		r, ok := c.next()
		if !ok {
			return nil
		}
		if c.Rate > 0 {
			due := float64(c.sent) * float64(c.Clients) / c.Rate
			if err := sleep(ctx, time.Until(c.start.Add(time.Duration(due*float64(time.Second))))); err != nil {
				return err
			}
		}
		c.sent += r.items
		began := time.Now()
		if err := c.send(ctx, r, func() { c.attempted(r) }); err != nil {
			return err
		}
		if err := c.acked(r, time.Since(began)); err != nil {
			return err
		}
	}
}

func (c *client) announce(ctx context.Context) error { return c.sendAll(ctx, c.starts()) }
func (c *client) end(ctx context.Context) error      { return c.sendAll(ctx, c.ends()) }

func (c *client) sendAll(ctx context.Context, requests []request) error {
	for _, r := range requests {
		if err := c.send(ctx, r, func() {}); err != nil {
			return err
		}
	}
	return nil
}

// send returns when the request is acknowledged, the context ends, or the
// receiver refuses it in a way that another attempt does not mend.
func (c *client) send(ctx context.Context, r request, attempted func()) error {
	wait := 20 * time.Millisecond
	for {
		attempted()
		err := c.attempt(ctx, r)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if final(err) {
			return fmt.Errorf("%s refused a request of %d bytes for good: %w", c.Addr, len(r.body), err)
		}
		if err := sleep(ctx, wait/2+rand.N(wait/2)); err != nil {
			return err
		}
		wait = min(2*wait, time.Second)
	}
}

func (c *client) attempt(ctx context.Context, r request) error {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	var reply []byte
	if err := c.conn.Invoke(ctx, r.method, r.body, &reply, grpc.ForceCodecV2(bytesCodec{})); err != nil {
		return err
	}
	rejected, message, err := partial(r.method, reply)
	if err != nil {
		return err
	}
	if rejected > 0 {
		// Which ones is not said, so none can be called acknowledged.
		return status.Errorf(codes.InvalidArgument, "%d items rejected: %s", rejected, message)
	}
	return nil
}

func partial(method string, reply []byte) (rejected int64, message string, err error) {
	if method == logsMethod {
		response := plogotlp.NewExportResponse()
		err := response.UnmarshalProto(reply)
		return response.PartialSuccess().RejectedLogRecords(), response.PartialSuccess().ErrorMessage(), err
	}
	response := ptraceotlp.NewExportResponse()
	err = response.UnmarshalProto(reply)
	return response.PartialSuccess().RejectedSpans(), response.PartialSuccess().ErrorMessage(), err
}

func final(err error) bool {
	switch s := status.Convert(err); s.Code() {
	case codes.InvalidArgument, codes.Unimplemented, codes.Unauthenticated, codes.PermissionDenied:
		return true
	case codes.ResourceExhausted: // retryable, unless it is gRPC's own limit
		return strings.Contains(s.Message(), "larger than max")
	default:
		return false
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// bytesCodec sends requests that are encoded already: each attempt the same
// bytes, and the generator costs little beside what it measures.
type bytesCodec struct{}

var _ encoding.CodecV2 = bytesCodec{}

func (bytesCodec) Marshal(v any) (mem.BufferSlice, error) {
	body, ok := v.([]byte)
	if !ok {
		return nil, fmt.Errorf("a request of type %T", v)
	}
	return mem.BufferSlice{mem.SliceBuffer(body)}, nil
}

func (bytesCodec) Unmarshal(data mem.BufferSlice, v any) error {
	reply, ok := v.(*[]byte)
	if !ok {
		return fmt.Errorf("a reply of type %T", v)
	}
	*reply = data.Materialize()
	return nil
}

func (bytesCodec) Name() string { return "proto" }
