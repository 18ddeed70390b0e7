// Package spool is a process's own queue of events on their way out: bounded,
// in files that outlive the process, or in memory where there is no folder.
//
//	<dir>/3f9a…/lock           held while the process lives
//	<dir>/3f9a…/000007.spool   ◄─ acknowledged from the front
//	<dir>/3f9a…/000008.spool   ◄─ appended at the end
//
// A file tells everything that sending it takes: the resource of the process,
// the span head of each stream, then events in the order they were handed in.
// It is deleted when all of it is acknowledged, or emptied when it is the last.
//
//	magic │ frame │ frame │ …        frame = length, CRC-32C, kind, payload
//
// What a killed process leaves is found by the next one in the same folder: the
// lock is free, so [Adopt] takes it over. A torn frame at the end is cut.
//
// The bytes are the caller's: this package knows frames, and not what an event
// is. Events reach the operating system with [Spool.Append]; they survive a
// kill of the process, and not a loss of power.
package spool

import "errors"

// ErrFull says that the bound is reached: what is acknowledged makes room.
var ErrFull = errors.New("spool is full")

// ErrDamaged says that a file holds what no process wrote.
var ErrDamaged = errors.New("damaged")

// Chunk is a number of events of one stream.
type Chunk struct {
	Stream      uint64 // of the process
	Head        []byte // the same for all chunks of a stream
	Events      []byte
	Count       int
	First, Last int64 // unix nanoseconds
}
