package intake

import (
	"cmp"
	"encoding/hex"
	"math"
	"strconv"

	"github.com/cespare/xxhash/v2"
	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/otel-wandb/otel-wandb/exporter/internal/placement"
	"github.com/otel-wandb/otel-wandb/exporter/internal/run"
	"github.com/otel-wandb/otel-wandb/internal/runid"
	"github.com/otel-wandb/otel-wandb/internal/runmode"
	"github.com/otel-wandb/otel-wandb/internal/semconv"
)

// reader reads one request. Its builders are reused from item to item.
type reader struct {
	opts    *Options
	units   []placement.Unit
	defs    defaults
	item    attributes // of the span or log record under way
	config  builder
	summary builder
	row     builder
	rows    slab[run.Row]
	records slab[recordUnit]
	srcSpan placement.SpanID  // that src was last asked of
	srcText string            // and what it said
	hists   []string          // keys of the row under way that are histograms
	body    bool              // the row is a log record's body: all of it counts
	same    map[uint64]uint64 // log records of one content in this request
}

// nanos is a time as the rest of the exporter has it: up to the year 2262.
func nanos(t pcommon.Timestamp) int64 { return int64(min(t, math.MaxInt64)) }

func parseInt(s string) (int64, error) { return strconv.ParseInt(s, 10, 64) }

// spanID reads 16 hex digits that are not all zero.
func spanID(s string) (id placement.SpanID, ok bool) {
	if len(s) != 16 {
		return id, false
	}
	if _, err := hex.Decode(id[:], []byte(s)); err != nil {
		return placement.SpanID{}, false
	}
	return id, id != placement.SpanID{}
}

// identity of a span: what makes a repeat of it recognisable.
func spanHash(trace placement.TraceID, span placement.SpanID) uint64 {
	var b [24]byte
	copy(b[:], trace[:])
	copy(b[16:], span[:])
	return nonZero(xxhash.Sum64(b[:]))
}

// nonZero keeps 0 free for "no identity".
func nonZero(h uint64) uint64 {
	if h == 0 {
		return 1
	}
	return h
}

// src is a span's id raw, as orders have it: one text for items in a row.
func (r *reader) src(span placement.SpanID) string {
	if r.srcText == "" || span != r.srcSpan {
		r.srcSpan, r.srcText = span, string(span[:])
	}
	return r.srcText
}

// stamp finds the nearest stamp: the item's, its scope's, its resource's. A
// malformed or cut one is ignored, and ancestors decide.
func (r *reader) stamp(a *attributes, drops *[]run.Drop) *placement.Stamp {
	for _, from := range []*attributes{a, &r.defs.scope, &r.defs.resource} {
		if !from.hasOwner {
			continue
		}
		owner, ok := spanID(from.owner)
		if !ok || from.asked.ID == "" {
			*drops = append(*drops, run.Drop{
				Reason: DropBadStamp, Items: 1,
				Text: "a stamp is malformed (" + semconv.RunOwner + "=" + clip(from.owner) + ", " + semconv.RunID + "=" + clip(from.asked.ID) +
					"): it is ignored and the item placed by its ancestors; stamp with the owner's 16 hex digits and the run's id",
			})
			return nil
		}
		return &placement.Stamp{Run: from.asked, Owner: owner, Start: from.start}
	}
	return nil
}

func clip(s string) string {
	if len(s) > 64 {
		return strconv.Quote(s[:64]) + "…"
	}
	return strconv.Quote(s)
}

// mode reads a run mode. A task rule stands in where the span has none.
func (r *reader) mode(a *attributes, s *placement.Subject, drops *[]run.Drop) runmode.Mode {
	name := a.mode
	if name == "" {
		name = r.opts.rule(s.Name, r.defs.scopeName)
	}
	if name == "" {
		return 0
	}
	if mode, ok := runmode.Parse(name); ok {
		return mode
	}
	*drops = append(*drops, run.Drop{
		Reason: DropUnknownMode, Items: 1,
		Text: s.Who() + " has " + semconv.RunMode + "=" + clip(name) + ", which is no run mode and is ignored: use auto, new or shared",
	})
	return 0
}

