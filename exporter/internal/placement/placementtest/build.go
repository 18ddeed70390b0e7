package placementtest

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/otel-wandb/otel-wandb/exporter/internal/intake"
	"github.com/otel-wandb/otel-wandb/exporter/internal/placement"
	"github.com/otel-wandb/otel-wandb/internal/semconv"
)

// short are the short forms of attribute names. Any name with a dot in it is
// taken as it is.
var short = map[string]string{
	"mode": semconv.RunMode, "id": semconv.RunID, "owner": semconv.RunOwner, "started": semconv.RunStartTime,
	"host": semconv.Host, "entity": semconv.Entity, "project": semconv.Project,
	"group": semconv.RunGroup, "attempt": semconv.RunAttempt, "retry_of": semconv.RunRetryOf,
	"carrier": semconv.Carrier, "task": semconv.Task, "parent_span": semconv.ParentSpanID,
	"rank": semconv.Rank, "local_rank": semconv.LocalRank, "world_size": semconv.WorldSize,
	"local_world_size": semconv.LocalWorldSize, "worker": semconv.Worker, "rank_scope": semconv.RankScope,
}

// spanValued are attributes whose value is a span's name, unless it is quoted.
var spanValued = map[string]bool{semconv.RunOwner: true, semconv.Task: true, semconv.ParentSpanID: true}

func traceID(name string) (id placement.TraceID) {
	sum := sha256.Sum256([]byte("trace " + name))
	copy(id[:], sum[:])
	return id
}

// spanID is never of digits only: it must not be taken for a number.
func spanID(name string) (id placement.SpanID) {
	sum := sha256.Sum256([]byte("span " + name))
	copy(id[:], sum[:])
	id[0] |= 0xa0
	return id
}

// attributes sorts an arrival's pairs by where they stand.
func attributes(a *arrival, own, scope, resource pcommon.Map) {
	for _, p := range a.pairs {
		to, key := own, p.key
		if rest, ok := strings.CutPrefix(key, "scope."); ok {
			to, key = scope, rest
		} else if rest, ok := strings.CutPrefix(key, "resource."); ok {
			to, key = resource, rest
		}
		if full, ok := short[key]; ok {
			key = full
		}
		switch n, err := strconv.ParseInt(p.value, 10, 64); {
		case spanValued[key] && !p.quoted:
			id := spanID(p.value)
			to.PutStr(key, hex.EncodeToString(id[:]))
		case err == nil && !p.quoted && key != semconv.RunID:
			to.PutInt(key, n)
		case p.value == "true" && !p.quoted:
			to.PutBool(key, true)
		default:
			to.PutStr(key, p.value)
		}
	}
}

// clockOf gives each line a time of its own, which no order of arrival changes.
func clockOf(a *arrival) pcommon.Timestamp {
	return pcommon.Timestamp(epoch + int64(a.line)*1e9)
}

func (w *world) unit(a *arrival) placement.Unit {
	if a.kind == "span" {
		return w.spanUnit(a)
	}
	return w.recordUnit(a)
}

func (w *world) spanUnit(a *arrival) placement.Unit {
	td := ptrace.NewTraces()
	rs := td.ResourceSpans().AppendEmpty()
	ss := rs.ScopeSpans().AppendEmpty()
	span := ss.Spans().AppendEmpty()
	span.SetName(a.name)
	span.SetTraceID(pcommon.TraceID(w.trace(a.name)))
	span.SetSpanID(pcommon.SpanID(w.span(a.name)))
	if a.parent != "" {
		span.SetParentSpanID(pcommon.SpanID(w.span(a.parent)))
	}
	span.SetStartTimestamp(clockOf(a))
	span.SetEndTimestamp(clockOf(a) + 1e9)
	attributes(a, span.Attributes(), ss.Scope().Attributes(), rs.Resource().Attributes())
	if a.logs {
		ev := span.Events().AppendEmpty()
		ev.SetName(semconv.EventLog)
		ev.SetTimestamp(clockOf(a))
		ev.Attributes().PutDouble("loss", 1)
	}
	return intake.Traces(td, &w.intake)[0]
}

func (w *world) recordUnit(a *arrival) placement.Unit {
	ld := plog.NewLogs()
	rl := ld.ResourceLogs().AppendEmpty()
	sl := rl.ScopeLogs().AppendEmpty()
	rec := sl.LogRecords().AppendEmpty()
	if !a.nowhere {
		rec.SetTraceID(pcommon.TraceID(w.trace(a.name)))
		rec.SetSpanID(pcommon.SpanID(w.span(a.name)))
	}
	rec.SetTimestamp(clockOf(a))
	attributes(a, rec.Attributes(), sl.Scope().Attributes(), rl.Resource().Attributes())
	switch {
	case a.kind == "start":
		rec.SetEventName(semconv.EventRunStart)
		rec.Attributes().PutStr(semconv.SpanName, a.name)
		if a.parent != "" {
			rec.Attributes().PutStr(semconv.ParentSpanID, w.span(a.parent).String())
		}
	case a.console:
		rec.Body().SetStr("a line")
	default:
		rec.SetEventName(semconv.EventLog)
		rec.Body().SetEmptyMap().PutDouble("loss", float64(a.line))
	}
	return intake.Logs(ld, &w.intake)[0]
}
