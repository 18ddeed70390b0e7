package lsview

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// shownMetrics is how many metrics of a run the text has; JSON has all.
const shownMetrics = 8

// View is a listing at a time, for people.
type View struct {
	*Listing
	Now time.Time `json:"now"`
}

// Text writes the listing, and at its end what happened and what to do next.
func (v View) Text(w io.Writer) {
	for _, r := range v.Runs {
		v.run(w, r)
	}
	if len(v.Waiting) > 0 {
		fmt.Fprintln(w, "waiting")
		for _, x := range v.Waiting {
			fmt.Fprintf(w, "  %s of trace %s for span %s, since %s%s\n", plural(x.Items, "item"), x.Trace, x.For, short(v.Now.Sub(x.Since)), some(x))
		}
		fmt.Fprintln(w)
	}
	for _, p := range v.Problems {
		fmt.Fprintf(w, "cannot read: %s\n", p)
	}
	v.summary(w)
	v.next(w)
}

func (v View) run(w io.Writer, r *Run) {
	state := string(r.State)
	if r.State == Failed && r.Exit != nil {
		state += " " + strconv.Itoa(int(*r.Exit))
	}
	if r.Damaged {
		state += ", damaged"
	}
	facts := []string{state, plural(r.Rows, "row")}
	if r.Lines > 0 {
		facts = append(facts, plural(r.Lines, "console line"))
	}
	if r.Seconds > 0 {
		facts = append(facts, "ran "+short(time.Duration(r.Seconds*float64(time.Second))))
	}
	if r.State == Running || r.State == Left {
		facts = append(facts, "last written "+short(v.Now.Sub(r.Written))+" ago")
	}
	name := ""
	if r.Name != "" && !strings.HasSuffix(r.Path, "/"+r.Name) {
		name = "  " + clean(r.Name)
	}
	fmt.Fprintf(w, "%s%s\n  %s\n", clean(r.Path), name, strings.Join(facts, " · "))
	metricLines(w, r.Metrics)
	if len(r.Parts) > 1 {
		for i, p := range r.Parts {
			fmt.Fprintf(w, "  part %d: %s, %s, %s\n", i+1, p.Dir, plural(p.Rows, "row"), p.end())
		}
	}
	if r.AtWandb != nil {
		fmt.Fprintln(w, "  "+clean(r.AtWandb.said(r.Rows)))
	}
	for _, n := range r.Notes {
		fmt.Fprintf(w, "  note: %s\n", clean(n))
	}
	fmt.Fprintf(w, "  → %s%s\n\n", r.Next, after(r.Commands))
}

func after(commands []string) string {
	if len(commands) == 0 {
		return ""
	}
	return ": " + strings.Join(commands, "; ")
}

func (p Part) end() string {
	switch {
	case p.Exit == nil:
		return "no end"
	case p.Synced:
		return "uploaded"
	case *p.Exit == 0:
		return "finished"
	default:
		return fmt.Sprintf("exit code %d", *p.Exit)
	}
}

func metricLines(w io.Writer, metrics []*Series) {
	shown := metrics[:min(len(metrics), shownMetrics)]
	name, value := 0, 0
	for _, m := range shown {
		name, value = max(name, utf8.RuneCountInString(clean(m.Name))), max(value, len(figure(float64(m.Last))))
	}
	for _, m := range shown {
		line := "  " + pad(clean(m.Name), name) + "  " + pad(figure(float64(m.Last)), value) + "  " + m.Line
		fmt.Fprintln(w, strings.TrimRight(line, " "))
	}
	if more := len(metrics) - len(shown); more > 0 {
		fmt.Fprintf(w, "  and %s more: --json has all\n", plural(more, "metric"))
	}
}

func pad(s string, n int) string {
	return s + strings.Repeat(" ", max(n-utf8.RuneCountInString(s), 0))
}

// figure is a number in few characters.
func figure(f float64) string {
	if f == math.Trunc(f) && math.Abs(f) < 1e9 {
		return strconv.FormatFloat(f, 'f', -1, 64)
	}
	return strconv.FormatFloat(f, 'g', 4, 64)
}

func (v View) summary(w io.Writer) {
	if len(v.Runs) == 0 {
		fmt.Fprintf(w, "no runs in %s\n", v.Dir)
		if len(v.Waiting) == 0 && v.Outbox == 0 {
			fmt.Fprintln(w, "A program that runs with the exporter writes to <dir>/wandb: name that directory, or set WANDB_DIR. otel-wandb explain shows what telemetry makes a run.")
		}
		return
	}
	parts := []string{plural(len(v.Runs), "run")}
	for _, s := range []State{Running, Left, Finished, Failed, Crashed, Unreadable} {
		n := 0
		for _, r := range v.Runs {
			if r.State == s {
				n++
			}
		}
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, s))
		}
	}
	items := 0
	for _, x := range v.Waiting {
		items += x.Items
	}
	if items > 0 {
		parts = append(parts, plural(items, "item")+" waiting")
	}
	fmt.Fprintln(w, strings.Join(parts, " · "))
}

// next gathers what is to be done, most of all what can be pasted into a shell.
func (v View) next(w io.Writer) {
	var commands []string
	theirs := false // some of them are of W&B's client
	does := map[Upload]int{}
	for _, r := range v.Runs {
		does[r.Upload]++
		if (r.Upload == Sync || r.Upload == Behind || r.Upload == Halted) && r.State != Left {
			commands = append(commands, r.Commands...)
			theirs = theirs || r.Upload == Sync
		}
	}
	if len(commands) > 0 {
		fmt.Fprintln(w, "Next, to upload what is over:")
		for _, c := range commands {
			fmt.Fprintln(w, "  "+c)
		}
		if theirs {
			fmt.Fprintln(w, "or, where W&B's client is not installed: otel-wandb sync "+quote(v.Dir))
		}
	}
	if v.Outbox > 0 {
		fmt.Fprintf(w, "%d bytes are in the outbox: no collector has taken them. A program that lives, or the next one here, sends them when its collector answers; otel-wandb sync %s puts on their runs what others left.\n", v.Outbox, quote(v.Dir))
	}
	if n := does[Recover]; n > 0 {
		fmt.Fprintf(w, "Next: start the exporter again, for %s that it left open.\n", plural(n, "run"))
	}
	if len(v.Waiting) > 0 {
		fmt.Fprintln(w, "What waits is placed when the span it waits for arrives: spans arrive when they end. A wandb.run.start log record of the task, or stamps, place it at once.")
	}
	if len(commands) == 0 && does[Recover] == 0 && does[Wait] > 0 {
		fmt.Fprintln(w, "Nothing to do now.")
	}
	if len(v.Runs) > 0 && does[Uploaded] == len(v.Runs) && v.Outbox == 0 {
		fmt.Fprintln(w, "Nothing to do: all of it is at W&B.")
	}
}

func some(x *Waiting) string {
	if len(x.Names) == 0 {
		return ""
	}
	return ": " + clean(strings.Join(x.Names, ", "))
}

// clean keeps a name from steering the terminal.
func clean(name string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '·'
		}
		return r
	}, strings.ToValidUTF8(name, "\uFFFD"))
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// short is a duration with as much of it as matters.
func short(d time.Duration) string {
	switch {
	case d < time.Second:
		return "less than 1s"
	case d < time.Minute:
		return strconv.Itoa(int(d.Seconds())) + "s"
	case d < time.Hour:
		return fmt.Sprintf("%dm%ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%dm", int(d.Hours()), int(d.Minutes())%60)
	default:
		return fmt.Sprintf("%dd%dh", int(d.Hours())/24, int(d.Hours())%24)
	}
}
