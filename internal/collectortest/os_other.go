//go:build !linux

package collectortest

import (
	"net"
	"os"
	"os/exec"
)

// Elsewhere than on Linux these are weaker: a SIGTERM right after the start may
// be too early, another program may take the port between two collectors, and
// who builds the collector while tests use it is in their way.

func startForSignals(cmd *exec.Cmd) error { return cmd.Start() }

func handlesSignals(*os.Process) bool { return true }

func reserve() (addr string, release func() error, err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	return listener.Addr().String(), func() error { return nil }, listener.Close()
}

func lockFile(*os.File) error { return nil }

func runnable(file *os.File) string { return file.Name() }
