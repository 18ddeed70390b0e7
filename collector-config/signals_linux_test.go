package collectorconfig_test

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"strconv"
	"syscall"
)

// The Collector says that it is ready a moment before it asks for SIGINT and
// SIGTERM, in this order, and a SIGTERM in between kills it. Of the two only
// SIGINT shows from outside whether it was asked for: a Go program that is
// started with it ignored leaves it so until then. So the test starts the
// collector that way, and waits for the kernel to say that it is caught.

// startForSignals starts a process of which handlesSignals can tell.
func startForSignals(cmd *exec.Cmd) error {
	signal.Ignore(os.Interrupt)
	defer signal.Reset(os.Interrupt)
	return cmd.Start()
}

var caughtSignals = regexp.MustCompile(`(?m)^SigCgt:\s*([0-9a-f]+)$`)

// handlesSignals tells whether a process of startForSignals asked for its signals.
func handlesSignals(process *os.Process) bool {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", process.Pid))
	if err != nil {
		return false
	}
	line := caughtSignals.FindSubmatch(status)
	if line == nil {
		return false
	}
	mask, err := strconv.ParseUint(string(line[1]), 16, 64)
	return err == nil && mask&(1<<(syscall.SIGINT-1)) != 0
}
