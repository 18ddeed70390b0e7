package placement

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/otel-wandb/otel-wandb/exporter/internal/wildcard"
	"github.com/otel-wandb/otel-wandb/internal/runid"
	"github.com/otel-wandb/otel-wandb/internal/runmode"
)

// decide is where a task belongs, by the table of run modes. parent is the decision of the
// nearest ancestor task, nil where there is none.
func (t *Table) decide(s *Subject, parent *Decision) *Decision {
	task := s.Task
	d := &Decision{Trace: s.Trace, Span: s.Span, Up: parent}
	if parent != nil {
		d.defaultIDs = parent.defaultIDs
	}
	if parent.Refused() {
		parent = nil // a refused task is no parent
	}

	asked := t.askedID(s, parent, d)
	base := ownBase(task, parent, d)
	where := t.where(s, parent)
	away := parent != nil && elsewhere(task.Asked, parent.Run)
	if asked != "" {
		clean, changed := runid.Sanitize(asked)
		if changed {
			d.AskedID = asked
		}
		asked = clean
	}
	ask := runmode.Ask{Mode: task.Mode, ID: asked, Away: away, Parent: parent != nil}
	if parent != nil {
		ask.ParentID = parent.Run.ID
	}
	verdict := runmode.Decide(ask)
	switch {
	case verdict.Outcome == runmode.Joins:
		return t.join(d, parent)
	case verdict.Reason == runmode.SharedAlone:
		return t.refuse(d, s, RefusedSharedAlone,
			"mode shared needs a parent run, and none of its ancestors is a task: start it under a task, use mode auto, or ask for a run with wandb.run.id")
	case verdict.Reason == runmode.SharedElsewhere:
		return t.refuse(d, s, RefusedSharedElsewhere, fmt.Sprintf(
			"mode shared asks for %q, but its parent's run is in %q: leave out host, entity and project, or name the run with wandb.run.id",
			place(where), place(parent.Run)))
	}

	where.ID, d.Rule = asked, Rule(verdict.Rule)
	if task.Rootless && d.Rule == RuleOpens {
		d.Rule = RuleRootless
	}
	if asked == "" {
		if _, changed := runid.Sanitize(base); changed {
			d.AskedID = base
		}
		where.ID, d.Group = task.derived(base)
	}
	d.Run = where
	if reason, text := t.unacceptable(where); reason != "" {
		return t.refuse(d, s, reason, text)
	}
	if task.Group != "" {
		d.Group = task.Group
	} else if d.Group == "" && task.Mode == runmode.New && parent != nil {
		d.Group = parent.Group
		if d.Group == "" {
			d.Group = parent.Run.ID
		}
	}
	d.Role, d.OwnerSpan, d.OwnerStart = RoleOwner, s.Span, task.Start
	if task.Mode == runmode.Shared {
		d.Role, d.OwnerSpan = RoleGuest, SpanID{}
	}
	// An owner is a task none of whose ancestors is on the same run.
	for up := d.Up; up != nil; up = up.Up {
		if !up.Refused() && up.Run == d.Run {
			d.Role, d.OwnerSpan, d.OwnerStart, d.Group = RoleMember, up.OwnerSpan, up.OwnerStart, up.Group
			break
		}
	}
	return d
}

// ownBase is the id of a task that asks for none, before ranks. What scope or
// resource call it holds, as their ids do, for the outermost task, and never
// reaches a new child: else all tasks of a program would be one run.
func ownBase(task *Task, parent, d *Decision) string {
	name := task.DefaultBase
	if name == "" || slices.Contains(d.defaultIDs, name) {
		return task.Base
	}
	d.defaultIDs = append(slices.Clip(d.defaultIDs), name)
	if task.Mode == runmode.New && parent != nil {
		return task.Base
	}
	return name
}

// derived is the id of a task that asks for none, and the group its ranks make.
func (task *Task) derived(base string) (id, group string) {
	base, _ = runid.Sanitize(base)
	id, group = task.Ranks.Derive(base, task.Mode == runmode.New)
	id, _ = runid.Sanitize(id) // a suffix may make it too long
	return id, group
}

// derivedGroup is the group its ranks make, on a run that is called as they make it.
func (task *Task) derivedGroup(id string) string {
	for _, base := range []string{task.Base, task.DefaultBase} {
		if derived, group := task.derived(base); derived == id {
			return group
		}
	}
	return ""
}

// askedID is the id the task asks for, in the order span, scope, resource. A
// scope's or resource's id holds for the outermost task only, and never
// reaches a new child.
func (t *Table) askedID(s *Subject, parent *Decision, d *Decision) string {
	task := s.Task
	asked := task.Asked.ID
	if s.Stamp != nil {
		return asked // nearer than its scope's and resource's, which others may have used
	}
	for _, id := range []string{task.ScopeID, task.ResourceID} {
		if id == "" || slices.Contains(d.defaultIDs, id) {
			continue
		}
		d.defaultIDs = append(slices.Clip(d.defaultIDs), id)
		if asked == "" && (task.Mode != runmode.New || parent == nil) {
			asked = id
		}
	}
	return asked
}

