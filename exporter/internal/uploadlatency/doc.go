// Package uploadlatency measures how live a run is at W&B, end to end.
//
//	bridge ── OTLP/gRPC ──► collector, a process ── HTTP ──► stand-in server
//	│ now                   wandb.yaml, mode online          │ now
//	└─ task starts, row logged ····························· └─ run made, line taken
//
// A task's start is from before StartTask until the server has made the run; a
// row's way is from before Log until the server has taken the request with its
// line. Bridge and server are in one process, so both times are of one clock. It
// is a test for short, and with
//
//	make bench-upload              # the long form
//
// the figures in docs/performance.md.
package uploadlatency
