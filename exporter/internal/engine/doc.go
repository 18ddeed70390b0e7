// Package engine drives the stages: it hands units to placement, what is
// placed to the runs, what the runs write to their logs, and answers a request
// when all of it has reached the operating system.
//
//	Consume ──► placement (a mutex) ──┬─► shard 0: runs ──► logs ─┐
//	   ▲            │                 ├─► shard 1: runs ──► logs ─┤
//	   │            ▼                 └─► …                       │
//	   │         journal: what waits, what was learned            │
//	   └──────────────── answered when both have it ◄─────────────┘
//
// One goroutine owns a shard's runs; everyone else sends it requests. A shard
// takes all that waits for it at once and appends once a run (group commit).
// Placement and the journal are behind one mutex, and requests enter the
// shards' queues under it: so what opens a run comes before what is on it.
//
// Metrics that name no run look for open ones in an index (package join), which
// the shards write and requests read.
package engine
