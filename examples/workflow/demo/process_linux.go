package main

import (
	"os/exec"
	"runtime"
	"syscall"
)

// The kernel sends the signal when the thread that started the child ends: so
// children are started from the main goroutine, which stays on its thread.
func init() { runtime.LockOSThread() }

// dieWithParent ends a child even when this program is killed without a chance
// to end it.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
}
