package wandbtest

import (
	"cmp"
	"maps"
	"slices"

	"github.com/otel-wandb/otel-wandb/internal/extjson"
)

// Run is a run as the server holds it: a copy, to look at.
type Run struct {
	Entity, Project, ID string
	StorageID           string

	DisplayName, Notes, Group, JobType string
	Host, Program, Commit, Repo, Sweep string
	Tags                               []string

	State      string // running, finished, failed, crashed, killed, preempting, pending
	ExitCode   *int   // of a complete run
	Stopped    bool   // somebody pressed stop
	Crashes    int    // times it was called crashed and then came back
	ConfigJSON string
	// SummaryJSON is what the client sent; of several writers, merged.
	SummaryJSON              string
	History, Events, Console []Line
	Files                    map[string][]byte // by name, as uploaded
	Uploaded                 []string          // names the client reported
	Alerts                   []Alert
}

// Runs gives all runs, in the order they were made.
func (s *Server) Runs() []Run {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []Run
	for _, p := range s.projects {
		for _, r := range p.runs {
			list = append(list, s.view(r))
		}
	}
	return list
}

// Run gives one run; "" is the default entity.
func (s *Server) Run(entity, project, id string) (Run, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.runOf(entity, project, id); r != nil {
		return s.view(r), true
	}
	return Run{}, false
}

func (s *Server) view(r *run) Run {
	v := Run{
		Entity: r.project.entity, Project: r.project.name, ID: r.id, StorageID: r.storageID,
		DisplayName: text(r.DisplayName), Notes: text(r.Notes), Group: text(r.GroupName), JobType: text(r.JobType),
		Host: text(r.Host), Program: text(r.Program), Commit: text(r.Commit), Repo: text(r.Repo), Sweep: text(r.Sweep),
		State: r.state(s.opts.Now()), Stopped: r.stopped, Crashes: r.crashes,
		ConfigJSON: r.config, SummaryJSON: r.summary(),
		History: r.history.list(), Events: r.events.list(), Console: r.console.list(),
		Files: maps.Clone(r.files), Uploaded: slices.Clone(r.uploaded), Alerts: slices.Clone(r.alerts),
	}
	if r.Tags != nil {
		v.Tags = slices.Clone(*r.Tags)
	}
	if r.exit != nil {
		code := *r.exit
		v.ExitCode = &code
	}
	return v
}

// Config is the run's config without W&B's own key and without the "value"
// around each value.
func (r Run) Config() map[string]any {
	all, _ := extjson.DecodeObject(r.ConfigJSON) // checked when it came
	delete(all, "_wandb")
	for key, v := range all {
		if m, ok := v.(map[string]any); ok {
			all[key] = m["value"]
		}
	}
	return all
}

// Summary is the run's summary.
func (r Run) Summary() map[string]any {
	m, _ := extjson.DecodeObject(r.SummaryJSON) // checked when it came
	return m
}

// Rows are the run's history rows.
func (r Run) Rows() []map[string]any { return objects(r.History) }

// SystemMetrics are the rows of the run's events.
func (r Run) SystemMetrics() []map[string]any { return objects(r.Events) }

func objects(list []Line) []map[string]any {
	rows := []map[string]any{}
	for _, line := range list {
		m, _ := extjson.DecodeObject(line.Text) // checked when it came
		rows = append(rows, m)
	}
	return rows
}

// Stop presses the stop button of a run, which the next file stream answer says.
// It tells whether there is such a run.
func (s *Server) Stop(entity, project, id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.runOf(entity, project, id)
	if r != nil {
		r.stopped = true
	}
	return r != nil
}

// Requests gives all requests so far, in the order they were answered.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// Violations gives what clients did that W&B's own client never does. What W&B
// makes of it is not known, so a client's test wants none.
func (s *Server) Violations() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.violations)
}

// Artifact is one version of an artifact.
type Artifact struct {
	Project, Name, Type, State, Digest string
	Run                                string // that logged it
	ClientID, SequenceID               string // what its client calls it
	Step                               int64  // of the row that it is from
	Version                            int
	Aliases                            []string
	Files                              map[string][]byte
	Manifest                           []byte
}

// Artifacts gives the artifacts, those that were never finished too, by name and
// version.
func (s *Server) Artifacts() []Artifact {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := slices.SortedFunc(maps.Values(s.artifacts), func(a, b *artifact) int {
		return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.sequenceVersion, b.sequenceVersion), cmp.Compare(a.id, b.id))
	})
	var list []Artifact
	for _, a := range all {
		v := Artifact{
			Project: a.project.name, Name: a.name, Type: a.typeName, State: a.state, Digest: a.digest,
			Run: a.run, ClientID: a.clientID, SequenceID: a.sequenceID, Version: a.sequenceVersion,
			Aliases: slices.Clone(a.aliases), Files: maps.Clone(a.files),
		}
		if a.step != nil {
			v.Step = *a.step
		}
		if a.manifest != nil {
			v.Manifest = a.manifest.content
		}
		list = append(list, v)
	}
	return list
}
