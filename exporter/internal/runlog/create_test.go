package runlog

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestCreate(t *testing.T) {
	for _, tt := range []struct {
		opts Options
		want string
	}{
		{Options{LatestRun: true}, "offline-run-20260102_150405-r1"},
		{Options{LatestRun: true, Online: true, Sync: SyncAlways}, "run-20260102_150405-r1"},
		{Options{LatestRun: true, Sync: SyncInterval}, "offline-run-20260102_150405-r1"},
	} {
		t.Run(tt.want, func(t *testing.T) {
			f := folderOf(t, openRoot(t, tt.opts))
			p := newPart(t, f, "r1")
			assert.Equal(t, tt.want, p.Name())
			assert.Equal(t, []string{"latest-run", tt.want}, names(t, f.Dir()), "and no leftovers")
			assert.Equal(t, []string{"files", "run-r1.wandb", "run-r1.wandb.synced"}, names(t, p.Dir()))
			assert.Equal(t, []string{"header", "run"}, readStrict(t, p.Path()))
			link, err := os.Readlink(filepath.Join(f.Dir(), "latest-run"))
			require.NoError(t, err)
			assert.Equal(t, tt.want, link, "relative")
			fi, err := os.Stat(p.Path())
			require.NoError(t, err)
			assert.Equal(t, p.Size(), fi.Size())
		})
	}
}

func TestLatestRunIsOffByDefaultAndNeverInTheWay(t *testing.T) {
	f := folderOf(t, openRoot(t, Options{}))
	newPart(t, f, "a")
	assert.NotContains(t, names(t, f.Dir()), "latest-run")

	f = folderOf(t, openRoot(t, Options{LatestRun: true}))
	require.NoError(t, os.MkdirAll(filepath.Join(f.Dir(), "latest-run", "not empty"), 0o777))
	newPart(t, f, "a")
	assert.Len(t, names(t, f.Dir()), 2)
	for range 2 {
		f = folderOf(t, openRoot(t, Options{LatestRun: true}))
		newPart(t, f, "a")
		last := newPart(t, f, "b")
		f.root.LinkLatest() // two runs in one moment: the second waits for this
		link, _ := os.Readlink(filepath.Join(f.Dir(), "latest-run"))
		assert.Equal(t, last.Name(), link)
	}
}

func TestLocalTimeInNames(t *testing.T) {
	r, err := OpenRoot(t.TempDir(), Options{Location: time.FixedZone("", 2*3600)})
	require.NoError(t, err)
	defer r.Close()
	assert.Equal(t, "offline-run-20260102_170405-r1", newPart(t, folderOf(t, r), "r1").Name())
}

func TestPartsInTheSameSecond(t *testing.T) {
	dir := t.TempDir()
	// Two roots, as two programs: neither knows what the other took.
	folders := []*Folder{folderOf(t, openRootIn(t, dir, Options{})), folderOf(t, openRootIn(t, dir, Options{}))}
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			p, err := folders[i%2].Create("r1", start, []byte("header"), []byte("run"))
			if assert.NoError(t, err) {
				assert.NoError(t, p.Append(row(i)))
			}
		})
	}
	all.Wait()
	parts, err := folders[0].Parts("r1")
	require.NoError(t, err)
	require.Len(t, parts, 20)
	assert.Equal(t, "offline-run-20260102_150405-r1", parts[0])
	assert.Equal(t, "offline-run-20260102_150424-r1", parts[19])
	for _, name := range parts {
		assert.Len(t, readStrict(t, filepath.Join(dir, "wandb", name, "run-r1.wandb")), 3)
	}
}

func TestHostileRunIDs(t *testing.T) {
	r := openRoot(t, Options{})
	f := folderOf(t, r)
	for _, id := range []string{
		"", ".", "..", "../evil", "a/b", `a\b`, "a\x00b", "a\nb", "C:x", "\xff", strings.Repeat("x", 129), "a\u202eb",
	} {
		_, err := f.Create(id, start, []byte("header"), []byte("run"))
		assert.ErrorIs(t, err, ErrBadRunID, "%q", id)
	}
	assert.Empty(t, names(t, f.Dir()))
	assert.Equal(t, []string{"wandb"}, names(t, r.Dir()))
	for _, id := range []string{"train-7", "A.b_c", ".._.._etc-12345678", "loss 🚀 run", strings.Repeat("x", 128), "run-1-2"} {
		p := newPart(t, f, id)
		parts, err := f.Parts(id)
		require.NoError(t, err)
		assert.Equal(t, []string{p.Name()}, parts, "%q", id)
	}
}

func TestCreateWantsHeaderAndRun(t *testing.T) {
	f := folderOf(t, openRoot(t, Options{}))
	_, err := f.Create("r1", start, []byte("header"))
	assert.ErrorContains(t, err, "header and a run record")
	_, err = f.Create("r1", start, []byte("header"), nil)
	assert.ErrorContains(t, err, "record 2 of 2 is empty")
	assert.Empty(t, names(t, f.Dir()))
}

