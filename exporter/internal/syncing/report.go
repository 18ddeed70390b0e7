package syncing

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"
)

// Outcome is what became of a run.
type Outcome string

// The outcomes. W&B has all of a run that is Uploaded, There or Synced.
const (
	Uploaded   Outcome = "uploaded"   // now
	There      Outcome = "there"      // W&B had all of it
	Synced     Outcome = "synced"     // `wandb sync` brought it there
	Unfinished Outcome = "unfinished" // W&B has what there is; the run has no end
	Busy       Outcome = "busy"       // another program uploads it
	Foreign    Outcome = "foreign"    // W&B's own client wrote it: `wandb sync`
	Stopped    Outcome = "stopped"    // W&B does not take it
	Left       Outcome = "left"       // not tried, or not to its end
	Unreadable Outcome = "unreadable" // its logs cannot be read
	ToSend     Outcome = "to send"    // a dry run would
)

// Result is one run, and what became of it.
type Result struct {
	Run     string   `json:"run"` // as its logs call it
	Name    string   `json:"name,omitempty"`
	Outcome Outcome  `json:"outcome"`
	Host    string   `json:"host,omitempty"`
	To      string   `json:"to,omitempty"`  // entity/project/id at W&B
	URL     string   `json:"url,omitempty"` // its page
	Rows    int      `json:"rows"`          // in its logs, as far as they were looked at
	Sent    int      `json:"rows_sent"`     // now; of a dry run those that would be
	Dirs    []string `json:"dirs,omitempty"`
	Error   string   `json:"error,omitempty"`
	Remedy  string   `json:"remedy,omitempty"`
	Notes   []string `json:"notes,omitempty"` // what W&B can never have, and the like
	// Commands to run for it, in this order.
	Commands []string `json:"commands,omitempty"`

	gone bool // only another id helps
	lost bool // W&B can never have all of it
}

// Waiting is what an exporter keeps for one span that has not come: it is in no run.
type Waiting struct {
	Trace string `json:"trace_id"`
	For   string `json:"for_span"`
	Items int    `json:"items"`
}

// Report is what sync did, or in a dry run would do.
type Report struct {
	Dir      string    `json:"dir"`
	DryRun   bool      `json:"dry_run,omitempty"`
	Complete bool      `json:"complete"` // W&B has all that the directory holds
	Runs     []*Result `json:"runs"`
	Waiting  []Waiting `json:"waiting,omitempty"`
	Adopted  int       `json:"adopted_events,omitempty"` // that killed programs had left
	Outbox   int64     `json:"outbox_bytes,omitempty"`   // that programs have left, or living ones still send
	Notes    []string  `json:"notes,omitempty"`
	Problems []string  `json:"problems,omitempty"` // what could not be read or done
	// Stopped is why sync ended before it had tried all.
	Stopped string `json:"stopped,omitempty"`
}

// judge says whether W&B has it all.
func (r *Report) judge() {
	r.Complete = len(r.Problems) == 0 && len(r.Waiting) == 0 && r.Stopped == "" && r.Outbox == 0 &&
		!slices.ContainsFunc(r.Runs, func(x *Result) bool { return !x.complete() })
}

func (r *Result) complete() bool {
	return (r.Outcome == Uploaded || r.Outcome == There || r.Outcome == Synced) && !r.lost
}

// plural is "1 run", "2 runs".
func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// said is the result in a line.
func (r *Result) said() string {
	name := clean(r.Run)
	where := ""
	if r.URL != "" {
		where = ": " + r.URL
	} else if r.To != "" && r.Outcome != Left && r.Outcome != Stopped {
		where = " → " + clean(r.Host+"/"+r.To)
	}
	switch r.Outcome {
	case ToSend:
		return fmt.Sprintf("%s: %s of %d to send%s", name, plural(r.Sent, "row"), r.Rows, where)
	case Uploaded:
		return fmt.Sprintf("%s: uploaded, %s%s", name, plural(r.Sent, "row"), where)
	case There:
		return name + ": already at W&B" + where
	case Synced:
		return name + ": already uploaded by wandb sync"
	case Unfinished:
		return fmt.Sprintf("%s: not finished, %s sent of what there is%s", name, plural(r.Sent, "row"), where)
	case Busy:
		return name + ": being uploaded by another program" + where
	case Foreign:
		return name + ": written by W&B's own client, left to wandb sync"
	case Stopped:
		return fmt.Sprintf("%s: stopped after %s: %s", name, plural(r.Sent, "row"), clean(r.Error))
	case Unreadable:
		return name + ": cannot be read: " + clean(r.Error)
	default:
		return fmt.Sprintf("%s: not uploaded to its end, %s sent: %s", name, plural(r.Sent, "row"), clean(r.Error))
	}
}

// Lines are what there is to say of the run.
func (r *Result) Lines(w io.Writer) {
	fmt.Fprintln(w, r.said())
	for _, n := range r.Notes {
		fmt.Fprintln(w, "  note: "+clean(n))
	}
	if r.Remedy != "" {
		fmt.Fprintln(w, "  → "+clean(r.Remedy))
	}
}

