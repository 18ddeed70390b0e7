package dotwandb

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// sample is a file of nine records. The fifth, of 100,000 bytes, spans four
// blocks; the others are small.
type sample struct {
	file []byte
	off  [10]int // where record i begins, past padding; off[9] is the end
	recs [][]byte
}

const big = 4

func newSample() sample {
	s := sample{file: AppendFileHeader(nil)}
	f := NewFramer(FileHeaderSize)
	for i := range 9 {
		size := 100 + i
		if i == big {
			size = 100_000
		}
		rec := bytes.Repeat([]byte{byte('a' + i)}, size)
		s.off[i] = len(s.file)
		s.file = f.Append(s.file, rec)
		s.recs = append(s.recs, rec)
	}
	s.off[9] = len(s.file)
	return s
}

func flip(b []byte, at int) []byte { b[at] ^= 0x10; return b }

func TestDamage(t *testing.T) {
	type want struct{ strict, lenient int } // records that survive
	for _, tt := range []struct {
		name   string
		damage func(s sample) []byte
		want
		torn bool // nothing whole is behind the damage
		lost string
	}{
		{"nothing", func(s sample) []byte { return s.file }, want{9, 9}, false, ""},
		{"torn last record", func(s sample) []byte { return s.file[:s.off[9]-1] }, want{8, 8}, true, "i"},
		{"torn chunk header", func(s sample) []byte { return s.file[:s.off[8]+3] }, want{8, 8}, true, "i"},
		{"header of the last chunk only", func(s sample) []byte { return s.file[:s.off[8]+chunkHeader] }, want{8, 8}, true, "i"},
		{"torn in the second block of the big record", func(s sample) []byte { return s.file[:BlockSize+500] }, want{4, 4}, true, "efghi"},
		{"cut between chunks of the big record", func(s sample) []byte { return s.file[:2*BlockSize] }, want{4, 4}, true, "efghi"},
		{"flipped bit in a payload", func(s sample) []byte { return flip(s.file, s.off[2]+chunkHeader+5) }, want{2, 8}, false, "c"},
		{"flipped bit in a checksum", func(s sample) []byte { return flip(s.file, s.off[2]) }, want{2, 8}, false, "c"},
		{"flipped bit in a length", func(s sample) []byte { return flip(s.file, s.off[2]+4) }, want{2, 8}, false, "c"},
		{"flipped bit in a length, past the block", func(s sample) []byte { return flip(flip(s.file, s.off[2]+5), s.off[2]+4) }, want{2, 8}, false, "c"},
		{"flipped bit in a type", func(s sample) []byte { return flip(s.file, s.off[2]+6) }, want{2, 8}, false, "c"},
		{"flipped bit in the first record", func(s sample) []byte { return flip(s.file, s.off[0]+9) }, want{0, 8}, false, "a"},
		{"flipped bit in the last record", func(s sample) []byte { return flip(s.file, s.off[8]+9) }, want{8, 8}, true, "i"},
		{"flipped bit in the first chunk of the big record", func(s sample) []byte { return flip(s.file, s.off[big]+20) }, want{4, 8}, false, "e"},
		{"flipped bit in a middle chunk of the big record", func(s sample) []byte { return flip(s.file, BlockSize+20) }, want{4, 8}, false, "e"},
		{"flipped bit in the last chunk of the big record", func(s sample) []byte { return flip(s.file, 3*BlockSize+20) }, want{4, 8}, false, "e"},
		{"zeroed record", func(s sample) []byte { clear(s.file[s.off[2]:s.off[3]]); return s.file }, want{2, 8}, false, "c"},
		{"zeroed block inside a record", func(s sample) []byte { clear(s.file[BlockSize : 2*BlockSize]); return s.file }, want{4, 8}, false, "e"},
		{"zeroes to the end of a block", func(s sample) []byte { clear(s.file[s.off[3]:BlockSize]); return s.file }, want{3, 7}, false, "de"},
		{"zeroed tail", func(s sample) []byte { clear(s.file[s.off[7]:]); return s.file }, want{7, 7}, true, "hi"},
		{"zeroes appended", func(s sample) []byte { return append(s.file, make([]byte, 3*BlockSize)...) }, want{9, 9}, true, ""},
		{"text appended", func(s sample) []byte { return append(s.file, "no record of any kind"...) }, want{9, 9}, true, ""},
		{"0xFF appended, blocks of it", func(s sample) []byte {
			return append(s.file, bytes.Repeat([]byte{0xff}, 2*BlockSize)...)
		}, want{9, 9}, true, ""},
		{"a record written after a torn one", func(s sample) []byte {
			cut := s.file[:s.off[8]+20]
			f := NewFramer(int64(len(cut)))
			return f.Append(cut, []byte("late"))
		}, want{8, 9}, false, "i"},
		{"FIRST without its LAST, then a record", func(s sample) []byte {
			cut := s.file[:s.off[8]]
			return appendChunk(appendChunk(cut, first, "half"), full, "whole")
		}, want{8, 9}, false, "i"},
		{"LAST without its FIRST, then a record", func(s sample) []byte {
			cut := s.file[:s.off[8]]
			return appendChunk(appendChunk(cut, last, "half"), full, "whole")
		}, want{8, 9}, false, "i"},
		{"header only", func(s sample) []byte { return s.file[:FileHeaderSize] }, want{0, 0}, false, "abcdefghi"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, mode := range []Mode{Strict, Lenient} {
				s := newSample()
				survivors := map[Mode]int{Strict: tt.strict, Lenient: tt.lenient}[mode]
				recs, r, err := readAll(t, tt.damage(s), mode)
				require.Len(t, recs, survivors, "mode %d", mode)
				for _, rec := range recs {
					if mode == Lenient && len(rec) > 6 {
						assert.NotContains(t, tt.lost, string(rec[:1]))
						assert.Contains(t, s.recs, rec, "a survivor is whole")
					}
				}
				var damage *CorruptError
				isDamage := errors.As(err, &damage)
				switch {
				case tt.torn:
					require.True(t, isDamage, "%v", err)
					assert.True(t, damage.Torn)
					assert.ErrorIs(t, err, io.ErrUnexpectedEOF)
					assert.LessOrEqual(t, r.Offset(), damage.Offset)
				case mode == Strict && tt.strict != tt.lenient:
					require.True(t, isDamage, "%v", err)
					assert.False(t, damage.Torn)
					assert.NotErrorIs(t, err, io.ErrUnexpectedEOF)
				case mode == Lenient:
					assert.Equal(t, io.EOF, err)
				}
				if isDamage {
					_, again := r.Next()
					assert.Equal(t, err, again, "for ever")
				}
				if mode == Strict && survivors > 0 && survivors <= 9 {
					assert.EqualValues(t, s.off[survivors-1]+framed(s, survivors-1), r.Offset(), "the end of the last whole record")
				}
			}
		})
	}
}

