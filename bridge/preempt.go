package bridge

import (
	"os"
	"os/signal"
	"syscall"
)

// MarkPreempting tells W&B that the task may soon be ended from outside, so that
// it is patient with the run's silence, until another attempt goes on with it:
// for a spot machine's notice and the like; for SIGTERM see [WithSIGTERM]. On a
// run that the task only shares it does nothing.
func (r *Run) MarkPreempting() {
	if r.Recording() {
		r.said(r.stream.Preempting())
	}
}

// WithSIGTERM marks the runs of the tasks under way as preempting when the
// program receives SIGTERM. It is for programs that handle SIGTERM themselves:
// they still do, and once for each signal. A program that does not is ended by
// the signal only as long as nobody asks Go for it, so it must not set this: it
// would no longer end. That is why it is no default; Go does not tell whether
// somebody else has asked. It takes effect in [Setup], not in [New].
func WithSIGTERM() SetupOption { return setupOption(func(c *setupConfig) { c.sigterm = true }) }

// watchSIGTERM marks runs until end is called.
func (b *Bridge) watchSIGTERM() (end func()) {
	came := make(chan os.Signal, 1)
	gone, ended := make(chan struct{}), make(chan struct{})
	signal.Notify(came, syscall.SIGTERM)
	go func() {
		defer close(ended)
		for {
			select {
			case <-gone:
				return
			case <-came:
			}
			for _, r := range b.openRuns() {
				r.MarkPreempting()
			}
			b.pipeline.Write()
		}
	}()
	return func() {
		signal.Stop(came)
		close(gone)
		<-ended
	}
}
