// Package carrier brings what a program logs to the collector, live and with
// nothing lost: rows and the lives of runs travel as events of short spans, on
// a path of their own beside the program's TracerProvider.
//
//	Stream.Row ──► segment ──► spool ──► request ──► Sink ──► collector
//	 (encoded,     (memory,     (file,    (≤ 3 MiB,          (acknowledged:
//	  numbered)     200 ms)     bounded)   1 s to 15 s)       room in the spool)
//
// A [Pipeline] is one process's path; a [Stream] is what one task logs. Who logs
// only encodes into memory, under the lock of the run. Two goroutines do the
// rest: the writer brings segments to the spool, the sender sends from it, in
// order, one request at a time, until it is acknowledged.
//
// Every event has the writer's id and a number without gaps in its run, by which
// the exporter knows what it has already and what is missing. So everything here
// may be repeated, and is: after a lost answer, and by the process that finds
// the spool of one that was killed.
//
// When the bound is reached, new rows are refused with [ErrFull]; nothing here
// waits for a network or a disk while the program logs.
package carrier