func framed(s sample, i int) int { return s.off[i+1] - s.off[i] }

func appendChunk(dst []byte, kind byte, payload string) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, checksum(kind, []byte(payload)))
	dst = binary.LittleEndian.AppendUint16(dst, uint16(len(payload)))
	return append(append(dst, kind), payload...)
}

// A writer may die at any byte.
func TestCutAtEachByteOfTheLastRecord(t *testing.T) {
	s := newSample()
	for cut := s.off[8]; cut < s.off[9]; cut++ {
		for _, mode := range []Mode{Strict, Lenient} {
			recs, r, err := readAll(t, s.file[:cut], mode)
			require.Len(t, recs, 8, "cut at %d", cut)
			require.EqualValues(t, s.off[8], r.Offset())
			if cut == s.off[8] {
				require.Equal(t, io.EOF, err)
			} else {
				require.ErrorIs(t, err, io.ErrUnexpectedEOF)
			}
			require.Zero(t, r.Skipped())
		}
	}
	// The same for a record over blocks, at each chunk's edge.
	for cut := s.off[big]; cut < s.off[big+1]; cut += 501 {
		recs, r, _ := readAll(t, s.file[:cut], Strict)
		require.Len(t, recs, 4)
		require.EqualValues(t, s.off[big], r.Offset())
	}
}

func TestSkippedCountsWhatIsLost(t *testing.T) {
	s := newSample()
	flip(s.file, s.off[2]+9)
	_, r, err := readAll(t, s.file, Lenient)
	assert.Equal(t, io.EOF, err)
	assert.EqualValues(t, s.off[3]-s.off[2], r.Skipped())
}

func TestFileHeader(t *testing.T) {
	_, err := NewReader(bytes.NewReader([]byte("PK\x03\x04 something else")), Strict)
	assert.ErrorIs(t, err, ErrNotWandb)
	for n := range FileHeaderSize {
		_, err := NewReader(bytes.NewReader([]byte(fileHeader)[:n]), Strict)
		assert.ErrorIs(t, err, io.ErrUnexpectedEOF, "%d bytes", n)
	}
}

