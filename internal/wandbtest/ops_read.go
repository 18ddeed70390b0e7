package wandbtest

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/otel-wandb/otel-wandb/internal/extjson"
)

// What reads runs back: the API half of W&B's Python client, wandb.Api(), asks
// these. What W&B itself would answer is only known as far as that client reads
// it; nothing here is exported to Parquet, so that all history is "live".

const readRunFile = "GET /files/{entity}/{project}/{run}/{name...}"

const timeForm = "2006-01-02T15:04:05Z"

// number is an id's number, where W&B has one besides.
func number(id string) string { return id[strings.LastIndexByte(id, ':')+1:] }

type readVariables struct {
	Entity, Project  string
	Name             string
	Run, RunName     string // wandb-core's questions call it so
	Samples          *int
	PageSize         *int
	MinStep, MaxStep *float64
	Specs            []string
	Spec             string
	FileNames        []string
	Pattern          *string
	Last             *int
	First            *int
	After            *string
}

// reading makes an operation of what one run answers; where there is none, it
// is null.
func reading(answer func(*Server, *call, *run, readVariables) (obj, *fail)) operation {
	return op(func(s *Server, c *call, v readVariables) (map[string]any, *fail) {
		p := s.projectOf(v.Entity, v.Project, false)
		if p == nil {
			return obj{"project": nil}, nil
		}
		r := p.run(v.Name + v.Run + v.RunName)
		if r == nil {
			return obj{"project": obj{"internalId": number(p.id), "run": nil}}, nil
		}
		fields, failed := answer(s, c, r, v)
		if failed != nil {
			return nil, failed
		}
		return obj{"project": obj{"internalId": number(p.id), "run": fields}}, nil
	})
}

func (s *Server) readRun(_ *call, r *run, _ readVariables) (obj, *fail) { return s.overview(r), nil }

// overview is a run as lists of runs have it.
func (s *Server) overview(r *run) obj {
	tags := []string{}
	if r.Tags != nil {
		tags = *r.Tags
	}
	system := "{}"
	if last := r.events.tail(1); len(last) > 0 {
		system = last[0]
	}
	return obj{
		"id": r.storageID, "projectId": number(r.project.id), "name": r.id, "displayName": r.DisplayName,
		"description": r.Description, "notes": r.Notes, "tags": tags, "sweepName": r.Sweep,
		"group": r.GroupName, "jobType": r.JobType, "commit": r.Commit,
		"state": r.state(s.opts.Now()), "readOnly": false, "stopped": r.stopped,
		"createdAt": r.created.UTC().Format(timeForm), "heartbeatAt": r.lastStream.UTC().Format(timeForm),
		"config": r.config, "summaryMetrics": r.summary(), "systemMetrics": system,
		"historyLineCount": r.history.count(), "historyKeys": obj{"lastStep": r.lastStep()},
		"user": obj{"name": s.opts.Username, "username": s.opts.Username},
	}
}

func (r *run) lastStep() int64 {
	last := int64(-1)
	for _, l := range r.history.all {
		if step, ok := stepOf(l.Text); ok {
			last = max(last, int64(step))
		}
	}
	return last
}

// readRuns lists a project's runs, the oldest first, on one page. Filters are
// not read.
func (s *Server) readRuns(_ *call, v struct {
	Entity, Project string
	Filters         string
},
) (map[string]any, *fail) {
	if v.Filters != "" && v.Filters != "{}" {
		return nil, failf(http.StatusBadRequest, "this server has no filters for runs")
	}
	p := s.projectOf(v.Entity, v.Project, false)
	if p == nil {
		return obj{"project": nil}, nil
	}
	edges := []any{}
	for i, r := range p.runs {
		edges = append(edges, obj{"node": s.overview(r), "cursor": strconv.Itoa(i)})
	}
	return obj{"project": obj{
		"internalId": number(p.id), "readOnly": false, "runCount": len(p.runs),
		"runs": obj{"edges": edges, "pageInfo": lastPage},
	}}, nil
}

var lastPage = obj{"__typename": "PageInfo", "endCursor": nil, "hasNextPage": false}

// readHistory answers questions for rows: a range of steps, or samples. Which
// rows W&B takes for samples is not known; here they lie evenly.
func (s *Server) readHistory(_ *call, r *run, v readVariables) (obj, *fail) {
	all := r.history.list()
	rows := []string{}
	for _, l := range all {
		step, ok := stepOf(l.Text)
		if ok && (v.MinStep != nil && step < *v.MinStep || v.MaxStep != nil && step >= *v.MaxStep) {
			continue
		}
		rows = append(rows, l.Text)
	}
	limit := v.Samples
	if v.PageSize != nil {
		limit = v.PageSize
	}
	events := []string{}
	for _, l := range r.events.list() {
		events = append(events, l.Text)
	}
	answer := obj{
		"history": evenly(rows, limit), "events": evenly(events, limit),
		"historyKeys":    obj{"lastStep": r.lastStep()},
		"parquetHistory": obj{"parquetUrls": []string{}, "liveData": []any{}},
	}
	if v.Spec != "" {
		v.Specs = append(v.Specs, v.Spec)
	}
	sampled := []any{}
	for _, text := range v.Specs {
		rows, err := sample(all, text)
		if err != nil {
			return nil, failf(http.StatusBadRequest, "spec %s: %v", text, err)
		}
		sampled = append(sampled, rows)
	}
	answer["sampledHistory"] = sampled
	return answer, nil
}

