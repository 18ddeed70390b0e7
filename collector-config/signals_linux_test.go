package collectorconfig_test

import (
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// startWithSIGTERMHeld starts a process that gets no SIGTERM before it listens
// for it. The Collector says that it is ready a moment before it does listen,
// and the signal would kill it in between. Blocked in the mask that the process
// inherits, an early one waits: Go unblocks a signal when the program asks for it.
func startWithSIGTERMHeld(cmd *exec.Cmd) error {
	runtime.LockOSThread() // the mask is the thread's
	defer runtime.UnlockOSThread()

	var held, before unix.Sigset_t
	held.Val[0] = 1 << (uint(syscall.SIGTERM) - 1)
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, &held, &before); err != nil {
		return err
	}
	err := cmd.Start()
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &before, nil); err != nil {
		return err
	}
	return err
}
