package runlog

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Files that records name are there before the records, whether these begin a
// part or follow.
func TestFilesComeFirst(t *testing.T) {
	for name, policy := range map[string]SyncPolicy{"never": SyncNever, "interval": SyncInterval, "always": SyncAlways} {
		t.Run(name, func(t *testing.T) {
			root := openRoot(t, Options{Sync: policy})
			f := folderOf(t, root)
			p, err := f.CreateWith(map[string][]byte{"media/table/a.json": []byte("{}")}, "r1", start, []byte("header"), []byte("run"))
			require.NoError(t, err)
			require.NoError(t, p.WriteFiles(map[string][]byte{"media/images/b.png": []byte("b"), "media/images/c.png": []byte("c")}))
			require.NoError(t, p.Append(row(1)))
			for path, want := range map[string]string{"table/a.json": "{}", "images/b.png": "b", "images/c.png": "c"} {
				b, err := os.ReadFile(filepath.Join(p.Dir(), "files", "media", path))
				require.NoError(t, err)
				assert.Equal(t, want, string(b))
			}
			require.NoError(t, os.Remove(filepath.Join(p.Dir(), "files", "media", "images", "c.png")), "as somebody may")
			require.NoError(t, root.SyncDirty())
			require.NoError(t, p.Append(row(2)), "which is no trouble")
			require.NoError(t, p.Finish())
		})
	}
}

// A file that a killed process left torn is written again, one that is whole is not.
func TestFilesAgain(t *testing.T) {
	p := newPart(t, folderOf(t, openRoot(t, Options{})), "r1")
	path := filepath.Join(p.Dir(), "files", "media", "a")
	files := map[string][]byte{"media/a": []byte("whole")}
	require.NoError(t, p.WriteFiles(files))
	require.NoError(t, os.Truncate(path, 2))
	require.NoError(t, p.WriteFiles(files))
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, "whole", string(b))
	require.NoError(t, os.Chmod(path, 0o400), "read-only: it is not opened for writing")
	require.NoError(t, p.WriteFiles(files))
}

func TestFilesStayInside(t *testing.T) {
	p := newPart(t, folderOf(t, openRoot(t, Options{})), "r1")
	for _, path := range []string{"../x", "/x", "a/../../x", ""} {
		err := p.WriteFiles(map[string][]byte{path: []byte("x")})
		require.ErrorContains(t, err, "leads out of")
		require.ErrorContains(t, err, p.Dir())
	}
	_, err := folderOf(t, openRoot(t, Options{})).CreateWith(map[string][]byte{"../x": nil}, "r2", start, []byte("header"), []byte("run"))
	require.ErrorContains(t, err, "leads out of")
}
