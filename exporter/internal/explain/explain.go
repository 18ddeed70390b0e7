package explain

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/otel-wandb/otel-wandb/exporter/internal/intake"
	"github.com/otel-wandb/otel-wandb/exporter/internal/join"
	"github.com/otel-wandb/otel-wandb/exporter/internal/placement"
	"github.com/otel-wandb/otel-wandb/exporter/internal/run"
	"github.com/otel-wandb/otel-wandb/internal/runid"
)

// Options are what of the exporter's configuration decides.
type Options struct {
	Placement placement.Config // its times and bounds do not count: nothing waits, nothing is forgotten
	Intake    intake.Options
}

// Explainer collects what would become of telemetry. Make it with New, feed it
// through Read, and end with Report.
type Explainer struct {
	opts   Options
	table  *placement.Table
	report Report
	traces map[placement.TraceID]*trace
	runs   map[runid.Coordinates]*runState
	drops  map[string]*Drop
	joins  []placement.Unit // metrics that name no run: they look for theirs at the end
}

type trace struct {
	*Trace
	spans map[placement.SpanID]*Span
	order []placement.SpanID
}

type runState struct {
	*Run
	state *run.State
}

// New makes an Explainer.
func New(opts Options) *Explainer {
	opts.Placement.MaxLinks, opts.Placement.MaxWaiting = 0, 0
	return &Explainer{
		opts: opts, table: placement.NewTable(opts.Placement),
		traces: map[placement.TraceID]*trace{}, runs: map[runid.Coordinates]*runState{}, drops: map[string]*Drop{},
	}
}

var _ Sink = (*Explainer)(nil)

// linger is the exporter's default: of metrics, what was read a little after a
// run's end is still its own.
const linger = 5 * time.Second

// now stands still: what order of arrival decides, the input's order decides.
const now = 1

// Traces takes a request of spans.
func (e *Explainer) Traces(td ptrace.Traces) {
	units := intake.Traces(td, &e.opts.Intake)
	i := 0
	for _, rs := range td.ResourceSpans().All() {
		for _, ss := range rs.ScopeSpans().All() {
			for _, span := range ss.Spans().All() {
				s := &units[i].Subject
				i++
				sp := e.meet(s)
				switch {
				case sp == nil:
				case s.Real:
					sp.Absent, sp.Open, sp.start, sp.parent = false, false, int64(span.StartTimestamp()), s.Parent
				default:
					sp.Carriers++
				}
			}
		}
	}
	e.place(units)
}

// Logs takes a request of log records.
func (e *Explainer) Logs(ld plog.Logs) {
	units := intake.Logs(ld, &e.opts.Intake)
	for i := range units {
		e.report.Records++
		if sp := e.meet(&units[i].Subject); sp != nil {
			sp.Records++
		}
	}
	e.place(units)
}

// Metrics takes a request of metrics.
func (e *Explainer) Metrics(md pmetric.Metrics) {
	var named []placement.Unit
	for _, u := range intake.Metrics(md, &e.opts.Intake) {
		p := u.Payload.(*intake.Payload)
		e.report.Points += len(p.Items)
		if !p.Points.Join {
			named = append(named, u)
		} else {
			e.joins = append(e.joins, u)
		}
	}
	e.place(named)
}

// join gives metrics that name no run to the runs of their machine or program, as
// if all of the input's were open when they came.
func (e *Explainer) join() {
	index := join.New()
	for key, r := range e.runs {
		index.Put(key, "", r.state.Sources())
	}
	for i := range e.joins {
		p := e.joins[i].Payload.(*intake.Payload)
		var found []runid.Coordinates
		if p.Points.Source != nil && !e.opts.Placement.StampedOnly {
			found, _ = index.Find(p.Points.Source, p.Points.Program, "")
		}
		if len(found) == 0 {
			e.report.PointsNoRun += len(p.Items)
			continue
		}
		for _, d := range p.Drops {
			e.drop(d)
		}
		for _, key := range found {
			e.apply(e.runs[key], []run.Delivery{{Context: &run.Context{Joined: true}, Items: p.Items}})
		}
	}
}

func (e *Explainer) place(units []placement.Unit) {
	for i := range units {
		units[i].Subject.Holds = true // the plain spans' runs are asked for as well
		if units[i].Payload == nil {
			units[i].Payload = &intake.Payload{}
		}
	}
	e.take(e.table.Place(now, units))
}

