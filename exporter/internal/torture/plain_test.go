package torture

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
)

// plain sends what a program without the bridge does: traces without stamps,
// whose rows are events of spans that end, and arrive, before the task above
// them. Until that comes, rows that were acknowledged have no run.
type plain struct {
	conn  *grpc.ClientConn
	otlp  ptraceotlp.GRPCClient
	rng   *rand.Rand
	acked func(run string, first, last int64) error
}

func newPlain(addr string, rng *rand.Rand, acked func(string, int64, int64) error) (*plain, error) {
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 500 * time.Millisecond},
			MinConnectTimeout: time.Second,
		}))
	if err != nil {
		return nil, err
	}
	return &plain{conn: conn, otlp: ptraceotlp.NewGRPCClient(conn), rng: rng, acked: acked}, nil
}

const (
	plainSteps  = 8 // spans below the task, and as many again below those
	rowsPerSpan = 4
)

// task is one trace: a task and the spans under it.
type task struct {
	run   string
	trace pcommon.TraceID
	root  pcommon.SpanID
	start time.Time
}

func newTask(run string, rng *rand.Rand) task {
	var t task
	binary.BigEndian.PutUint64(t.trace[:], rng.Uint64()|1)
	binary.BigEndian.PutUint64(t.trace[8:], rng.Uint64())
	binary.BigEndian.PutUint64(t.root[:], rng.Uint64()|1)
	t.run, t.start = run, time.Now().Add(-time.Hour)
	return t
}

// send sends the task's spans in any order, but its own last.
func (p *plain) send(ctx context.Context, t task) error {
	order := p.rng.Perm(2 * plainSteps)
	for _, i := range order {
		if err := p.sendStep(ctx, t, i); err != nil {
			return err
		}
	}
	return p.sendRoot(ctx, t)
}

// sendStep sends one span with rows; the second half lies under the first.
func (p *plain) sendStep(ctx context.Context, t task, i int) error {
	parent := t.root
	if i >= plainSteps {
		parent = t.step(i - plainSteps)
	}
	td, span := t.span(t.step(i), parent, "step")
	first := int64(i * rowsPerSpan)
	for row := first; row < first+rowsPerSpan; row++ {
		ev := span.Events().AppendEmpty()
		ev.SetName("wandb.log")
		ev.SetTimestamp(pcommon.NewTimestampFromTime(t.start.Add(time.Duration(row) * time.Millisecond)))
		ev.Attributes().PutInt("row", row)
		ev.Attributes().PutDouble("loss", 1/float64(row+1))
	}
	if err := p.export(ctx, td); err != nil {
		return err
	}
	return p.acked(t.run, first, first+rowsPerSpan-1)
}

func (p *plain) sendRoot(ctx context.Context, t task) error {
	td, span := t.span(t.root, pcommon.SpanID{}, "train")
	span.Attributes().PutStr("wandb.run.mode", "auto")
	span.Attributes().PutStr("wandb.run.id", t.run)
	return p.export(ctx, td)
}

func (t task) step(i int) (id pcommon.SpanID) {
	binary.BigEndian.PutUint64(id[:], binary.BigEndian.Uint64(t.root[:])+uint64(i)+1)
	return id
}

func (t task) span(id, parent pcommon.SpanID, name string) (ptrace.Traces, ptrace.Span) {
	td := ptrace.NewTraces()
	span := td.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans().AppendEmpty()
	span.SetTraceID(t.trace)
	span.SetSpanID(id)
	span.SetParentSpanID(parent)
	span.SetName(name)
	span.SetStartTimestamp(pcommon.NewTimestampFromTime(t.start))
	span.SetEndTimestamp(pcommon.NewTimestampFromTime(t.start.Add(time.Second)))
	return td, span
}

// export repeats the same request until it is acknowledged.
func (p *plain) export(ctx context.Context, td ptrace.Traces) error {
	request := ptraceotlp.NewExportRequestFromTraces(td)
	retry := time.NewTicker(20 * time.Millisecond)
	defer retry.Stop()
	for {
		attempt, cancel := context.WithTimeout(ctx, 10*time.Second)
		reply, err := p.otlp.Export(attempt, request)
		cancel()
		if err == nil {
			if n := reply.PartialSuccess().RejectedSpans(); n > 0 {
				return fmt.Errorf("%d spans rejected: %s", n, reply.PartialSuccess().ErrorMessage())
			}
			return nil
		}
		select {
		case <-retry.C:
		case <-ctx.Done():
			return fmt.Errorf("%w; the last attempt: %w", ctx.Err(), err)
		}
	}
}