func TestCreateThatFailsLeavesNothing(t *testing.T) {
	f := folderOf(t, openRoot(t, Options{}))
	require.NoError(t, os.RemoveAll(f.Dir()))
	_, err := f.Create("r1", start, []byte("header"), []byte("run"))
	assert.ErrorIs(t, err, os.ErrNotExist)
	assert.ErrorContains(t, err, f.Dir())
	assert.ErrorContains(t, err, "removed or moved")
}

func TestARootThatCannotBeMadeSaysWhatToDo(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o666))
	for _, dir := range []string{file, filepath.Join(file, "runs")} {
		_, err := OpenRoot(dir, Options{})
		require.ErrorContains(t, err, dir)
		assert.ErrorContains(t, err, "choose another directory")
		assert.NotContains(t, err.Error(), "in use")
	}
	for err, want := range map[error]string{
		syscall.ENOENT: "it cannot be made there", syscall.ENOTDIR: "a file is where a directory should be", syscall.ENOSPC: "the disk is full",
	} {
		assert.Contains(t, makingRemedy(&os.PathError{Err: err}), want)
	}
}

func TestFolders(t *testing.T) {
	r := openRoot(t, Options{})
	for _, tt := range []struct{ host, entity, want string }{
		{"", "", "wandb"},
		{"api.wandb.ai", "team", "api.wandb.ai/team/wandb"},
		{"https://api.wandb.ai", "team", "https%3A%2F%2Fapi.wandb.ai-" + shortHash("https://api.wandb.ai") + "/team/wandb"},
		{"", "team", Escape("") + "/team/wandb"},
		{"..", "/etc", "%2E.-" + shortHash("..") + "/%2Fetc-" + shortHash("/etc") + "/wandb"},
	} {
		f, err := r.Folder(tt.host, tt.entity)
		require.NoError(t, err)
		assert.Equal(t, filepath.Join(r.Dir(), filepath.FromSlash(tt.want)), f.Dir())
		again, err := r.Folder(tt.host, tt.entity)
		require.NoError(t, err)
		assert.Same(t, f, again)
	}
}

func TestEscape(t *testing.T) {
	seen := map[string]string{}
	for _, name := range []string{
		"", ".", "..", "...", ".hidden", "a.b", "team", "Team-1_x", "a/b", "a b", "a%20b", `a\b`, "a\x00b", "ü", "\xff", "-rf",
		strings.Repeat("a", 100), strings.Repeat("a", 101), strings.Repeat("a", 102), strings.Repeat("ü", 500), strings.Repeat("/", 31) + "x",
		Escape(strings.Repeat("a", 101)), Escape(""), Escape("a/b"),
	} {
		got := Escape(name)
		assert.Regexp(t, `^[A-Za-z0-9_%-][A-Za-z0-9_.%-]{0,99}$`, got)
		assert.NotContains(t, seen, got, "%q and %q", name, seen[got])
		seen[got] = name
		if back, ok := Unescape(got); ok {
			assert.Equal(t, name, back)
		} else {
			assert.Greater(t, len(name), 30, "%q can be given back", name)
		}
	}
	for _, plain := range []string{"team", "a.b", "Team-1_x", strings.Repeat("a", 100)} {
		assert.Equal(t, plain, Escape(plain))
	}
}

func TestSweep(t *testing.T) {
	f := folderOf(t, openRoot(t, Options{}))
	old := time.Now().Add(-2 * time.Minute)
	dead, young := f.temp(), f.temp()
	for _, dir := range []string{dead, young} {
		require.NoError(t, os.Mkdir(dir, 0o777))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "run-x.wandb"), []byte(":W&B"), 0o666))
	}
	require.NoError(t, os.Chtimes(dead, old, old))
	require.NoError(t, f.WriteState("k", true, []byte("v")))
	half := filepath.Join(f.private(openDir), tempPrefix+"half")
	require.NoError(t, os.WriteFile(half, nil, 0o666))
	require.NoError(t, os.Chtimes(half, old, old))
	p := newPart(t, f, "r1")

	aside, err := f.Sweep()
	require.NoError(t, err)
	require.Len(t, aside, 1)
	assert.Equal(t, f.private("aside"), filepath.Dir(aside[0]))
	assert.True(t, exists(filepath.Join(aside[0], "run-x.wandb")), "put aside, not removed")
	assert.Equal(t, []string{".otel-wandb", filepath.Base(young), p.Name()}, names(t, f.Dir()))
	assert.False(t, exists(half))
	_, open, err := f.ReadState("k")
	assert.NoError(t, err)
	assert.True(t, open)
}