// Text writes the end of the report: what happened, where to look, what to do
// next. What became of each run was said as it happened, or is said with runs.
func (r *Report) Text(w io.Writer, runs bool) {
	if runs {
		for _, x := range r.Runs {
			if x.Outcome != There && x.Outcome != Synced {
				x.Lines(w)
			}
		}
	}
	if r.Adopted > 0 {
		fmt.Fprintf(w, "%s of killed programs were put on their runs\n", plural(r.Adopted, "event"))
	}
	for _, n := range r.Notes {
		fmt.Fprintf(w, "note: %s\n", clean(n))
	}
	for _, p := range r.Problems {
		fmt.Fprintf(w, "problem: %s\n", clean(p))
	}
	if r.Stopped != "" {
		fmt.Fprintf(w, "stopped early: %s\n", clean(r.Stopped))
	}
	if len(r.Runs) == 0 && len(r.Waiting) == 0 && r.Outbox == 0 {
		fmt.Fprintf(w, "no runs in %s\n", r.Dir)
		fmt.Fprintln(w, "A program that runs with the exporter writes to <dir>/wandb: name that directory, or set WANDB_DIR.")
		return
	}
	fmt.Fprintln(w, r.counts())
	r.next(w)
}

// counts is how many runs there are of each outcome.
func (r *Report) counts() string {
	list := []string{plural(len(r.Runs), "run")}
	for _, o := range []struct {
		is   Outcome
		says string
	}{
		{ToSend, "to send"},
		{Uploaded, "uploaded"},
		{There, "already at W&B"},
		{Synced, "uploaded by wandb sync"},
		{Unfinished, "not finished"},
		{Busy, "being uploaded by another program"},
		{Foreign, "for wandb sync"},
		{Stopped, "stopped"},
		{Left, "left"},
		{Unreadable, "unreadable"},
	} {
		if n := r.count(o.is); n > 0 {
			list = append(list, fmt.Sprintf("%d %s", n, o.says))
		}
	}
	rows := 0
	for _, x := range r.Runs {
		rows += x.Sent
	}
	if r.DryRun {
		return strings.Join(append(list, plural(rows, "row")), " · ")
	}
	return strings.Join(append(list, plural(rows, "row")+" sent"), " · ")
}

func (r *Report) count(o Outcome) (n int) {
	for _, x := range r.Runs {
		if x.Outcome == o {
			n++
		}
	}
	return n
}

// next says what to do.
func (r *Report) next(w io.Writer) {
	if r.Complete {
		fmt.Fprintln(w, "Nothing to do: all of it is at W&B.")
		return
	}
	again := command(r.Dir)
	switch {
	case r.DryRun && r.count(ToSend) > 0:
		fmt.Fprintf(w, "Nothing was sent. Next: %s\n", again)
	case r.DryRun:
		fmt.Fprintln(w, "Nothing was sent, and there is nothing to send now.")
	}
	var commands []string
	gone, lost := false, false
	for _, x := range r.Runs {
		commands = append(commands, x.Commands...)
		gone, lost = gone || x.gone, lost || x.lost
	}
	if gone {
		fmt.Fprintf(w, "Next, for runs whose id W&B refuses: %s\n", command(r.Dir, "--new-id"))
	}
	if n := r.count(Left); n > 0 || r.count(Stopped) > 0 && !gone {
		fmt.Fprintf(w, "Next: when that is put right, %s goes on where it stopped.\n", again)
	}
	if r.count(Unfinished)+r.count(Busy) > 0 && !r.DryRun {
		fmt.Fprintf(w, "Later: %s goes on with what is not finished. otel-wandb ls says which programs have runs open.\n", again)
	}
	if len(commands) > 0 {
		fmt.Fprintln(w, "Next, for what W&B's own client wrote:")
		for _, c := range commands {
			fmt.Fprintln(w, "  "+c)
		}
	}
	if len(r.Waiting) > 0 {
		n := 0
		for _, x := range r.Waiting {
			n += x.Items
		}
		fmt.Fprintf(w, "%s wait for spans that have not come, and are on no run: otel-wandb ls says which.\n", plural(n, "item"))
	}
	if r.Outbox > 0 {
		fmt.Fprintf(w, "%d bytes are in the outbox: programs that live send them themselves, and %s takes what others left, unless a collector has their run open.\n", r.Outbox, again)
	}
	if lost {
		fmt.Fprintln(w, "Some of it W&B can never have: the notes say what. It stays in the logs.")
	}
}

// command is how to call sync again.
func command(dir string, flags ...string) string {
	return strings.Join(append(append([]string{"otel-wandb", "sync"}, flags...), Quote(dir)), " ")
}

// Quote makes one word of a path for a shell.
func Quote(path string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_-./+,:@%", r)
	}
	if path != "" && !strings.HasPrefix(path, "-") && strings.IndexFunc(path, func(r rune) bool { return !plain(r) }) < 0 {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}

// clean keeps a name from steering the terminal.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return '·'
		}
		return r
	}, strings.ToValidUTF8(text, "\uFFFD"))
}
