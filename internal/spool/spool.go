package spool

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
)

// Bounds where the caller sets none.
const (
	DefaultFileBytes   = 256 << 20
	DefaultMemoryBytes = 32 << 20
)

const (
	// A file gives its space back when all of it is acknowledged: small files
	// give it back sooner.
	fileSegment   = 8 << 20
	memorySegment = 1 << 20
	// A bound is spread over at least so many segments.
	leastSegments = 8
	// writeSize is about how much is written at once.
	writeSize = 1 << 20
)

// Spool is one process's queue: its own, or one that a killed process left.
// ConcurrentSafe: a lock; it is held while a file is read or written.
type Spool struct {
	writer   string
	dir      string // its own; "" in memory
	resource []byte
	adopted  bool
	lock     *os.File
	max      int64
	onDisk   atomic.Int64 // bytes of all segments, in memory or not

	mu       sync.Mutex // guards everything below
	segments []*segment // the oldest first; the last is appended to
	number   int        // of the last segment
	inMemory int64
	write    []byte // reused
	read     []byte // reused: what the last batch points into
	spare    []byte // of a segment in memory that is gone, for the next
	closed   bool
}

// segment is one file, or its like in memory.
type segment struct {
	store  store
	size   int64             // whole frames
	acked  int64             // all before it is acknowledged
	wrote  map[uint64]bool   // streams whose head it holds
	heads  map[uint64][]byte // heads before acked and in the batch under way
	sealed bool              // nothing is appended any more
	res    []byte            // resource, when read
}

// Memory makes a spool in memory; most 0 is the default bound.
func Memory(writer string, resource []byte, most int64) *Spool {
	if most <= 0 {
		most = DefaultMemoryBytes
	}
	return &Spool{writer: writer, resource: resource, max: most}
}

// Size is how many bytes the spool holds, what is acknowledged but not yet
// given back included.
func (s *Spool) Size() int64 { return s.onDisk.Load() }

// Pending is how many bytes are not acknowledged.
func (s *Spool) Pending() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	var n int64
	for _, seg := range s.segments {
		n += seg.size - seg.acked
	}
	return n
}

// Max is the bound of Size.
func (s *Spool) Max() int64 { return s.max }

// Where says where the spool lies, for messages.
func (s *Spool) Where() string {
	if s.dir == "" {
		return "memory"
	}
	return s.dir
}

// Adopted tells whether another process wrote the spool.
func (s *Spool) Adopted() bool { return s.adopted }

// Append adds chunks, as many as the bound allows: the first n. Then they are
// with the operating system. Where the disk takes no more, chunks are kept in
// memory, within memory's own bound; err says so, or is [ErrFull].
func (s *Spool) Append(chunks []Chunk) (n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0, os.ErrClosed
	}
	for n < len(chunks) {
		took, fault := s.appendSome(chunks[n:])
		n += took
		if fault != nil && err == nil {
			err = fault
		}
		if took == 0 && errors.Is(fault, ErrFull) {
			return n, fault
		}
	}
	return n, err
}

// appendSome adds at least one chunk, with one write. A failed write seals the
// file and the next call goes on in memory.
func (s *Spool) appendSome(chunks []Chunk) (n int, err error) {
	seg, err := s.current()
	if seg == nil {
		return 0, err
	}
	fault := err
	b := s.write[:0]
	if seg.size == 0 {
		b = append(b, magic...)
		b = appendFrame(b, kindResource, s.resource)
		seg.wrote = map[uint64]bool{}
	}
	var heads []uint64
	full := false
	for n < len(chunks) && len(b) < writeSize && (n == 0 || seg.size+int64(len(b)) < s.segmentSize()) {
		c := &chunks[n]
		if need := int64(len(b) + c.size()); s.Size()+need > s.max || s.dir != "" && seg.store.path() == "" && s.inMemory+need > DefaultMemoryBytes {
			full = true
			break
		}
		if !seg.wrote[c.Stream] {
			seg.wrote[c.Stream] = true
			heads = append(heads, c.Stream)
			b = appendHead(b, c)
		}
		b = appendEvents(b, c)
		n++
	}
	if cap(b) <= 4*writeSize {
		s.write = b[:0]
	}
	if n == 0 && full {
		return 0, ErrFull
	}
	if _, err := seg.store.WriteAt(b, seg.size); err != nil {
		// Cut the torn frame; should that fail too, readers cut it.
		err = errors.Join(err, seg.store.Truncate(seg.size))
		for _, h := range heads {
			delete(seg.wrote, h)
		}
		seg.sealed = true
		s.addMemorySegment()
		return 0, fmt.Errorf("spool %s, offset %d: %w: rows are kept in memory only; free space there", seg.store.path(), seg.size, err)
	}
	s.grow(seg, int64(len(b)))
	return n, fault
}

func (s *Spool) grow(seg *segment, n int64) {
	seg.size += n
	s.onDisk.Add(n)
	if seg.store.path() == "" {
		s.inMemory += n
	}
}

func (s *Spool) segmentSize() int64 {
	if s.dir == "" {
		return min(memorySegment, s.max/leastSegments)
	}
	return min(fileSegment, s.max/leastSegments)
}

// current is the segment to append to. With an error, it is one in memory
// because a file could not be made.
func (s *Spool) current() (*segment, error) {
	if n := len(s.segments); n > 0 {
		last := s.segments[n-1]
		limit := s.segmentSize()
		if last.store.path() == "" {
			limit = min(limit, memorySegment) // soon try the disk again
		}
		if !last.sealed && last.size < limit {
			return last, nil
		}
		last.sealed = true
	}
	if s.dir == "" {
		return s.addMemorySegment(), nil
	}
	name := filepath.Join(s.dir, fmt.Sprintf("%06d.spool", s.number+1))
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return s.addMemorySegment(), fmt.Errorf("spool: %w: rows are kept in memory only; make the folder writable, or free space there", err)
	}
	return s.addSegment(fileStore{f}), nil
}

func (s *Spool) addMemorySegment() *segment {
	m := &memoryStore{b: s.spare}
	s.spare = nil
	return s.addSegment(m)
}

func (s *Spool) addSegment(st store) *segment {
	s.number++
	seg := &segment{store: st}
	s.segments = append(s.segments, seg)
	return seg
}

// Close gives up the lock. What is not acknowledged stays for the next process;
// a folder with nothing in it goes.
func (s *Spool) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	var errs []error
	left := false
	for _, seg := range s.segments {
		if seg.acked == seg.size {
			errs = append(errs, seg.store.Close(), seg.store.remove())
			continue
		}
		left = true
		errs = append(errs, seg.store.Close())
	}
	s.segments = nil
	if s.lock == nil {
		return errors.Join(errs...)
	}
	if !left {
		errs = append(errs, os.Remove(s.lock.Name()))
		// Another process that looks for leftovers may just have put its lock
		// there; then it removes the folder.
		_ = os.Remove(s.dir)
	}
	return errors.Join(append(errs, s.lock.Close())...)
}
