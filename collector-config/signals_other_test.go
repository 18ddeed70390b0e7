//go:build !linux

package collectorconfig_test

import (
	"os"
	"os/exec"
)

// Whether a process handles its signals can be seen on Linux only; elsewhere a
// SIGTERM right after the start may be too early.

func startForSignals(cmd *exec.Cmd) error { return cmd.Start() }

func handlesSignals(*os.Process) bool { return true }
