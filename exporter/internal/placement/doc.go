// Package placement decides which run an item belongs to: by its stamp, else
// by its ancestors, else it waits until they are known. It never guesses.
//
// It knows spans, tasks and coordinates, and nothing of W&B or of what an item
// holds: a unit's payload is opaque here.
//
//	unit ──► stamped? ───────────────────────────────► that run
//	           │ no
//	           ├─ a task? ── parent decided? ─ modes ─► a run, or refused
//	           │                 │ no
//	           └─ else: walk up to the nearest task ──► its run, or none
//	                             │ an ancestor unknown
//	                             ▼
//	                       wait on that span ◄── a late ancestor, a start event,
//	                                             a stamp, or time wakes it
//
// A Table is owned by one goroutine at a time: the engine holds a mutex around
// it. What must survive a restart comes out of every call as Learned and
// Waiting, and goes back in through Restore and RestoreWaiting.
package placement