// meet puts what a unit says of its span into the tree; nil where it has none.
func (e *Explainer) meet(s *placement.Subject) *Span {
	sp := e.span(s.Trace, s.Span)
	if sp == nil {
		return nil
	}
	sp.Name = cmp.Or(sp.Name, s.Name)
	if sp.Absent && !s.Real {
		sp.Open = true // somebody speaks for it
		if s.Declares {
			sp.parent = s.Parent
		}
	}
	if s.Declares {
		e.span(s.Trace, s.Parent)
	}
	return sp
}

// span is the tree's node; nil for no span.
func (e *Explainer) span(id placement.TraceID, span placement.SpanID) *Span {
	if span == (placement.SpanID{}) {
		return nil
	}
	tr := e.traces[id]
	if tr == nil {
		tr = &trace{Trace: &Trace{ID: id.String()}, spans: map[placement.SpanID]*Span{}}
		e.traces[id] = tr
		e.report.Traces = append(e.report.Traces, tr.Trace)
	}
	sp := tr.spans[span]
	if sp == nil {
		sp = &Span{ID: span.String(), Absent: true}
		tr.spans[span] = sp
		tr.order = append(tr.order, span)
	}
	return sp
}

// take notes what was decided, and applies it to the runs as the engine does.
func (e *Explainer) take(out placement.Outcome) {
	e.report.Refused += len(out.Refused)
	deliveries := map[*runState][]run.Delivery{}
	var order []*runState
	for i := range out.Placed {
		p := &out.Placed[i]
		s, payload := unit(p)
		e.decided(s, payload, p)
		if p.Decision == nil || p.Decision.Refused() {
			continue
		}
		r := e.run(p.Decision)
		if _, ok := deliveries[r]; !ok {
			order = append(order, r)
		}
		deliveries[r] = append(deliveries[r], run.Delivery{Context: context(s, p.Decision), Items: payload.Items})
		for _, d := range payload.Drops {
			e.drop(d)
		}
	}
	for _, r := range order {
		e.apply(r, deliveries[r])
	}
}

func (e *Explainer) apply(r *runState, deliveries []run.Delivery) {
	a := r.state.Apply(now, deliveries)
	r.Rows, r.Lines, r.Repeats = r.Rows+a.Rows, r.Lines+a.Lines, r.Repeats+a.Repeated
	r.Points += a.Points
	e.report.Rows += a.Rows
	e.report.PointsNoRun += a.NoRun
	for _, d := range a.Drops {
		e.drop(d)
	}
	r.state.Flush(now) // to nowhere: what it holds in memory for its log goes
}

func unit(p *placement.Placed) (*placement.Subject, *intake.Payload) {
	if p.Unit != nil {
		return &p.Unit.Subject, p.Unit.Payload.(*intake.Payload)
	}
	return &p.Waiter.Subject, p.Waiter.Payload.(*intake.Payload)
}

func context(s *placement.Subject, d *placement.Decision) *run.Context {
	c := &run.Context{
		OwnerSpan: run.SpanID(d.OwnerSpan), OwnerStart: d.OwnerStart, Trace: d.Trace, Group: d.Group, AskedID: d.AskedID,
	}
	if s.Task != nil && d.Span == s.Span {
		c.Role = roles[d.Role]
	}
	return c
}

var roles = map[placement.Role]run.Role{
	placement.RoleOwner: run.RoleOwner, placement.RoleMember: run.RoleMember, placement.RoleGuest: run.RoleGuest,
}

var roleNames = map[placement.Role]string{
	placement.RoleOwner: "owner", placement.RoleMember: "member", placement.RoleGuest: "guest",
}

func (e *Explainer) decided(s *placement.Subject, payload *intake.Payload, p *placement.Placed) {
	d := p.Decision
	placed := d != nil && !d.Refused()
	if !placed && s.Events {
		e.report.KeptOut++
	}
	sp := e.span(s.Trace, s.Span)
	if sp == nil {
		if !placed && s.Events {
			reason, text := unplaced(s, p.Rule)
			e.drop(run.Drop{Reason: reason, Items: 1, Text: text})
		}
		return
	}
	sp.rowsOf(s, payload)
	isTask := s.Task != nil && d != nil && d.Span == s.Span
	if sp.Rule != "" && !isTask {
		return // another item of it was first; the task's own word is the better
	}
	sp.Rule, sp.Reason, sp.Remedy = string(p.Rule), "", ""
	switch {
	case placed:
		r := e.run(d)
		sp.run, sp.Run = r.Run, r.Path
		if isTask {
			sp.Role = roleNames[d.Role]
			e.opens(sp, s, d, r)
		}
	case d.Refused() && (d.Span == s.Span || d.Span == placement.SpanID{}): // by itself, or by its own stamp
		sp.Refused, sp.Reason, sp.Remedy = true, string(d.Reason), afterCoordinates(d.Text)
	case s.Events:
		sp.Reason, sp.Remedy = unplaced(s, p.Rule)
	}
}

