//go:build !race

package engine

const (
	slower      = 1
	restartRuns = 10_000
)
