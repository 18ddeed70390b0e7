package bridge

import (
	"cmp"
	"net/url"
	"strconv"

	"github.com/otel-wandb/otel-wandb/internal/runid"
	"github.com/otel-wandb/otel-wandb/internal/runmode"
	"github.com/otel-wandb/otel-wandb/internal/semconv"
)

// plan is what is decided of a task before its span starts.
type plan struct {
	mode    runmode.Mode
	outcome runmode.Outcome
	skip    bool // another rank logs for this one
	parent  *place
	says    *scope            // the program's, the context's and the task's own words together
	where   runid.Coordinates // ID: the id asked for, as W&B takes it; "" for none
	asked   string            // the id asked for where that is another
	ranks   runid.Ranks
	outer   bool // no task of this process is above it
	common  bool // the derived id's base is the same in all ranks
}

// plan decides, or says why there is nothing to decide.
func (b *Bridge) plan(st *state, name string, c *taskConfig) (*plan, error) {
	near := st.scope.with(&c.scope)
	p := &plan{parent: st.parent(), says: b.scope.with(near), outer: !st.local}
	if p.says.err != nil {
		return nil, p.says.err
	}
	refuse := func(reason error, detail, remedy string) (*plan, error) {
		e := &RefusedError{Task: name, Reason: reason, Detail: detail, Remedy: remedy}
		if p.parent != nil {
			e.Parent = p.parent.coords.String()
		}
		return nil, e
	}
	mode, ok := p.says.mode.parse()
	if !ok {
		return refuse(ErrUnknownMode, strconv.Quote(string(p.says.mode)), "use ModeAuto, ModeNew or ModeShared")
	}
	p.mode = mode
	p.ranks = b.ranksFor(p.says)

	id := c.scope.coords.ID
	if id == "" {
		id = c.retryOf
	}
	if id == "" && (mode != runmode.New || p.parent == nil) {
		id = st.scope.id()
		if id == "" && p.outer {
			id = b.scope.id()
		}
	}
	clean, changed := runid.Sanitize(id)
	if changed {
		p.asked = id
	}
	p.where = p.fill(near.coords, b.scope)
	p.where.ID = clean
	if detail, remedy := badName(p.where); detail != "" {
		return refuse(ErrBadName, detail, remedy)
	}

	if p.skip = p.skips(st, clean); p.skip {
		return p, nil
	}
	ask := runmode.Ask{Mode: mode, ID: clean, Parent: p.parent != nil}
	if p.parent != nil {
		ask.ParentID, ask.Away = p.parent.coords.ID, elsewhere(near.coords, p.parent.coords)
	}
	d := runmode.Decide(ask)
	p.outcome = d.Outcome
	switch d.Reason {
	case runmode.SharedAlone:
		return refuse(ErrNoParentRun, "none of the tasks above it has a run",
			"start it under a task, use ModeAuto, or name a run with WithRunID")
	case runmode.SharedElsewhere:
		return refuse(ErrElsewhere, "it asks for "+strconv.Quote(inProject(p.where)),
			"leave out WithHost, WithEntity and WithProject, or name a run there with WithRunID")
	}
	if d.Outcome == runmode.Guest && p.ranks.Distributed() && p.parent == nil {
		// Ranks that share a run by its id are its owners; the first ends it.
		p.outcome = runmode.Opens
	}
	return p, nil
}

// skips tells whether this rank leaves logging to another. A run that is open
// in this process is this rank's own, and what is under it joins it.
func (p *plan) skips(st *state, asked string) bool {
	switch {
	case st.run != nil, p.mode == runmode.New:
		return false
	case st.skipped && (p.mode == runmode.Auto || asked == ""):
		return true
	default:
		return p.mode == runmode.Auto && !p.ranks.Decides()
	}
}

// fill completes host, entity and project: what the task and its scope ask for,
// else the parent's run's, else the program's.
func (p *plan) fill(asked runid.Coordinates, program *scope) runid.Coordinates {
	from := runid.Coordinates{}
	if program != nil {
		from = program.coords
	}
	if p.parent != nil {
		run := p.parent.coords
		if asked.Host == "" || asked.Host == run.Host {
			// Entity and project of a run on another host mean nothing here.
			from.Host = cmp.Or(run.Host, from.Host)
			from.Entity = cmp.Or(run.Entity, from.Entity)
			from.Project = cmp.Or(run.Project, from.Project)
		}
	}
	return runid.Coordinates{
		Host:    cmp.Or(asked.Host, from.Host),
		Entity:  cmp.Or(asked.Entity, from.Entity),
		Project: cmp.Or(asked.Project, from.Project),
	}
}

func elsewhere(asked, run runid.Coordinates) bool {
	return asked.Host != "" && asked.Host != run.Host ||
		asked.Entity != "" && asked.Entity != run.Entity ||
		asked.Project != "" && asked.Project != run.Project
}

func (s *scope) id() string {
	if s == nil {
		return ""
	}
	return s.coords.ID
}

// inProject is coordinates without the run, for messages.
func inProject(c runid.Coordinates) string {
	c.ID = ""
	if s := c.String(); s != "" {
		return s[:len(s)-1] // the slash before the missing id
	}
	return ""
}

func badName(c runid.Coordinates) (detail, remedy string) {
	if why := runid.ProjectError(c.Project); why != "" {
		return "project " + strconv.Quote(c.Project) + " " + why, "name another with WithProject or WANDB_PROJECT"
	}
	if why := runid.ProjectError(c.Entity); why != "" {
		return "entity " + strconv.Quote(c.Entity) + " " + why, "name a user or team that exists, with WithEntity or WANDB_ENTITY"
	}
	if c.Host != "" && !baseURL(c.Host) {
		return semconv.Host + " " + strconv.Quote(c.Host) + " is no base URL", "give WithHost or WANDB_BASE_URL as in https://api.wandb.ai"
	}
	return "", ""
}

func baseURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && u.Host != "" && u.User == nil && (u.Scheme == "http" || u.Scheme == "https")
}