func evenly[T any](list []T, limit *int) []T {
	if limit == nil || *limit <= 0 || len(list) <= *limit {
		return list
	}
	few := make([]T, *limit)
	for i := range few {
		few[i] = list[i*len(list) / *limit]
	}
	return few
}

// sample gives the rows that have all keys of a specification. Values that JSON
// has not are text in them.
func sample(lines []Line, text string) ([]obj, error) {
	var spec struct {
		Keys             []string
		Samples          *int
		MinStep, MaxStep *float64 // MaxStep is one of them here
	}
	if err := json.Unmarshal([]byte(text), &spec); err != nil {
		return nil, err
	}
	rows := []obj{}
	for _, l := range lines {
		step, ok := stepOf(l.Text)
		if !ok || spec.MinStep != nil && step < *spec.MinStep || spec.MaxStep != nil && step > *spec.MaxStep {
			continue
		}
		row, whole := obj{}, true
		for _, key := range spec.Keys {
			raw, there := extjson.Get(l.Text, key)
			if !there {
				raw, there = extjson.Get(l.Text, strings.Split(key, ".")...)
			}
			switch {
			case !there:
				whole = false
			case json.Valid([]byte(raw)):
				row[key] = json.RawMessage(raw)
			default:
				row[key] = raw
			}
		}
		if whole {
			rows = append(rows, row)
		}
	}
	return evenly(rows, spec.Samples), nil
}

