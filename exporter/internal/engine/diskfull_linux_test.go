package engine

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// smallDisk is a file system of its own. Who is not root may mount one in a
// user namespace: there the test runs itself again.
func smallDisk(t *testing.T, size int) testDisk {
	t.Helper()
	dir := t.TempDir()
	err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+strconv.Itoa(size))
	if err == nil {
		t.Cleanup(func() { assert.NoError(t, unix.Unmount(dir, unix.MNT_DETACH)) })
		return &realDisk{dir: dir}
	}
	const inside = "DISKFULL_IN_NAMESPACE"
	if os.Getenv(inside) != "" {
		t.Skipf("no file system can be mounted, not even in a user namespace: %v", err)
	}
	cmd := exec.Command(os.Args[0], "-test.run", "^"+strings.ReplaceAll(t.Name(), "/", "$/^")+"$", "-test.v")
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	out, runErr := cmd.CombinedOutput()
	switch {
	case runErr != nil && len(out) == 0:
		t.Skipf("no file system can be mounted (%v), and there are no user namespaces (%v)", err, runErr)
	case runErr != nil:
		require.FailNow(t, "in a user namespace", "%s", out)
	}
	t.Skipf("done in a user namespace:\n%s", out)
	return nil
}

type realDisk struct{ dir string }

func (d *realDisk) root() string { return d.dir }

func (d *realDisk) filler() string { return filepath.Join(d.dir, "filler") }

// leave leaves so many bytes, as nearly as the file system counts.
func (d *realDisk) leave(t *testing.T, bytes int) {
	t.Helper()
	file, err := os.Create(d.filler())
	require.NoError(t, err)
	defer file.Close()
	block := make([]byte, 64<<10)
	for len(block) > 0 {
		if _, err := file.Write(block); err != nil {
			require.ErrorIs(t, err, syscall.ENOSPC)
			block = block[:len(block)/2]
		}
	}
	if bytes > 0 {
		info, err := file.Stat()
		require.NoError(t, err)
		require.NoError(t, file.Truncate(max(0, info.Size()-int64(bytes))))
	}
}

func (d *realDisk) free(t *testing.T) {
	t.Helper()
	require.NoError(t, os.Remove(d.filler()))
}
