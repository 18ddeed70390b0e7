package upload

import (
	"context"
	"slices"

	"github.com/otel-wandb/otel-wandb/internal/wandb"
)

// A run that has ended may go on by somebody else's doing: W&B's own client resumes
// it. When it goes on here as well, with another part, W&B is asked first, and lines
// go behind what came in between. The numbers are then fixed: in the position before
// anything is sent, and in the mark with the upsert, which comes before the lines.

// reopen asks what became of a run that had ended and is to go on. It is asked again
// if the upload stopped before W&B took the upsert: until then others may come.
func (u *Uploader) reopen(ctx context.Context) error {
	if err := u.turn(ctx, Ask, 0, true); err != nil {
		return err
	}
	s := u.state
	r, err := u.held(ctx)
	if err != nil {
		return err
	}
	if r != nil {
		m, own := markOf(r.Config, s.Log)
		switch {
		case own && m.Last != "" && u.notBehind(s.Part, m.Last):
			s.remember(m.moved(), r) // the upsert got there: what more W&B has is ours
		case !own || r.HistoryLines > s.Next.History || r.EventsLines > s.Next.Events || r.ConsoleLines > s.Next.Console:
			s.goOn(r)
			s.moveTo(moved{
				Part: s.Part,
				Lines: lines{ // W&B's may lag behind what it took
					History: max(s.Next.History, r.HistoryLines), Events: max(s.Next.Events, r.EventsLines), Console: max(s.Next.Console, r.ConsoleLines),
				},
				Step:    max(s.Step, r.NextStep-s.NextStep),
				Runtime: max(s.Runtime, r.Runtime-s.Ran),
			})
		}
	}
	s.Last, s.ConfigDirty = s.Part, true
	u.save()
	return nil
}

// notBehind tells whether a part is another one, or before it.
func (u *Uploader) notBehind(part, other string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	at := func(part string) int {
		return slices.IndexFunc(u.parts, func(log string) bool { return partOf(log) == part })
	}
	if i, j := at(part), at(other); i >= 0 && j >= 0 {
		return i <= j
	}
	return since(part) <= since(other)
}

// goOn takes over what W&B has of a run that somebody else wrote to, so that
// nothing of it goes when config and summary, which are sent whole, are sent.
func (s *state) goOn(r *wandb.Resume) {
	s.Continued, s.StorageID = true, r.StorageID
	s.Sent.Tags = r.Tags
	s.OldConfig, s.OldSummary = textOf(r.Config), textOf(r.Summary)
	s.OwnConfig = s.config.text()
}

// remember takes over what a mark says of parts, where the position knows less: it
// was lost, or is an older one.
func (s *state) remember(list []moved, r *wandb.Resume) {
	if len(list) > len(s.Moved) {
		s.goOn(r)
		s.keepFirst()
		s.Moved = list
		s.move()
	}
}

// moveTo has the part go on elsewhere.
func (s *state) moveTo(to moved) {
	s.keepFirst()
	s.Moved = append(slices.DeleteFunc(s.Moved, func(m moved) bool { return m.Part == to.Part }), to)
	s.move()
}

// keepFirst keeps what is added in the parts before any that goes on elsewhere.
func (s *state) keepFirst() {
	if len(s.Moved) == 0 {
		s.FirstStep, s.FirstRuntime = s.Step, s.Runtime
	}
}

// move goes to where the part goes on, if that is elsewhere.
func (s *state) move() {
	for _, to := range s.Moved {
		if to.Part != s.Part {
			continue
		}
		s.Theirs.History += to.Lines.History - s.Next.History
		s.Theirs.Events += to.Lines.Events - s.Next.Events
		s.Theirs.Console += to.Lines.Console - s.Next.Console
		s.Next, s.Step, s.Runtime = to.Lines, to.Step, to.Runtime
	}
}
