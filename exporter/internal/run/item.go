package run

import (
	"encoding/hex"
	"fmt"
	"math"

	"github.com/otel-wandb/otel-wandb/internal/runid"
)

// SpanID is a span's id; the zero value is none.
type SpanID [8]byte

// Order says which of two values of one key is the later, whatever order they
// arrived in: by time, then by who wrote it, then by that writer's count.
type Order struct {
	_    struct{} `cbor:",toarray"`
	Time int64    // unix ns
	Src  string   // writer, or raw span id
	N    uint64   // sequence, or position in the span
}

// Before tells whether o is the earlier of the two.
func (o Order) Before(p Order) bool {
	if o.Time != p.Time {
		return o.Time < p.Time
	}
	if o.Src != p.Src {
		return o.Src < p.Src
	}
	return o.N < p.N
}

// ID is what makes a repeat of an item recognisable: a writer's sequence
// number, or a hash of where the item stood.
type ID struct {
	Writer string `cbor:"1,keyasint,omitempty"` // carriers
	Seq    uint64 `cbor:"2,keyasint,omitempty"` // of the writer, from 1
	Hash   uint64 `cbor:"3,keyasint,omitempty"` // else: of (trace, span), or of a log record; 0: no identity
	Pos    uint32 `cbor:"4,keyasint,omitempty"` // position in the span
	Point  bool   `cbor:"5,keyasint,omitempty"` // Hash is of a metric's stream and time
}

// Value is one key of a row, of the config or of the summary.
type Value struct {
	Key  string   `cbor:"1,keyasint"`
	Rest []string `cbor:"2,keyasint,omitempty"` // of a nested map: the path below Key
	// JSON is extended JSON: NaN and Infinity are bare. A number has it only
	// where Num does not say the same: rows are numbers for the most part, and
	// their texts are made where they are written.
	JSON string `cbor:"3,keyasint,omitempty"`
	// Numeric values take part in min, max and mean, as Num.
	Numeric bool    `cbor:"4,keyasint,omitempty"`
	Num     float64 `cbor:"5,keyasint,omitempty"`
}

// Text is the value as extended JSON.
func (v *Value) Text() string { return textOf(v.JSON, v.Num) }

// textOf is the text of a value that is kept as one, or else as a number.
func textOf(json string, num float64) string {
	if json == "" {
		return floatJSON(num)
	}
	return json
}

// intValue is a whole number.
func intValue(key string, n int64) Value {
	v := Value{Key: key, Numeric: true}
	v.SetInt(n)
	return v
}

// SetInt makes v a whole number, which may be one that no float64 is.
func (v *Value) SetInt(n int64) {
	v.Num, v.Numeric = float64(n), true
	if n < -MaxExact || n > MaxExact {
		v.JSON = intJSON(n)
	}
}

// SetFloat makes v a number.
func (v *Value) SetFloat(f float64) {
	v.Num, v.Numeric = f, true
	if f == 0 && math.Signbit(f) {
		v.JSON = "-0" // which equals 0
	}
}

// Kind says what an item is.
type Kind uint8

// The kinds of items.
const (
	KindRow        Kind = iota + 1 // Row
	KindConfig                     // Values
	KindSummary                    // Values
	KindMetric                     // Metric
	KindLine                       // Line
	KindAlert                      // Alert
	KindTask                       // Task, and End where the span has ended
	KindEnd                        // End
	KindHeartbeat                  // nothing
	KindCounted                    // nothing: no run can take it, but its writer has counted it
	kindValues                     // in notes only: values of a merged row, for the summary
	KindPreempting                 // a heartbeat that may be the last for long
	KindPoint                      // Point
)

// Item is one thing that arrived for a run.
type Item struct {
	Kind     Kind   `cbor:"1,keyasint"`
	ID       ID     `cbor:"2,keyasint,omitempty"`
	Order    Order  `cbor:"3,keyasint"`
	Span     SpanID `cbor:"4,keyasint"` // the span it speaks for
	SpanName string `cbor:"5,keyasint,omitempty"`
	Carrier  bool   `cbor:"6,keyasint,omitempty"` // it came on a carrier: the span's end event will come

	Row    *Row       `cbor:"-"` // the history record shows it
	Values []Value    `cbor:"7,keyasint,omitempty"`
	Metric *MetricDef `cbor:"8,keyasint,omitempty"`
	Line   *Line      `cbor:"9,keyasint,omitempty"`
	Alert  *Alert     `cbor:"-"` // the alert record shows it
	Point  *Point     `cbor:"-"` // the history or stats record shows it
	Task   *Task      `cbor:"10,keyasint,omitempty"`
	End    *End       `cbor:"11,keyasint,omitempty"`
}

