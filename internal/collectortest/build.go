package collectortest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// Top is the top of the repository.
var Top = sync.OnceValues(func() (string, error) {
	dir, err := os.Getwd()
	for ; err == nil; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "collector-config", "manifest.yaml")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("this test is not in the repository")
		}
	}
	return "", err
})

// Built brings bin/otelcol-wandb up to date, once in a test process, and gives
// its path.
func Built(t testing.TB) string {
	t.Helper()
	b, err := build()
	require.NoError(t, err)
	return b.path
}

// command is a command of the built collector. Its file stays the one that was
// built, whatever is built meanwhile.
func command(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	b, err := build()
	require.NoError(t, err)
	cmd := exec.Command(runnable(b.file), args...)
	cmd.Args[0] = b.path
	return cmd
}

// Validate has the collector look at a configuration, without the site's
// address, and gives what it says.
func (s *Site) Validate(t testing.TB, config string) (said string, err error) {
	t.Helper()
	cmd := command(t, "validate", "--config", config)
	cmd.Dir, cmd.Env = s.Dir, s.Environment()
	out, err := cmd.CombinedOutput()
	return string(out), err
}

type binary struct {
	path string
	file *os.File // open as long as the process lives
}

// build compiles what make build generated, as make build does. That is a second
// when nothing has changed; and when something has, tests of an old collector
// would be worth nothing.
var build = sync.OnceValues(func() (b binary, err error) {
	top, err := Top()
	if err != nil {
		return b, err
	}
	// The go command does not know that a test depends on what it builds, but
	// notes which folders it reads, and runs it again when they have changed.
	for _, dir := range []string{"exporter", "internal", "bin/distribution"} {
		err = errors.Join(err, filepath.WalkDir(filepath.Join(top, dir), func(_ string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() && d.Name() == "testdata" {
				return fs.SkipDir
			}
			return err
		}))
	}
	if err != nil {
		return b, fmt.Errorf("the collector is not generated: run make build: %w", err)
	}
	// Several tests build it at the same time.
	lock, err := os.OpenFile(filepath.Join(top, "bin", "otelcol-wandb.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return b, err
	}
	defer lock.Close() // and with it the lock
	if err := lockFile(lock); err != nil {
		return b, fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	b.path = filepath.Join(top, "bin", "otelcol-wandb")
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-mod=mod", "-ldflags", "-s -w", "-o", b.path, ".")
	cmd.Dir = filepath.Join(top, "bin", "distribution")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off")
	if said, err := cmd.CombinedOutput(); err != nil {
		return b, fmt.Errorf("the collector cannot be built: run make build: %w\n%s", err, strings.TrimSpace(string(said)))
	}
	b.file, err = os.Open(b.path)
	return b, err
})
