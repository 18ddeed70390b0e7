// Package online streams all of an exporter's runs to W&B: it keeps one
// [upload.Uploader] a run at work.
//
//	shards ── a part began, it grew, it ended ──┐
//	                                            ▼
//	start ── what an earlier exporter left ─► table of streams ── a goroutine each ─► Uploader ─► W&B
//	                                            │
//	                              state, trouble, what is behind ─► metrics, status, log lines
//
// The one idea: nothing here is needed for correctness. What is to be sent is in
// the run logs, how far it got is in the position files; the table only says
// who is awake. A stream that is lost begins again at the next start, or with
// `otel-wandb sync`.
//
// An [Online] owns the table; a [Stream] owns the lock under which one program
// at a time uploads a run.
package online
