//go:build race

package engine

// slower is how much longer things may take under the race detector.
const slower = 5
