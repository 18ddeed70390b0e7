//go:build !linux

package main

import "os/exec"

// dieWithParent is Linux's alone; elsewhere a demo that is killed by force
// leaves its collector behind.
func dieWithParent(*exec.Cmd) {}
