package upload

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/otel-wandb/otel-wandb/exporter/internal/dotwandb"
	"github.com/otel-wandb/otel-wandb/internal/extjson"
	"github.com/otel-wandb/otel-wandb/internal/wandb"
)

// attach finds out where the upload is: by its position, or else by what W&B
// has of the run.
func (u *Uploader) attach(ctx context.Context) error {
	first := u.log(u.after(""))
	if first == "" {
		return errors.New("a run without logs")
	}
	asked, record := u.opts.Run, (*dotwandb.Run)(nil)
	if asked.Project == "" || asked.Run == "" || asked.Entity == "" {
		var err error
		if record, err = firstRun(first); err != nil {
			return err
		}
		asked = wandb.Path{
			Entity: nonEmpty(asked.Entity, record.Entity), Project: nonEmpty(asked.Project, record.Project), Run: nonEmpty(asked.Run, record.ID),
		}
	}
	host := u.opts.Client.BaseURL()
	skipped := func(err error) { u.notify(LineSkipped, err) }
	p, err := loadPosition(u.opts.Position)
	if err != nil {
		u.notify(StateTrouble, fmt.Errorf("%s: %w", asked, err))
	}
	fits := p != nil && p.Host == host && p.Asked == asked
	switch {
	case fits && u.holds(p):
		u.state = newState(*p, skipped)
		u.setStatus(func(st *Status) { st.Part, st.Offset = p.Part, p.Offset })
		if ours, err := u.goOnAtPosition(ctx); ours || err != nil {
			return err
		}
	case fits:
		// The machine lost power: what W&B was sent is not in the log any more, and
		// other rows are to have those numbers.
		u.notify(StateTrouble, fmt.Errorf("%s: the log of part %s is not what it was up to offset %d, of which W&B has all: it is sent again from its beginning", asked, p.Part, p.Offset))
	}

	u.state = newState(position{Host: host, Asked: asked, SummaryFresh: true}, skipped)
	s := u.state
	if record == nil {
		if record, err = firstRun(first); err != nil {
			return err
		}
	}
	s.begin(partOf(first))
	s.Log = record.StartTime.UTC().Format(time.RFC3339Nano)
	if err := u.beginOpening(ctx); err != nil {
		return err
	}
	if err := u.features(ctx); err != nil {
		return err
	}
	if err := u.resume(ctx, record); err != nil {
		return err
	}
	// From here on the numbers are fixed, whatever W&B says later.
	u.save()
	u.attached = s.position
	return nil
}

// beginOpening waits for the turn to open the run.
func (u *Uploader) beginOpening(ctx context.Context) error {
	if u.opened != nil {
		return nil
	}
	done, err := u.opts.Opening(ctx)
	if err == nil {
		u.opened = done
	}
	return err
}

// endOpening gives the turn to open the run up.
func (u *Uploader) endOpening() {
	if u.opened != nil {
		u.opened()
		u.opened = nil
	}
}

// goOnAtPosition goes on where the position is. ours is false where the run had not been made yet,
// and somebody else has made it since.
func (u *Uploader) goOnAtPosition(ctx context.Context) (ours bool, err error) {
	s := u.state
	if s.Upserted {
		err := u.opts.Claim(s.Path)
		if err == nil && s.Reopen {
			err = u.reopen(ctx)
		}
		return true, err
	}
	if err := u.beginOpening(ctx); err != nil {
		return true, err
	}
	if err := u.turn(ctx, Ask, 0, true); err != nil {
		return true, err
	}
	r, err := u.held(ctx)
	if r == nil || err != nil {
		return true, err
	}
	if _, own := markOf(r.Config, s.Log); !own {
		return false, nil
	}
	return true, u.opts.Claim(r.Path)
}

// features asks what the server can do: console lines go on as they began.
func (u *Uploader) features(ctx context.Context) error {
	if err := u.turn(ctx, Ask, 0, true); err != nil {
		return err
	}
	var features wandb.Features
	err := u.try(ctx, Ask, func() (err error) {
		features, err = u.opts.Client.Features(ctx)
		return err
	})
	if err != nil && !errors.Is(err, wandb.ErrRefused) { // refused: a server that does not know the question
		return err
	}
	u.state.Structured = features[wandb.StructuredConsoleLogs]
	u.state.Globs = features[wandb.ExpandMetricGlobs]
	u.state.Artifacts = features[wandb.ClientIDs]
	return nil
}

// resume asks what W&B has of the run, of which nothing is known here.
func (u *Uploader) resume(ctx context.Context, record *dotwandb.Run) error {
	if err := u.turn(ctx, Ask, 0, true); err != nil {
		return err
	}
	s := u.state
	r, err := u.held(ctx)
	asked := resumeOf(record)
	switch {
	case err != nil:
		return err
	case r == nil && asked == "must":
		return ErrMustResume
	case r == nil:
		u.asked = true
		return nil
	case asked == "never":
		if _, own := markOf(r.Config, s.Log); !own {
			return ErrNeverResume
		}
	}
	if err := u.opts.Claim(r.Path); err != nil {
		return err
	}
	s.goOn(r)
	if m, own := markOf(r.Config, s.Log); own {
		// This log's, and the position was lost: the same lines go out again.
		s.Base = linesOf(m.Lines)
		s.Step, s.Runtime, s.Artifacts, s.Last = m.Step, m.Runtime, m.Artifacts, m.Last
		s.keepFirst()
		s.Moved = m.moved()
	} else {
		s.Base = lines{History: r.HistoryLines, Events: r.EventsLines, Console: r.ConsoleLines}
		s.Step = max(0, r.NextStep-record.StartingStep)
		s.Runtime = max(0, r.Runtime-int64(record.Runtime))
	}
	s.Next = s.Base
	return nil
}

// Why a run is not uploaded: its task says what must be true of it at W&B.
var (
	ErrMustResume  = errors.New("the task says wandb.run.resume=must, and W&B has no such run: leave it out, or ask for the id of a run that is there")
	ErrNeverResume = errors.New("the task says wandb.run.resume=never, and W&B has a run of this id already: ask for another id, or leave it out")
)

// resumeOf is what the run's task says of resuming; "" is that all is well.
func resumeOf(record *dotwandb.Run) string {
	var o object
	for i := range record.Config {
		o.set(&record.Config[i], record.Config[i].JSON)
	}
	otel, _ := o.get("otel")
	word, _ := extjson.Get(otel, "resume")
	return strings.Trim(word, `"`)
}

func (u *Uploader) held(ctx context.Context) (r *wandb.Resume, err error) {
	err = u.try(ctx, Ask, func() (err error) {
		r, err = u.opts.Client.ResumeStatus(ctx, u.state.path())
		return err
	})
	return r, err
}

func textOf(members []extjson.Member) string {
	var o object
	for _, m := range members {
		o.put(m.Key, m.Raw)
	}
	return o.text()
}
