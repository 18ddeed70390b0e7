package lsview

import "time"

// State is how a run is doing.
type State string

// The states. Damage is said beside them.
const (
	Running    State = "running"    // somebody writes it
	Left       State = "left open"  // nobody writes it, and it has no end
	Finished   State = "finished"   // exit code 0
	Failed     State = "failed"     // another exit code
	Crashed    State = "crashed"    // given up: its program was not heard of any more
	Unreadable State = "unreadable" // no run record, or none yet
)

// Upload is what became, or is to become, of a run at W&B.
type Upload string

// The uploads.
const (
	Wait     Upload = "wait"     // it is not over
	Sync     Upload = "sync"     // by the commands beside it
	Uploaded Upload = "uploaded" // synced already, or sent as it ran
	Behind   Upload = "behind"   // W&B has a part of it: `otel-wandb sync`
	Halted   Upload = "stopped"  // its upload stopped, and says why
	Recover  Upload = "recover"  // an exporter has to end it first
	Inspect  Upload = "inspect"  // somebody has to look
)

// Listing is all there is to say of a directory.
type Listing struct {
	Dir      string     `json:"dir"`
	Runs     []*Run     `json:"runs"` // by start, the newest last
	Waiting  []*Waiting `json:"waiting,omitempty"`
	Outbox   int64      `json:"outbox_bytes,omitempty"` // that programs have for a collector that has not taken them
	Problems []string   `json:"problems,omitempty"`     // what could not be read
}

// Run is one run with all its parts.
type Run struct {
	Path     string    `json:"run"` // entity/project/id, with the host in front where it is not the default
	Name     string    `json:"name,omitempty"`
	State    State     `json:"state"`
	Exit     *int32    `json:"exit_code,omitempty"`
	Damaged  bool      `json:"damaged,omitempty"`
	Start    time.Time `json:"start,omitzero"`
	Written  time.Time `json:"last_written"`
	Seconds  float64   `json:"seconds"` // how long it ran
	Rows     int       `json:"rows"`
	Lines    int       `json:"console_lines"`
	Metrics  []*Series `json:"metrics,omitempty"`
	Parts    []Part    `json:"parts"`
	Upload   Upload    `json:"upload"`
	AtWandb  *AtWandb  `json:"at_wandb,omitempty"`
	Next     string    `json:"next"` // what to do, in a sentence
	Commands []string  `json:"commands,omitempty"`
	Notes    []string  `json:"notes,omitempty"`
}

// Part is one log of a run.
type Part struct {
	Dir    string `json:"dir"`
	Rows   int    `json:"rows"`
	Exit   *int32 `json:"exit_code,omitempty"`
	Synced bool   `json:"synced,omitempty"`
}

// Waiting is what waits for one span.
type Waiting struct {
	Trace string    `json:"trace_id"`
	For   string    `json:"for_span"`
	Items int       `json:"items"`
	Tasks int       `json:"tasks"`
	Names []string  `json:"spans,omitempty"` // some of those that wait
	Since time.Time `json:"since"`
}
