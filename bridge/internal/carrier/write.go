package carrier

import (
	"context"
	"errors"
	"time"

	"github.com/otel-wandb/otel-wandb/internal/semconv"
	"github.com/otel-wandb/otel-wandb/internal/spool"
)

// writeLoop brings segments to the spool, and lets hearts beat. While nothing is
// logged it sleeps.
func (p *Pipeline) writeLoop(ctx context.Context) {
	beat := time.NewTicker(p.cfg.Heartbeat)
	defer beat.Stop()
	for {
		now := false
		select {
		case <-ctx.Done():
			return
		case <-beat.C:
			p.beat()
			continue
		case <-p.wake.flush:
			now = true
		case <-p.wake.write:
		}
		if !now {
			// Half is left for the writing itself, and for a busy machine.
			wait := time.NewTimer(p.cfg.Flush / 2)
			select {
			case <-ctx.Done():
			case <-p.wake.flush:
			case <-wait.C:
			}
			wait.Stop()
		}
		urgent := p.urgent.Swap(false) // before writing: what is urgent later is written later
		p.write()
		if urgent {
			wake(p.wake.hurry)
		}
	}
}

// write brings all segments to the spool. It returns how many events were logged
// so far, those that found no room included.
func (p *Pipeline) write() (logged uint64) {
	p.writeMu.Lock()
	defer p.writeMu.Unlock()
	p.dirtyMu.Lock()
	dirty := p.dirty
	p.dirty = nil
	p.dirtyMu.Unlock()
	count := 0
	for _, s := range dirty {
		count += p.collect(s)
	}
	logged = p.progress.take(count)
	if len(p.backlog) == 0 {
		return logged
	}
	n, err := p.spool.Append(p.backlog)
	if err != nil && !errors.Is(err, spool.ErrFull) { // full: rows are refused, and it is said there
		p.report.once(troubleWrite, "%w", err)
	}
	written := int64(0)
	for i := range n {
		written += int64(len(p.backlog[i].Events))
		p.sealed[i].recycle()
	}
	p.backlog = shift(p.backlog, n)
	p.sealed = shift(p.sealed, n)
	p.unwritten.Add(-written)
	if n > 0 {
		wake(p.wake.send)
	}
	return logged
}

// unroomed is how many events the spool has no room for.
func (p *Pipeline) unroomed() (events int) {
	p.writeMu.Lock()
	defer p.writeMu.Unlock()
	for i := range p.backlog {
		events += p.backlog[i].Count
	}
	return events
}

// collect takes a stream's segments.
func (p *Pipeline) collect(s *Stream) (events int) {
	s.run.mu.Lock()
	full, open := s.full, s.open
	s.full, s.open, s.dirty = nil, nil, false
	s.run.mu.Unlock()
	if open != nil {
		full = append(full, open)
	}
	for _, seg := range full {
		if seg.count == 0 {
			seg.recycle()
			continue
		}
		p.sealed = append(p.sealed, seg)
		p.backlog = append(p.backlog, spool.Chunk{
			Stream: s.id, Head: s.head, Events: seg.b, Count: seg.count, First: seg.first, Last: seg.last,
		})
		events += seg.count
	}
	return events
}

func (g *segment) recycle() {
	if cap(g.b) > 2*segmentSize {
		return
	}
	*g = segment{b: g.b[:0]}
	segments.Put(g)
}

// shift removes the first n and keeps the array for the next time.
func shift[T any](s []T, n int) []T {
	m := copy(s, s[n:])
	clear(s[m:])
	return s[:m]
}

// beat tells of every open owner that it lives. While nothing gets through this
// only piles up: then it is made up for afterwards.
func (p *Pipeline) beat() {
	if p.failing.Load() {
		p.missedBeat.Store(true)
		return
	}
	p.mu.Lock()
	streams := make([]*Stream, 0, len(p.beating))
	for s := range p.beating {
		streams = append(streams, s)
	}
	p.mu.Unlock()
	now := time.Now()
	for _, s := range streams {
		s.run.mu.Lock()
		s.tellRefused(now.UnixNano(), ifRoom)
		s.run.mu.Unlock()
		_ = s.event(semconv.EventRunHeartbeat, now, nil, ifRoom) // ended meanwhile, or what waits tells it too
	}
}
