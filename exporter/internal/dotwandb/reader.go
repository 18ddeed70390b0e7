package dotwandb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// MaxRecord bounds what a reader holds in memory for one record. W&B refuses
// lines over 10 MB, so nothing legitimate comes near.
const MaxRecord = 64 << 20

// Mode says what a [Reader] does at damage.
type Mode int

const (
	// Strict stops at the first damage for ever, as W&B's own sync does: what
	// a strict reader finds is what W&B will see.
	Strict Mode = iota
	// Lenient goes on with the next whole record behind the damage.
	Lenient
)

// ErrNotWandb is returned for a file that does not begin like a .wandb file.
var ErrNotWandb = errors.New("not a .wandb file: it does not begin with the seven bytes of the format")

// CorruptError says where a file is damaged. It is a torn tail, and then wraps
// [io.ErrUnexpectedEOF], when no whole record follows: a writer died there, or
// still writes. Otherwise whole records follow that a strict reader never sees.
type CorruptError struct {
	Offset int64  // of the chunk that is damaged
	Reason string // what is wrong with it
	Torn   bool   // nothing whole behind it
}

func (e *CorruptError) Error() string {
	if e.Torn {
		return fmt.Sprintf("torn tail at offset %d: %s; no whole record follows", e.Offset, e.Reason)
	}
	return fmt.Sprintf("damage at offset %d: %s; whole records follow it that W&B's readers will not see", e.Offset, e.Reason)
}

// Unwrap makes a torn tail an [io.ErrUnexpectedEOF].
func (e *CorruptError) Unwrap() error {
	if e.Torn {
		return io.ErrUnexpectedEOF
	}
	return nil
}

// Reader reads the records of a file in order, in memory bounded by one block
// and one record.
type Reader struct {
	src  io.Reader
	mode Mode

	block    [BlockSize]byte
	blockOff int64 // file offset of block[0]
	i, n     int   // block[i:n] is read but not consumed
	ended    bool  // the file ended, for this call of Next

	record  []byte // the payload of a record of several chunks
	begin   int64  // file offset of the record being read
	end     int64  // file offset just after the last whole record
	skipped int64
	err     error // sticky
}

// NewReader reads a file from its beginning and checks the file header.
func NewReader(src io.Reader, mode Mode) (*Reader, error) {
	r := &Reader{src: src, mode: mode}
	n, err := io.ReadFull(src, r.block[:FileHeaderSize])
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return nil, err
	}
	if string(r.block[:n]) != fileHeader[:n] {
		return nil, ErrNotWandb
	}
	if n < FileHeaderSize {
		return nil, &CorruptError{Offset: int64(n), Reason: "the file ends inside its header", Torn: true}
	}
	r.i, r.n, r.end = FileHeaderSize, FileHeaderSize, FileHeaderSize
	return r, nil
}

// NewReaderAt reads on from file offset off, where src stands: the end of a
// whole record, or [FileHeaderSize].
func NewReaderAt(src io.Reader, off int64, mode Mode) *Reader {
	at := int(off % BlockSize)
	return &Reader{src: src, mode: mode, blockOff: off - int64(at), i: at, n: at, end: off}
}

// Offset is the file offset just after the last whole record returned.
func (r *Reader) Offset() int64 { return r.end }

// Skipped counts the bytes between whole records that could not be read:
// damage that a lenient reader passed, and zeroed blocks.
func (r *Reader) Skipped() int64 { return r.skipped }

// Next returns the payload of the next record; it is valid until the next call.
//
// At a clean end it returns [io.EOF], and may be called again when the file has
// grown. At damage it returns a [*CorruptError]: a torn tail in both modes,
// damage in the middle in [Strict] only. After that it returns the same for ever.
func (r *Reader) Next() ([]byte, error) {
	if r.err != nil {
		return nil, r.err
	}
	r.ended = false
	rec, err := r.next()
	if err != nil && !errors.Is(err, io.EOF) {
		rec, err = r.pass(err)
		r.err = err
	}
	if err != nil {
		return nil, err
	}
	// Up to six bytes before a record are the padding of a block; more was lost.
	if gap := r.begin - r.end; gap >= chunkHeader {
		r.skipped += gap
	}
	r.end = r.pos()
	return rec, nil
}

// pass goes past damage to the next whole record, or says why not.
func (r *Reader) pass(err error) ([]byte, error) {
	var damage *CorruptError
	if !errors.As(err, &damage) {
		return nil, err
	}
	// Whether records follow decides between torn and damaged, so even a strict
	// reader looks, once.
	rec, found, err := r.resync()
	switch {
	case err != nil:
		return nil, err
	case !found:
		damage.Torn = true
		return nil, damage
	case r.mode == Strict:
		return nil, damage
	}
	return rec, nil
}

func (r *Reader) pos() int64 { return r.blockOff + int64(r.i) }

func (r *Reader) corrupt(format string, args ...any) error {
	return &CorruptError{Offset: r.pos(), Reason: fmt.Sprintf(format, args...)}
}

// next reads a record that must begin here.
func (r *Reader) next() ([]byte, error) {
	begin, kind, payload, err := r.chunk(true)
	if err != nil {
		return nil, err
	}
	r.begin = begin
	switch kind {
	case full:
		return payload, nil
	case first:
		return r.rest(payload)
	default:
		return nil, &CorruptError{Offset: begin, Reason: "a chunk continues a record that did not begin"}
	}
}