// readFiles lists a run's files, on one page, each with two URLs to read it at:
// one is signed, the other takes the client's credentials.
func (s *Server) readFiles(c *call, r *run, v readVariables) (obj, *fail) {
	if text(v.Pattern) != "" {
		return nil, failf(http.StatusBadRequest, "this server has no patterns for files")
	}
	names := []string{}
	for name := range r.files {
		if len(v.FileNames) == 0 || slices.Contains(v.FileNames, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	edges := []any{}
	for i, name := range names {
		file := s.readable(c, "run/"+r.id+"/"+escape(name), name, r.files[name])
		file["url"] = origin(c.Request) + "/files/" + escape(r.project.entity+"/"+r.project.name+"/"+r.id+"/"+name)
		edges = append(edges, obj{"cursor": strconv.Itoa(i), "node": file})
	}
	return obj{"fileCount": len(r.files), "files": obj{"edges": edges, "pageInfo": lastPage}}, nil
}

// runFile answers an URL of a run's file that is not signed.
func (s *Server) runFile(c *call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.authorized(c) {
		return
	}
	if r := s.runOf(c.PathValue("entity"), c.PathValue("project"), c.PathValue("run")); r != nil {
		if content, there := r.files[c.PathValue("name")]; there {
			c.answer = content
			return
		}
	}
	c.refuse(http.StatusNotFound, "no file %s", c.path)
}

// readable is a file as lists of files have it.
func (s *Server) readable(c *call, at, name string, content []byte) obj {
	url := s.sign(c, at, stored{get: func() []byte { return content }})
	sum := base64.StdEncoding.EncodeToString(md5Of(content))
	return obj{
		"__typename": "File", "id": "File:" + at, "name": name, "url": url, "directUrl": url,
		"sizeBytes": len(content), "mimetype": mime.TypeByExtension(path.Ext(name)),
		"updatedAt": s.opts.Now().UTC().Format(timeForm), "md5": sum, "digest": sum, "storagePath": at,
	}
}

// readConsole gives console lines: a page of them, or the last.
func (s *Server) readConsole(_ *call, r *run, v readVariables) (obj, *fail) {
	lines := r.console.list()
	count := len(lines)
	if v.After != nil {
		n, err := strconv.Atoi(*v.After)
		if err != nil {
			return nil, failf(http.StatusBadRequest, "no cursor %q", *v.After)
		}
		lines = lines[min(n+1, count):]
	}
	if v.First != nil {
		lines = lines[:min(*v.First, len(lines))]
	}
	if v.Last != nil {
		lines = lines[max(0, len(lines)-*v.Last):]
	}
	edges := []any{}
	end := -1
	for _, l := range lines {
		end = l.Offset
		edges = append(edges, obj{"node": consoleLine(l)})
	}
	return obj{"logLineCount": count, "logLines": obj{
		"edges": edges, "pageInfo": obj{"endCursor": strconv.Itoa(end), "hasNextPage": end >= 0 && end < count-1},
	}}, nil
}

// consoleLine takes a line of either form apart.
func consoleLine(l Line) obj {
	var structured struct{ Level, TS, Label, Content string }
	if json.Unmarshal([]byte(l.Text), &structured) == nil && structured.TS != "" {
		return obj{"number": l.Offset, "timestamp": structured.TS, "level": structured.Level, "label": structured.Label, "line": structured.Content}
	}
	rest, failed := strings.CutPrefix(l.Text, "ERROR ")
	level := ""
	if failed {
		level = "error"
	}
	at, line, _ := strings.Cut(rest, " ")
	if _, err := time.Parse("2006-01-02T15:04:05.999999", at); err != nil {
		return obj{"number": l.Offset, "timestamp": nil, "level": "", "label": "", "line": l.Text}
	}
	return obj{"number": l.Offset, "timestamp": at, "level": level, "label": "", "line": line}
}

// readArtifacts lists what a run logged.
func (s *Server) readArtifacts(c *call, r *run, _ readVariables) (obj, *fail) {
	list := []*artifact{}
	for _, a := range s.artifacts {
		if a.run == r.id && a.project == r.project && a.state == "COMMITTED" {
			list = append(list, a)
		}
	}
	slices.SortFunc(list, func(a, b *artifact) int {
		if a.name != b.name {
			return strings.Compare(a.name, b.name)
		}
		return a.sequenceVersion - b.sequenceVersion
	})
	edges := []any{}
	for _, a := range list {
		edges = append(edges, obj{"node": s.artifactFields(c, a)})
	}
	return obj{"artifacts": obj{"totalCount": len(list), "edges": edges, "pageInfo": lastPage}}, nil
}

// version finds a whole version of an artifact by what follows its name: a
// number or an alias; nil where there is none.
func (s *Server) version(p *project, name, alias string) *artifact {
	for _, a := range s.artifacts {
		if a.project == p && a.name == name && a.state == "COMMITTED" &&
			(slices.Contains(a.aliases, alias) || alias == fmt.Sprint("v", a.sequenceVersion)) {
			return a
		}
	}
	return nil
}

// artifactByName finds a version as a member of its collection.
func (s *Server) artifactByName(c *call, v struct{ Entity, Project, Name string }) (map[string]any, *fail) {
	p := s.projectOf(v.Entity, v.Project, false)
	if p == nil {
		return obj{"project": nil}, nil
	}
	name, alias, _ := strings.Cut(v.Name, ":")
	if alias == "" {
		alias = "latest"
	}
	a := s.version(p, name, alias)
	if a == nil {
		return obj{"project": obj{"artifactCollectionMembership": nil}}, nil
	}
	fields := s.artifactFields(c, a)
	return obj{"project": obj{"artifactCollectionMembership": obj{
		"__typename": "ArtifactCollectionMembership", "id": "Member:" + a.id, "versionIndex": a.sequenceVersion,
		"aliases": fields["aliases"], "artifactCollection": fields["artifactSequence"], "artifact": fields,
	}}}, nil
}

// artifactFiles lists a version's files, each with an URL to read it at.
func (s *Server) artifactFiles(c *call, v struct {
	Entity, Project, Collection, Alias string
	FileNames                          []string
},
) (map[string]any, *fail) {
	p := s.projectOf(v.Entity, v.Project, false)
	if p == nil {
		return obj{"project": nil}, nil
	}
	a := s.version(p, v.Collection, v.Alias)
	if a == nil {
		return obj{"project": obj{"artifactCollection": nil}}, nil
	}
	names := []string{}
	for name := range a.files {
		if len(v.FileNames) == 0 || slices.Contains(v.FileNames, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	edges := []any{}
	for _, name := range names {
		edges = append(edges, obj{"node": s.readable(c, "artifact/"+a.id+"/"+escape(name), name, a.files[name])})
	}
	return obj{"project": obj{"artifactCollection": obj{"__typename": "ArtifactSequence", "artifactMembership": obj{
		"files": obj{"totalCount": len(names), "edges": edges, "pageInfo": lastPage},
	}}}}, nil
}

// useArtifact notes nothing: what runs used is not kept.
func (s *Server) useArtifact(c *call, v struct{ EntityName, ProjectName, RunName, ArtifactID string }) (map[string]any, *fail) {
	a := s.artifacts[v.ArtifactID]
	if a == nil || s.runOf(v.EntityName, v.ProjectName, v.RunName) == nil {
		return nil, failf(http.StatusNotFound, "no artifact %q, or no run %s/%s/%s", v.ArtifactID, v.EntityName, v.ProjectName, v.RunName)
	}
	return obj{"useArtifact": obj{"artifact": s.artifactFields(c, a)}}, nil
}
