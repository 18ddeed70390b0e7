package placementtest

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Case is one case of a file.
type Case struct {
	Name     string
	AnyOrder bool
	File     string
	Line     int

	config []pair
	steps  []step
	traces map[string]string // trace of each span, by name
}

// step is one line: something arrives, time passes, or something is expected.
type step struct {
	line   int
	text   string
	arrive *arrival
	after  time.Duration
	expect *expectation
}

// arrival is a span, or a log record, that arrives.
type arrival struct {
	line    int
	kind    string // span, start or log
	name    string
	parent  string // empty: a root
	trace   string
	logs    bool // the span holds a row
	console bool // the record is a console line
	nowhere bool // the record carries no span
	pairs   []pair
}

// pair is key=value. quoted keeps a span's name from being taken for its id.
type pair struct {
	key, value string
	quoted     bool
}

// verbs is shown when a line has none of them.
const verbs = "case, config, any order, span, start, log, after, expect"

// Parse reads a file of cases. Its errors name file and line, and say what to
// write instead.
func Parse(file, text string) ([]*Case, error) {
	p := parser{file: file}
	for i, line := range strings.Split(text, "\n") {
		p.line = i + 1
		if err := p.read(line); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", file, p.line, err)
		}
	}
	for _, c := range p.cases {
		if len(c.steps) == 0 {
			return nil, fmt.Errorf("%s:%d: case %q has no lines: let something arrive and expect something of it", file, c.Line, c.Name)
		}
		if err := c.resolve(); err != nil {
			return nil, err
		}
	}
	return p.cases, nil
}

type parser struct {
	file  string
	line  int
	cases []*Case
}

func (p *parser) read(line string) error {
	words, err := split(line)
	if err != nil || len(words) == 0 {
		return err
	}
	verb, rest := words[0].text, words[1:]
	if verb == "case" {
		name := strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), "case"))
		if name == "" {
			return fmt.Errorf("a case needs a name: case what it shows")
		}
		p.cases = append(p.cases, &Case{Name: name, File: p.file, Line: p.line})
		return nil
	}
	if len(p.cases) == 0 {
		return fmt.Errorf("%q stands before the first case: begin with a line `case what it shows`", verb)
	}
	c := p.cases[len(p.cases)-1]
	s := step{line: p.line, text: strings.TrimSpace(line)}
	switch verb {
	case "config":
		if len(c.steps) > 0 {
			return fmt.Errorf("config stands behind other lines: move it to the top of its case")
		}
		pairs, left := pairsOf(rest)
		if len(left) > 0 {
			return fmt.Errorf("config takes key=value only: what is %q", left[0].text)
		}
		c.config = append(c.config, pairs...)
		return nil
	case "any":
		if len(rest) != 1 || rest[0].text != "order" {
			return fmt.Errorf("write `any order`")
		}
		c.AnyOrder = true
		return nil
	case "span", "start", "log":
		s.arrive, err = p.arrival(verb, rest)
	case "after":
		s.after, err = duration(rest)
	case "expect":
		s.expect, err = parseExpect(rest)
	default:
		err = fmt.Errorf("no verb is called %q: use one of %s", verb, verbs)
	}
	c.steps = append(c.steps, s)
	return err
}

func duration(words []word) (time.Duration, error) {
	if len(words) == 1 {
		if d, err := time.ParseDuration(words[0].text); err == nil && d > 0 {
			return d, nil
		}
	}
	return 0, fmt.Errorf("after takes one duration: after 61s, after 24h")
}

func (p *parser) arrival(kind string, words []word) (*arrival, error) {
	if len(words) == 0 || words[0].isPair() {
		return nil, fmt.Errorf("which %s? write a name behind it: %s train", kind, kind)
	}
	a := &arrival{line: p.line, kind: kind, name: words[0].text}
	pairs, left := pairsOf(words[1:])
	a.pairs = pairs
	for len(left) > 0 {
		switch w := left[0].text; {
		case w == "under" && len(left) > 1:
			a.parent, left = left[1].text, left[2:]
		case w == "in" && len(left) > 2 && left[1].text == "trace":
			a.trace, left = left[2].text, left[3:]
		case w == "logs" && kind == "span":
			a.logs, left = true, left[1:]
		case w == "console" && kind == "log":
			a.console, left = true, left[1:]
		case w == "nowhere" && kind == "log":
			a.nowhere, left = true, left[1:]
		default:
			return nil, fmt.Errorf("%s does not take %q: use `under NAME`, `in trace NAME`, key=value; with span also `logs`; with log also `console`, `nowhere`", kind, w)
		}
	}
	return a, nil
}

// resolve finds the trace of each span: the one it names, else its parent's,
// else the only one.
func (c *Case) resolve() error {
	parents, traces := map[string]string{}, map[string]string{}
	for _, s := range c.steps {
		a := s.arrive
		if a == nil {
			continue
		}
		if a.trace != "" {
			if old, ok := traces[a.name]; ok && old != a.trace {
				return fmt.Errorf("%s:%d: %s was in trace %s before: give the other span a name of its own", c.File, s.line, a.name, old)
			}
			traces[a.name] = a.trace
		}
		if a.parent != "" {
			parents[a.name] = a.parent
		}
	}
	find := func(name string) string {
		for range len(parents) + 1 { // a bound: cycles are legal cases
			if tr, ok := traces[name]; ok {
				return tr
			}
			parent, ok := parents[name]
			if !ok {
				break
			}
			name = parent
		}
		return "main"
	}
	c.traces = map[string]string{}
	for name, parent := range parents {
		c.traces[name], c.traces[parent] = find(name), find(parent)
	}
	for name, tr := range traces {
		c.traces[name] = tr
	}
	return nil
}

func (c *Case) traceOf(name string) string {
	if tr, ok := c.traces[name]; ok {
		return tr
	}
	return "main"
}

// word is a word of a line; key is set for key=value.
type word struct {
	text   string
	key    string
	quoted bool
}

func (w word) isPair() bool { return w.key != "" }

// split takes a line apart: words, key=value, "with spaces", # comment.
func split(line string) (words []word, err error) {
	for {
		line = strings.TrimLeft(line, " \t,")
		if line == "" || line[0] == '#' {
			return words, nil
		}
		var w word
		if w, line, err = next(line); err != nil {
			return nil, err
		}
		words = append(words, w)
	}
}

func next(line string) (w word, rest string, err error) {
	if i := strings.IndexAny(line, "= \t,\""); i > 0 && line[i] == '=' {
		w.key, line = line[:i], line[i+1:]
	}
	if strings.HasPrefix(line, `"`) {
		quoted, err := strconv.QuotedPrefix(line)
		if err != nil {
			return w, "", fmt.Errorf("a quote is not closed: %s", line)
		}
		w.text, err = strconv.Unquote(quoted)
		w.quoted = true
		return w, line[len(quoted):], err
	}
	end := strings.IndexAny(line, " \t,")
	if end < 0 {
		end = len(line)
	}
	w.text = line[:end]
	return w, line[end:], nil
}

func pairsOf(words []word) (pairs []pair, left []word) {
	for _, w := range words {
		if w.isPair() {
			pairs = append(pairs, pair{w.key, w.text, w.quoted})
		} else {
			left = append(left, w)
		}
	}
	return pairs, left
}
