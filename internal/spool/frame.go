package spool

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// magic begins every file. Another version of the format has another.
const magic = "OWSPOOL1"

// Kinds of frames.
const (
	kindResource = 'R' // payload: the resource
	kindHead     = 'H' // payload: stream, head
	kindEvents   = 'E' // payload: stream, count, first, last, events
)

const (
	frameHeader  = 4 + 4 + 1
	headPrefix   = 8
	eventsPrefix = 8 + 4 + 8 + 8
	// maxFrame is more than any frame is long; a greater length is damage.
	maxFrame = 64 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendFrame appends a frame whose payload is the parts, one after the other.
func appendFrame(b []byte, kind byte, parts ...[]byte) []byte {
	at := len(b)
	b = append(b, 0, 0, 0, 0, 0, 0, 0, 0, kind)
	for _, p := range parts {
		b = append(b, p...)
	}
	binary.LittleEndian.PutUint32(b[at:], uint32(len(b)-at-frameHeader))
	binary.LittleEndian.PutUint32(b[at+4:], crc32.Checksum(b[at+8:], castagnoli))
	return b
}

func appendHead(b []byte, c *Chunk) []byte {
	var prefix [headPrefix]byte
	binary.LittleEndian.PutUint64(prefix[:], c.Stream)
	return appendFrame(b, kindHead, prefix[:], c.Head)
}

func appendEvents(b []byte, c *Chunk) []byte {
	var prefix [eventsPrefix]byte
	binary.LittleEndian.PutUint64(prefix[:], c.Stream)
	binary.LittleEndian.PutUint32(prefix[8:], uint32(c.Count))
	binary.LittleEndian.PutUint64(prefix[12:], uint64(c.First))
	binary.LittleEndian.PutUint64(prefix[20:], uint64(c.Last))
	return appendFrame(b, kindEvents, prefix[:], c.Events)
}

// size is at least what the chunk takes in a file.
func (c *Chunk) size() int {
	return len(c.Events) + eventsPrefix + frameHeader + len(c.Head) + headPrefix + frameHeader
}

// frame is one frame of a file. payload points into what was read.
type frame struct {
	kind    byte
	payload []byte
	size    int // in the file
}

// parseFrame reads the frame that b begins with. ok is false where b holds only
// a part of it; want is then how many bytes it takes to go on.
func parseFrame(b []byte) (f frame, want int, ok bool, err error) {
	if len(b) < frameHeader {
		return f, frameHeader, false, nil
	}
	n := binary.LittleEndian.Uint32(b)
	if n > maxFrame {
		return f, 0, false, fmt.Errorf("%w: a frame of %d bytes", ErrDamaged, n)
	}
	f.size = frameHeader + int(n)
	if len(b) < f.size {
		return f, f.size, false, nil
	}
	if binary.LittleEndian.Uint32(b[4:]) != crc32.Checksum(b[8:f.size], castagnoli) {
		return f, 0, false, fmt.Errorf("%w: checksum of a frame", ErrDamaged)
	}
	f.kind, f.payload = b[8], b[frameHeader:f.size]
	return f, 0, true, nil
}

func (f *frame) head() (stream uint64, head []byte, err error) {
	if len(f.payload) < headPrefix {
		return 0, nil, fmt.Errorf("%w: a head without a stream", ErrDamaged)
	}
	return binary.LittleEndian.Uint64(f.payload), f.payload[headPrefix:], nil
}

func (f *frame) chunk() (Chunk, error) {
	p := f.payload
	if len(p) < eventsPrefix {
		return Chunk{}, fmt.Errorf("%w: events without a stream", ErrDamaged)
	}
	return Chunk{
		Stream: binary.LittleEndian.Uint64(p),
		Count:  int(binary.LittleEndian.Uint32(p[8:])),
		First:  int64(binary.LittleEndian.Uint64(p[12:])),
		Last:   int64(binary.LittleEndian.Uint64(p[20:])),
		Events: p[eventsPrefix:],
	}, nil
}
