package upload

import (
	"context"
	"time"

	"github.com/otel-wandb/otel-wandb/internal/wandb"
)

// Options of an uploader.
type Options struct {
	Client *wandb.Client
	// Run to write to. What is empty is what the log says; an entity that
	// neither says is the user's own.
	Run wandb.Path
	// Parts are the run's logs, as far as they are there, oldest first.
	Parts []string
	// Position is the file in which the upload keeps where it is: see PositionFile.
	Position string
	// Follow goes on behind the end of a log that is being written, until the
	// run has ended. Without it Run returns when nothing is left to send.
	Follow bool
	// Alive says that the run's task lives: see SetAlive.
	Alive bool

	Pacer     Pacer         // Interval(15 s)
	Heartbeat time.Duration // 30 s: of silence, before a run that lives says so
	Poll      time.Duration // a minute: how long to wait for Wake before looking
	// Notify is told, from the goroutine of Run, what happens besides.
	Notify func(Notice)
	// Tried is told, by any goroutine, of each request that failed and that the
	// client tries again by itself, which it does for up to a week.
	Tried func(*wandb.Error)
	// Claim is told, from the goroutine of Run, what W&B calls the run, as soon as
	// that is known and before any line is sent. An error stops the upload: somebody
	// else writes to that run.
	Claim func(wandb.Path) error
	// Opening waits for the turn to open the run: to ask for it and to make it. done
	// says that it is over, and that Claim was called if that went well.
	Opening func(ctx context.Context) (done func(), err error)
	// Sent is told, from the goroutine of Run, how many lines W&B acknowledged: none with a
	// heartbeat.
	Sent func(lines int)
}

// NoticeKind is what a notice is about.
type NoticeKind int

// The kinds.
const (
	Retrying     NoticeKind = iota // W&B has trouble: it is tried again
	LineSkipped                    // W&B does not take a line: the rest goes on
	AlertRefused                   // W&B does not take an alert: the rest goes on
	FileFailed                     // a file cannot be read, or W&B does not take it: the rest goes on
	LogDamaged                     // what lies behind damage is not uploaded
	StateTrouble                   // the position cannot be read or written: W&B is asked, or things are sent again
	StopAsked                      // somebody pressed the run's stop button at W&B
	Opened                         // W&B has the run: it is new there, or goes on after its end
	Ended                          // W&B knows that the run has ended
)

// Notice is something to log or count. Err says what and of which run; Opened
// and Ended are no trouble, and have the rest.
type Notice struct {
	Kind NoticeKind
	Err  error

	Run      wandb.Path // as W&B spells it
	Name     string     // what people call the run
	URL      string     // the run's page
	ExitCode int        // of Ended
}
