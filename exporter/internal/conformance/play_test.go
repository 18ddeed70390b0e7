package conformance

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-wandb/otel-wandb/exporter/internal/dotwandb"
	"github.com/otel-wandb/otel-wandb/exporter/internal/engine"
	"github.com/otel-wandb/otel-wandb/exporter/internal/intake"
	"github.com/otel-wandb/otel-wandb/exporter/internal/placement"
	"github.com/otel-wandb/otel-wandb/exporter/internal/runview"
	"github.com/otel-wandb/otel-wandb/internal/runid"
)

// What every case is played with; README.md says so.
const (
	defaultHost    = "https://api.wandb.ai"
	defaultEntity  = "team"
	defaultProject = "demo"
)

// player plays steps to an engine whose clock it moves.
type player struct {
	t       *testing.T
	k       *kase
	dir     string
	engine  *engine.Engine
	mu      sync.Mutex // guards now: shards read the clock
	now     time.Time
	seen    map[string]*placed
	dropped map[string]int64
}

// placed is where a span was found to belong.
type placed struct {
	runs []string // one, or a contradiction
	rule string   // of what declares it a task, else of the span itself, else of the last that spoke for it
	rank int
}

func (p *player) clock() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.now
}

func (p *player) start() {
	s := &p.k.settings
	cfg := engine.Config{
		Dir: p.dir, Now: p.clock, Manual: true, Observe: p.observe, Shards: 2,
		Placement: placement.Config{
			Default:      runid.Coordinates{Host: defaultHost, Entity: defaultEntity, Project: defaultProject},
			AllowedHosts: s.AllowedHosts,
			StampedOnly:  s.Placement.By == "stamped_only",
			OpenUnknown:  s.Placement.UnknownParent == "open",
		},
		Intake: intake.Options{RootlessOff: s.Rootless == "off", MetricEvents: s.MetricEvents},
	}
	for _, r := range s.Tasks {
		cfg.Intake.Rules = append(cfg.Intake.Rules, intake.TaskRule{SpanName: r.SpanName, ScopeName: r.ScopeName, Mode: r.Mode})
	}
	p.engine = engine.New(cfg)
	require.NoError(p.t, p.engine.Start())
}

func (p *player) stop() {
	for reason, n := range p.engine.Counters().Dropped() {
		if n != 0 {
			p.dropped[reason] += n
		}
	}
	require.NoError(p.t, p.engine.Shutdown(context.Background()))
}

func (p *player) observe(s *placement.Subject, d *placement.Decision, rule placement.Rule) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.Span == (placement.SpanID{}) {
		return
	}
	run := ""
	if d != nil && !d.Refused() {
		run = coordinates(d.Run)
	}
	key := s.Trace.String() + "-" + s.Span.String()
	at := p.seen[key]
	if at == nil {
		at = &placed{}
		p.seen[key] = at
	}
	if !slices.Contains(at.runs, run) {
		at.runs = append(at.runs, run)
	}
	rank := 0
	if s.Task != nil {
		rank = 2
	} else if s.Real {
		rank = 1
	}
	if rank >= at.rank {
		at.rule, at.rank = string(rule), rank
	}
}

func coordinates(c runid.Coordinates) string {
	if c.Host == defaultHost {
		c.Host = ""
	}
	return c.String()
}

// ticks is how many times the exporter looks around during a wait.
const ticks = 16

func (p *player) play(steps []step, restart bool) {
	p.start()
	for _, s := range steps {
		switch {
		case s.traces != nil:
			require.NoError(p.t, p.engine.Traces(context.Background(), *s.traces))
		case s.logs != nil:
			require.NoError(p.t, p.engine.Logs(context.Background(), *s.logs))
		case s.metrics != nil:
			require.NoError(p.t, p.engine.Metrics(context.Background(), *s.metrics))
		default:
			for range ticks {
				p.mu.Lock()
				p.now = p.now.Add(s.wait / ticks)
				p.mu.Unlock()
				p.engine.Tick()
			}
			continue
		}
		if restart {
			p.stop()
			p.start()
		}
	}
}

// outcome is what a case leads to, in the form of expect.json.
type outcome struct {
	Runs    []runOut           `json:"runs"`
	Spans   map[string]spanOut `json:"spans"`
	Dropped map[string]int64   `json:"dropped"`
	Waiting int                `json:"waiting"`
}

type spanOut struct {
	Run  *string `json:"run"`
	Rule string  `json:"rule,omitempty"`
}

type runOut struct {
	Host    string           `json:"host,omitempty"`
	Entity  string           `json:"entity"`
	Project string           `json:"project"`
	ID      string           `json:"id"`
	Name    string           `json:"name"`
	Group   string           `json:"group"`
	JobType string           `json:"job_type"`
	Notes   string           `json:"notes"`
	Tags    []string         `json:"tags"`
	Config  map[string]any   `json:"config"`
	Summary map[string]any   `json:"summary"`
	Rows    []map[string]any `json:"rows"`
	Console []lineOut        `json:"console"`
	Alerts  []alertOut       `json:"alerts"`
	Metrics []metricOut      `json:"metrics"`
	Exit    *int32           `json:"exit"`
	System  []map[string]any `json:"system,omitempty"`
}

