package wandbtest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"

	"github.com/otel-wandb/otel-wandb/internal/extjson"
)

type obj = map[string]any

type none struct{}

// viewer answers who the key belongs to, and what the server can do: the two
// questions come in one document or in two.
func (s *Server) viewer(_ *call, _ none) (map[string]any, *fail) {
	features := []any{}
	for _, name := range s.opts.Features {
		features = append(features, obj{"name": name, "isEnabled": true})
	}
	return obj{
		"viewer": obj{
			"id": "User:" + s.opts.Username, "username": s.opts.Username, "email": s.opts.Email,
			"entity": s.opts.Entity, "flags": "{}", "name": s.opts.Username, "admin": false, "deletedAt": nil,
			"apiKeys": obj{"edges": []any{}},
			"teams":   obj{"edges": []any{obj{"node": obj{"name": s.opts.Entity}}}},
		},
		"serverInfo": obj{
			"features":       features,
			"cliVersionInfo": obj{"max_cli_version": s.opts.NewestClient, "min_cli_version": "0.0.1"},
			"latestLocalVersionInfo": obj{
				"outOfDate": false, "latestVersionString": "0.99.0", "versionOnThisInstanceString": "0.99.0",
			},
		},
	}, nil
}

func (s *Server) organization(_ *call, _ none) (map[string]any, *fail) {
	return obj{"entity": obj{"organization": obj{"coreWeaveOrganizationId": nil}}}, nil
}

type upsertVariables struct {
	ID, Name, Project, Entity *string
	fields
	Config, SummaryMetrics *string
	State                  *string
	Debug                  *bool
}

