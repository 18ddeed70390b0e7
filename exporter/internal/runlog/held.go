package runlog

import (
	"os"
	"path/filepath"
)

// Held tells whether some program holds the lock on key in the folder dir, and
// whether that can be known. It takes no lock and creates nothing.
func Held(dir, key string) (yes, known bool) {
	path, at := filepath.Join(dir, ".otel-wandb", "locks"), lockOffset(key)
	held.Lock()
	_, ours := held.by[heldLock{path, at}]
	held.Unlock()
	if ours {
		return true, true
	}
	f, err := os.Open(path)
	if err != nil {
		return false, os.IsNotExist(err) // no file, no locks
	}
	defer f.Close()
	return byteIsLocked(f, at)
}
