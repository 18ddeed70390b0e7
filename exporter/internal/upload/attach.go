package upload

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/otel-wandb/otel-wandb/exporter/internal/dotwandb"
	"github.com/otel-wandb/otel-wandb/internal/extjson"
	"github.com/otel-wandb/otel-wandb/internal/wandb"
)

// path is the run as W&B spells it, or until it said so as it is asked for.
func (s *state) path() wandb.Path {
	if s.Upserted {
		return s.Path
	}
	return s.Asked
}

// dirty tells whether an upsert is due.
func (s *state) dirty() bool {
	return !s.Upserted || s.Reopen || s.ConfigDirty || s.changed() != nil
}

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
		if ours, err := u.goOn(ctx); ours || err != nil {
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
	if err := u.open(ctx); err != nil {
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

// open waits for the turn to open the run.
func (u *Uploader) open(ctx context.Context) error {
	if u.opened != nil {
		return nil
	}
	done, err := u.opts.Opening(ctx)
	if err == nil {
		u.opened = done
	}
	return err
}

// isOpen gives the turn to open the run up.
func (u *Uploader) isOpen() {
	if u.opened != nil {
		u.opened()
		u.opened = nil
	}
}

// goOn goes on at the position. ours is false where the run had not been made yet,
// and somebody else has made it since.
func (u *Uploader) goOn(ctx context.Context) (ours bool, err error) {
	s := u.state
	if s.Upserted {
		err := u.opts.Claim(s.Path)
		if err == nil && s.Reopen {
			err = u.reopen(ctx)
		}
		return true, err
	}
	if err := u.open(ctx); err != nil {
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

// tailSize is how much of the log a position remembers: a record's number and
// note are in it.
const tailSize = 64

// tail reads the last bytes before an offset.
func tail(file io.ReaderAt, offset int64) ([]byte, error) {
	b := make([]byte, min(tailSize, offset))
	_, err := file.ReadAt(b, offset-int64(len(b)))
	return b, err
}

// holds tells whether a part's log still has what the position says of it. One
// that is gone says nothing against it.
func (u *Uploader) holds(p *position) bool {
	file, err := os.Open(u.log(p.Part))
	if err != nil {
		return true
	}
	defer file.Close()
	b, err := tail(file, p.Offset)
	return err == nil && (p.Tail == nil || bytes.Equal(b, p.Tail))
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

// changed are the fields to send; nil without any. What did not change is left
// out: people edit names and notes at W&B.
func (s *state) changed() *wandb.Fields {
	var f wandb.Fields
	n := 0
	for _, p := range []struct{ to, now, sent *string }{
		{&f.DisplayName, &s.Fields.DisplayName, &s.Sent.DisplayName},
		{&f.Group, &s.Fields.Group, &s.Sent.Group},
		{&f.JobType, &s.Fields.JobType, &s.Sent.JobType},
		{&f.Notes, &s.Fields.Notes, &s.Sent.Notes},
		{&f.Host, &s.Fields.Host, &s.Sent.Host},
		{&f.Program, &s.Fields.Program, &s.Sent.Program},
		{&f.Commit, &s.Fields.Commit, &s.Sent.Commit},
		{&f.Repo, &s.Fields.Repo, &s.Sent.Repo},
	} {
		if *p.now == "" || *p.now == *p.sent || p.now == &s.Fields.DisplayName && s.Continued && s.defaultName() {
			continue
		}
		*p.to = *p.now
		n++
	}
	for _, tag := range s.Fields.Tags {
		if !slices.Contains(s.Sent.Tags, tag) {
			f.Tags = s.Fields.Tags
			n++
			break
		}
	}
	if n == 0 {
		return nil
	}
	return &f
}

// defaultName tells whether nobody chose the display name: it is made of a
// span's name and the beginning of its id.
func (s *state) defaultName() bool {
	otel, _ := s.config.get("otel")
	id, _ := extjson.Get(otel, "span_id")
	id = strings.Trim(id, `"`)
	return len(id) >= 6 && strings.HasSuffix(s.Fields.DisplayName, "-"+id[:6])
}

// upsert brings the halves of the run to W&B that changed. again says that the
// lines have other numbers than thought: the log is to be read again.
func (u *Uploader) upsert(ctx context.Context) (again bool, err error) {
	s := u.state
	if s.Upserted { // else it is what the batch waited for
		if err := u.turn(ctx, Upsert, 0, true); err != nil {
			return false, err
		}
	}
	up := wandb.Upsert{Run: s.path(), Fields: s.changed()}
	late := s.Upserted && s.defaultName() // the span's name came after the run was made
	if f := up.Fields; f != nil && (f.Tags != nil && (s.Upserted || s.Continued) || f.DisplayName != "" && late) {
		r, err := u.held(ctx)
		if err != nil {
			return false, err
		}
		if r != nil && f.Tags != nil {
			f.Tags = join(r.Tags, f.Tags) // they are set as a whole
		}
		if r != nil && late && r.DisplayName != s.Named {
			f.DisplayName = "" // somebody named the run: a default is no reason to undo that
		}
	}
	if up.Fields != nil {
		up.Fields.StorageID = s.StorageID
	}
	if s.ConfigDirty || !s.Upserted {
		up.Config = s.configText()
	}
	var got wandb.Run
	err = u.try(ctx, Upsert, func() (err error) {
		got, err = u.opts.Client.UpsertRun(ctx, up)
		return err
	})
	if err != nil {
		return false, err
	}
	if u.asked && got.HistoryLines > 0 {
		// Rows of a run that never began, by its config: a fork's, which it inherits.
		u.asked = false
		before := newState(u.attached, s.skipped)
		before.Base.History, before.Next.History = got.HistoryLines, got.HistoryLines
		u.state, u.seen = before, 0
		u.save()
		return true, nil
	}
	u.asked = false
	if !s.Upserted {
		if err := u.opts.Claim(got.Path); err != nil {
			return false, err
		}
		u.isOpen()
	}
	opened := !s.Upserted || s.Reopen
	s.ConfigDirty, s.Reopen = false, false
	s.Upserted, s.Path, s.StorageID, s.Named = true, got.Path, got.StorageID, got.DisplayName
	tags := join(s.Sent.Tags, s.Fields.Tags)
	s.Sent = s.Fields
	s.Sent.Tags = tags
	if opened {
		u.announce(Opened, 0)
	}
	return false, nil
}

// join is a with what of b it lacks.
func join(a, b []string) []string {
	all := slices.Clone(a)
	for _, tag := range b {
		if !slices.Contains(all, tag) {
			all = append(all, tag)
		}
	}
	return all
}

// firstRun reads what a log says first of its run.
func firstRun(path string) (*dotwandb.Run, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	r, err := dotwandb.NewReader(file, dotwandb.Strict)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for range 10 {
		b, err := r.Next()
		if err != nil {
			return nil, fmt.Errorf("%s: %w: %w", path, ErrNoRun, err)
		}
		rec, err := dotwandb.Decode(b)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if rec.Run != nil {
			return rec.Run, nil
		}
	}
	return nil, fmt.Errorf("%s: %w", path, ErrNoRun)
}
