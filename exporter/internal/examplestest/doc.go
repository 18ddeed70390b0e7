// Package examplestest runs the examples as a reader would, each with its one
// command, and reads back what is on disk. It is here, and not with them,
// because reading runs back is the exporter's own.
package examplestest