// who names the item's span for people: log records know its id only.
func (it *Item) who() string {
	if it.SpanName == "" {
		return "span " + hex.EncodeToString(it.Span[:])
	}
	return fmt.Sprintf("span %q", it.SpanName)
}

// Row is one history row.
type Row struct {
	Values  []Value
	Step    int64
	HasStep bool
	File    *File // nil, or what the first value tells of
}

// Point is a data point of a metric. Several runs may get it: nobody changes it.
type Point struct {
	Resource uint64 // points of one resource and second are one row
	System   bool   // a system metric; otherwise history
	Values   []Value
}

// File is a table, an image or the like, in a file of the run's.
type File struct {
	Path    string // below the part's directory `files`, with forward slashes
	Content []byte
}

// Line is console output: one or several lines, without their newlines.
type Line struct {
	Stderr bool     `cbor:"-"`
	Text   []string `cbor:"-"` // the records show them
	// What an exception says of itself, for the summary of a failed run.
	ErrorType    string `cbor:"1,keyasint,omitempty"`
	ErrorMessage string `cbor:"2,keyasint,omitempty"`
}

// Alert is W&B's alert.
type Alert struct {
	Title, Text, Level string
}

// Task is what a task says of itself: its span, or its start event.
type Task struct {
	Trace    [16]byte     `cbor:"1,keyasint"`
	Start    int64        `cbor:"2,keyasint"` // unix ns
	RunName  string       `cbor:"3,keyasint,omitempty"`
	Group    string       `cbor:"4,keyasint,omitempty"`
	JobType  string       `cbor:"5,keyasint,omitempty"`
	Notes    string       `cbor:"6,keyasint,omitempty"`
	Tags     []string     `cbor:"7,keyasint,omitempty"`
	Attempt  *int64       `cbor:"8,keyasint,omitempty"`
	Ranks    runid.Ranks  `cbor:"9,keyasint,omitempty"`
	Config   []Value      `cbor:"10,keyasint,omitempty"` // what the task itself carries
	Defaults []Value      `cbor:"11,keyasint,omitempty"` // config of its scope and resource
	Env      *Environment `cbor:"12,keyasint,omitempty"`
	Resume   string       `cbor:"13,keyasint,omitempty"` // "must" or "never": for whoever uploads
	Source   *Source      `cbor:"14,keyasint,omitempty"` // where it runs: by which metrics join its run
}

// Environment is what the resource says of the program and its machine.
type Environment struct {
	Host       string   `cbor:"1,keyasint,omitempty"`
	OS         string   `cbor:"2,keyasint,omitempty"`
	Program    string   `cbor:"3,keyasint,omitempty"`
	Executable string   `cbor:"4,keyasint,omitempty"`
	Args       []string `cbor:"5,keyasint,omitempty"`
	User       string   `cbor:"6,keyasint,omitempty"`
	Image      string   `cbor:"7,keyasint,omitempty"`
	GitRemote  string   `cbor:"8,keyasint,omitempty"`
	GitCommit  string   `cbor:"9,keyasint,omitempty"`
}

// End is how a task ended: its span's end, or its end event.
type End struct {
	Time        int64  `cbor:"1,keyasint,omitempty"`
	Event       bool   `cbor:"2,keyasint,omitempty"` // the end event; otherwise the span
	ExitCode    *int64 `cbor:"3,keyasint,omitempty"` // wandb.exit_code
	ProcessCode *int64 `cbor:"4,keyasint,omitempty"` // process.exit.code
	Error       bool   `cbor:"5,keyasint,omitempty"` // the span's status
	Writer      string `cbor:"6,keyasint,omitempty"` // with LastSeq: complete when all up to it are in
	LastSeq     uint64 `cbor:"7,keyasint,omitempty"`
}

// Role is what a task is on its run.
type Role uint8

// The roles, as placement gives them.
const (
	RoleNone   Role = iota
	RoleOwner       // it opened the run, or another attempt or rank did
	RoleMember      // it shares its ancestor's run
	RoleGuest       // it joined by id and never ends the run
)

// Context is what placement says of a delivery: whose run this is for the span
// that the items speak for.
type Context struct {
	Role       Role   // of the items' span, where it is a task
	OwnerSpan  SpanID // zero: not known
	OwnerStart int64  // unix ns; 0: not known
	Trace      [16]byte
	Group      string // the run's group where its owner names none
	AskedID    string // the id asked for, where W&B would not take it
	Client     string // who sent it; "" where senders are not authenticated

	// Of metric points. Joined: they name no run, and this one was open; it is
	// never opened for them. Label tells machines apart in system metrics' keys.
	Joined bool
	Label  string
}
