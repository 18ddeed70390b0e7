// Package conformance runs the cases of exporter/testdata/conformance: OTLP in,
// runs out. It has tests only.
//
//	case.txt ──(language)──► input.jsonl ──► engine, in 15 orders ──► runs ─┐
//	        └──(language)──► expect.json ─────────────────────────────────► equal?
//
// The format of the cases, and how they are compared, is specified beside them,
// for other implementations; this package is one reader of it.
package conformance