type lineOut struct {
	Stream string `json:"stream"`
	Text   string `json:"text"`
}

type alertOut struct {
	Title string `json:"title"`
	Text  string `json:"text"`
	Level string `json:"level"`
}

type metricOut struct {
	Name    string   `json:"name,omitempty"`
	Glob    string   `json:"glob,omitempty"`
	Step    string   `json:"step_metric,omitempty"`
	Summary []string `json:"summary,omitempty"`
	Goal    string   `json:"goal,omitempty"`
	Hidden  bool     `json:"hidden,omitempty"`
}

// playCase plays a case's steps and reads what is on disk then.
func playCase(t *testing.T, k *kase, steps []step, restart bool) *outcome {
	t.Helper()
	p := &player{t: t, k: k, dir: t.TempDir(), now: epoch.Add(time.Hour), seen: map[string]*placed{}, dropped: map[string]int64{}}
	p.play(steps, restart)
	o := &outcome{Runs: []runOut{}, Spans: map[string]spanOut{}, Waiting: p.engine.Waiting()}
	p.stop()
	o.Dropped = p.dropped
	for span, at := range p.seen {
		slices.Sort(at.runs)
		run := strings.Join(at.runs, " and ") // more than one fits no expectation
		o.Spans[span] = spanOut{Run: &run, Rule: at.rule}
		if run == "" {
			o.Spans[span] = spanOut{Rule: at.rule}
		}
	}
	parts, err := runview.List(p.dir)
	require.NoError(t, err)
	for _, group := range runview.Group(parts) {
		r, err := runview.Read(group, runview.Options{})
		require.NoError(t, err)
		require.Zero(t, r.AfterExit, "records behind an exit of %s", r.ID)
		require.Zero(t, r.BadValues)
		require.False(t, r.Damaged)
		for _, row := range r.Rows {
			checkFiles(t, group, row.Values)
		}
		o.Runs = append(o.Runs, runOf(r))
	}
	sortRuns(o.Runs)
	return o
}

// checkFiles sees that the files that a row names are beside a log, whole.
func checkFiles(t *testing.T, parts []runview.PartInfo, row map[string]any) {
	t.Helper()
	for key, v := range row {
		o, _ := v.(map[string]any)
		path, _ := o["path"].(string)
		if path == "" {
			continue
		}
		var sums []string
		for _, p := range parts {
			if b, err := os.ReadFile(filepath.Join(p.Dir, "files", path)); err == nil {
				sums = append(sums, fmt.Sprintf("%x, %d bytes", sha256.Sum256(b), len(b)))
			}
		}
		require.Contains(t, sums, fmt.Sprintf("%s, %v bytes", o["sha256"], o["size"]), "%s: %s", key, path)
	}
}

func sortRuns(runs []runOut) {
	for i := range runs { // definitions have no order
		for j := range runs[i].Metrics {
			slices.Sort(runs[i].Metrics[j].Summary)
		}
		runs[i].Metrics = sorted(runs[i].Metrics)
	}
	slices.SortFunc(runs, func(a, b runOut) int {
		return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Project, b.Project), cmp.Compare(a.Entity, b.Entity), cmp.Compare(a.Host, b.Host))
	})
}

func runOf(r *runview.Run) runOut {
	o := runOut{
		Host: r.Host, Entity: r.Entity, Project: r.Project, ID: r.ID, Name: r.Name, Group: r.Group,
		JobType: r.JobType, Notes: r.Notes, Tags: append([]string{}, r.Tags...), Exit: r.Exit,
		Config: nested(r.Config), Summary: nested(r.Summary),
		Rows: []map[string]any{}, Console: []lineOut{}, Alerts: []alertOut{}, Metrics: []metricOut{},
	}
	if strings.Contains(defaultHost, o.Host) || o.Host == "default" {
		o.Host = "" // the folder's name of the default host
	}
	delete(o.Config, "_wandb")
	for _, key := range []string{"_wandb", "_step", "_runtime"} {
		delete(o.Summary, key)
	}
	for _, row := range r.Rows {
		o.Rows = append(o.Rows, nested(row.Values))
	}
	for _, s := range r.System {
		values := nested(s.Values)
		values["_timestamp"] = float(float64(s.Time.UnixNano()) / 1e9)
		o.System = append(o.System, values)
	}
	for _, l := range r.Console {
		stream := "stdout"
		if l.Stderr {
			stream = "stderr"
		}
		o.Console = append(o.Console, lineOut{stream, l.Text})
	}
	for _, a := range r.Alerts {
		o.Alerts = append(o.Alerts, alertOut{a.Title, a.Text, a.Level})
	}
	for _, m := range r.Metrics {
		o.Metrics = append(o.Metrics, metricOf(&m))
	}
	return o
}

