package placement

import (
	"encoding/hex"
	"fmt"

	"github.com/otel-wandb/otel-wandb/internal/runid"
	"github.com/otel-wandb/otel-wandb/internal/runmode"
)

// TraceID is OpenTelemetry's.
type TraceID [16]byte

// SpanID is OpenTelemetry's. The zero value is "none".
type SpanID [8]byte

func (t TraceID) String() string { return hex.EncodeToString(t[:]) }
func (s SpanID) String() string  { return hex.EncodeToString(s[:]) }

// Rule names what decided. It is shown by explain, and stays the same for ever.
type Rule string

// Rules that place, or that find no run.
const (
	RuleStamp         Rule = "stamp"                    // the item says it
	RuleAncestor      Rule = "ancestor"                 // the nearest ancestor task's run
	RuleJoinsParent        = Rule(runmode.JoinsParent)  // a task on its parent's run
	RuleOpens              = Rule(runmode.OpensPlain)   // a task with no parent run
	RuleOpensAskedID       = Rule(runmode.OpensAskedID) // a task that asked for another id
	RuleOpensNew           = Rule(runmode.OpensNew)     // mode new
	RuleOpensAway          = Rule(runmode.OpensAway)    // another host, entity or project than the parent's run
	RuleJoinsAskedID       = Rule(runmode.JoinsAskedID) // shared, with another id
	RuleRootless      Rule = "rootless"                 // a root without a mode that logs
	RuleNoTask        Rule = "no_task"                  // no task among the ancestors
	RuleNoSpan        Rule = "no_span"                  // an item without a span
	RuleParentMissing Rule = "parent_missing"           // settled: an ancestor never came
	RuleCycle         Rule = "span_cycle"               // a span that is its own ancestor
	RuleUnderRefused  Rule = "refused_ancestor"         // under a refused task
)

// Reason names why a task was refused.
type Reason string

// Reasons of refusal.
const (
	RefusedSharedAlone              = Reason(runmode.SharedAlone)
	RefusedSharedElsewhere          = Reason(runmode.SharedElsewhere)
	RefusedHost              Reason = "host_not_allowed"
	RefusedEntityNotAllowed  Reason = "entity_not_allowed"
	RefusedProjectNotAllowed Reason = "project_not_allowed"
	RefusedProject           Reason = "bad_project"
	RefusedEntity            Reason = "bad_entity"
	RefusedCycle             Reason = "span_cycle"
)

// Task is what a span that takes part in run creation asks for.
type Task struct {
	Mode  runmode.Mode
	Asked runid.Coordinates // by the span itself or its scope; ID by the span only
	// Default ids hold for the outermost task under that scope, or of that resource.
	ScopeID, ResourceID string
	Base                string // the id it gets when it asks for none, before ranks
	DefaultBase         string // what scope or resource call it, for the outermost task
	Ranks               runid.Ranks
	Group               string // explicit
	Start               int64  // unix ns
	Rootless            bool   // counts as auto for want of a better
}

// Stamp is "I belong to that run".
type Stamp struct {
	Run   runid.Coordinates
	Owner SpanID // zero: an item without a span asks for the run by its id
	Start int64  // when the owner started, unix ns; 0 unknown
}

// Subject is what placement needs to know of a unit: which span it speaks for,
// and what it says of it.
type Subject struct {
	Trace  TraceID
	Span   SpanID // the span spoken for; zero: the item has none
	Parent SpanID // where Declares: zero is a root
	Name   string // the span's name, for messages
	Event  string // of a log record, likewise

	Declares bool // says what the span's parent is: the span itself, or its start event
	Real     bool // the span itself, not somebody speaking for it
	Holds    bool // holds something for a run: it waits rather than be forgotten
	Events   bool // holds wandb events: to belong to no run is worth a word

	Task     *Task              // nil: not a task
	Stamp    *Stamp             // nil: not stamped
	Resource *runid.Coordinates // what the resource says; shared by all its spans
	// Fingerprint tells a repeat from another item while it waits.
	Fingerprint uint64
	// Client is who sent it, where senders are authenticated. Placement does not
	// look at it: the run does.
	Client string
}

// Who names the item for people.
func (s *Subject) Who() string {
	who := fmt.Sprintf("span %q of trace %s", clip(s.Name), s.Trace)
	if s.Name == "" {
		who = fmt.Sprintf("span %s of trace %s", s.Span, s.Trace)
	}
	if s.Event != "" {
		who = fmt.Sprintf("log record %q of %s", clip(s.Event), who)
	}
	return who
}

// Role is what a task is on its run.
type Role uint8

// The roles. None is for all that are no tasks.
const (
	RoleNone   Role = iota
	RoleOwner       // none of its ancestors is on the same run
	RoleMember      // shares its ancestor's run
	RoleGuest       // shared, with another id: it never ends the run
)

// Decision is where a task, and all under it that are no tasks, belong.
// It is immutable once made: what has been placed stays placed.
type Decision struct {
	Run    runid.Coordinates
	Reason Reason // not empty: refused, and Run is zero
	Text   string // with Reason: what is wrong, with coordinates and remedy
	Rule   Rule
	Role   Role
	Trace  TraceID
	Span   SpanID // the task that was decided; zero for a stamp's decision
	// OwnerSpan is the owner on that run of all under this task; zero where it
	// is not known (a guest's).
	OwnerSpan  SpanID
	OwnerStart int64  // unix ns
	Group      string // the run's group where its opener names none
	AskedID    string // the id asked for, where W&B would not take it as it was
	Up         *Decision

	id         uint64   // names it in the journal
	saved      bool     // the journal has it
	defaultIDs []string // default ids that this task and its ancestors have used
}

// Refused tells whether d keeps everything under it out of every run.
func (d *Decision) Refused() bool { return d != nil && d.Reason != "" }

// Unit is a subject and what it carries.
type Unit struct {
	Subject
	Payload any
}

// Placed is a unit with its decision. Decision is nil where the unit belongs
// to no run; Rule says how that was found.
type Placed struct {
	Unit     *Unit // nil where it waited: see Waiter
	Waiter   *Waiter
	Decision *Decision
	Rule     Rule
}

// Waiter is a unit that waits for a span to be known. The engine keeps its
// payload in the journal and says where in Ref.
type Waiter struct {
	Subject Subject
	Payload any // only where there is no journal
	Ref     Ref
	Arrived int64 // unix ns, of the exporter's clock
}

// Ref is where a waiting unit's payload lies: which record of the journal,
// which unit in it.
type Ref struct {
	Record uint64
	Unit   int
	Bytes  int64 // its share of the journal
}

// Learned is a fact that must survive a restart.
type Learned struct {
	Trace    TraceID
	Span     SpanID
	Parent   SpanID
	Known    bool // Parent is known
	Root     bool // it has none, and has arrived itself
	Decision *Decision
}
