// Package wandbtest is a W&B server in memory, to test clients against: it
// speaks what a client of runs uses of W&B's API, keeps what it was sent, gives
// it to who reads runs, and fails where a script says so.
//
//	POST /graphql  ─────────────► operations by name ──┐
//	POST /files/…/file_stream ──► lines at offsets ────┼──► runs ──► Runs, Run
//	POST /oidc/token ───────────► access tokens        │
//	PUT, GET /storage/… ────────► signed URLs ─────────┤
//	GET /files/… ───────────────► files of runs ───────┘
//	         ▲ each request passes: faults, credentials, rate limits
//
// The one idea: it is held to what the official client was seen to send, not to
// what our client sends. The captures in testdata are replayed against it, and
// every field that their GraphQL documents select must be in its answers. What
// W&B itself does with a request that its client never makes is not known; such
// a request is taken as kindly as can be and noted in [Server.Violations],
// which a test of a client wants empty.
//
// A [Server] owns all runs, under one lock, and is safe for concurrent use. It
// is an [net/http.Handler]; [Server.InMemory] serves it without a port, so that
// a testing/synctest bubble can hold client, server and all their waiting.
package wandbtest
