package upload

import (
	"github.com/otel-wandb/otel-wandb/internal/wandb"
)

// Phase is what an uploader does.
type Phase int

// The phases.
const (
	Waiting   Phase = iota // for the log to grow, or for its turn
	Sending                //
	Hindered               // transient trouble: it is tried again
	Stopped                // a Failure
	Completed              // all is sent, the end too
)

func (p Phase) String() string {
	return [...]string{"waiting", "sending", "hindered", "stopped", "completed"}[p]
}

// Status is what an uploader says of itself.
type Status struct {
	Phase Phase
	Err   error      // of Hindered and Stopped
	Path  wandb.Path // as W&B spells it, once it is known

	History, Events, Console int // lines that W&B has of this log
	TooLong                  int // lines that W&B does not take
	BadValues                int // values that are not JSON: sent as text
	AlertsRefused            int
	FilesFailed              int    // that W&B will not have
	Behind                   int64  // bytes of the part's log that are not sent
	Part                     string // the directory of the part it is at
	Offset                   int64  // in the part's log: what is before is at W&B
	StopAsked                bool   // somebody pressed the stop button
}

// Status is what the uploader does.
func (u *Uploader) Status() Status {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.status
}

func (u *Uploader) setStatus(change func(*Status)) {
	u.mu.Lock()
	defer u.mu.Unlock()
	change(&u.status)
}

func (u *Uploader) notify(kind NoticeKind, err error) { u.opts.Notify(Notice{Kind: kind, Err: err}) }

// announce says where people see the run.
func (u *Uploader) announce(kind NoticeKind, exitCode int) {
	run := u.state.Path
	url := wandb.RunURL(wandb.AppURL(u.opts.Client.BaseURL()), run)
	u.opts.Notify(Notice{Kind: kind, Run: run, Name: nonEmpty(u.state.Named, run.Run), URL: url, ExitCode: exitCode})
}
