//go:build !linux

package engine

import "testing"

func smallDisk(t *testing.T, _ int) testDisk {
	t.Helper()
	t.Skip("a file system of the test's own can be mounted on Linux only")
	return nil
}
