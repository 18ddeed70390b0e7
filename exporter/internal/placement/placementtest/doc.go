// Package placementtest reads and runs placement cases: small text files that
// say which telemetry arrives, in what order and after how much time, and which
// run each span then is in. testdata/README.md of package placement explains
// the language to those who write cases.
//
//	*.placement ─► Parse ─► Case ─► Check ─► OTLP ─► intake ─► placement.Table
//	                                  │                              ▲
//	                                  └── orders × deliveries ───────┘
//
// Each case runs many times: as written and, where it says `any order`, in
// other orders; each arrival a request of its own, all in one request, and with
// a restart after every arrival, from the journal and from a snapshot. What a
// case expects must hold in all of them. What no case needs to say is checked
// after every step: see invariants.go.
package placementtest
