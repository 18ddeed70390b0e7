// Package explain says of recorded telemetry which run each span would be on,
// and which rule decided: what the exporter would do, without doing it.
//
//	OTLP JSON ─► Read ─► Explainer ─► Report ─► text or JSON
//	                      │ intake, placement and run state, as in earnest;
//	                      │ no clock, no files, no network
//
// The end of the input counts as the end of all waiting: a parent that is not
// in the input will not come.
package explain