func TestReadsOnWhenTheFileGrows(t *testing.T) {
	s := newSample()
	var file bytes.Buffer
	file.Write(s.file[:s.off[3]])
	r, err := NewReader(&file, Strict)
	require.NoError(t, err)
	for i := range 3 {
		rec, err := r.Next()
		require.NoError(t, err)
		require.Equal(t, s.recs[i], rec)
	}
	_, err = r.Next()
	require.Equal(t, io.EOF, err)
	file.Write(s.file[s.off[3]:])
	for i := 3; i < 9; i++ {
		rec, err := r.Next()
		require.NoError(t, err)
		require.True(t, bytes.Equal(s.recs[i], rec))
	}
	_, err = r.Next()
	require.Equal(t, io.EOF, err)
}

// A log that is written while it is read is torn, not damaged.
func TestGrowsWhileItIsRead(t *testing.T) {
	s := newSample()
	for _, mode := range []Mode{Strict, Lenient} {
		for _, seen := range []int{s.off[2] + 3, s.off[2] + 20, BlockSize + 100, 2 * BlockSize} {
			r, err := NewReader(&growing{s.file[:seen], s.file[seen:]}, mode)
			require.NoError(t, err)
			for err == nil {
				_, err = r.Next()
			}
			require.ErrorIs(t, err, io.ErrUnexpectedEOF, "%d bytes seen", seen)
			require.Zero(t, r.Skipped())
		}
	}
}

// growing is a file of which more is there each time its end was seen.
type growing [][]byte

func (g *growing) Read(b []byte) (int, error) {
	if len(*g) == 0 {
		return 0, io.EOF
	}
	n := copy(b, (*g)[0])
	if (*g)[0] = (*g)[0][n:]; n == 0 {
		*g = (*g)[1:]
		return 0, io.EOF
	}
	return n, nil
}

func TestRecordLongerThanTheLimit(t *testing.T) {
	f := NewFramer(FileHeaderSize)
	file := f.Append(AppendFileHeader(nil), make([]byte, MaxRecord+1))
	file = f.Append(file, []byte("next"))
	recs, _, err := readAll(t, file, Strict)
	assert.Empty(t, recs)
	assert.ErrorContains(t, err, "longer than 67108864 bytes")
	recs, _, err = readAll(t, file, Lenient)
	assert.Equal(t, io.EOF, err)
	assert.Equal(t, [][]byte{[]byte("next")}, recs)
}

func TestReadErrorsAreNotDamage(t *testing.T) {
	s := newSample()
	broken := errors.New("broken disk")
	src := io.MultiReader(bytes.NewReader(s.file[:s.off[8]+20]), iotest.ErrReader(broken))
	r, err := NewReader(src, Lenient)
	for err == nil {
		_, err = r.Next()
	}
	assert.Equal(t, broken, err)
}

func FuzzReader(f *testing.F) {
	small := NewFramer(FileHeaderSize)
	file := AppendFileHeader(nil)
	for i := range 5 {
		file = small.Append(file, bytes.Repeat([]byte{byte(i)}, i*20))
	}
	f.Add(file)
	f.Add(file[:len(file)-3])
	f.Add(flip(bytes.Clone(file), 40))
	f.Add(newSample().file)
	f.Add(appendChunk(appendChunk(AppendFileHeader(nil), first, ""), last, ""))
	f.Fuzz(func(t *testing.T, b []byte) {
		strict, sr, serr := readAll(t, b, Strict)
		if sr == nil {
			return
		}
		lenient, _, _ := readAll(t, b, Lenient)
		if len(lenient) < len(strict) {
			t.Fatalf("lenient found %d records, strict %d", len(lenient), len(strict))
		}
		for i := range strict {
			if !bytes.Equal(strict[i], lenient[i]) {
				t.Fatalf("record %d differs", i)
			}
		}
		// Cut back to where strict reading stopped, a file is clean, and
		// what is appended there is found.
		end := sr.Offset()
		fr := NewFramer(end)
		mended := fr.Append(bytes.Clone(b[:end]), []byte("appended"))
		again, _, err := readAll(t, mended, Strict)
		if !errors.Is(err, io.EOF) || len(again) != len(strict)+1 {
			t.Fatalf("mended: %d records of %d, %v (strict ended with %v)", len(again), len(strict)+1, err, serr)
		}
	})
}

func ExampleReader() {
	f := NewFramer(FileHeaderSize)
	rec := Record{Num: 1, Exit: &Exit{Code: 3}}
	file := f.Append(AppendFileHeader(nil), rec.Append(nil))

	r, _ := NewReader(bytes.NewReader(file), Strict)
	for {
		b, err := r.Next()
		if err != nil {
			fmt.Println(err)
			return
		}
		rec, _ := Decode(b)
		fmt.Println(rec.Num, rec.Exit.Code)
	}
	// Output:
	// 1 3
	// EOF
}
