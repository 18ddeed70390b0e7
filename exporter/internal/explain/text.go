package explain

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// same stands for the run of the span above.
const same = "″"

// Text writes the report for people.
func (r *Report) Text(w io.Writer) {
	short := r.shortener()
	for _, tr := range r.Traces {
		fmt.Fprintf(w, "trace %s\n", tr.ID)
		t := tree{short: short}
		for i, sp := range tr.Roots {
			t.add(sp, "", i == len(tr.Roots)-1, "")
		}
		table(w, t.rows)
		fmt.Fprintln(w)
	}
	if len(r.Runs) > 0 {
		fmt.Fprintln(w, "runs")
		var rows [][]string
		for _, run := range r.Runs {
			rows = append(rows, []string{"  " + run.Path, run.says()})
		}
		table(w, rows)
		fmt.Fprintln(w)
	}
	if len(r.Drops) > 0 {
		fmt.Fprintln(w, "dropped")
		for _, d := range r.Drops {
			fmt.Fprintf(w, "  %d × %s: %s\n", d.Items, d.Reason, d.Text)
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintln(w, strings.Join(r.totals(), " · "))
	if len(r.Runs) == 0 && r.Clean() {
		fmt.Fprintln(w, "Nothing here makes a run: put the attribute wandb.run.mode=auto on the span that should be one.")
	}
	if r.Points > 0 {
		fmt.Fprintln(w, "Metrics that name no run join those that are open when they come: here, as if all were.")
	}
}

func (r *Report) totals() []string {
	parts := []string{fmt.Sprintf("runs: %d", len(r.Runs)), fmt.Sprintf("spans: %d", r.Spans)}
	for _, c := range []struct {
		name string
		n    int
	}{
		{"log records", r.Records},
		{"rows", r.Rows},
		{"in no run", r.NoRun},
		{"refused", r.Refused},
		{"kept out", r.KeptOut},
		{"metric points", r.Points},
		{"of these in no run", r.PointsNoRun},
	} {
		if c.n > 0 || c.name == "rows" || c.name == "refused" {
			parts = append(parts, fmt.Sprintf("%s: %d", c.name, c.n))
		}
	}
	return parts
}

func (run *Run) says() string {
	var parts []string
	if run.Owner != "" {
		parts = append(parts, "of "+clean(run.Owner))
	}
	parts = append(parts, plural(run.Spans, "span"), plural(run.Rows, "row"))
	if run.Lines > 0 {
		parts = append(parts, plural(run.Lines, "console line"))
	}
	if run.Points > 0 {
		parts = append(parts, plural(run.Points, "metric point"))
	}
	if run.Repeats > 0 {
		parts = append(parts, plural(run.Repeats, "repeat"))
	}
	if run.Group != "" {
		parts = append(parts, "group "+run.Group)
	}
	return strings.Join(parts, ", ")
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// tree collects lines: name, run, rule, the rest.
type tree struct {
	short shortener
	rows  [][]string
}

// add adds a span's line and those of all under it. above is the run of its parent.
func (t *tree) add(sp *Span, indent string, last bool, above string) {
	branch, below := "├─ ", "│  "
	if last {
		branch, below = "└─ ", "   "
	}
	t.rows = append(t.rows, append([]string{indent + branch + sp.title()}, t.cells(sp, above)...))
	if sp.run != nil {
		above = sp.run.Path
	}
	for i, child := range sp.Under {
		t.add(child, indent+below, i == len(sp.Under)-1, above)
	}
}

func (sp *Span) title() string {
	name := clean(sp.Name)
	switch {
	case sp.Open:
		return name + " (not ended)"
	case sp.Absent:
		return "(span " + sp.ID + " is not in the input)"
	case name == "":
		return "(span " + sp.ID + ")"
	}
	return name
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

func (t *tree) cells(sp *Span, above string) []string {
	switch {
	case sp.run != nil && sp.run.Path == above:
		return []string{same, sp.Rule, t.details(sp)}
	case sp.run != nil:
		return []string{sp.run.place + t.short.shorten(sp.run.id), sp.Rule, t.details(sp)}
	case sp.Reason != "":
		return []string{sp.outcome(), sp.Reason + ": " + sp.Remedy}
	case sp.Rule != "":
		return []string{"–", sp.Rule}
	}
	return nil
}

// outcome is what stands in a run's place.
func (sp *Span) outcome() string {
	if sp.Refused {
		return "refused"
	}
	return "kept out"
}

func (t *tree) details(sp *Span) string {
	var parts []string
	if sp.Role == "guest" {
		parts = append(parts, "guest")
	}
	if sp.Group != "" {
		parts = append(parts, "group "+t.short.shorten(sp.Group))
	}
	if sp.Rows > 0 {
		parts = append(parts, plural(sp.Rows, "row"))
	}
	return strings.Join(parts, ", ")
}

// table aligns columns; the last of a row is as long as it likes.
func table(w io.Writer, rows [][]string) {
	var widths []int
	for _, row := range rows {
		for i, cell := range row[:len(row)-1] {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, row := range rows {
		var b strings.Builder
		for i, cell := range row {
			b.WriteString(cell)
			if i < len(row)-1 {
				b.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+2))
			}
		}
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
}
