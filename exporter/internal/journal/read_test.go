package journal

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func keepNothing(Ref, []byte) error { return nil }

func TestReadSeesWhatIsAppendedAndChangesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a [b] *c?")
	j, err := Open(dir, false, keepNothing)
	require.NoError(t, err)
	defer j.Close()
	for _, s := range []string{"one", "two"} {
		_, err := j.Append([]byte(s))
		require.NoError(t, err)
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "00000009.journal.tmp"), []byte("no segment"), 0o666))
	before, err := os.ReadDir(dir)
	require.NoError(t, err)

	var got []string
	read := func() error {
		got = nil
		return Read(dir, func() { got = nil }, func(_ Ref, b []byte) error {
			got = append(got, string(b))
			return nil
		})
	}
	require.NoError(t, read())
	assert.Equal(t, []string{"one", "two"}, got)
	_, err = j.Append([]byte("three"))
	require.NoError(t, err)
	require.NoError(t, read())
	assert.Equal(t, []string{"one", "two", "three"}, got)
	after, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Len(t, after, len(before))
}

func TestReadStartsAgainWhenASnapshotReplacesSegments(t *testing.T) {
	dir := t.TempDir()
	j, err := Open(dir, false, keepNothing)
	require.NoError(t, err)
	defer j.Close()
	_, err = j.Append([]byte("old"))
	require.NoError(t, err)
	require.NoError(t, j.next(), "a second segment, listed before it is gone")
	_, err = j.Append([]byte("newer"))
	require.NoError(t, err)

	var got []string
	resets := 0
	require.NoError(t, Read(dir, func() { got, resets = nil, resets+1 }, func(_ Ref, b []byte) error {
		got = append(got, string(b))
		if string(b) != "old" {
			return nil
		}
		return j.Compact(func(add func([]byte)) { add([]byte("snapshot")) })
	}))
	assert.Equal(t, []string{"snapshot"}, got)
	assert.Equal(t, 1, resets)
}

func TestReadOfNoJournal(t *testing.T) {
	err := Read(filepath.Join(t.TempDir(), "none"), func() {}, keepNothing)
	assert.ErrorIs(t, err, fs.ErrNotExist)
}
