package journal

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-wandb/otel-wandb/exporter/internal/disk/disktest"
)

// An entry is read back from where it lies: behind others, across blocks, and
// in an earlier segment than the one appended to.
func TestReadGivesBackEachEntry(t *testing.T) {
	j, err := Open(t.TempDir(), false, func(Ref, []byte) error { return nil })
	require.NoError(t, err)
	defer j.Close()
	entries := map[Ref]string{}
	for _, text := range []string{"one", strings.Repeat("long ", 20_000), "three"} {
		ref, err := j.Append([]byte(text))
		require.NoError(t, err)
		j.Retain(ref, int64(len(text)))
		entries[ref] = text
	}
	require.NoError(t, j.Compact(func(add func([]byte)) { add([]byte("snapshot")) }))
	ref, err := j.Append([]byte("behind the snapshot"))
	require.NoError(t, err)
	entries[ref] = "behind the snapshot"
	for ref, want := range entries {
		got, err := j.Read(ref)
		require.NoError(t, err)
		assert.Equal(t, want, string(got))
	}
}

// A write that ends in the middle of an entry leaves nothing behind: the entries
// before it and after it are there at the next start.
func TestAFullDiskTearsNoEntry(t *testing.T) {
	full := disktest.New(t, t.TempDir())
	j, err := Open(full.Dir, false, keepNothing)
	require.NoError(t, err)
	var want []string
	for _, space := range []int64{0, 1, 7, 500} {
		text := strings.Repeat("x", 1000) + strconv.FormatInt(space, 10)
		full.Leave(space)
		_, err := j.Append([]byte(text))
		require.ErrorIs(t, err, syscall.ENOSPC)
		require.ErrorIs(t, j.Compact(func(add func([]byte)) { add([]byte(text)) }), syscall.ENOSPC)
		full.Mend()
		_, err = j.Append([]byte(text))
		require.NoError(t, err)
		want = append(want, text)
	}
	require.NoError(t, j.Close())
	assert.Equal(t, want, replayed(t, full.Dir))
}

// After a sync that failed the disk may lack what was appended, and what stands
// behind that hole would not be read: later entries lie elsewhere.
func TestNothingLiesBehindAFailedSync(t *testing.T) {
	for _, always := range []bool{true, false} {
		t.Run(fmt.Sprint("always ", always), func(t *testing.T) {
			failing := disktest.New(t, t.TempDir())
			j, err := Open(failing.Dir, always, keepNothing)
			require.NoError(t, err)
			_, err = j.Append([]byte("before"))
			require.NoError(t, err)
			require.NoError(t, j.Sync())
			failing.FailSync(syscall.EIO)
			lost, err := j.Append([]byte("lost"))
			if always {
				require.ErrorIs(t, err, syscall.EIO)
			} else {
				require.NoError(t, err)
				require.ErrorIs(t, j.Sync(), syscall.EIO)
			}
			failing.Mend()
			_, err = j.Append([]byte("after"))
			require.NoError(t, err)
			require.NoError(t, j.Sync())
			require.NoError(t, j.Close())

			// The kernel gave up on the page.
			path := j.path(lost.segment())
			log, err := os.ReadFile(path)
			require.NoError(t, err)
			clear(log[lost.offset():])
			require.NoError(t, os.WriteFile(path, log, 0o600))
			assert.Equal(t, []string{"before", "after"}, replayed(t, failing.Dir))
		})
	}
}

func replayed(t *testing.T, dir string) (entries []string) {
	t.Helper()
	j, err := Open(dir, false, func(_ Ref, entry []byte) error {
		entries = append(entries, string(entry))
		return nil
	})
	require.NoError(t, err)
	require.NoError(t, j.Close())
	return entries
}

// What the disk lost in the middle is told from a tail that a kill tore.
func TestDamageIsNoTornTail(t *testing.T) {
	for name, tt := range map[string]struct {
		harm    func(file []byte, last int) []byte
		entries []string
		damaged bool
	}{
		"none":         {func(b []byte, _ int) []byte { return b }, []string{"one", "two", "three"}, false},
		"a torn tail":  {func(b []byte, _ int) []byte { return b[:len(b)-2] }, []string{"one", "two"}, false},
		"in the last":  {func(b []byte, _ int) []byte { b[len(b)-1] ^= 1; return b }, []string{"one", "two"}, false},
		"behind which": {func(b []byte, last int) []byte { b[last-1] ^= 1; return b }, []string{"one"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			j, err := Open(dir, false, func(Ref, []byte) error { return nil })
			require.NoError(t, err)
			var last Ref
			for _, text := range []string{"one", "two", "three"} {
				last, err = j.Append([]byte(text))
				require.NoError(t, err)
			}
			require.NoError(t, j.Close())
			file := j.path(last.segment())
			b, err := os.ReadFile(file)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(file, tt.harm(b, int(last.offset())), 0o600))

			var got []string
			j, err = Open(dir, false, func(_ Ref, b []byte) error { got = append(got, string(b)); return nil })
			require.NoError(t, err)
			defer j.Close()
			assert.Equal(t, tt.entries, got)
			assert.Equal(t, tt.damaged, j.Damage() != nil, "%v", j.Damage())
		})
	}
}