func (s *Server) upsertBucket(c *call, v upsertVariables) (map[string]any, *fail) {
	if v.Config != nil {
		if _, err := extjson.DecodeObject(*v.Config); err != nil {
			return nil, failf(http.StatusBadRequest, "config: %v", err)
		}
	}
	if v.SummaryMetrics != nil {
		if _, err := extjson.DecodeObject(*v.SummaryMetrics); err != nil {
			return nil, failf(http.StatusBadRequest, "summaryMetrics: %v", err)
		}
	}
	p := s.projectOf(text(v.Entity), text(v.Project), true)
	if p == nil {
		return nil, failf(http.StatusNotFound, "entity %q not found", text(v.Entity))
	}
	name := text(v.Name)
	if name == "" {
		s.ids++
		name = fmt.Sprintf("standin%d", s.ids)
	}
	writer := c.Header.Get(headerGraphQLClient)
	if (writer != "") != (c.Header.Get(headerAsync) == "true") {
		s.violation("%s: shared mode takes both headers, %s and %s", name, headerAsync, headerGraphQLClient)
	}
	r := p.run(name)
	inserted := r == nil
	switch {
	case inserted && v.ID != nil:
		return nil, failf(http.StatusNotFound, "no run has the id %q", *v.ID)
	case inserted:
		s.ids++
		generated := fmt.Sprintf("quiet-standin-%d", s.ids)
		r = &run{
			project: p, storageID: s.newID("Run"), id: name,
			config: "{}", files: map[string][]byte{}, writers: map[string]bool{},
			fields: fields{DisplayName: &generated}, created: s.opts.Now(),
		}
		r.open(s.opts.Now())
		p.runs = append(p.runs, r)
	case v.ID != nil && *v.ID != r.storageID:
		return nil, failf(http.StatusNotFound, "run %s has another id than %q", name, *v.ID)
	case r.exit != nil && (writer == "" || !r.writers[writer]):
		// A resume. A writer of a shared run that is late with its config is none.
		r.open(s.opts.Now())
	}
	r.writers[writer] = true
	r.update(v.fields)
	if v.Config != nil {
		r.config = *v.Config
	}
	if v.SummaryMetrics != nil {
		r.summaries = []writerSummary{{writer, *v.SummaryMetrics}}
	}
	return obj{"upsertBucket": obj{"bucket": r.bucket(), "inserted": inserted}}, nil
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// bucket is a run as an upsert answers with it.
func (r *run) bucket() obj {
	return obj{
		"id": r.storageID, "name": r.id, "displayName": r.DisplayName, "description": r.Description,
		"config": r.config, "sweepName": r.Sweep, "historyLineCount": r.history.count(),
		"project": obj{
			"id": r.project.id, "name": r.project.name,
			"entity": obj{"id": r.project.entityID, "name": r.project.entity},
		},
	}
}

type runVariables struct {
	Entity, Project, Name          string
	Run                            string
	EntityName, ProjectName, RunID string // RunStoppedStatus calls them so
}

func (s *Server) runResumeStatus(_ *call, v runVariables) (map[string]any, *fail) {
	p := s.projectOf(v.Entity, v.Project, false)
	if p == nil {
		return obj{"model": nil}, nil
	}
	model := obj{"id": p.id, "name": p.name, "entity": obj{"id": p.entityID, "name": p.entity}, "bucket": nil}
	if r := p.run(v.Name); r != nil {
		bucket := r.bucket()
		bucket["summaryMetrics"] = r.summary()
		bucket["logLineCount"] = r.console.count()
		bucket["eventsLineCount"] = r.events.count()
		bucket["historyTail"] = quote(r.history.tail(1))
		bucket["eventsTail"] = quote(r.events.tail(1))
		bucket["tags"] = r.Tags
		bucket["notes"] = r.Notes
		bucket["wandbConfig"] = r.wandbConfig("t")
		model["bucket"] = bucket
	}
	return obj{"model": model}, nil
}

// projectRun answers what is asked of one run: its state, whether somebody
// stopped it, its summary.
func (s *Server) projectRun(_ *call, v runVariables) (map[string]any, *fail) {
	entity, project, name := v.Entity+v.EntityName, v.Project+v.ProjectName, v.Name+v.RunID+v.Run
	p := s.projectOf(entity, project, false)
	if p == nil {
		return obj{"project": nil}, nil
	}
	r := p.run(name)
	if r == nil {
		return obj{"project": obj{"run": nil}}, nil
	}
	return obj{"project": obj{"run": obj{
		"id": r.storageID, "name": r.id, "displayName": r.DisplayName,
		"state": r.state(s.opts.Now()), "stopped": r.stopped, "summaryMetrics": r.summary(),
	}}}, nil
}

func (s *Server) stopRun(_ *call, v struct{ ID string }) (map[string]any, *fail) {
	r := s.runByStorageID(v.ID)
	if r == nil {
		return nil, failf(http.StatusNotFound, "no run has the id %q", v.ID)
	}
	r.stopped = true
	return obj{"stopRun": obj{"success": true}}, nil
}

// updateRunState allows what W&B allows.
func (s *Server) updateRunState(_ *call, v struct{ Input struct{ ID, State string } }) (map[string]any, *fail) {
	r := s.runByStorageID(v.Input.ID)
	if r == nil {
		return nil, failf(http.StatusNotFound, "no run has the id %q", v.Input.ID)
	}
	from := map[string][]string{
		"pending": {"running", "failed", "crashed", "preempting"},
		"failed":  {"pending", "running"},
	}[v.Input.State]
	now := r.state(s.opts.Now())
	if !slices.Contains(from, now) {
		return nil, failf(http.StatusBadRequest, "a run that is %s cannot become %q", now, v.Input.State)
	}
	r.exit, r.set = nil, v.Input.State
	return obj{"updateRunState": obj{"success": true}}, nil
}

// Alert is one alert of a run.
type Alert struct {
	Title, Text, Severity string
	WaitDuration          json.Number // milliseconds
}

type alertVariables struct {
	EntityName, ProjectName, RunName string
	Alert
}

func (s *Server) notifyAlert(_ *call, v alertVariables) (map[string]any, *fail) {
	r := s.runOf(v.EntityName, v.ProjectName, v.RunName)
	if r == nil {
		return nil, failf(http.StatusNotFound, "run %s/%s/%s not found", v.EntityName, v.ProjectName, v.RunName)
	}
	if !slices.Contains([]string{"INFO", "WARN", "ERROR"}, v.Severity) {
		return nil, failf(http.StatusBadRequest, "no severity %q", v.Severity)
	}
	r.alerts = append(r.alerts, v.Alert)
	return obj{"notifyScriptableRunAlert": obj{"success": true}}, nil
}
