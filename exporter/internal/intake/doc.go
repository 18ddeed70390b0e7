// Package intake turns OTLP data into units: what placement must know of a
// span or log record, and the items a run gets of it. It keeps no state: the
// same data give the same units, before and after a restart.
//
//	ptrace.Traces ───┐   one unit a span,      ┌─ placement.Subject  whose it is
//	plog.Logs ───────┼─► one a log record,   ──┤
//	pmetric.Metrics ─┘   one for the points    └─ Payload            what it brings
//	                     of a resource that
//	                     go the same way
//
// What is and is not part of a row, and which names mean what, is decided here
// and nowhere else.
package intake

import (
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/otel-wandb/otel-wandb/exporter/internal/run"
)

// Options say how to read telemetry. The zero value reads it as the
// conventions do, without task rules.
type Options struct {
	Rules        []TaskRule
	RootlessOff  bool     // a root without a mode never counts as auto
	MetricEvents []string // names of other span events that are rows
}

// TaskRule makes tasks of spans that carry no mode themselves.
type TaskRule struct {
	SpanName  string // in it * stands for any text; empty matches all
	ScopeName string // likewise
	Mode      string
}

// Payload is what a unit brings to its run.
type Payload struct {
	Items []run.Item
	// Drops are parts of the item that no run can take, by reason. They are
	// counted once it is placed.
	Drops []run.Drop

	// Points says of metric points how they find their run; nil for all else.
	Points *Points

	span   *spanSource
	record *recordSource
}

// spanSource and recordSource lead back to the OTLP data, for what must wait.
type spanSource struct {
	rs   ptrace.ResourceSpans
	ss   ptrace.ScopeSpans
	span ptrace.Span
}

type recordSource struct {
	in     *recordScope
	record plog.LogRecord
}

type recordScope struct {
	rl plog.ResourceLogs
	sl plog.ScopeLogs
}

// Reasons of drops at intake.
const (
	DropUnknownMode  = "unknown_mode"
	DropEmptyRow     = "empty_row"
	DropReservedKey  = run.DropReservedKey
	DropBadStamp     = "bad_stamp"
	DropUnknownEvent = "unknown_event"
	DropUnsupported  = "unsupported_event"
	DropBadAttribute = run.DropBadAttribute
	DropBadMetric    = "bad_metric"
)