func (sp *Span) rowsOf(s *placement.Subject, payload *intake.Payload) {
	if sp.heard[s.Fingerprint] {
		return
	}
	if sp.heard == nil {
		sp.heard = map[uint64]bool{}
	}
	sp.heard[s.Fingerprint] = true
	for i := range payload.Items {
		if payload.Items[i].Kind == run.KindRow {
			sp.Rows++
		}
	}
}

func (e *Explainer) opens(sp *Span, s *placement.Subject, d *placement.Decision, r *runState) {
	if d.Role == placement.RoleMember {
		return
	}
	sp.Group = d.Group
	r.Group = cmp.Or(r.Group, d.Group)
	if r.Owner == "" && d.Role == placement.RoleOwner {
		r.Owner = s.Name
	}
}

// afterCoordinates leaves out what the tree shows: which task, trace and span.
func afterCoordinates(text string) string {
	if _, rest, ok := strings.Cut(text, "): "); ok {
		return rest
	}
	return text
}

// unplaced says why what is meant for W&B gets to no run.
func unplaced(s *placement.Subject, rule placement.Rule) (reason, remedy string) {
	switch rule {
	case placement.RuleUnderRefused:
		return string(rule), "a task above it is refused"
	case placement.RuleParentMissing:
		return string(rule), "it logs to W&B, and an ancestor is not in the input: give the whole trace, or stamp spans"
	case placement.RuleNoSpan:
		return string(rule), "a log record with a wandb event has no span: emit it with the context of its task's span, or stamp it"
	case placement.RuleCycle:
		return string(rule), "it is its own ancestor: mend the instrumentation that made it"
	default:
		return string(rule), "it logs to W&B, and no task is above it: put the attribute wandb.run.mode=auto on the span that should be the run"
	}
}

func (e *Explainer) run(d *placement.Decision) *runState {
	r := e.runs[d.Run]
	if r == nil {
		shown := d.Run
		if shown.Host == e.opts.Placement.Default.Host {
			shown.Host = ""
		}
		r = &runState{Run: &Run{Path: shown.String()}, state: run.NewState(d.Run, run.Config{Version: "0.0.0", Linger: linger})}
		r.place, r.id = strings.TrimSuffix(r.Path, d.Run.ID), d.Run.ID
		e.runs[d.Run] = r
		e.report.Runs = append(e.report.Runs, r.Run)
	}
	return r
}

func (e *Explainer) drop(d run.Drop) {
	have := e.drops[d.Reason]
	if have == nil {
		have = &Drop{Reason: d.Reason, Text: d.Text}
		e.drops[d.Reason] = have
	}
	have.Items += max(d.Items, 1)
}

// Report ends all waiting and gives the findings. Nothing may be added after it.
func (e *Explainer) Report() *Report {
	e.take(e.table.Settle(now))
	e.join()
	for _, tr := range e.traces {
		e.tree(tr)
	}
	for _, d := range e.drops {
		e.report.Drops = append(e.report.Drops, d)
	}
	slices.SortFunc(e.report.Drops, func(a, b *Drop) int { return cmp.Compare(a.Reason, b.Reason) })
	return &e.report
}

// tree hangs the spans of a trace under their parents, in the order of arrival
// where no start says better, and counts them.
func (e *Explainer) tree(tr *trace) {
	for _, id := range tr.order {
		sp := tr.spans[id]
		if !sp.Absent {
			e.report.Spans++
		}
		switch {
		case sp.run != nil:
			sp.run.Spans++
		case sp.Reason == "" && !sp.Absent:
			e.report.NoRun++
		}
		parent := tr.spans[sp.parent]
		if parent == nil || tr.circular(id) {
			tr.Roots = append(tr.Roots, sp)
		} else {
			parent.Under = append(parent.Under, sp)
		}
	}
	for _, sp := range tr.spans {
		byStart(sp.Under)
	}
	byStart(tr.Roots)
}

func byStart(spans []*Span) {
	slices.SortStableFunc(spans, func(a, b *Span) int { return cmp.Compare(a.start, b.start) })
}

// circular tells whether a span is its own ancestor: it hangs nowhere.
func (tr *trace) circular(id placement.SpanID) bool {
	at := tr.spans[id].parent
	for range len(tr.spans) {
		if at == id {
			return true
		}
		sp := tr.spans[at]
		if sp == nil {
			return false
		}
		at = sp.parent
	}
	return false
}
