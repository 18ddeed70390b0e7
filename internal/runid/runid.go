// Package runid decides what a run is called: its coordinates, and the one
// pure function from a task to its run id that bridge and exporter share.
//
// Nothing here has state. Every answer can be computed when the span starts,
// in the program as well as in the collector, and both get the same.
package runid

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Coordinates say which run. They travel together, and state is keyed by all
// four: the same id in another project is another run.
type Coordinates struct {
	Host    string `cbor:"1,keyasint,omitempty"` // base URL; "" is the exporter's own
	Entity  string `cbor:"2,keyasint,omitempty"` // "" is the default entity of the key
	Project string `cbor:"3,keyasint,omitempty"`
	ID      string `cbor:"4,keyasint,omitempty"`
}

// IsZero tells whether c names no run.
func (c Coordinates) IsZero() bool { return c.ID == "" }

// String is for people: entity/project/id, with the host in front where there is one.
func (c Coordinates) String() string {
	var parts []string
	for _, p := range []string{c.Host, c.Entity, c.Project} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	return strings.Join(append(parts, c.ID), "/")
}

// Key is the unambiguous form of c, for maps, locks and file names after
// hashing. The separator cannot be in a sanitised part.
func (c Coordinates) Key() string {
	return c.Host + "\x00" + c.Entity + "\x00" + c.Project + "\x00" + c.ID
}

// Limits of names, as W&B has them.
const (
	MaxID      = 128
	MaxProject = 128
	MaxTag     = 64
)

// Ranks says which worker of a distributed training a task is. The zero value
// is a task that is not distributed.
type Ranks struct {
	Rank, LocalRank           int
	WorldSize, LocalWorldSize int
	Worker                    int
	WorkerScope               bool // rank_scope "worker"; otherwise global
}

// Distributed tells whether the ranks matter at all: one process is no crowd.
func (r Ranks) Distributed() bool { return r.WorldSize > 1 }

// Nodes is the number of workers, at least one.
func (r Ranks) Nodes() int {
	if r.LocalWorldSize <= 0 || r.WorldSize <= r.LocalWorldSize {
		return 1
	}
	return r.WorldSize / r.LocalWorldSize
}

// Decides tells whether this rank ends a run that ranks share, and speaks for
// it: rank 0, or, with one run a worker, local rank 0.
func (r Ranks) Decides() bool {
	switch {
	case !r.Distributed():
		return true
	case r.WorkerScope && r.Nodes() > 1:
		return r.LocalRank == 0
	default:
		return r.Rank == 0
	}
}

// Derive gives the id and, where ranks ask for one, the group of a task's own
// run from its base name. new is run mode "new".
//
//	1 node,  auto/shared          base
//	1 node,  new                  base-rank-R                group base
//	N nodes, auto/shared, global  base
//	N nodes, auto/shared, worker  base-worker-W
//	N nodes, new, global          base-rank-R                group base
//	N nodes, new, worker          base-worker-W-rank-L       group base-worker-W
func (r Ranks) Derive(base string, isNew bool) (id, group string) {
	if !r.Distributed() {
		return base, ""
	}
	worker := base + "-worker-" + strconv.Itoa(r.Worker)
	perWorker := r.WorkerScope && r.Nodes() > 1
	switch {
	case isNew && perWorker:
		return worker + "-rank-" + strconv.Itoa(r.LocalRank), worker
	case isNew:
		return base + "-rank-" + strconv.Itoa(r.Rank), base
	case perWorker:
		return worker, ""
	default:
		return base, ""
	}
}

// Base is the id of a task that asked for none, before ranks: Flyte's run and
// action where both are there, else trace and span, so that the id alone leads
// back to the trace. traceID and spanID are lower-case hex.
func Base(flyteRun, flyteAction, traceID, spanID string) string {
	if flyteRun != "" && flyteAction != "" {
		return flyteRun + "-" + flyteAction
	}
	return traceID + "-" + spanID
}

// refused are the characters that W&B takes in no run id: those its client
// refuses and those its documentation forbids besides.
const refused = `:;,#?/'\%`

// Sanitize makes an id that W&B accepts of any string. Where it changes or
// cuts anything it adds 8 hex of the original's hash, so that two ids that
// differ stay different; changed tells so. An empty id stays empty.
func Sanitize(id string) (clean string, changed bool) {
	clean, changed = replaceBad(id, refused)
	if clean == "." || clean == ".." { // a run's files are named after it
		clean, changed = strings.ReplaceAll(clean, ".", "_"), true
	}
	if changed || len(clean) > MaxID {
		return cut(clean, MaxID-9) + "-" + shortHash(id), true
	}
	return clean, false
}

func replaceBad(s, bad string) (string, bool) {
	ok := utf8.ValidString(s) && strings.TrimSpace(s) == s
	for _, r := range s {
		if !ok {
			break
		}
		ok = !strings.ContainsRune(bad, r) && unicode.IsPrint(r)
	}
	if ok {
		return s, false
	}
	var b strings.Builder
	for _, r := range strings.TrimSpace(strings.ToValidUTF8(s, "_")) {
		if strings.ContainsRune(bad, r) || !unicode.IsPrint(r) {
			r = '_'
		}
		b.WriteRune(r)
	}
	return b.String(), true
}

// ProjectError says why W&B would not take the project's name; "" means it would.
func ProjectError(project string) string {
	switch {
	case len(project) > MaxProject:
		return "is longer than 128 bytes"
	case !utf8.ValidString(project):
		return "is not valid UTF-8"
	case strings.ContainsAny(project, `/\#?%:`):
		return `holds one of / \ # ? % :`
	case project != "" && strings.TrimSpace(project) == "":
		return "is blank"
	case project == "." || project == "..":
		return "is a relative path"
	case strings.ContainsFunc(project, unicode.IsControl):
		return "holds a control character"
	}
	return ""
}

func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

func shortHash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:4])
}
