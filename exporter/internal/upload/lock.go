package upload

import "strings"

// LockKey is the key to lock in a run's folder, by the key of its coordinates,
// while it is streamed: a collector and `otel-wandb sync` must not both number
// its lines. The host is left out: a log does not name it, and a folder has one.
func LockKey(run string) string {
	_, rest, _ := strings.Cut(run, "\x00")
	return "upload\x00" + rest
}
