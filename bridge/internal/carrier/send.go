package carrier

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/otel-wandb/otel-wandb/internal/outbox"
	"github.com/otel-wandb/otel-wandb/internal/sink"
	"github.com/otel-wandb/otel-wandb/internal/spool"
)

const (
	// adoptEvery is how often the folder is looked through for what a killed
	// neighbour left.
	adoptEvery = time.Minute
	// smallestRequest is where requests stop getting smaller.
	smallestRequest = 64 << 10

	firstBackoff = 250 * time.Millisecond
	lastBackoff  = 30 * time.Second
	// awaitedBackoff is the last while somebody waits in Flush or Shutdown, who
	// has seconds: a collector that comes back meanwhile must be noticed.
	awaitedBackoff = time.Second
	// sayAfter is how many attempts fail before it is said: a program is often
	// up before its collector.
	sayAfter = 5
	// doubt is how long an answer that may mean either is taken for a passing
	// one. One request must not hold up all others for ever.
	doubt = 5 * time.Minute
)

// sender sends the pipeline's spool and those it adopted, one request at a time.
type sender struct {
	p        *Pipeline
	adopted  []*spool.Spool
	turn     bool // of the adopted ones
	pace     pace
	until    uint64 // hurry until so many events are done
	max      int    // bytes of a request
	request  []byte // of requests
	requests outbox.Requests
}

func newSender(p *Pipeline) *sender {
	return &sender{
		p: p, max: outbox.MaxRequest,
		pace: pace{least: p.cfg.Send, most: max(p.cfg.Send, slowest), gap: p.cfg.Send},
	}
}

func (s *sender) loop(ctx context.Context) {
	look := time.NewTicker(adoptEvery)
	defer look.Stop()
	s.adopt()
	for ctx.Err() == nil {
		select {
		case <-look.C: // however busy it is
			s.adopt()
		default:
		}
		from, wait := s.next()
		if from != nil {
			s.send(ctx, from)
			continue
		}
		due := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-look.C:
			s.adopt()
		case <-s.p.wake.hurry:
			s.until = s.p.progress.logged()
		case <-s.p.wake.send:
		case <-due.C:
		}
		due.Stop()
	}
	for _, left := range s.adopted {
		if err := left.Close(); err != nil {
			s.p.report.once(troubleSpool, "%w", err)
		}
	}
}

// next is the spool to send from, or how long to wait. What others left and what
// this process logs take turns: neither waits for the end of the other.
func (s *sender) next() (*spool.Spool, time.Duration) {
	select {
	case <-s.p.wake.hurry:
		s.until = s.p.progress.logged()
	default:
	}
	wait := time.Duration(1<<63 - 1)
	pending := s.p.spool.Pending()
	if pending > 0 {
		wait = s.pace.wait(time.Now())
		if pending >= fullRequest || s.p.progress.finished() < s.until {
			wait = 0
		}
	}
	if len(s.adopted) > 0 && (wait > 0 || s.turn) {
		s.turn = false
		return s.adopted[0], 0
	}
	if wait > 0 {
		return nil, wait
	}
	s.turn = true
	return s.p.spool, 0
}

// adopt takes over what killed processes left.
func (s *sender) adopt() {
	if s.p.cfg.Dir == "" {
		return
	}
	found, err := spool.Adopt(s.p.cfg.Dir)
	if err != nil {
		s.p.report.once(troubleLeft, "%w", err)
	}
	s.adopted = append(s.adopted, found...)
	s.weigh()
}

func (s *sender) weigh() {
	var n int64
	for _, left := range s.adopted {
		n += left.Size()
	}
	s.p.inherited.Store(n)
}

// send sends one request, until it is acknowledged, refused for good, or the
// pipeline is stopped.
func (s *sender) send(ctx context.Context, from *spool.Spool) {
	p := s.p
	own := from == p.spool
	batch, err := from.Next(s.max)
	if err != nil {
		p.report.once(troubleSpool, "%w", err)
		if own {
			p.forgetDamaged()
		}
		return
	}
	if batch == nil {
		if !own {
			s.done(from)
		}
		return
	}
	s.request = s.requests.Of(batch)
	switch result, err := s.deliver(ctx); result {
	case stopped:
		return
	case tooLarge:
		if len(batch.Chunks) > 1 && s.max > smallestRequest {
			s.max = max(len(s.request)/2, smallestRequest)
			s.requests.Forget() // the sink may still hold it
			return
		}
		fallthrough
	case refused:
		p.aside.keep(p.report, s.request, batch.Count, err)
		s.requests.Forget() // the sink may still hold it
	}
	if err := from.Ack(batch); err != nil {
		p.report.once(troubleSpool, "%w", err)
	}
	if own {
		if p.progress.finished() < s.until {
			s.pace.hurried(time.Now())
		} else {
			s.pace.sent(time.Now(), batch.Count)
		}
		p.progress.finish(batch.Count)
	} else {
		s.weigh()
	}
	if p.unwritten.Load() > 0 {
		wake(p.wake.write) // there is room now
	}
}

func (s *sender) done(from *spool.Spool) {
	s.adopted = shift(s.adopted, 1)
	s.weigh()
	if err := from.Close(); err != nil {
		s.p.report.once(troubleSpool, "%w", err)
	}
}

// result is what became of a request.
type result int

const (
	delivered result = iota
	refused
	tooLarge
	stopped
)

// deliver sends the request until there is a result.
func (s *sender) deliver(ctx context.Context) (result, error) {
	p := s.p
	backoff := firstBackoff
	began := time.Now()
	for attempt := 1; ; attempt++ {
		err := p.cfg.Sink.Export(ctx, s.request)
		if err == nil {
			p.recovered()
			return delivered, nil
		}
		if ctx.Err() != nil {
			return stopped, err
		}
		e := sink.Of(err)
		switch {
		case e.Kind == sink.Refused, e.Kind == sink.Doubtful && time.Since(began) > doubt:
			p.recovered() // it answers
			return refused, err
		case e.Kind == sink.TooLarge:
			p.recovered()
			return tooLarge, err
		case e.Kind == sink.Misconfigured:
			p.report.once(troubleConfig, "the collector takes nothing: %w; rows wait in %s: mend the OTLP endpoint, its headers or the collector's receiver", err, p.spool.Where())
		case attempt >= sayAfter:
			p.report.once(troubleUnreachable, "the collector cannot be reached: %w; rows wait in %s and are sent when it answers: see that it runs, and that OTEL_EXPORTER_OTLP_ENDPOINT names it", err, p.spool.Where())
		}
		p.failing.Store(true)
		wait := time.NewTimer(max(backoff/2+rand.N(backoff/2), e.After))
		select {
		case <-wait.C:
		case <-p.wake.kick: // somebody waits in Flush
		case <-ctx.Done():
		}
		wait.Stop()
		if ctx.Err() != nil {
			return stopped, err
		}
		last := lastBackoff
		if p.awaited.Load() > 0 {
			last = awaitedBackoff
		}
		backoff = min(2*backoff, last)
	}
}

// recovered makes up for the heartbeats that were left out.
func (p *Pipeline) recovered() {
	if p.failing.Swap(false) && p.missedBeat.Swap(false) {
		p.beat()
	}
}

// forgetDamaged settles the count of events that lie in a file put aside, when
// nothing else is left: nobody shall wait for them.
func (p *Pipeline) forgetDamaged() {
	p.writeMu.Lock()
	defer p.writeMu.Unlock()
	if p.spool.Pending() == 0 && len(p.backlog) == 0 {
		p.progress.catchUp()
	}
}
