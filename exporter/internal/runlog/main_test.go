package runlog

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/otel-wandb/otel-wandb/exporter/internal/dotwandb"
)

const childDir = "RUNLOG_TEST_LOCK_IN"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		lockAndWait(dir)
		return
	}
	goleak.VerifyTestMain(m)
}

var start = time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)

func openRoot(t *testing.T, opts Options) *Root {
	t.Helper()
	return openRootIn(t, t.TempDir(), opts)
}

func openRootIn(t *testing.T, dir string, opts Options) *Root {
	t.Helper()
	opts.Location = time.UTC
	r, err := OpenRoot(dir, opts)
	require.NoError(t, err)
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func folderOf(t *testing.T, r *Root) *Folder {
	t.Helper()
	f, err := r.Folder("", "")
	require.NoError(t, err)
	return f
}

// newPart creates a part of run id with two records, "header" and "run".
func newPart(t *testing.T, f *Folder, id string) *Part {
	t.Helper()
	p, err := f.Create(id, start, []byte("header"), []byte("run"))
	require.NoError(t, err)
	return p
}

func row(i int) []byte { return fmt.Appendf(nil, "row %d", i) }

// readStrict reads a log as W&B's sync does and wants it to end clean.
func readStrict(t *testing.T, path string) []string {
	t.Helper()
	file, err := os.ReadFile(path)
	require.NoError(t, err)
	r, err := dotwandb.NewReader(bytes.NewReader(file), dotwandb.Strict)
	require.NoError(t, err)
	var recs []string
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			return recs
		}
		require.NoError(t, err, "%s after %q", path, recs)
		recs = append(recs, string(rec))
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func marker(p *Part) string { return filepath.Join(p.Dir(), filepath.Base(p.Path())+".synced") }
