// Package runmode is the table of run modes: which run a task is on, given what
// it asks for and whether a parent run is known. It is a pure function, so that
// who starts a task and who receives its span decide alike.
package runmode

import "github.com/otel-wandb/otel-wandb/internal/semconv"

// Mode is a task's run mode. The zero value is none: no task.
type Mode uint8

// The run modes of the conventions.
const (
	Auto Mode = iota + 1
	New
	Shared
)

// Parse reads a mode's name. ok is false for any other text.
func Parse(name string) (m Mode, ok bool) {
	switch name {
	case semconv.ModeAuto:
		return Auto, true
	case semconv.ModeNew:
		return New, true
	case semconv.ModeShared:
		return Shared, true
	}
	return 0, false
}

// String is the mode's name.
func (m Mode) String() string {
	switch m {
	case Auto:
		return semconv.ModeAuto
	case New:
		return semconv.ModeNew
	case Shared:
		return semconv.ModeShared
	}
	return ""
}

// Outcome is what becomes of a task.
type Outcome uint8

// The outcomes.
const (
	Joins   Outcome = iota + 1 // it is on the parent's run
	Opens                      // it opens a run of its own, or one of the id it asks for, or joins that
	Guest                      // it joins the run of the id it asks for, and never ends it
	Refused                    // no run; Reason says why
)

// Rule names what decided. Rules are shown to people and stay the same for ever.
type Rule string

// The rules.
const (
	JoinsParent  Rule = "joins_parent"
	OpensPlain   Rule = "opens"
	OpensAskedID Rule = "opens_asked_id"
	OpensNew     Rule = "opens_new"
	OpensAway    Rule = "opens_elsewhere"
	JoinsAskedID Rule = "joins_asked_id"
)

// Reason names why a task is refused.
type Reason string

// The reasons.
const (
	SharedAlone     Reason = "shared_without_parent"
	SharedElsewhere Reason = "shared_elsewhere"
)

// Ask is what a task asks for, and what is known above it.
type Ask struct {
	Mode Mode
	ID   string // the id asked for, sanitised; "" for none
	// Away: it asks for another host, entity or project than the parent's run
	// is in. Nothing is away from no parent.
	Away     bool
	Parent   bool   // a parent run is known
	ParentID string // its id
}

// Decision is what the table says.
type Decision struct {
	Outcome Outcome
	Rule    Rule   // empty where refused
	Reason  Reason // empty where not
}

// Decide is the table.
func Decide(a Ask) Decision {
	away := a.Parent && a.Away
	parents := a.Parent && (a.ID == "" || a.ID == a.ParentID)
	switch {
	case a.Mode == Shared && a.ID == "" && !a.Parent:
		return Decision{Outcome: Refused, Reason: SharedAlone}
	case a.Mode == Shared && a.ID == "" && away:
		return Decision{Outcome: Refused, Reason: SharedElsewhere}
	case a.Mode != New && parents && !away:
		return Decision{Outcome: Joins, Rule: JoinsParent}
	case a.Mode == Shared:
		return Decision{Outcome: Guest, Rule: JoinsAskedID}
	case a.ID != "":
		return Decision{Outcome: Opens, Rule: OpensAskedID}
	case a.Mode == New:
		return Decision{Outcome: Opens, Rule: OpensNew}
	case away:
		return Decision{Outcome: Opens, Rule: OpensAway}
	default:
		return Decision{Outcome: Opens, Rule: OpensPlain}
	}
}