// rest reads the chunks after a FIRST.
func (r *Reader) rest(payload []byte) ([]byte, error) {
	r.record = append(r.record[:0], payload...)
	for {
		begin, kind, payload, err := r.chunk(false)
		switch {
		case errors.Is(err, io.EOF):
			return nil, r.corrupt("the file ends inside a record")
		case err != nil:
			return nil, err
		case kind != middle && kind != last:
			// Step back onto this chunk: it may begin a whole record.
			r.i -= chunkHeader + len(payload)
			return nil, &CorruptError{Offset: begin, Reason: "a record begins inside another"}
		case len(r.record)+len(payload) > MaxRecord:
			return nil, r.corrupt("a record longer than %d bytes", MaxRecord)
		}
		r.record = append(r.record, payload...)
		if kind == last {
			return r.record, nil
		}
	}
}

// chunk reads the chunk that begins here. It consumes the chunk only when it is
// valid. boundary tells that a record may end here: only there is the end of
// the file clean, and are zeroes up to the end of the block passed over.
func (r *Reader) chunk(boundary bool) (begin int64, kind byte, payload []byte, err error) {
	for {
		room := BlockSize - r.i
		if room < chunkHeader { // padding
			if err := r.fill(BlockSize); err != nil {
				return 0, 0, nil, err
			}
			if r.n < BlockSize {
				return 0, 0, nil, io.EOF
			}
			r.turn()
			continue
		}
		if err := r.fill(r.i + chunkHeader); err != nil {
			return 0, 0, nil, err
		}
		switch have := r.n - r.i; {
		case have == 0 && r.pos()-r.end >= chunkHeader && boundary:
			return 0, 0, nil, r.corrupt("zeroes up to the end of the file")
		case have == 0:
			return 0, 0, nil, io.EOF
		case have < chunkHeader:
			return 0, 0, nil, r.corrupt("the file ends inside a chunk's header")
		}
		if [chunkHeader]byte(r.block[r.i:]) == [chunkHeader]byte{} {
			if err := r.zeroes(boundary); err != nil {
				return 0, 0, nil, err
			}
			continue
		}
		length := int(binary.LittleEndian.Uint16(r.block[r.i+4:]))
		if chunkHeader+length > room {
			return 0, 0, nil, r.corrupt("a chunk of %d bytes does not fit its block", length)
		}
		if err := r.fill(r.i + chunkHeader + length); err != nil {
			return 0, 0, nil, err
		}
		if r.n < r.i+chunkHeader+length {
			return 0, 0, nil, r.corrupt("the file ends inside a chunk of %d bytes", length)
		}
		kind, payload, ok := r.valid()
		if !ok {
			return 0, 0, nil, r.corrupt("checksum or type of a chunk of %d bytes is wrong", length)
		}
		begin := r.pos()
		r.i += chunkHeader + length
		return begin, kind, payload, nil
	}
}

// zeroes passes over a block that is zero from here to its end: what a file
// system leaves of a block it never wrote. W&B's readers do the same.
func (r *Reader) zeroes(boundary bool) error {
	if !boundary {
		return r.corrupt("zeroes inside a record")
	}
	if err := r.fill(BlockSize); err != nil {
		return err
	}
	for _, b := range r.block[r.i:r.n] {
		if b != 0 {
			return r.corrupt("a chunk's header is zero")
		}
	}
	if r.n < BlockSize {
		return r.corrupt("zeroes up to the end of the file")
	}
	r.turn()
	return nil
}

// resync looks for the next whole record behind damage and reads it.
//
// It tries every offset, not only the next block: a record is taken when type,
// length and checksum agree, so that one flipped bit costs one record and not
// the rest of its block. Payloads come from telemetry, and someone may log
// bytes that look like a record; that can fool this search into a false
// "damage in the middle", which costs a new file, never into cutting data off.
func (r *Reader) resync() (rec []byte, found bool, err error) {
	for {
		if err := r.fill(BlockSize); err != nil {
			return nil, false, err
		}
		for r.i+chunkHeader <= r.n {
			kind, payload, ok := r.valid()
			if !ok {
				r.i++
				continue
			}
			r.begin = r.pos()
			r.i += chunkHeader + len(payload)
			if kind == full {
				return payload, true, nil
			}
			if kind != first {
				continue // the end of a record whose beginning is lost
			}
			rec, err := r.rest(payload)
			if err == nil {
				return rec, true, nil
			}
			var damage *CorruptError
			if !errors.As(err, &damage) {
				return nil, false, err
			}
			// rest may have moved to another block; search on from where it stands.
			if err := r.fill(BlockSize); err != nil {
				return nil, false, err
			}
		}
		if r.n < BlockSize {
			return nil, false, nil
		}
		r.turn()
	}
}

// valid tells whether a whole valid chunk begins here, in what is read of the block.
func (r *Reader) valid() (kind byte, payload []byte, ok bool) {
	b := r.block[r.i:r.n]
	kind = b[6]
	end := chunkHeader + int(binary.LittleEndian.Uint16(b[4:]))
	if kind < full || kind > last || end > len(b) {
		return 0, nil, false
	}
	payload = b[chunkHeader:end]
	return kind, payload, binary.LittleEndian.Uint32(b) == checksum(kind, payload)
}

// fill reads until block[:to] is there, or the file ends. The end is seen once
// a call of Next: a file that grows meanwhile has a torn tail, and would have
// damage in its middle if the search behind the tail saw the rest.
func (r *Reader) fill(to int) error {
	if r.n >= to || r.ended {
		return nil
	}
	// Read as much of the block as there is; only to is waited for.
	n, err := io.ReadAtLeast(r.src, r.block[r.n:], to-r.n)
	r.n += n
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		r.ended = true
		return nil
	}
	return err
}

// turn goes to the next block.
func (r *Reader) turn() {
	r.blockOff += BlockSize
	r.i, r.n = 0, 0
}
