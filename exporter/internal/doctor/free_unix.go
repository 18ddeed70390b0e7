//go:build linux || darwin

package doctor

import "syscall"

// free is how much of the disk a user may still write.
func free(dir string) (bytes int64, known bool) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, false
	}
	return int64(s.Bavail) * int64(s.Bsize), true //nolint:unconvert // its type depends on the system
}
