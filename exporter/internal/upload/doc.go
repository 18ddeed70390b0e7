// Package upload streams a run's logs to W&B.
//
//	part 1 ──┐ records                    ┌─ run, config, metric … ─► upsert ─┐
//	part 2 ──┴─────────► translation ─────┼─ history, stats, output ─► lines ─┼─► W&B
//	   ▲ from (part, offset)              ├─ summary ──────► the whole line ──┤    │
//	   │                                  ├─ files ────► files, behind lines ─┤    │
//	   │                                  ├─ alert ─────────────────► alert ──┤    │
//	position file ◄── (part, offset,      └─ exit ──► complete, alone, last ──┘    │
//	                  line numbers, …) ◄───────────────────────── acknowledged ────┘
//
// The one idea: a line's number follows from the logs alone. What the uploader
// knows of a run is a fold over the records up to an offset, the position is
// that fold, and it is written after W&B has acknowledged what came of it. So
// whatever is retried, lost or killed, the same lines go to the same numbers,
// and W&B, which knows lines by their numbers, has each once.
//
// A position that is lost is made again: the first upsert puts into the run's
// config from which numbers on this log was written, and a run on W&B that lacks
// this mark was made by somebody else and is resumed, behind what it has.
//
// So is a run that had ended, and that somebody else went on with before its
// next part came.
//
// No row waits for a file: files that are due go behind the lines of a batch, for
// a while, and what is left goes before the end of the run, with config.yaml and
// the like, which are made here. A file has no number: it is sent again whole.
// So is a table's artifact, which is one of the files; what its row calls it
// follows from the log alone, as numbers do.
//
// An [Uploader] owns one run's stream and its position file, and reads logs that
// others write. Requests go one after another. When to send is asked of a
// [Pacer]; nothing is read from the log before it says so, and no file is held
// open in between, so that waiting runs cost little.
package upload
