package journal

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
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
