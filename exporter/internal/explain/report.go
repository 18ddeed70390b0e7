package explain

import "github.com/otel-wandb/otel-wandb/exporter/internal/placement"

// Report is what would become of the telemetry.
type Report struct {
	Traces []*Trace `json:"traces"`
	Runs   []*Run   `json:"runs"`
	Drops  []*Drop  `json:"drops,omitempty"`

	Spans   int `json:"spans"`
	Records int `json:"log_records"`
	Rows    int `json:"rows"`
	Refused int `json:"refused"` // tasks
	NoRun   int `json:"no_run"`  // spans that belong to no run and say nothing to W&B
	// KeptOut are spans and log records that say something to W&B and belong to no run.
	KeptOut int `json:"kept_out"`
	// Points are data points of metrics; of these PointsNoRun belong to no run.
	Points      int `json:"metric_points,omitempty"`
	PointsNoRun int `json:"metric_points_no_run,omitempty"`
}

// Clean tells whether everything that was meant for W&B would get there.
func (r *Report) Clean() bool { return r.Refused == 0 && r.KeptOut == 0 && len(r.Drops) == 0 }

// Trace is one trace, as a tree.
type Trace struct {
	ID    string  `json:"trace_id"`
	Roots []*Span `json:"roots"`
}

// Span is one span, and what was decided for it.
type Span struct {
	Name string `json:"name,omitempty"`
	ID   string `json:"span_id"`
	// Absent: the span is not in the input, others name it. Open: only its start
	// event, carriers or log records are.
	Absent bool `json:"absent,omitempty"`
	Open   bool `json:"open,omitempty"`

	Run   string `json:"run,omitempty"` // as in Report.Runs; empty: none
	Rule  string `json:"rule,omitempty"`
	Role  string `json:"role,omitempty"`  // owner, member or guest; tasks only
	Group string `json:"group,omitempty"` // tasks that open a run
	// Refused: the task itself. Reason says why it is, or why what it says to W&B
	// is kept out.
	Refused bool   `json:"refused,omitempty"`
	Reason  string `json:"reason,omitempty"`
	Remedy  string `json:"remedy,omitempty"`

	Rows    int `json:"rows,omitempty"`
	Records int `json:"log_records,omitempty"`
	// Carriers spoke for it.
	Carriers int     `json:"carriers,omitempty"`
	Under    []*Span `json:"children,omitempty"`

	start  int64
	parent placement.SpanID
	run    *Run
	heard  map[uint64]bool // its units, by fingerprint: a repeat brings no more rows
}

// Run is one run that would be there.
type Run struct {
	Path    string `json:"run"` // host where it is not the default, entity, project, id
	Owner   string `json:"owner,omitempty"`
	Group   string `json:"group,omitempty"`
	Spans   int    `json:"spans"`
	Rows    int    `json:"rows"`
	Lines   int    `json:"console_lines"`
	Points  int    `json:"metric_points,omitempty"`
	Repeats int    `json:"repeated,omitempty"` // items that came twice

	place string // Path without the id
	id    string
}

// Drop is something that no run would take, by reason.
type Drop struct {
	Reason string `json:"reason"`
	Items  int    `json:"items"`
	Text   string `json:"text,omitempty"` // of the first
}
