//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package spool

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// canAdopt tells whether locks say which process lives.
const canAdopt = true

// lockFile locks an open file against every other handle, in this process too.
// It ends with the handle, so with the process.
func lockFile(f *os.File) error {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return errHeld
	}
	return os.NewSyscallError("flock", err)
}
