package collectortest

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"strconv"
	"sync"
	"syscall"
)

// The Collector says that it is ready a moment before it asks for SIGINT and
// SIGTERM, in this order, and a SIGTERM in between kills it. Of the two only
// SIGINT shows from outside whether it was asked for: a Go program that is
// started with it ignored leaves it so until then. So the collector is started
// that way, and waited for until the kernel says that it is caught.

// starting is held while SIGINT is ignored, which is for the whole process.
var starting sync.Mutex

// startForSignals starts a process of which handlesSignals can tell.
func startForSignals(cmd *exec.Cmd) error {
	starting.Lock()
	defer starting.Unlock()
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

// reserve gives an address that is a collector's to listen on, and nobody
// else's, until it is released. It is bound and not listened on: the kernel then
// refuses connections to it, gives its port to nobody who asks for any, neither
// to listen nor to connect from, and lets who asks for it by number have it as
// well, as long as both reuse addresses. Listeners in Go do.
func reserve() (addr string, release func() error, err error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", nil, os.NewSyscallError("socket", err)
	}
	release = sync.OnceValue(func() error { return os.NewSyscallError("close", syscall.Close(fd)) })
	err = os.NewSyscallError("setsockopt", syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1))
	if err == nil {
		err = os.NewSyscallError("bind", syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	}
	var at syscall.Sockaddr
	if err == nil {
		at, err = syscall.Getsockname(fd)
	}
	if err != nil {
		return "", nil, errors.Join(err, release())
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(at.(*syscall.SockaddrInet4).Port)), release, nil
}

// lockFile waits for the lock of a file, which goes when it is closed.
func lockFile(file *os.File) error {
	return syscall.Flock(int(file.Fd()), syscall.LOCK_EX)
}

// runnable is a path of the file that stays its own.
func runnable(file *os.File) string {
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), file.Fd())
}
