// Package uploadconformance holds our upload against W&B's own client.
//
//	captured requests ─┬─────────────────────────────────────► facts ─┐
//	of W&B's client    └► run log ─► upload ─► stand-in server         ├─► differences
//	                     same content   requests ────────────► facts ─┘   = the listed ones
//
// Each capture in internal/wandbtest/testdata is a scenario. Its content is
// written as the log of a run, in the time that it took then, the upload follows
// that log against the stand-in server, with the server's features, refusals
// and stop button of the capture, and what both clients asked for is taken down
// to facts: each line by its file and number, each field of the run, the end,
// alerts, headers, what followed a refusal. Facts that differ must be in the
// list of differences in the tests, each with its reason, which is also in
// docs/wandb-client.md; one that is listed and does not occur fails, too.
//
// All of it is tests.
package uploadconformance
