package wandbtest

import (
	"encoding/json"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/otel-wandb/otel-wandb/internal/extjson"
)

// crashAfter is how long a run may be silent before W&B calls it crashed.
const crashAfter = 5 * time.Minute

// run is what the server keeps of a run.
type run struct {
	project       *project
	storageID, id string
	fields        // as upserts set them
	config        string

	history, events, console lines
	summaries                []writerSummary // the last to come is the last
	files                    map[string][]byte
	uploaded                 []string
	alerts                   []Alert

	writers    map[string]bool // client ids that upserted it
	created    time.Time
	lastStream time.Time // or when it was opened
	preempting bool
	stopped    bool   // somebody pressed stop
	exit       *int   // it is complete
	ending     string // the request that said so
	set        string // a state that somebody set
	crashes    int    // times it came back after more than crashAfter
}

type writerSummary struct{ writer, text string }

// fields are what an upsert can set. nil is "never set".
type fields struct {
	DisplayName, Description, Notes, GroupName, JobType *string
	Host, Program, Commit, Repo, Sweep                  *string
	Tags                                                *[]string
}

// update takes over the fields that are set.
func (f *fields) update(from fields) {
	for _, field := range []struct{ to, from **string }{
		{&f.DisplayName, &from.DisplayName},
		{&f.Description, &from.Description},
		{&f.Notes, &from.Notes},
		{&f.GroupName, &from.GroupName},
		{&f.JobType, &from.JobType},
		{&f.Host, &from.Host},
		{&f.Program, &from.Program},
		{&f.Commit, &from.Commit},
		{&f.Repo, &from.Repo},
		{&f.Sweep, &from.Sweep},
	} {
		if *field.from != nil {
			*field.to = *field.from
		}
	}
	if from.Tags != nil {
		f.Tags = from.Tags
	}
}

// open makes the run a running one, at its start or again.
func (r *run) open(now time.Time) {
	r.lastStream = now
	r.exit, r.set, r.stopped, r.preempting = nil, "", false, false
}

// state is the run's state at a time.
func (r *run) state(now time.Time) string {
	switch {
	case r.exit != nil && r.stopped:
		return "killed"
	case r.exit != nil && *r.exit == 0:
		return "finished"
	case r.exit != nil:
		return "failed"
	case r.set != "":
		return r.set
	case r.preempting:
		return "preempting" // W&B waits for it
	case now.Sub(r.lastStream) > crashAfter:
		return "crashed"
	default:
		return "running"
	}
}

// setSummary takes the whole summary of a writer.
func (r *run) setSummary(writer, text string) {
	r.summaries = slices.DeleteFunc(r.summaries, func(s writerSummary) bool { return s.writer == writer })
	r.summaries = append(r.summaries, writerSummary{writer, text})
}

// summary is the run's summary. Of several writers each key is the latest
// writer's; how W&B merges them is not known.
func (r *run) summary() string {
	switch len(r.summaries) {
	case 0:
		return "{}"
	case 1:
		return r.summaries[0].text
	}
	merged := map[string]string{}
	for _, s := range r.summaries {
		members, _ := extjson.Members(s.text) // was checked when it came
		for _, m := range members {
			merged[m.Key] = m.Raw
		}
	}
	return object(merged)
}

// object writes an object of raw values, its keys in order.
func object(members map[string]string) string {
	var b strings.Builder
	b.WriteByte('{')
	for i, key := range slices.Sorted(maps.Keys(members)) {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(quote(key) + ":" + members[key])
	}
	b.WriteByte('}')
	return b.String()
}

// quote writes a value as JSON that always is valid.
func quote(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // strings and lists of strings
	}
	return string(b)
}

// wandbConfig is config._wandb cut down to some keys; null without any.
func (r *run) wandbConfig(keys ...string) *string {
	got := map[string]string{}
	for _, key := range keys {
		if raw, ok := extjson.Get(r.config, "_wandb", "value", key); ok {
			got[key] = raw
		}
	}
	if len(got) == 0 {
		return nil
	}
	text := object(got)
	return &text
}

// stepOf is the _step of a history line.
func stepOf(line string) (float64, bool) {
	raw, ok := extjson.Get(line, "_step")
	if !ok {
		return 0, false
	}
	step, err := strconv.ParseFloat(raw, 64)
	return step, err == nil && !math.IsNaN(step)
}
