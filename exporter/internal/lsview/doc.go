// Package lsview says what runs there are in a directory, how each is doing,
// what waits, and what to do next. It reads what the exporter and W&B's own
// client write, while they write it, and changes nothing.
//
//	runview.List ─► parts ─► Read, row by row ─► Run ─┐
//	                             └─► sparklines       ├─► Listing ─► text, JSON
//	engine.Inspect ─► who holds a run, what waits ────┘
//
// Memory does not grow with a log: a run's rows are seen once and not kept.
package lsview
