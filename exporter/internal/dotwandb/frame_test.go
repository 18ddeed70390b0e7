package dotwandb

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.NewReplacer(" ", "", "|", "").Replace(s))
	require.NoError(t, err)
	return b
}

// Checked against the official reader.
func TestKnownBytes(t *testing.T) {
	f := NewFramer(FileHeaderSize)
	got := AppendFileHeader(nil)
	header := Record{Num: 1, Header: &Header{Producer: "0.1.0", MinConsumer: "0.70.0"}}
	got = f.Append(got, header.Append(nil))
	exit := Record{Num: 9, Exit: &Exit{}}
	got = f.Append(got, exit.Append(nil))

	want := unhex(t, "3a 57 26 42 e1 be 00 | a6 11 9f 83 | 16 00 | 01 |"+
		"08 01 aa 01 11 0a 0f 0a 05 30 2e 31 2e 30 12 06 30 2e 37 30 2e 30 |"+
		"92 2b 6a d0 | 05 00 | 01 | 08 09 92 01 00")
	assert.Equal(t, hex.EncodeToString(want), hex.EncodeToString(got))
	assert.EqualValues(t, len(want), f.Offset())
}

// readAll returns copies of all records and how reading ended.
func readAll(t testing.TB, file []byte, mode Mode) (recs [][]byte, r *Reader, err error) {
	t.Helper()
	r, err = NewReader(bytes.NewReader(file), mode)
	if err != nil {
		return nil, nil, err
	}
	for {
		rec, err := r.Next()
		if err != nil {
			return recs, r, err
		}
		recs = append(recs, bytes.Clone(rec))
	}
}

func TestRowsAcrossBlocks(t *testing.T) {
	const rows = 200_000
	f := NewFramer(FileHeaderSize)
	file := AppendFileHeader(nil)
	var buf []byte
	for i := range rows {
		rec := Record{Num: int64(i + 1), History: &History{Step: int64(i), Items: []Item{
			{Key: "loss", JSON: fmt.Sprint(1 / float64(i+1))}, {Key: "_step", JSON: fmt.Sprint(i)},
		}}}
		buf = rec.Append(buf[:0])
		file = f.Append(file, buf)
	}
	require.EqualValues(t, len(file), f.Offset())

	r, err := NewReader(bytes.NewReader(file), Strict)
	require.NoError(t, err)
	for i := range rows {
		b, err := r.Next()
		if err != nil {
			t.Fatalf("row %d: %v", i, err)
		}
		rec, err := Decode(b)
		if err != nil || rec.History.Step != int64(i) || rec.History.Items[1].JSON != fmt.Sprint(i) {
			t.Fatalf("row %d: %+v, %v", i, rec.History, err)
		}
	}
	_, err = r.Next()
	assert.Equal(t, io.EOF, err)
	assert.EqualValues(t, len(file), r.Offset())
	assert.Zero(t, r.Skipped())
}

// What is left of a block decides how the next record begins.
func TestBlockBoundary(t *testing.T) {
	for left := 0; left <= 16; left++ {
		for _, size := range []int{0, 1, 8, 9, 10, BlockSize, 3 * BlockSize} {
			t.Run(fmt.Sprintf("%d bytes left, record of %d", left, size), func(t *testing.T) {
				f := NewFramer(FileHeaderSize)
				filler := bytes.Repeat([]byte{'x'}, BlockSize-FileHeaderSize-chunkHeader-left)
				file := f.Append(AppendFileHeader(nil), filler)
				require.Len(t, file, BlockSize-left)
				rec := bytes.Repeat([]byte{'y'}, size)
				file = f.Append(file, rec)
				require.EqualValues(t, len(file), f.Offset())

				switch {
				case left < chunkHeader:
					assert.Equal(t, make([]byte, left), file[BlockSize-left:BlockSize], "padding")
				case left == chunkHeader && size > 0:
					assert.EqualValues(t, first, file[BlockSize-1])
					assert.Equal(t, []byte{0, 0}, file[BlockSize-3:BlockSize-1], "an empty FIRST")
				}
				for _, mode := range []Mode{Strict, Lenient} {
					recs, r, err := readAll(t, file, mode)
					assert.Equal(t, io.EOF, err)
					require.Len(t, recs, 2)
					assert.Equal(t, filler, recs[0])
					assert.True(t, bytes.Equal(rec, recs[1]))
					assert.Zero(t, r.Skipped())
				}
				// A framer and a reader that begin at the boundary do the same.
				again := NewFramer(int64(BlockSize - left))
				assert.Equal(t, file[BlockSize-left:], again.Append(nil, rec))
				got, err := NewReaderAt(bytes.NewReader(file[BlockSize-left:]), int64(BlockSize-left), Strict).Next()
				require.NoError(t, err)
				assert.True(t, bytes.Equal(rec, got))
			})
		}
	}
}

func BenchmarkFramer(b *testing.B) {
	rec := historyRecord()
	payload := rec.Append(nil)
	dst := make([]byte, 0, 1<<20)
	f := NewFramer(FileHeaderSize)
	b.SetBytes(int64(len(payload)))
	b.ReportAllocs()
	for b.Loop() {
		if len(dst) > 1<<19 {
			dst = dst[:0]
		}
		dst = f.Append(dst, payload)
	}
}

func BenchmarkReader(b *testing.B) {
	rec := historyRecord()
	payload := rec.Append(nil)
	f := NewFramer(FileHeaderSize)
	file := AppendFileHeader(nil)
	for range 1000 {
		file = f.Append(file, payload)
	}
	b.SetBytes(int64(len(file)))
	b.ReportAllocs()
	for b.Loop() {
		r, err := NewReader(bytes.NewReader(file), Strict)
		for err == nil {
			_, err = r.Next()
		}
		if !errors.Is(err, io.EOF) {
			b.Fatal(err)
		}
	}
}