func metricOf(m *dotwandb.Metric) metricOut {
	o := metricOut{
		Name: m.Name, Glob: m.GlobName, Step: m.StepMetric, Hidden: m.Hidden,
		Goal: []string{"", "minimize", "maximize"}[m.Goal],
	}
	s := &m.Summary
	for _, x := range []struct {
		on bool
		op string
	}{
		{s.Min, "min"},
		{s.Max, "max"},
		{s.Mean, "mean"},
		{s.Best, "best"},
		{s.Last, "last"},
		{s.First, "first"},
		{s.None, "none"},
		{s.Copy, "copy"},
	} {
		if x.on {
			o.Summary = append(o.Summary, x.op)
		}
	}
	return o
}

// nested brings values of a run to the form of expect.json.
func nested(m map[string]any) map[string]any {
	out := make(map[string]any, len(m))
	for key, v := range m {
		out[key] = normal(v)
	}
	return out
}

func normal(v any) any {
	switch v := v.(type) {
	case map[string]any:
		return nested(v)
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = normal(e)
		}
		return out
	case float64:
		switch {
		case math.IsNaN(v):
			return map[string]any{"$number": "NaN"}
		case math.IsInf(v, 1):
			return map[string]any{"$number": "Infinity"}
		case math.IsInf(v, -1):
			return map[string]any{"$number": "-Infinity"}
		}
		return float(v)
	case json.Number:
		return number(v)
	}
	return v
}

// expected reads expect.json.
func (k *kase) expected(t *testing.T) *outcome {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(string(k.expect)))
	d.UseNumber()
	d.DisallowUnknownFields()
	var o outcome
	require.NoError(t, d.Decode(&o))
	for i := range o.Runs {
		r := &o.Runs[i]
		r.Config, r.Summary = nested(r.Config), nested(r.Summary)
		for j := range r.Rows {
			r.Rows[j] = nested(r.Rows[j])
		}
		for j := range r.System {
			r.System[j] = nested(r.System[j])
		}
	}
	sortRuns(o.Runs)
	return &o
}

// hasMetrics tells whether rows of the case may be made of data points.
func (k *kase) hasMetrics() bool {
	return slices.ContainsFunc(k.steps, func(s step) bool { return s.metrics != nil })
}

// apart takes rows of data points apart: which came in one request, and so are
// one row at whose time, is nobody's business: times count to the second.
func apart(rows []map[string]any) (out []map[string]any) {
	for _, row := range rows {
		for key, v := range row {
			if key[0] != '_' {
				out = append(out, map[string]any{key: v, "_timestamp": math.Floor(asFloat(row["_timestamp"]))})
			}
		}
	}
	return sorted(out)
}

// canonical leaves out what may depend on the order of arrival.
func (o *outcome) canonical(points bool) *outcome {
	c := *o
	c.Dropped = nil
	c.Spans = map[string]spanOut{}
	for span, s := range o.Spans {
		c.Spans[span] = spanOut{Run: s.Run}
	}
	c.Runs = slices.Clone(o.Runs)
	for i := range c.Runs {
		r := &c.Runs[i]
		r.Summary = rounded(r.Summary).(map[string]any)
		r.Rows, r.System = canonicalRows(r.Rows), apart(r.System)
		if points {
			r.Rows = apart(r.Rows)
		}
		r.Console, r.Alerts = sorted(r.Console), sorted(r.Alerts)
	}
	return &c
}

func sorted[T any](list []T) []T {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b T) int { return strings.Compare(text(a), text(b)) })
	return list
}

func text(v any) string { return string(plain(v)) }

// rounded is the summary with its means and sums to 1e-9.
func rounded(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for key, e := range v {
			out[key] = rounded(e)
			if key == "_timestamp" {
				out[key] = e
			}
		}
		return out
	case json.Number:
		if f, err := v.Float64(); err == nil {
			return math.Round(f*1e9) / 1e9
		}
	}
	return v
}

// canonicalRows takes rows of one step together: the union of their keys, of
// each the later value. Rows do not say whose they are; the step metrics in
// them (`step`, `<span name>/step`) do, as far as cases need it.
func canonicalRows(rows []map[string]any) []map[string]any {
	var out []map[string]any
	at := map[string]int{}
	rows = slices.Clone(rows)
	slices.SortStableFunc(rows, func(a, b map[string]any) int { return cmp.Compare(asFloat(a["_timestamp"]), asFloat(b["_timestamp"])) })
	for _, row := range rows {
		clean, key := map[string]any{}, map[string]any{}
		for name, v := range row {
			if name == "step" || strings.HasSuffix(name, "/step") {
				key[name] = v
			}
			if name != "_step" && name != "_runtime" {
				clean[name] = v
			}
		}
		i, ok := at[text(key)]
		if !ok || len(key) == 0 {
			at[text(key)] = len(out)
			out = append(out, clean)
			continue
		}
		out[i] = mergeMaps(out[i], clean)
	}
	return sorted(out)
}

func mergeMaps(a, b map[string]any) map[string]any {
	for key, v := range b {
		old, oldMap := a[key].(map[string]any)
		now, nowMap := v.(map[string]any)
		if oldMap && nowMap {
			v = mergeMaps(old, now)
		}
		a[key] = v
	}
	return a
}

func asFloat(v any) float64 {
	switch v := v.(type) {
	case int64:
		return float64(v)
	case json.Number:
		f, _ := v.Float64() // it was made of one
		return f
	}
	return 0
}
