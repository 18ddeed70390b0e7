package runlog

import (
	"bytes"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-wandb/otel-wandb/exporter/internal/dotwandb"
)

func keepAll([]byte) bool { return true }

// keepBatches lets a log end after records that end with ";".
func keepBatches(rec []byte) bool { return bytes.HasSuffix(rec, []byte(";")) }

func TestReopen(t *testing.T) {
	for _, tt := range []struct {
		name     string
		damage   func(b []byte) []byte
		keep     func([]byte) bool
		survives string // rows in the log afterwards, then the new one
		cut      bool
		damaged  bool
		saw      int // calls of keep
	}{
		{"clean", same, keepAll, "header,run,row 0;,row 1,row 2;", false, false, 5},
		{"clean, at a batch's end", same, keepBatches, "header,run,row 0;,row 1,row 2;", false, false, 5},
		{"torn last record", cutEnd(1), keepAll, "header,run,row 0;,row 1", true, false, 4},
		{"torn last record of a batch of two", cutEnd(1), keepBatches, "header,run,row 0;", true, false, 4},
		{"torn in a chunk's header", cutEnd(len("row 2;") + 3), keepAll, "header,run,row 0;,row 1", true, false, 4},
		{"half a batch, nothing torn", cutEnd(len("row 2;") + 7), keepBatches, "header,run,row 0;", true, false, 4},
		{"flipped bit in the last record", flipAt(-2), keepAll, "header,run,row 0;,row 1", true, false, 4},
		{"zeroes appended", func(b []byte) []byte { return append(b, make([]byte, 70_000)...) }, keepAll, "header,run,row 0;,row 1,row 2;", true, false, 5},
		{"garbage appended", func(b []byte) []byte { return append(b, "garbage, no record"...) }, keepAll, "header,run,row 0;,row 1,row 2;", true, false, 5},
		{"flipped bit in the middle", flipAt(7 + 13 + 10 + 8), keepAll, "", false, true, 4},
		{"zeroed in the middle", func(b []byte) []byte { clear(b[30:43]); return b }, keepAll, "", false, true, 4},
		{"only a header is left", func(b []byte) []byte { return b[:7] }, keepAll, "", false, false, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, opts := range []Options{{}, {Sync: SyncAlways}} {
				r := openRoot(t, opts)
				f := folderOf(t, r)
				p := newPart(t, f, "r1")
				require.NoError(t, p.Append([]byte("row 0;"), []byte("row 1"), []byte("row 2;")))
				require.NoError(t, p.Finish()) // that it has no marker, to see that it gets one
				b, err := os.ReadFile(p.Path())
				require.NoError(t, err)
				b = tt.damage(b)
				require.NoError(t, os.WriteFile(p.Path(), b, 0o666))

				var saw []string
				again, rec, err := f.Reopen(p.Name(), dotwandb.FileHeaderSize, func(b []byte) bool {
					saw = append(saw, string(b))
					return tt.keep(b)
				})
				require.NoError(t, err)
				assert.Len(t, saw, tt.saw)
				assert.Equal(t, tt.damaged, rec.Damaged)
				assert.Equal(t, tt.cut, rec.CutBytes > 0)
				if tt.damaged {
					assert.Nil(t, again)
					assert.EqualValues(t, 30, rec.DamageAt)
					assert.Equal(t, tt.saw, rec.Records)
					assert.Equal(t, "row 2;", saw[len(saw)-1], "what is behind is told, too")
					left, _ := os.ReadFile(p.Path())
					assert.Equal(t, b, left, "and left alone")
					require.NoError(t, f.Abandon(p.Name()))
					assert.False(t, exists(marker(p)))
					return
				}
				assert.True(t, exists(marker(p)), "the marker stands again")
				require.NoError(t, again.Append([]byte("new;")))
				var survivors []string
				if tt.survives != "" {
					survivors = strings.Split(tt.survives, ",")
				}
				assert.Equal(t, len(survivors), rec.Records)
				assert.Equal(t, append(survivors, "new;"), readStrict(t, p.Path()))
				require.NoError(t, again.Finish())
			}
		})
	}
}

func same(b []byte) []byte { return b }

func cutEnd(n int) func([]byte) []byte { return func(b []byte) []byte { return b[:len(b)-n] } }

func flipAt(i int) func([]byte) []byte {
	return func(b []byte) []byte {
		if i < 0 {
			i += len(b)
		}
		b[i] ^= 1
		return b
	}
}

// A writer may die at any byte, and the reopened log loses no whole record.
func TestReopenAfterACutAtEachByte(t *testing.T) {
	f := folderOf(t, openRoot(t, Options{}))
	p := newPart(t, f, "r1")
	for i := range 10 {
		require.NoError(t, p.Append(row(i)))
	}
	checkpoint := p.Size()
	require.NoError(t, p.Append(row(10), row(11)))
	size := p.Size()
	require.NoError(t, p.Close())
	full, err := os.ReadFile(p.Path())
	require.NoError(t, err)
	for _, from := range []int64{dotwandb.FileHeaderSize, checkpoint} {
		for cut := checkpoint; cut <= size; cut++ {
			require.NoError(t, os.WriteFile(p.Path(), full[:cut], 0o666))
			again, rec, err := f.Reopen(p.Name(), from, keepAll)
			require.NoError(t, err)
			require.NoError(t, again.Append([]byte("new")))
			want := 12
			switch {
			case cut >= size:
				want = 14
			case cut >= checkpoint+(size-checkpoint)/2:
				want = 13
			}
			got := readStrict(t, p.Path())
			require.Len(t, got, want+1, "cut at %d", cut)
			require.Equal(t, "new", got[want])
			require.Equal(t, cut-(again.Size()-10), rec.CutBytes)
			require.NoError(t, again.Close())
		}
	}
}

func TestReopenErrors(t *testing.T) {
	f := folderOf(t, openRoot(t, Options{}))
	p := newPart(t, f, "r1")
	size := p.Size()
	require.NoError(t, p.Close())

	_, _, err := f.Reopen(p.Name(), size+1, keepAll)
	assert.ErrorIs(t, err, ErrShorterThanCheckpoint)
	assert.ErrorContains(t, err, p.Path())
	_, _, err = f.Reopen(p.Name(), 3, keepAll)
	assert.ErrorContains(t, err, "inside the file header")
	_, _, err = f.Reopen("offline-run-20260102_150405-gone", dotwandb.FileHeaderSize, keepAll)
	assert.ErrorIs(t, err, fs.ErrNotExist)
	for _, name := range []string{"", ".", "..", "latest-run", "offline-run-20260102_150405-a/../../x"} {
		_, _, err = f.Reopen(name, dotwandb.FileHeaderSize, keepAll)
		assert.ErrorContains(t, err, "not the name of a run's directory", "%q", name)
	}
	require.NoError(t, os.WriteFile(p.Path(), []byte("something else entirely"), 0o666))
	_, _, err = f.Reopen(p.Name(), dotwandb.FileHeaderSize, keepAll)
	assert.ErrorIs(t, err, dotwandb.ErrNotWandb)
	left, _ := os.ReadFile(p.Path())
	assert.Equal(t, "something else entirely", string(left))
}
