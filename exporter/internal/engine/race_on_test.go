//go:build race

package engine

// slower is how much longer things may take under the race detector.
const slower = 5

// restartRuns is fewer than without it: what is measured there is checked here.
const restartRuns = 2000
