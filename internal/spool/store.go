package spool

import (
	"io"
	"os"
	"slices"
)

// store is where the bytes of a segment lie.
type store interface {
	io.ReaderAt
	io.WriterAt
	Truncate(size int64) error
	Close() error
	// path is "" in memory.
	path() string
	remove() error
}

type fileStore struct{ *os.File }

func (f fileStore) path() string  { return f.Name() }
func (f fileStore) remove() error { return os.Remove(f.Name()) }

// memoryStore is appended to and read as a file is. Its owner's lock guards it.
type memoryStore struct{ b []byte }

func (m *memoryStore) ReadAt(p []byte, off int64) (int, error) {
	if off >= int64(len(m.b)) {
		return 0, io.EOF
	}
	n := copy(p, m.b[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (m *memoryStore) WriteAt(p []byte, off int64) (int, error) {
	if cap(m.b) > 0 && int(off)+len(p) > cap(m.b) {
		m.b = slices.Grow(m.b[:off], memorySegment+memorySegment/4) // it will be full: no copies on the way there
	}
	m.b = append(m.b[:off], p...) // only ever at the end
	return len(p), nil
}

func (m *memoryStore) Truncate(size int64) error {
	m.b = m.b[:size]
	return nil
}

func (m *memoryStore) Close() error  { return nil }
func (m *memoryStore) path() string  { return "" }
func (m *memoryStore) remove() error { m.b = nil; return nil }
