package bridge

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"

	"github.com/otel-wandb/otel-wandb/internal/runid"
)

// encodePlace writes a run as the member of baggage that names it:
//
//	e=<entity>&g=<group>&n=<name>&o=<owner's span id>&p=<project>&r=<run id>&s=<owner's start, unix ns>
//
// The host is not among them: who can write baggage must not choose where a
// program sends to.
func encodePlace(p *place) string {
	if p == nil {
		return ""
	}
	v := url.Values{}
	set := func(key, value string) {
		if value != "" {
			v.Set(key, value)
		}
	}
	set("e", p.coords.Entity)
	set("p", p.coords.Project)
	set("r", p.coords.ID)
	set("g", p.group)
	set("n", p.name)
	if p.owner.IsValid() {
		set("o", p.owner.String())
		set("s", strconv.FormatInt(p.ownerStart.UnixNano(), 10))
	}
	return v.Encode()
}

// decodePlace reads it; nil where there is none.
func decodePlace(text string) (*place, error) {
	if text == "" {
		return nil, nil
	}
	v, err := url.ParseQuery(text)
	if err != nil {
		return nil, fmt.Errorf("run %.100q: %w", text, err)
	}
	p := &place{
		coords: runid.Coordinates{Entity: v.Get("e"), Project: v.Get("p"), ID: v.Get("r")},
		name:   v.Get("n"), group: v.Get("g"),
	}
	if clean, changed := runid.Sanitize(p.coords.ID); clean == "" || changed {
		return nil, fmt.Errorf("run %.100q: its id is none that W&B takes", text)
	}
	if runid.ProjectError(p.coords.Project) != "" || runid.ProjectError(p.coords.Entity) != "" {
		return nil, fmt.Errorf("run %.100q: its entity or project is none that W&B takes", text)
	}
	if owner := v.Get("o"); owner != "" {
		if n, err := hex.Decode(p.owner[:], []byte(owner[:min(len(owner), 16)])); err != nil || n != 8 || len(owner) != 16 {
			return nil, fmt.Errorf("run %.100q: its owner is no span id", text)
		}
		ns, err := strconv.ParseInt(v.Get("s"), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("run %.100q: its start is no time", text)
		}
		p.ownerStart = time.Unix(0, ns)
	}
	return p, nil
}

// sentScope is a scope as it is sent. What the run has already is kept apart
// from what is new: a child says only the latter.
type sentScope struct {
	Mode      Mode           `json:"m,omitempty"`
	Entity    string         `json:"e,omitempty"`
	Project   string         `json:"p,omitempty"`
	ID        string         `json:"r,omitempty"`
	Name      string         `json:"n,omitempty"`
	Group     string         `json:"g,omitempty"`
	JobType   string         `json:"j,omitempty"`
	Notes     string         `json:"o,omitempty"`
	RankScope RankScope      `json:"k,omitempty"`
	HadTags   []string       `json:"t,omitempty"`
	NewTags   []string       `json:"u,omitempty"`
	HadConfig map[string]any `json:"c,omitempty"`
	NewConfig map[string]any `json:"d,omitempty"`
}

// encodeScope writes a scope as a member of baggage; "" where it says nothing.
// run is the run it is sent along with.
func encodeScope(s *scope, run *place) string {
	if s == nil {
		return ""
	}
	out := sentScope{
		Mode: s.mode, Entity: s.coords.Entity, Project: s.coords.Project, ID: s.coords.ID,
		Name: s.name, Group: s.group, JobType: s.jobType, Notes: s.notes, RankScope: s.rankScope,
	}
	for _, tag := range s.tags {
		if run != nil && slices.Contains(run.tags, tag) {
			out.HadTags = append(out.HadTags, tag)
		} else {
			out.NewTags = append(out.NewTags, tag)
		}
	}
	for key, v := range s.config {
		to := &out.NewConfig
		if run != nil {
			if had, ok := run.config[key]; ok && same(had, v) {
				to = &out.HadConfig
			}
		}
		if *to == nil {
			*to = map[string]any{}
		}
		(*to)[key] = plain(v)
	}
	text, err := json.Marshal(out)
	if err != nil || string(text) == "{}" {
		return ""
	}
	return string(text)
}

// decodeScope reads it. had is what the run that came along has already.
func decodeScope(text string) (s, had *scope, err error) {
	had = &scope{}
	if text == "" {
		return nil, had, nil
	}
	var in sentScope
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber() // an integer stays one
	if err := d.Decode(&in); err != nil {
		return nil, had, fmt.Errorf("scope %.100q: %w", text, err)
	}
	opts := []ConfigOption{
		WithMode(in.Mode), WithEntity(in.Entity), WithProject(in.Project), WithRunID(in.ID), WithRunName(in.Name),
		WithGroup(in.Group), WithJobType(in.JobType), WithNotes(in.Notes), WithRankScope(in.RankScope),
	}
	had = newScope([]ConfigOption{WithTags(in.HadTags...), WithConfigValues(in.HadConfig)})
	s = newScope(append(opts, WithTags(in.NewTags...), WithConfigValues(in.NewConfig)))
	s = had.with(s)
	return s, had, nil
}

// short is a scope without what can be long.
func (s *scope) short() *scope {
	if s == nil {
		return nil
	}
	out := *s
	out.config, out.tags, out.notes = nil, nil, ""
	return &out
}

// same tells whether values are equal. 1 and 1.0 are: on the way to another
// process the kind of a number may be lost.
func same(a, b attribute.Value) bool {
	number := func(v attribute.Value) bool { return v.Type() == attribute.INT64 || v.Type() == attribute.FLOAT64 }
	return (a.Type() == b.Type() || number(a) && number(b)) && a.String() == b.String()
}

// plain is a value as encoding/json takes it. What JSON lacks becomes text.
func plain(v attribute.Value) any {
	switch v.Type() {
	case attribute.FLOAT64:
		f := v.AsFloat64()
		if math.IsNaN(f) || math.IsInf(f, 0) {
			return v.String()
		}
		return f
	case attribute.SLICE:
		out := []any{}
		for _, e := range v.AsSlice() {
			out = append(out, plain(e))
		}
		return out
	case attribute.MAP:
		out := map[string]any{}
		for _, kv := range v.AsMap() {
			out[string(kv.Key)] = plain(kv.Value)
		}
		return out
	case attribute.FLOAT64SLICE:
		out := []any{}
		for _, f := range v.AsFloat64Slice() {
			out = append(out, plain(attribute.Float64Value(f)))
		}
		return out
	case attribute.EMPTY:
		return nil
	default:
		return v.AsInterface()
	}
}
