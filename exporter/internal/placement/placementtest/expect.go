package placementtest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/otel-wandb/otel-wandb/exporter/internal/placement"
	"github.com/otel-wandb/otel-wandb/internal/runid"
)

// expectation is what an expect line says of one or more names, or a count.
type expectation struct {
	names  []string
	is     string // in_run, in_no_run, by, refused, waits, role, group, no_group, dropped, links, waiting
	arg    string
	quoted bool
	pairs  []pair
	count  int
}

const forms = "expect A, B in run R | in no run RULE | by RULE | refused REASON | waits for X | is owner | in group G | in no group | dropped REASON; expect 3 links; expect 2 waiting"

func parseExpect(words []word) (*expectation, error) {
	bad := func() error { return fmt.Errorf("cannot read what is expected; write %s", forms) }
	pairs, words := pairsOf(words)
	e := &expectation{pairs: pairs}
	if len(words) == 2 && (words[1].text == "links" || words[1].text == "waiting") {
		n, err := strconv.Atoi(words[0].text)
		if err != nil {
			return nil, bad()
		}
		e.is, e.count = words[1].text, n
		return e, nil
	}
	at := slices.IndexFunc(words, func(w word) bool {
		return !w.quoted && slices.Contains([]string{"in", "by", "refused", "waits", "is", "dropped"}, w.text)
	})
	if at < 1 {
		return nil, bad()
	}
	for _, w := range words[:at] {
		e.names = append(e.names, w.text)
	}
	said := words[at:]
	var text []string
	for _, w := range said {
		text = append(text, w.text)
	}
	last := said[len(said)-1]
	phrase := strings.Join(text[:len(text)-1], " ")
	switch {
	case phrase == "in run":
		e.is = "in_run"
	case phrase == "in no run":
		e.is = "in_no_run"
	case phrase == "in group":
		e.is = "group"
	case strings.Join(text, " ") == "in no run":
		e.is, last = "in_no_run", word{}
	case strings.Join(text, " ") == "in no group":
		e.is, last = "no_group", word{}
	case strings.Join(text, " ") == "waits":
		e.is, last = "waits", word{}
	case phrase == "by", phrase == "refused", phrase == "dropped":
		e.is = phrase
	case phrase == "waits for":
		e.is = "waits"
	case phrase == "is" && slices.Contains([]string{"owner", "member", "guest"}, last.text):
		e.is = "role"
	default:
		return nil, bad()
	}
	e.arg, e.quoted = last.text, last.quoted
	return e, nil
}

// hold tells what is not as expected; nil when all is.
func (w *world) hold(e *expectation) error {
	switch e.is {
	case "links":
		return count("spans are remembered", w.table.Links(), e.count)
	case "waiting":
		return count("units wait", w.table.Waiting(), e.count)
	}
	for _, name := range e.names {
		f, err := w.find(name)
		if err != nil {
			return err
		}
		if err := w.holds(e, name, f); err != nil {
			return err
		}
	}
	return nil
}

func count(what string, got, want int) error {
	if got != want {
		return fmt.Errorf("%d %s, want %d", got, what, want)
	}
	return nil
}

func (w *world) holds(e *expectation, name string, f found) error {
	no := func() error { return fmt.Errorf("%s is %s", name, f) }
	d := f.decision
	inRun := !f.waits && d != nil && !d.Refused()
	switch e.is {
	case "in_run":
		if want := w.runNamed(e); !inRun || d.Run != want {
			return fmt.Errorf("%s is %s; want run %s", name, f, want)
		}
	case "in_no_run":
		if f.waits || inRun || e.arg != "" && string(f.rule) != e.arg {
			return no()
		}
	case "by":
		if f.waits || string(f.rule) != e.arg {
			return no()
		}
	case "refused":
		if f.waits || !d.Refused() || string(d.Reason) != e.arg || d.Span != w.span(name) {
			return no()
		}
		if !strings.Contains(d.Text, d.Trace.String()) || !strings.Contains(d.Text, d.Span.String()) {
			return fmt.Errorf("the refusal of %s does not say trace and span: %s", name, d.Text)
		}
	case "waits":
		if !f.waits || e.arg != "" && f.missing != w.span(e.arg) {
			return no()
		}
	case "role":
		want := map[string]placement.Role{"owner": placement.RoleOwner, "member": placement.RoleMember, "guest": placement.RoleGuest}[e.arg]
		if !inRun || d.Span != w.span(name) || d.Role != want {
			return fmt.Errorf("%s is %s, with role %d of span %s", name, f, f.role(), w.nameOf(f.ofSpan()))
		}
	case "group", "no_group":
		if want := w.literal(e); !inRun || d.Group != want {
			return fmt.Errorf("%s is %s, in group %q; want %q", name, f, f.group(), want)
		}
	case "dropped":
		if !slices.Contains(w.drops[name], e.arg) {
			return fmt.Errorf("%s: dropped are %v, want %s", name, w.drops[name], e.arg)
		}
	}
	return nil
}

// runNamed is the run that an expectation means: by id in quotes, else by the
// span after which the run is called.
func (w *world) runNamed(e *expectation) runid.Coordinates {
	run := w.cfg.Default
	run.ID = w.literal(e)
	for _, p := range e.pairs {
		switch p.key {
		case "host":
			run.Host = p.value
		case "entity":
			run.Entity = p.value
		case "project":
			run.Project = p.value
		}
	}
	return run
}

func (w *world) literal(e *expectation) string {
	if e.quoted || e.arg == "" {
		return e.arg
	}
	return w.trace(e.arg).String() + "-" + w.span(e.arg).String()
}

// found is where a name is now.
type found struct {
	waits    bool
	missing  placement.SpanID
	decision *placement.Decision
	rule     placement.Rule
	missName string
}

func (f found) String() string {
	switch {
	case f.waits:
		return "waiting for " + f.missName
	case f.decision.Refused():
		return fmt.Sprintf("in no run (%s; %s)", f.rule, f.decision.Text)
	case f.decision == nil:
		return fmt.Sprintf("in no run (%s)", f.rule)
	}
	return fmt.Sprintf("in run %s (%s)", f.decision.Run, f.rule)
}

func (f found) role() placement.Role {
	if f.decision == nil {
		return placement.RoleNone
	}
	return f.decision.Role
}

func (f found) ofSpan() placement.SpanID {
	if f.decision == nil {
		return placement.SpanID{}
	}
	return f.decision.Span
}

func (f found) group() string {
	if f.decision == nil {
		return ""
	}
	return f.decision.Group
}
