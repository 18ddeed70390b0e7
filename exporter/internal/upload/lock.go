package upload

// LockKey is the key to lock in a run's folder, by its coordinates' key, while
// it is streamed: a collector and `otel-wandb sync` must not both number its
// lines.
func LockKey(run string) string { return "upload\x00" + run }
