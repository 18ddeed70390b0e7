package dotwandb

import (
	"encoding/binary"
	"hash/crc32"
)

const (
	// BlockSize is the size of the blocks that chunks do not cross. Blocks are
	// aligned to absolute file offsets: the file header is part of the first.
	BlockSize = 32768
	// FileHeaderSize is where the first record of a file begins.
	FileHeaderSize = 7

	fileHeader  = ":W&B\xE1\xBE\x00"
	chunkHeader = 7
	// Chunk lengths are 16 bits; a block is smaller than that, so they fit.
)

const (
	full = 1 + iota
	first
	middle
	last
)

// typeSum is the checksum of each chunk type alone: a chunk's checksum begins
// with its type byte, and starting from here spares a call per chunk.
var typeSum = [...]uint32{
	full:   crc32.ChecksumIEEE([]byte{full}),
	first:  crc32.ChecksumIEEE([]byte{first}),
	middle: crc32.ChecksumIEEE([]byte{middle}),
	last:   crc32.ChecksumIEEE([]byte{last}),
}

// checksum is plain CRC-32 (IEEE) of type and payload; not LevelDB's masked CRC-32C.
func checksum(kind byte, payload []byte) uint32 {
	return crc32.Update(typeSum[kind], crc32.IEEETable, payload)
}

// AppendFileHeader appends the seven bytes every file begins with.
func AppendFileHeader(dst []byte) []byte { return append(dst, fileHeader...) }

// Framer cuts records into chunks for one place in one file.
type Framer struct{ off int64 }

// NewFramer returns a framer whose next byte goes to file offset off, which is
// the end of a whole record or [FileHeaderSize].
func NewFramer(off int64) Framer { return Framer{off: off} }

// Offset is the file offset at which the next byte goes.
func (f *Framer) Offset() int64 { return f.off }

// Append appends the chunks of one record to dst, the padding of a full block
// in front of them included. It allocates only to grow dst.
func (f *Framer) Append(dst, record []byte) []byte {
	for begin := true; ; begin = false {
		left := BlockSize - int(f.off%BlockSize)
		if left < chunkHeader { // no room for a header: zeroes to the end of the block
			var zero [chunkHeader]byte
			dst = append(dst, zero[:left]...)
			f.off += int64(left)
			left = BlockSize
		}
		// When exactly a header fits, n is 0: an empty FIRST is what the format wants there.
		n := min(len(record), left-chunkHeader)
		end := n == len(record)
		kind := kindOf(begin, end)

		var head [chunkHeader]byte
		binary.LittleEndian.PutUint32(head[0:], checksum(kind, record[:n]))
		binary.LittleEndian.PutUint16(head[4:], uint16(n))
		head[6] = kind
		dst = append(append(dst, head[:]...), record[:n]...)
		f.off += int64(chunkHeader + n)
		if end {
			return dst
		}
		record = record[n:]
	}
}

func kindOf(begin, end bool) byte {
	switch {
	case begin && end:
		return full
	case begin:
		return first
	case end:
		return last
	default:
		return middle
	}
}
