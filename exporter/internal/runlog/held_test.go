package runlog

import (
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestHeldAsksAndDoesNotTake(t *testing.T) {
	r := openRoot(t, Options{})
	f, err := r.Folder("", "")
	require.NoError(t, err)
	yes, known := Held(f.Dir(), "k")
	assert.False(t, yes, "nobody has locked anything")
	assert.True(t, known)
	entries, err := os.ReadDir(f.Dir())
	require.NoError(t, err)
	assert.Empty(t, entries, "asking creates nothing")

	unlock, err := f.Lock("k")
	require.NoError(t, err)
	for range 2 {
		yes, _ = Held(f.Dir(), "k")
		assert.True(t, yes)
	}
	yes, _ = Held(f.Dir(), "another")
	assert.False(t, yes)
	require.NoError(t, unlock())
	yes, _ = Held(f.Dir(), "k")
	assert.False(t, yes)
	unlock, err = f.Lock("k")
	require.NoError(t, err, "asking has taken nothing")
	require.NoError(t, unlock())
}
