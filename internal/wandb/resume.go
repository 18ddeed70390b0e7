package wandb

import (
	"context"
	"encoding/json"
	"fmt"
	"math"

	"github.com/otel-wandb/otel-wandb/internal/extjson"
)

// Resume is what W&B holds of a run that exists, as far as going on with it
// needs: where its files end, and what sums over the whole run start from.
type Resume struct {
	Run
	EventsLines, ConsoleLines int

	Config  []extjson.Member // by top-level key, each value's text without {"value":…}
	Summary []extjson.Member
	Tags    []string
	Notes   string

	NextStep int64 // one past the last step; 0 for a run without rows
	LastStep int64 // of the last history line, -1 where it has none
	Runtime  int64 // seconds so far
}

const resumeDocument = `query RunResumeStatus($project:String,$entity:String,$name:String!){
model(name:$project,entityName:$entity){id name entity{id name}
bucket(name:$name,missingOk:true){id name summaryMetrics displayName logLineCount historyLineCount eventsLineCount historyTail eventsTail config tags notes wandbConfig(keys:["t"])}}}`

type resumeBucket struct {
	ID, Name                                                     string
	SummaryMetrics, HistoryTail, EventsTail, Config, WandbConfig *string
	DisplayName, Notes                                           *string
	LogLineCount, HistoryLineCount, EventsLineCount              *int
	Tags                                                         []string
}

// ResumeStatus asks what W&B holds of a run. It is nil for a run that does not
// exist, and for one that never began: without telemetry in its config.
func (c *Client) ResumeStatus(ctx context.Context, run Path) (*Resume, error) {
	const op = "RunResumeStatus"
	variables := map[string]any{"project": null(run.Project), "entity": null(run.Entity), "name": run.Run}
	var out struct {
		Model *struct {
			Name   string
			Entity struct{ Name string }
			Bucket *resumeBucket
		}
	}
	if err := c.graphQL(ctx, graphQLPolicy, op, run.String(), resumeDocument, variables, &out); err != nil {
		return nil, err
	}
	if out.Model == nil || out.Model.Bucket == nil {
		return nil, nil
	}
	b := out.Model.Bucket
	if _, began := extjson.Get(value(b.WandbConfig), "t"); !began {
		return nil, nil
	}
	r, err := b.resume()
	if err != nil {
		return nil, c.malformed(op, run.String(), err.Error())
	}
	r.Path = Path{Entity: out.Model.Entity.Name, Project: out.Model.Name, Run: b.Name}
	return r, nil
}

// resume reads a bucket. What is null of all this is an error: going on from a
// wrong number would overwrite lines.
func (b *resumeBucket) resume() (*Resume, error) {
	for _, p := range []struct {
		name string
		null bool
	}{
		{"config", b.Config == nil},
		{"historyLineCount", b.HistoryLineCount == nil},
		{"eventsLineCount", b.EventsLineCount == nil},
		{"logLineCount", b.LogLineCount == nil},
		{"eventsTail", b.EventsTail == nil},
		{"summaryMetrics", b.SummaryMetrics == nil},
		{"historyTail", b.HistoryTail == nil},
	} {
		if p.null {
			return nil, fmt.Errorf("%s is null", p.name)
		}
	}
	r := &Resume{
		Run: Run{
			StorageID: b.ID, DisplayName: value(b.DisplayName), ConfigJSON: *b.Config, HistoryLines: *b.HistoryLineCount,
		},
		EventsLines: *b.EventsLineCount, ConsoleLines: *b.LogLineCount,
		Tags: b.Tags, Notes: value(b.Notes), LastStep: -1,
	}
	var err error
	if r.Config, err = configOf(*b.Config); err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	if r.Summary, err = extjson.Members(*b.SummaryMetrics); err != nil {
		return nil, fmt.Errorf("summaryMetrics: %w", err)
	}
	history, err := lastOf(*b.HistoryTail)
	if err != nil {
		return nil, fmt.Errorf("historyTail: %w", err)
	}
	events, err := lastOf(*b.EventsTail)
	if err != nil {
		return nil, fmt.Errorf("eventsTail: %w", err)
	}
	if step, ok := integer(*b.SummaryMetrics, "_step"); ok {
		r.NextStep = step
	}
	if step, ok := integer(history, "_step"); ok {
		r.NextStep, r.LastStep = step, step
	}
	if r.HistoryLines > 0 {
		r.NextStep++
	}
	runtime := seconds(*b.SummaryMetrics, "_wandb", "runtime")
	if _, ok := extjson.Get(*b.SummaryMetrics, "_wandb", "runtime"); !ok {
		runtime = seconds(*b.SummaryMetrics, "_runtime")
	}
	r.Runtime = max(runtime, seconds(history, "_runtime"), seconds(events, "_runtime"))
	return r, nil
}

// configOf takes the "value" of each top-level key. An entry that is not an
// object is an error; one without a value says nothing.
func configOf(text string) ([]extjson.Member, error) {
	members, err := extjson.Members(text)
	if err != nil {
		return nil, err
	}
	var config []extjson.Member
	for _, m := range members {
		if _, err := extjson.Members(m.Raw); err != nil {
			return nil, fmt.Errorf("%q: %w", m.Key, err)
		}
		if raw, ok := extjson.Get(m.Raw, "value"); ok {
			config = append(config, extjson.Member{Key: m.Key, Raw: raw})
		}
	}
	return config, nil
}

// lastOf gives the last of a JSON list of strings, each a row; "{}" of none.
func lastOf(tail string) (string, error) {
	var rows []string
	if err := json.Unmarshal([]byte(tail), &rows); err != nil {
		return "", err
	}
	if len(rows) == 0 {
		return "{}", nil
	}
	_, err := extjson.Members(rows[len(rows)-1])
	return rows[len(rows)-1], err
}

func integer(object string, path ...string) (int64, bool) {
	f, ok := number(object, path...)
	if !ok || f != math.Trunc(f) || math.Abs(f) > 1<<53 {
		return 0, false
	}
	return int64(f), true
}

func seconds(object string, path ...string) int64 {
	f, ok := number(object, path...)
	if !ok || !(f > 0 && f < 1<<53) {
		return 0
	}
	return int64(f)
}

func number(object string, path ...string) (float64, bool) {
	raw, ok := extjson.Get(object, path...)
	if !ok {
		return 0, false
	}
	v, err := extjson.Decode(raw)
	if err != nil {
		return 0, false
	}
	switch v := v.(type) {
	case int64:
		return float64(v), true
	case float64:
		return v, true
	default:
		return 0, false
	}
}