// placementTask is what the span asks for, the nearest first.
func (r *reader) placementTask(a *attributes, s *placement.Subject, mode runmode.Mode, start int64) *placement.Task {
	scope, res := &r.defs.scope, &r.defs.resource
	t := &placement.Task{
		Mode: mode, Start: start,
		Base:  runid.Base("", "", s.Trace.String(), s.Span.String()),
		Ranks: r.ranks(a),
		Group: cmp.Or(a.group, scope.group, res.group),
	}
	flyteRun := cmp.Or(a.flyteRun, scope.flyteRun, res.flyteRun)
	switch action := cmp.Or(scope.flyteAction, res.flyteAction); {
	case flyteRun == "":
	case a.flyteAction != "":
		t.Base = flyteRun + "-" + a.flyteAction
	case action != "":
		t.DefaultBase = flyteRun + "-" + action
	}
	if !a.hasOwner { // else host, entity, project and id are the stamp's, not wishes
		t.Asked = a.asked
		t.Asked.ID = cmp.Or(t.Asked.ID, a.retryOf)
	}
	if !scope.hasOwner {
		t.Asked.Host = cmp.Or(t.Asked.Host, scope.asked.Host)
		t.Asked.Entity = cmp.Or(t.Asked.Entity, scope.asked.Entity)
		t.Asked.Project = cmp.Or(t.Asked.Project, scope.asked.Project)
		t.ScopeID = scope.asked.ID
	}
	if !res.hasOwner {
		t.ResourceID = res.asked.ID
	}
	return t
}

// ranks are the nearest numbers, with the nearest word on their scope: a program
// knows its numbers once, and says the scope where it starts a task.
func (r *reader) ranks(a *attributes) runid.Ranks {
	ranks := r.defs.resource.ranks
	if a.hasRanks {
		ranks = a.ranks
	}
	ranks.WorkerScope = cmp.Or(a.rankScope, r.defs.scope.rankScope, r.defs.resource.rankScope) == "worker"
	return ranks
}

// runTask is what the task says to its run.
func (r *reader) runTask(a *attributes, s *placement.Subject, start int64) *run.Task {
	scope, res := &r.defs.scope, &r.defs.resource
	t := &run.Task{
		Trace: s.Trace, Start: start,
		RunName: cmp.Or(a.name, scope.name, res.name),
		Group:   cmp.Or(a.group, scope.group, res.group),
		JobType: cmp.Or(a.jobType, scope.jobType, res.jobType),
		Notes:   cmp.Or(a.note, scope.note, res.note),
		Resume:  a.resume,
		Tags:    a.tags, Attempt: a.attempt, Ranks: r.ranks(a),
		Config: a.config, Env: r.defs.env, Source: r.defs.source,
	}
	for _, d := range []*attributes{scope, res} {
		if t.Tags == nil {
			t.Tags = d.tags
		}
		if t.Attempt == nil {
			t.Attempt = d.attempt
		}
		for _, v := range d.config {
			if !hasPath(t.Config, &v) && !hasPath(t.Defaults, &v) {
				t.Defaults = append(t.Defaults, v)
			}
		}
	}
	return t
}

// badDefaults counts, with each task that would have it, what of its scope's and
// resource's config cannot be as it was said.
func (r *reader) badDefaults(p *Payload) {
	p.Drops = append(append(p.Drops, r.defs.scope.bad...), r.defs.resource.bad...)
}

func hasPath(values []run.Value, v *run.Value) bool {
	for i := range values {
		if values[i].Key == v.Key && len(values[i].Rest) == 0 && len(v.Rest) == 0 {
			return true
		}
	}
	return false
}
