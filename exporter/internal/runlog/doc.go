// Package runlog keeps the folders and files of run logs: it creates a log,
// appends to it, cuts it back to whole records after a failure, reopens it
// after a crash, and closes it.
//
//	<dir>/wandb/                                   one host, one tenant: a Folder
//	<dir>/<host>/<entity>/wandb/                   or one Folder for each
//	    offline-run-20260102_150405-<id>/          a Part: one log of a run
//	        run-<id>.wandb                         appended to, never rewritten
//	        run-<id>.wandb.synced                  marker: hands off, `wandb sync`
//	        files/  logs/
//	    latest-run -> offline-run-…
//	    .tmp-otel-wandb-…                          a part that is being made
//	    .otel-wandb/                               what only this module reads
//	        locks  open/*.state  closed/*.state  aside/
//
// The one idea: a log always ends with a whole record. W&B's readers lose all
// that follows a torn one, so whatever goes wrong with a write is cut off
// before the next, and a part whose end cannot be put right takes no more.
//
// A [Root] owns the open file handles, few for any number of parts. A [Part]
// owns the end of its file and has one writer; parts are independent of each
// other and may be written from several goroutines. Records are opaque here.
package runlog
