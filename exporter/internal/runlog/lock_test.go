package runlog

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestLock(t *testing.T) {
	dir := t.TempDir()
	one, two := folderOf(t, openRootIn(t, dir, Options{})), folderOf(t, openRootIn(t, dir, Options{}))

	unlock, err := one.Lock("run a")
	require.NoError(t, err)
	for name, f := range map[string]*Folder{"the same root": one, "another root in this process": two} {
		_, err := f.Lock("run a")
		assert.ErrorIs(t, err, ErrLocked, name)
		assert.ErrorContains(t, err, "in "+one.Dir())
	}
	other, err := two.Lock("run b")
	require.NoError(t, err, "another key is free")
	require.NoError(t, other())

	require.NoError(t, unlock())
	require.NoError(t, unlock(), "twice is once")
	again, err := two.Lock("run a")
	require.NoError(t, err)
	require.NoError(t, unlock(), "an old unlock does not unlock another's")
	_, err = one.Lock("run a")
	assert.ErrorIs(t, err, ErrLocked)
	require.NoError(t, again())
}

func TestClosingARootGivesUpItsLocksOnly(t *testing.T) {
	dir := t.TempDir()
	root, other := openRootIn(t, dir, Options{}), openRootIn(t, dir, Options{})
	_, err := folderOf(t, root).Lock("a")
	require.NoError(t, err)
	_, err = folderOf(t, other).Lock("b")
	require.NoError(t, err)
	require.NoError(t, root.Close())
	third := folderOf(t, openRootIn(t, dir, Options{}))
	_, err = third.Lock("a")
	assert.NoError(t, err)
	_, err = third.Lock("b")
	assert.ErrorIs(t, err, ErrLocked)
}

func TestManyLocksOneHandle(t *testing.T) {
	dir := t.TempDir()
	one, two := folderOf(t, openRootIn(t, dir, Options{})), folderOf(t, openRootIn(t, dir, Options{}))
	for i := range 10_000 {
		_, err := one.Lock(fmt.Sprint(i))
		require.NoError(t, err)
	}
	for i := range 10_000 {
		_, err := two.Lock(fmt.Sprint(i))
		require.ErrorIs(t, err, ErrLocked)
	}
	fi, err := os.Stat(one.private("locks"))
	require.NoError(t, err)
	assert.Zero(t, fi.Size())
}

func TestLockSlot(t *testing.T) {
	dir := t.TempDir()
	one, two := folderOf(t, openRootIn(t, dir, Options{})), folderOf(t, openRootIn(t, dir, Options{}))
	n, unlock, err := one.LockSlot("journal", 3)
	require.NoError(t, err)
	assert.Equal(t, 0, n)
	for want := 1; want < 3; want++ {
		n, _, err := two.LockSlot("journal", 3)
		require.NoError(t, err)
		assert.Equal(t, want, n)
	}
	_, _, err = one.LockSlot("journal", 3)
	assert.ErrorIs(t, err, ErrLocked)
	require.NoError(t, unlock())
	n, _, err = two.LockSlot("journal", 3)
	require.NoError(t, err)
	assert.Equal(t, 0, n, "the lowest free one")
}

// lockAndWait is the other process: it locks, says so, and holds the lock
// until its standard input ends.
func lockAndWait(dir string) {
	r, err := OpenRoot(dir, Options{})
	if err != nil {
		panic(err)
	}
	f, err := r.Folder("", "")
	if err != nil {
		panic(err)
	}
	if _, err := f.Lock("run a"); err != nil {
		panic(err)
	}
	fmt.Println("locked")
	_, _ = io.Copy(io.Discard, os.Stdin)
}

func TestLockBetweenProcesses(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no locks between processes there")
	}
	f := folderOf(t, openRoot(t, Options{}))
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childDir+"="+f.root.Dir())
	child.Stderr = os.Stderr
	stdin, err := child.StdinPipe()
	require.NoError(t, err)
	stdout, err := child.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, child.Start())
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "locked\n", line)

	_, err = f.Lock("run a")
	assert.ErrorIs(t, err, ErrLocked)
	yes, known := Held(f.Dir(), "run a")
	assert.True(t, yes, "held by another process")
	assert.True(t, known)
	yes, _ = Held(f.Dir(), "run b")
	assert.False(t, yes)
	unlock, err := f.Lock("run b")
	require.NoError(t, err)
	require.NoError(t, unlock())

	// It dies without unlocking.
	require.NoError(t, child.Process.Kill())
	_ = stdin.Close()
	require.Error(t, child.Wait())
	yes, _ = Held(f.Dir(), "run a")
	assert.False(t, yes, "a dead process holds no lock")
	unlock, err = f.Lock("run a")
	require.NoError(t, err, "a dead process holds no lock")
	require.NoError(t, unlock())
}
