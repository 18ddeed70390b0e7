package spool

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Batch is what goes into one request: the oldest events that are not
// acknowledged. It is valid until the next call of Next.
type Batch struct {
	Resource []byte
	Chunks   []Chunk
	Count    int // events

	segment *segment
	end     int64
}

// Next gives the oldest chunks, of about most bytes together, and at least one;
// nil where there are none. It gives the same again, or more, until Ack.
//
// Damage ends a file: what lies behind cannot be told apart. The file is put
// aside, for a person to look at, and the error names it.
func (s *Spool) Next(most int) (*Batch, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.segments) > 0 {
		seg := s.segments[0]
		b, err := s.batch(seg, most)
		switch {
		case err != nil:
			return nil, s.putAside(seg, err)
		case len(b.Chunks) > 0:
			return b, nil
		}
		// Nothing but what is acknowledged, or a torn end.
		seg.acked = seg.size
		if len(s.segments) == 1 && !seg.sealed && !s.adopted {
			return nil, nil
		}
		if err := s.drop(seg); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// batch reads on from what is acknowledged. An error is damage at the very
// beginning of what is left; damage behind good chunks comes with the next call.
func (s *Spool) batch(seg *segment, most int) (*Batch, error) {
	b := &Batch{segment: seg, end: seg.acked}
	from := seg.acked
	if from == 0 && seg.size > 0 {
		start := make([]byte, len(magic))
		switch n, err := seg.store.ReadAt(start, 0); {
		case err != nil && !errors.Is(err, io.EOF):
			return nil, err
		case n < len(start):
			return b, nil // killed while it was made
		case string(start) != magic:
			return nil, fmt.Errorf("%w: it does not begin as a spool of this version", ErrDamaged)
		}
		from = int64(len(magic))
		seg.heads = map[uint64][]byte{}
	}
	window := int64(most)
	for from < seg.size {
		data, err := s.readAt(seg, from, min(window, seg.size-from))
		if err != nil {
			return nil, err
		}
		used, want, err := s.parse(seg, b, data, most)
		b.end = from + int64(used)
		switch {
		case len(b.Chunks) > 0:
			b.Resource = seg.res
			return b, nil
		case err != nil:
			return nil, err
		}
		from += int64(used)
		if want == 0 {
			continue // heads only, so far
		}
		if from+int64(want) > seg.size {
			break // torn
		}
		window = int64(want)
	}
	return b, nil
}

// parse reads frames until most is reached, or data ends. want is how much the
// frame at used takes, where data holds only a part of it.
func (s *Spool) parse(seg *segment, b *Batch, data []byte, most int) (used, want int, err error) {
	size := 0
	for used < len(data) {
		f, want, ok, err := parseFrame(data[used:])
		if err != nil || !ok {
			return used, want, err
		}
		switch f.kind {
		case kindResource:
			seg.res = append([]byte(nil), f.payload...)
		case kindHead:
			stream, head, err := f.head()
			if err != nil {
				return used, 0, err
			}
			seg.heads[stream] = append([]byte(nil), head...)
		case kindEvents:
			c, err := f.chunk()
			if err != nil {
				return used, 0, err
			}
			if c.Head = seg.heads[c.Stream]; c.Head == nil {
				return used, 0, fmt.Errorf("%w: events of a stream without a head", ErrDamaged)
			}
			if size += c.size(); size > most && len(b.Chunks) > 0 {
				return used, 0, nil
			}
			b.Chunks = append(b.Chunks, c)
			b.Count += c.Count
		}
		used += f.size
	}
	return used, 0, nil
}

func (s *Spool) readAt(seg *segment, from, n int64) ([]byte, error) {
	if int64(cap(s.read)) < n {
		s.read = make([]byte, n)
	}
	data := s.read[:n]
	_, err := seg.store.ReadAt(data, from)
	return data, err
}

// Ack says that a batch has arrived, or is taken care of. Its file goes when
// all of it has.
func (s *Spool) Ack(b *Batch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.segments) == 0 || s.segments[0] != b.segment {
		return nil
	}
	seg := b.segment
	seg.acked = b.end
	if seg.acked < seg.size {
		return nil
	}
	if len(s.segments) == 1 && !seg.sealed && !s.adopted {
		return s.empty(seg)
	}
	return s.drop(seg)
}

// empty gives the space of the last segment back and keeps its file.
func (s *Spool) empty(seg *segment) error {
	if err := seg.store.Truncate(0); err != nil {
		seg.sealed = true
		return fmt.Errorf("spool: %w", err)
	}
	s.grow(seg, -seg.size)
	seg.acked, seg.wrote, seg.heads = 0, nil, nil
	return nil
}

// drop removes the oldest segment.
func (s *Spool) drop(seg *segment) error {
	s.segments[0] = nil
	s.segments = s.segments[1:]
	s.grow(seg, -seg.size)
	if m, ok := seg.store.(*memoryStore); ok && cap(m.b) <= 2*memorySegment {
		s.spare = m.b[:0] // batches are copies
	}
	if err := errors.Join(seg.store.Close(), seg.store.remove()); err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	return nil
}

// putAside moves a damaged segment out of the way.
func (s *Spool) putAside(seg *segment, cause error) error {
	at, name := seg.acked, seg.store.path()
	s.segments = s.segments[1:]
	s.grow(seg, -seg.size)
	err := seg.store.Close()
	if name == "" {
		return errors.Join(fmt.Errorf("spool in memory, offset %d: %w", at, cause), err)
	}
	aside := filepath.Join(filepath.Dir(s.dir), fmt.Sprintf("damaged-%s-%s", s.writer, filepath.Base(name)))
	err = errors.Join(err, os.Rename(name, aside))
	return errors.Join(fmt.Errorf("spool %s, offset %d: %w: what follows was not sent; it is kept as %s", name, at, cause, aside), err)
}
