package runlog

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestState(t *testing.T) {
	for _, policy := range []SyncPolicy{SyncNever, SyncAlways} {
		f := folderOf(t, openRoot(t, Options{Sync: policy}))
		const key = "host\x00entity\x00project\x00../../id"
		_, _, err := f.ReadState(key)
		assert.ErrorIs(t, err, fs.ErrNotExist)

		for _, step := range []struct {
			open bool
			want string
		}{{true, "1"}, {true, "2"}, {false, "3"}, {false, "4"}, {true, "5"}, {false, "6"}} {
			require.NoError(t, f.WriteState(key, step.open, []byte(step.want)))
			b, open, err := f.ReadState(key)
			require.NoError(t, err)
			assert.Equal(t, step.want, string(b))
			assert.Equal(t, step.open, open)
			all, err := filepath.Glob(f.private("*", "*"))
			require.NoError(t, err)
			assert.Len(t, all, 1, "one file, and nothing temporary")
			assert.Regexp(t, `/(open|closed)/[0-9a-f]{32}\.state$`, filepath.ToSlash(all[0]))
		}
		require.NoError(t, f.DropState(key))
		require.NoError(t, f.DropState(key), "twice is once")
		_, _, err = f.ReadState(key)
		assert.ErrorIs(t, err, fs.ErrNotExist)
	}
}

func TestOpenStates(t *testing.T) {
	f := folderOf(t, openRoot(t, Options{}))
	states, err := f.OpenStates()
	require.NoError(t, err)
	assert.Empty(t, states)
	for _, key := range []string{"a", "b", "c"} {
		require.NoError(t, f.WriteState(key, true, []byte(key)))
	}
	require.NoError(t, f.WriteState("b", false, []byte("b")))
	require.NoError(t, os.WriteFile(filepath.Join(f.private(openDir), tempPrefix+"x"), nil, 0o666))
	states, err = f.OpenStates()
	require.NoError(t, err)
	var got []string
	for _, s := range states {
		b, err := s.Read()
		require.NoError(t, err)
		got = append(got, string(b))
	}
	assert.ElementsMatch(t, []string{"a", "c"}, got)
	require.NoError(t, states[0].Drop())
	states, err = f.OpenStates()
	require.NoError(t, err)
	assert.Len(t, states, 1)
}

func TestDropClosed(t *testing.T) {
	root, err := OpenRoot(t.TempDir(), Options{})
	require.NoError(t, err)
	defer root.Close()
	f, err := root.Folder("", "")
	require.NoError(t, err)
	require.NoError(t, f.WriteState("open", true, []byte("o")))
	require.NoError(t, f.WriteState("ended", false, []byte("e")))
	n, err := f.DropClosed(time.Now().Add(-time.Hour))
	require.NoError(t, err)
	require.Zero(t, n, "it ended just now")
	n, err = f.DropClosed(time.Now().Add(time.Hour))
	require.NoError(t, err)
	require.Equal(t, 1, n)
	_, _, err = f.ReadState("ended")
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, open, err := f.ReadState("open")
	require.NoError(t, err)
	require.True(t, open)
}

// A file holds many small states, and is made anew when it gets long.
func TestStatesAreAppended(t *testing.T) {
	f := folderOf(t, openRoot(t, Options{}))
	path := f.private(openDir, stateName("k"))
	for i := range 100 {
		want := strings.Repeat(string(rune('a'+i%26)), 1000)
		require.NoError(t, f.WriteState("k", true, []byte(want)))
		b, _, err := f.ReadState("k")
		require.NoError(t, err)
		require.Equal(t, want, string(b))
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.LessOrEqual(t, info.Size(), int64(maxFrames))
	}
	large := bytes.Repeat([]byte("x"), 2*maxFrames)
	require.NoError(t, f.WriteState("k", true, large))
	require.NoError(t, f.WriteState("k", true, []byte("small")))
	b, _, err := f.ReadState("k")
	require.NoError(t, err)
	assert.Equal(t, "small", string(b))
}

// Wherever its writer died, a state file tells whose it is by the last whole
// state, and the run is read from its logs; the next state is found again.
func TestATornState(t *testing.T) {
	whole := appendFrame(appendFrame(nil, []byte("first")), []byte("second"))
	last := len(appendFrame(nil, []byte("first")))
	for n := range len(whole) + 1 {
		f := folderOf(t, openRoot(t, Options{}))
		require.NoError(t, f.WriteState("k", true, []byte("first")))
		require.NoError(t, os.WriteFile(f.private(openDir, stateName("k")), whole[:n], 0o666))
		states, err := f.OpenStates()
		require.NoError(t, err)
		require.Len(t, states, 1)
		head, err := states[0].Read()
		require.NoError(t, err)
		b, open, err := f.ReadState("k")
		require.NoError(t, err)
		assert.True(t, open)
		switch n {
		case 0:
			assert.Empty(t, head)
			assert.Empty(t, b)
		case last:
			assert.Equal(t, "first", string(b))
		case len(whole):
			assert.Equal(t, "second", string(b))
		default:
			assert.Empty(t, b, "cut at %d", n)
			if n > last {
				assert.Equal(t, "first", string(head))
			}
		}
		require.NoError(t, f.WriteState("k", true, []byte("third")))
		b, _, err = f.ReadState("k")
		require.NoError(t, err)
		assert.Equal(t, "third", string(b))
	}
}
