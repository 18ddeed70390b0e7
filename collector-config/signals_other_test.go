//go:build !linux

package collectorconfig_test

import "os/exec"

// startWithSIGTERMHeld starts a process; holding signals back is for Linux only.
func startWithSIGTERMHeld(cmd *exec.Cmd) error {
	return cmd.Start()
}
