// Package run holds the state of one run and turns what arrives for it into
// the records of its log: steps, summary, config, tags, owners, its end.
//
// The state is a fold over items. Every batch of records that goes to the log
// carries a note (in the last record's uuid) with the items that the records
// themselves do not show, so that the log alone, read from the front or from a
// checkpoint, gives the same state again:
//
//	items ──► Apply ──► State ──► Flush ──► records + note ──► the run's log
//	                      ▲                                        │
//	                      └───────── Replay ◄──────────────────────┘
//
// Whatever the order in which items arrive, the same items give the same rows,
// config, summary, tags and exit code: every value has an Order, and the later
// one wins however late the earlier one comes.
//
// A State is owned by the goroutine of its shard; nothing here locks.
package run
