// Package semconv holds every attribute and event name of the conventions
// between telemetry and W&B runs, and nothing else.
//
// The bridge writes these names and the exporter reads them; no other package
// of this module spells one out. docs/conventions.md says what each means.
package semconv

// Attributes that mark a task and say which run it asks for. They are read
// from spans and log records, and as defaults from the scope and the resource.
const (
	RunMode    = "wandb.run.mode" // "auto", "new" or "shared"; marks a task
	RunID      = "wandb.run.id"   // a request; a stamp when RunOwner is there too
	Entity     = "wandb.entity"
	Project    = "wandb.project"
	Host       = "wandb.host" // base URL of the W&B server; never read from baggage
	RunName    = "wandb.run.name"
	RunGroup   = "wandb.run.group"
	RunJobType = "wandb.run.job_type"
	RunNotes   = "wandb.run.notes"
	RunTags    = "wandb.run.tags" // string[]
	RunAttempt = "wandb.run.attempt"
	RunRetryOf = "wandb.run.retry_of" // a run id asked for
	RunResume  = "wandb.run.resume"   // "allow", "must" or "never"
)

// Attributes of a stamp: "I belong to that run".
const (
	RunOwner     = "wandb.run.owner"      // hex span id
	RunStartTime = "wandb.run.start_time" // int, unix nanoseconds
)

// Attributes with a key behind the prefix.
const (
	ConfigPrefix  = "wandb.config."  // a dotted key nests
	SummaryPrefix = "wandb.summary." // the key is literal
	Prefix        = "wandb."
)

// Distributed training: on the resource or the task.
const (
	Rank           = "wandb.rank"
	LocalRank      = "wandb.local_rank"
	WorldSize      = "wandb.world_size"
	LocalWorldSize = "wandb.local_world_size"
	Worker         = "wandb.worker"
	RankScope      = "wandb.rank_scope" // "global" or "worker"
)

// Links that a trace viewer shows, and the join that Weave reads.
const (
	RunURL  = "wandb.run.url"
	WBRunID = "wandb.wb_run_id"
)

// Carriers: short spans that exist only to carry events for a task.
const (
	Carrier      = "wandb.carrier"        // bool
	Task         = "wandb.task"           // hex span id of the task spoken for
	ParentSpanID = "wandb.parent_span_id" // hex span id of that task's parent; absent: none
	SpanName     = "wandb.span.name"      // that task's span name
	Writer       = "wandb.writer"         // a random id a process
	Seq          = "wandb.seq"            // a number without gaps for each run and writer, from 1
	Piece        = "wandb.piece"          // which piece of a split row, from 0
	Pieces       = "wandb.pieces"         // how many pieces
	Route        = "wandb.route"          // resource: a hash of the coordinates
)

// Attributes of events.
const (
	Step      = "wandb.step"
	Histogram = "wandb.histogram" // string[] of keys
	ExitCode  = "wandb.exit_code"
	LastSeq   = "wandb.last_seq"
	EndTime   = "wandb.end_time" // int, unix nanoseconds

	Preempting = "wandb.preempting" // bool, of a heartbeat
)

// Attributes of EventDefineMetric and EventAlert.
const (
	MetricName       = "name" // a trailing * is a glob
	MetricStepMetric = "step_metric"
	MetricSummary    = "summary" // string[]
	MetricGoal       = "goal"
	MetricHidden     = "hidden"
	AlertTitle       = "title"
	AlertText        = "text"
	AlertLevel       = "level"
)

// Attributes of EventTable and EventMedia.
const (
	MediaKey     = "key"
	TableColumns = "columns" // string[]
	MediaType    = "type"    // "image" or "html"
	MediaData    = "data"    // array of arrays, bytes or text
	MediaFormat  = "format"  // of an image: "png", "jpeg" or "gif"
	MediaWidth   = "width"
	MediaHeight  = "height"
	MediaCaption = "caption"
)

// Values of MediaType.
const (
	MediaImage = "image"
	MediaHTML  = "html"
)

// Events: names of span events, and EventName of log records.
const (
	EventRunStart     = "wandb.run.start"
	EventRunHeartbeat = "wandb.run.heartbeat"
	EventRunEnd       = "wandb.run.end"
	EventLog          = "wandb.log"
	EventConfig       = "wandb.config"
	EventSummary      = "wandb.summary"
	EventDefineMetric = "wandb.define_metric"
	EventAlert        = "wandb.alert"
	EventTable        = "wandb.table"
	EventMedia        = "wandb.media"
	EventException    = "exception" // OpenTelemetry's own
)

// Values of RunMode.
const (
	ModeAuto   = "auto"
	ModeNew    = "new"
	ModeShared = "shared"
)

// Names of others that the exporter reads.
const (
	LegacyEventName     = "event.name" // log records of older SDKs
	LogRecordUID        = "log.record.uid"
	ExceptionType       = "exception.type"
	ExceptionMessage    = "exception.message"
	ExceptionStacktrace = "exception.stacktrace"
	ProcessExitCode     = "process.exit.code"
	ErrorType           = "error.type"
	FlyteRunName        = "flyte.run_name"
	FlyteActionName     = "flyte.action_name"
	FlyteReplayed       = "flyte.replayed"
)

// Members of baggage, by which a run is known in other processes.
const (
	BaggageRun   = "wandb.run"   // coordinates, owner and start time of the caller's run
	BaggageScope = "wandb.scope" // what the scopes around the call say of runs
)

// ConfigAskedID is the config key, behind ConfigPrefix, of the id that was
// asked for, where W&B would not take it as it was.
const ConfigAskedID = "otel.asked_run_id"

// SummaryRowsRefused is the summary key of how many rows a program refused.
const SummaryRowsRefused = "otel.rows_refused"
