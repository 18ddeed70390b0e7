package runlog

import (
	"errors"
	"io/fs"
	"syscall"
)

var (
	// ErrPoisoned is in the way of every append after the end of a log could
	// not be put right, or may not be on the disk. The remedy is a new part.
	ErrPoisoned = errors.New("the end of this log is not certain; finish the part and create a new one")
	// ErrClosed is returned for parts that were finished or closed.
	ErrClosed = errors.New("the part is closed")
	// ErrBadRunID is returned for a run id that cannot name a file.
	ErrBadRunID = errors.New("a run id that names files is 1 to 128 bytes of printable text without slash, backslash and colon")
	// ErrShorterThanCheckpoint is returned when a log ends before an offset
	// that was known to be in it: it was cut or replaced. The remedy is to
	// reopen it from the beginning.
	ErrShorterThanCheckpoint = errors.New("the log is shorter than its checkpoint says: it was cut or replaced; read it from the beginning")
	// ErrLocked is returned for a key that another writer holds.
	ErrLocked = errors.New("locked by another writer")
)

// remedy says what a person can do about a failed file operation.
func remedy(err error) string {
	switch {
	case errors.Is(err, syscall.ENOSPC):
		return "the disk is full: free some space, nothing acknowledged is lost"
	case errors.Is(err, syscall.EDQUOT):
		return "the disk quota is used up: free some space, nothing acknowledged is lost"
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return "too many open files: raise the limit (ulimit -n)"
	case errors.Is(err, syscall.EROFS):
		return "the file system is read-only: choose another directory"
	case errors.Is(err, fs.ErrPermission):
		return "not permitted: check the owner and the mode of the directory"
	case errors.Is(err, fs.ErrNotExist):
		return "it was removed or moved while it was in use"
	default:
		return "check the disk"
	}
}

// makingRemedy is remedy of a directory that could not be made.
func makingRemedy(err error) string {
	switch {
	case errors.Is(err, syscall.ENOTDIR):
		return "a file is where a directory should be: choose another directory"
	case errors.Is(err, fs.ErrNotExist):
		return "it cannot be made there: choose another directory"
	default:
		return remedy(err)
	}
}
