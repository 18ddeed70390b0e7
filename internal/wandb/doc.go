// Package wandb is a client of W&B: it makes runs, sends their lines and files,
// and reads back what W&B holds of them.
//
//	Find ──► Credentials ─┐
//	                      ▼
//	        ┌──────── Client ─────────┐    POST {base}/graphql       UpsertRun, Resume, …
//	caller ─┤ one *http.Client,       ├──► POST {base}/…/file_stream Stream.Send
//	        │ retries, rate limits    │    PUT  signed URL           Put: no credentials
//	        └─────────────────────────┘
//
// The one idea: a call returns when W&B has answered, or when asking again is
// of no use. In between it is tried again as W&B's own client does, with the
// same bytes, so that a lost answer does no harm. What comes back is the answer
// or an [Error], which says whether the same call may succeed later
// ([Error.Transient]) and what a person can do about it.
//
// The package knows nothing of OpenTelemetry, of spools or of pacing: who calls
// it owns the run and sends its requests one after the other. Lines are opaque
// text in W&B's JSON, in which NaN and the infinities are bare tokens.
//
// Credentials go to the base URL they belong to and nowhere else: not with
// redirects, which are not followed, not to signed URLs, not into errors.
package wandb
