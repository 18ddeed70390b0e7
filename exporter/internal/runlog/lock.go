package runlog

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
)

// Locks are locks on single bytes of one file: a key's hash is the byte's
// offset. The file stays empty, one handle serves any number of locks, and a
// process that dies leaves none behind.
//
// The file must not be removed while programs use the folder: those that come
// later would lock another file of the same name.
type lockFile struct {
	path string
	mu   sync.Mutex
	file *os.File
	mine map[int64]struct{}
}

// held are the locks of this process. The operating system keeps processes
// apart, and not, everywhere, two users of a file in one process.
var held = struct {
	sync.Mutex
	by map[heldLock]struct{}
}{by: make(map[heldLock]struct{})}

type heldLock struct {
	path string
	at   int64
}

// lockOffset is the byte that stands for a key.
func lockOffset(key string) int64 {
	sum := sha256.Sum256([]byte(key))
	return int64(binary.BigEndian.Uint64(sum[:]) >> 2)
}

// Lock takes an exclusive lock on key in this folder, between processes and
// within this one; it does not wait. [ErrLocked] says that another holds it.
// What the key stands for is the caller's to say: it need not be readable.
func (f *Folder) Lock(key string) (unlock func() error, err error) {
	if err := f.locks.acquire(lockOffset(key)); err != nil {
		if errors.Is(err, ErrLocked) {
			return nil, fmt.Errorf("in %s: %w; stop the other program that writes it, or give this one a directory of its own", f.dir, err)
		}
		return nil, fmt.Errorf("lock in %s: %w; the file system may not have locks: choose a directory on another", f.dir, err)
	}
	return sync.OnceValue(func() error { return f.locks.release(lockOffset(key)) }), nil
}

// LockSlot locks the lowest free of that many numbered slots of a name, for files of
// which each process needs one of its own.
func (f *Folder) LockSlot(prefix string, most int) (slot int, unlock func() error, err error) {
	for slot := range most {
		unlock, err := f.Lock(fmt.Sprintf("%s\x00%d", prefix, slot))
		if err == nil || !errors.Is(err, ErrLocked) {
			return slot, unlock, err
		}
	}
	return 0, nil, fmt.Errorf("all %d slots of %q in %s: %w; give this program a directory of its own", most, prefix, f.dir, ErrLocked)
}

func (l *lockFile) acquire(at int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		if err := os.MkdirAll(filepath.Dir(l.path), 0o777); err != nil {
			return err
		}
		file, err := os.OpenFile(l.path, os.O_RDWR|os.O_CREATE, 0o666)
		if err != nil {
			return err
		}
		l.file, l.mine = file, make(map[int64]struct{})
	}
	held.Lock()
	defer held.Unlock()
	id := heldLock{l.path, at}
	if _, taken := held.by[id]; taken {
		return ErrLocked
	}
	if err := lockByte(l.file, at); err != nil {
		return err
	}
	held.by[id], l.mine[at] = struct{}{}, struct{}{}
	return nil
}

func (l *lockFile) release(at int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil // closing gave it up
	}
	held.Lock()
	defer held.Unlock()
	delete(held.by, heldLock{l.path, at})
	delete(l.mine, at)
	return unlockByte(l.file, at)
}

// close gives up all locks.
func (l *lockFile) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	held.Lock()
	defer held.Unlock()
	for at := range l.mine {
		delete(held.by, heldLock{l.path, at})
	}
	err := l.file.Close()
	l.file, l.mine = nil, nil
	return err
}