// where fills host, entity and project: the nearest wins.
func (t *Table) where(s *Subject, parent *Decision) runid.Coordinates {
	c := runid.Coordinates{Host: s.Task.Asked.Host, Entity: s.Task.Asked.Entity, Project: s.Task.Asked.Project}
	if parent != nil {
		// Entity and project of a run on another host mean nothing here.
		if c.Host == "" || c.Host == parent.Run.Host {
			c = fill(c, parent.Run)
		}
	}
	return fill(fill(c, s.resource()), t.cfg.Default)
}

// resource is what the resource says; nothing where there is none.
func (s *Subject) resource() runid.Coordinates {
	if s.Resource == nil {
		return runid.Coordinates{}
	}
	return *s.Resource
}

func fill(c, from runid.Coordinates) runid.Coordinates {
	if c.Host == "" {
		c.Host = from.Host
	}
	if c.Entity == "" {
		c.Entity = from.Entity
	}
	if c.Project == "" {
		c.Project = from.Project
	}
	return c
}

func elsewhere(asked, run runid.Coordinates) bool {
	return asked.Host != "" && asked.Host != run.Host ||
		asked.Entity != "" && asked.Entity != run.Entity ||
		asked.Project != "" && asked.Project != run.Project
}

// place is coordinates without the run, for messages.
func place(c runid.Coordinates) string {
	c.ID = ""
	if s := c.String(); len(s) > 0 {
		return s[:len(s)-1] // the slash before the missing id
	}
	return ""
}

func (t *Table) join(d, parent *Decision) *Decision {
	d.Run, d.Rule, d.Role = parent.Run, RuleJoinsParent, RoleMember
	d.OwnerSpan, d.OwnerStart, d.Group = parent.OwnerSpan, parent.OwnerStart, parent.Group
	d.AskedID = ""
	return d
}

func (t *Table) refuse(d *Decision, s *Subject, reason Reason, text string) *Decision {
	d.Run, d.Reason, d.Role = runid.Coordinates{}, reason, RoleNone
	d.Rule = Rule(reason)
	d.Text = fmt.Sprintf("task %q (trace %s, span %s): %s", clip(s.Name), s.Trace, s.Span, text)
	if s.Span == (SpanID{}) {
		d.Text = fmt.Sprintf("what names its run and has no span (%s): %s", cmp.Or(clip(s.Name), "a log record"), text)
	}
	return d
}

func clip(s string) string {
	if len(s) > 200 {
		return s[:200] + "…"
	}
	return s
}

func (t *Table) unacceptable(c runid.Coordinates) (Reason, string) {
	if c.Host != t.cfg.Default.Host && !slices.Contains(t.cfg.AllowedHosts, c.Host) {
		return RefusedHost, fmt.Sprintf("wandb.host %q is not one this exporter may write to: add it to `allowed_hosts`", clip(c.Host))
	}
	if d := t.cfg.Default.Entity; c.Entity != d && !allowed(t.cfg.AllowedEntities, c.Entity) {
		return RefusedEntityNotAllowed, fmt.Sprintf("wandb.entity %q is not one this exporter may write to: add it to `allowed_entities`", clip(c.Entity))
	}
	if d := t.cfg.Default.Project; c.Project != d && !allowed(t.cfg.AllowedProjects, c.Project) {
		return RefusedProjectNotAllowed, fmt.Sprintf("wandb.project %q is not one this exporter may write to: add it to `allowed_projects`", clip(c.Project))
	}
	if why := runid.ProjectError(c.Project); why != "" {
		return RefusedProject, fmt.Sprintf("wandb.project %q %s: name a project that W&B accepts", clip(c.Project), why)
	}
	if why := runid.ProjectError(c.Entity); why != "" {
		return RefusedEntity, fmt.Sprintf("wandb.entity %q %s: name a user or team that exists", clip(c.Entity), why)
	}
	return "", ""
}

// allowed tells whether a name is among the patterns; without any it is.
func allowed(patterns []string, name string) bool {
	return len(patterns) == 0 || slices.ContainsFunc(patterns, func(pattern string) bool {
		return wildcard.Match(pattern, name)
	})
}

// maxStamps bounds how many stamps of a trace are recognised again. It saves
// work, no more: records without a trace are all of one, and go on for ever.
const maxStamps = 1024

// stamped is the decision of a stamp: the run it names, as it names it.
func (t *Table) stamped(tr *trace, s *Subject) *Decision {
	st := *s.Stamp
	st.Run = fill(fill(st.Run, s.resource()), t.cfg.Default)
	if d, ok := tr.stamps[st]; ok {
		return d
	}
	d := &Decision{Run: st.Run, Rule: RuleStamp, Trace: s.Trace, OwnerSpan: st.Owner, OwnerStart: st.Start}
	if st.Owner == (SpanID{}) {
		d.Rule = RuleJoinsAskedID
	}
	if clean, changed := runid.Sanitize(st.Run.ID); changed {
		d.Run.ID, d.AskedID = clean, st.Run.ID
	}
	if reason, text := t.unacceptable(d.Run); reason != "" {
		d = t.refuse(d, s, reason, text)
	}
	if tr.stamps == nil || len(tr.stamps) >= maxStamps {
		tr.stamps = map[Stamp]*Decision{}
	}
	tr.stamps[st] = d
	return d
}
