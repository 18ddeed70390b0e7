package intake

import (
	"sync"

	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/otel-wandb/otel-wandb/exporter/internal/placement"
)

// Request is a request that was read, in memory that is used again.
type Request struct {
	Units []placement.Unit
	r     *reader
}

var readers = sync.Pool{New: func() any { return new(reader) }}

// ReadTraces is Traces in borrowed memory: call Recycle.
func ReadTraces(td ptrace.Traces, opts *Options) Request {
	r := readers.Get().(*reader)
	return Request{r.traces(td, opts), r}
}

// ReadLogs is Logs in borrowed memory: call Recycle.
func ReadLogs(ld plog.Logs, opts *Options) Request {
	r := readers.Get().(*reader)
	return Request{r.logs(ld, opts), r}
}

// ReadMetrics is Metrics in borrowed memory: call Recycle.
func ReadMetrics(md pmetric.Metrics, opts *Options) Request {
	r := readers.Get().(*reader)
	return Request{r.metrics(md, opts), r}
}

// maxPooled is the largest request whose memory is kept for the next.
const maxPooled = 8192

// Recycle gives the request's memory back. Nobody may hold a unit, a payload or
// an item of it any more: the next request overwrites them. A request of which
// something waits, or that failed, is simply not recycled.
func (q Request) Recycle() {
	if cap(q.r.units) > maxPooled {
		return
	}
	q.r.reset()
	readers.Put(q.r)
}

func (r *reader) reset() {
	clear(r.units)
	clear(r.same)
	r.units = r.units[:0]
	r.opts, r.defs, r.item, r.hists = nil, defaults{}, attributes{}, nil
	r.rows.reset()
	r.records.reset()
	for _, b := range []*builder{&r.config, &r.summary, &r.row} {
		b.slab.reset()
	}
}
