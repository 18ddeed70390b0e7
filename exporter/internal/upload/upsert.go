package upload

import (
	"context"
	"slices"
	"strings"

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
		u.endOpening()
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
