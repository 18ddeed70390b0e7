// Package pace says when each request to W&B may go, over all runs of an
// exporter.
//
//	uploaders ── Wait ──► places of runs ─► ready ──┐ openings, ends, lines, heartbeats
//	                         (a lane a project)     ├──► Permit ──► W&B
//	                                      alive ────┘ by deadline      │
//	rate ◄── half of what is allowed, up to 90 % if runs need it ◄── Learn
//
// The one idea: a permit is for one try, and there is one place to get it. W&B
// limits the file streams of a project and the GraphQL of a user, whoever sends,
// so each of these has a lane here with a rate, and every try of every run waits
// in its lane, retries too. What W&B says of its limits, in headers or by
// refusing, is learned from every answer.
//
// One [Scheduler] serves all of an exporter's uploaders. Each client gets a
// [Gate], and the uploaders that use the client get the same one:
//
//	s := pace.New(pace.Options{Notify: …})
//	gate := s.For(baseURL, account) // account: one name for one user's credentials
//	client, err := wandb.New(wandb.Options{Limiter: gate, …})
//	u := upload.New(upload.Options{Client: client, Pacer: gate, …})
//
// An uploader's Wait of lines takes the permit before the log is read, so that
// the request carries all that came meanwhile; it lies at the run's place until
// the client asks for it. A retry finds none there and waits for one of its own.
// GraphQL takes its permits in the client only.
//
// Which run is next in a project's lane: first rows of a run, then ends, then
// lines, the run that was served longest ago first, then heartbeats. A run that
// is alive must be heard of every 4 minutes; when those that wait can only just
// be served in time, they go before all else, by their deadlines. At 90 % of an
// allowance of A requests a second that is good for 216·A runs of one project;
// where W&B does not say what it allows, 3 a second are taken for it: 648 runs.
//
// A [Scheduler] owns all lanes under one lock. It has no goroutines: uploaders
// wait in theirs, and one timer a lane wakes those that are next.
package pace
