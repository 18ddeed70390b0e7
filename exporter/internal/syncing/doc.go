// Package syncing is `otel-wandb sync`: it brings to W&B what a directory of runs
// holds and W&B has not.
//
//	outbox of killed programs ─► an engine over the directory ─┐  (Adopt)
//	                                                           ▼
//	folders ─► Find: runs, where each goes, what is left of it ─► dry run: say so
//	                                                           │
//	             a few at a time: lock, target, marker, upload.Uploader
//	                                                           │
//	                              Report: what happened, what to do next
//
// The one idea: all that sync knows of a run is in files beside it, and all that
// it writes there it writes before it sends. A target says that the run is its to
// upload, and to where; then the marker keeps `wandb sync` away; then the
// uploader's position says how far it is. So it may be killed anywhere, and the
// next one goes on.
//
// Its word is the truth: [Report.Complete] only if W&B has all that the directory
// holds, to the end of every run, so that the directory may go.
package syncing
