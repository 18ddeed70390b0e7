// Package wandbexporter is the OpenTelemetry Collector component "wandb": it
// writes span trees, log records and metrics as Weights & Biases runs, to run logs
// on disk that W&B's own tools read.
//
// Traces, logs and metrics of one component id are three exporters and one
// engine: a run has one writer, whatever signal its rows come by.
//
//	traces pipeline ───► exporter ─┐
//	logs pipeline ─────► exporter ─┼─► shared ──► engine ──► <dir>/wandb/…
//	metrics pipeline ──► exporter ─┘
//
// With `mode: online` uploads follow the logs to W&B; no request waits for them.
//
// README.md is the contract: keys, defaults, failure behaviour, what is not
// promised.
package wandbexporter
