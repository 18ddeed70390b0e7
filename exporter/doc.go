// Package wandbexporter is the OpenTelemetry Collector component "wandb": it
// writes span trees as Weights & Biases runs, to run logs on disk that W&B's own
// tools read.
//
// Traces and logs of one component id are two exporters and one engine: a run
// has one writer, whatever signal its rows come by.
//
//	traces pipeline ──► exporter ─┐
//	                              ├─► shared ──► engine ──► <dir>/wandb/…
//	logs pipeline ────► exporter ─┘
//
// README.md is the contract: keys, defaults, failure behaviour, what is not
// promised.
package wandbexporter
