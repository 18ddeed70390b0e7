//go:build unix && !linux

package runlog

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Here locks belong to the process, and closing any handle of the file gives
// up all of them: two roots over one directory in one process are kept apart
// by this package, but when one closes, other processes can take the locks of
// the second.

func lockByte(f *os.File, at int64) error {
	err := setLock(f, unix.F_WRLCK, at)
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		return ErrLocked
	}
	return err
}

func unlockByte(f *os.File, at int64) error { return setLock(f, unix.F_UNLCK, at) }

func setLock(f *os.File, kind int16, at int64) error {
	return os.NewSyscallError("fcntl", unix.FcntlFlock(f.Fd(), unix.F_SETLK, &unix.Flock_t{
		Type: kind, Whence: io.SeekStart, Start: at, Len: 1,
	}))
}

func byteIsLocked(f *os.File, at int64) (yes, known bool) {
	lock := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart, Start: at, Len: 1}
	err := unix.FcntlFlock(f.Fd(), unix.F_GETLK, &lock)
	return lock.Type != unix.F_UNLCK, err == nil
}
