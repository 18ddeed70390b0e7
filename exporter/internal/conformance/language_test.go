package conformance

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// epoch is second 0 of every case.
var epoch = time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)

// translator turns a case.txt into input.jsonl and expect.json. README.md,
// beside the cases, tells the language.
type translator struct {
	name  string
	lines []string
	at    int // index of the line under way

	title, about []string
	exempt       object
	settings     any

	// The traces and spans that the case names, in order of their first mention.
	aliases map[string]*alias
	order   []*alias
	traces  map[string]string
	trace   string
	names   int // span ids given

	resource, scope object // of what follows
	scopeName       string
	steps           []any
	request         *request // under way; nil: the next item begins one
	lastWait        bool

	// Expectations.
	runs         []*expectedRun
	spans        object
	dropped      object
	waiting      int
	expectations bool
}

type alias struct {
	name, span, trace string
	spanName          string
	parent            *alias
	start             float64
	declared          bool
}

func (a *alias) run() string { return a.trace + "-" + a.span }

type request struct {
	kind   string // traces, logs or metrics
	blocks []*block
}

// block is one resource with one scope, and its items.
type block struct {
	resource, scope object
	scopeName       string
	items           []any
}

type expectedRun struct {
	coordinates string
	fields      object
	start       float64
	config      object
	rows        []any
	rowTimes    []float64
	console     []any
	alerts      []any
	metrics     []any
	system      []any
	summary     []summaryLine
	exit        any
	nextStep    int64
}

type summaryLine struct {
	key    string
	value  any
	remove bool
}

// translate reads a case.txt. It panics with the line that is wrong: cases are
// part of the repository.
func translate(name, text string) (input, expect []byte, title string) {
	t := &translator{name: name, lines: strings.Split(text, "\n"), aliases: map[string]*alias{}, traces: map[string]string{}, trace: "t"}
	defer func() {
		if p := recover(); p != nil {
			panic(fmt.Sprintf("%s/case.txt:%d: %v", name, t.at+1, p))
		}
	}()
	t.findSpans()
	for t.at = 0; t.at < len(t.lines); t.at++ {
		t.line(t.join())
	}
	t.at = len(t.lines) - 1
	if !t.lastWait {
		t.endRequest()
		t.steps = append(t.steps, object{{"wait", "96h"}})
	}
	return t.inputLines(), t.expectJSON(), strings.Join(t.title, " ")
}

// join takes the continuation lines of the one under way.
func (t *translator) join() string {
	s := t.lines[t.at]
	for strings.HasSuffix(s, `\`) {
		t.at++
		s = strings.TrimSuffix(s, `\`) + strings.TrimLeft(t.lines[t.at], " ")
	}
	return s
}

func (t *translator) line(s string) {
	switch {
	case strings.HasPrefix(s, "# "):
		if t.about == nil {
			t.title = append(t.title, s[2:])
		} else {
			t.about = append(t.about, s[2:])
		}
	case s == "#":
		t.about = []string{}
	case strings.TrimSpace(s) == "":
	case s == "---":
		t.endRequest()
		t.expectations = true
	case t.expectations:
		t.expectation(s)
	case strings.HasPrefix(s, "  "):
		t.event(words(s))
	default:
		t.command(words(s))
	}
}

// findSpans looks ahead, so that what is said of a span may come before it.
func (t *translator) findSpans() {
	for t.at = 0; t.at < len(t.lines); t.at++ {
		w := words(t.join())
		if len(w) < 2 {
			continue
		}
		switch w[0] {
		case "---":
			t.trace = "t"
			return
		case "trace":
			t.trace = w[1]
		case "span", "open":
			a := t.alias(spanAlias(w))
			if a.declared {
				continue
			}
			a.declared, a.spanName, a.trace = true, unquote(w[1]), t.traceID(t.trace)
			a.start = 0
			for i, x := range w {
				if x == "under" {
					a.parent = t.alias(w[i+1])
				}
				if x[0] == '@' {
					a.start, _ = period(x)
				}
			}
		}
	}
	t.trace = "t"
}

func spanAlias(w []string) string {
	if i := slices.Index(w, "as"); i > 0 {
		return w[i+1]
	}
	return unquote(w[1])
}

func unquote(s string) string {
	v, err := literal(s)
	if err != nil {
		panic(err)
	}
	if s, ok := v.(string); ok {
		return s
	}
	return s
}

func (t *translator) traceID(name string) string {
	if t.traces[name] == "" {
		t.traces[name] = strings.Repeat(fmt.Sprintf("a%x", len(t.traces)+1), 16)
	}
	return t.traces[name]
}

func (t *translator) alias(name string) *alias {
	a := t.aliases[name]
	if a == nil {
		t.names++
		a = &alias{name: name, spanName: name, span: strings.Repeat(fmt.Sprintf("%02x", t.names), 8), trace: t.traceID(t.trace)}
		t.aliases[name] = a
		t.order = append(t.order, a)
	}
	return a
}

func (t *translator) known(name string) *alias {
	a := t.aliases[name]
	if a == nil {
		panic("no span is called " + name)
	}
	return a
}

// words splits a line at spaces that are in no quotes and no brackets.
func words(s string) (out []string) {
	depth, quoted, from := 0, false, -1
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == ' ' && depth == 0 && !quoted {
			if from >= 0 {
				out = append(out, s[from:i])
			}
			from = -1
			continue
		}
		if from < 0 {
			from = i
		}
		switch {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case !quoted && (c == '[' || c == '{'):
			depth++
		case !quoted && (c == ']' || c == '}'):
			depth--
		}
	}
	if from >= 0 {
		out = append(out, s[from:])
	}
	return out
}

func period(s string) (from, to float64) {
	a, b, _ := strings.Cut(s[1:], "-")
	from, err := strconv.ParseFloat(a, 64)
	if err != nil {
		panic(err)
	}
	if b == "" {
		return from, from
	}
	if to, err = strconv.ParseFloat(b, 64); err != nil {
		panic(err)
	}
	return from, to
}

func nanos(seconds float64) string {
	return strconv.FormatInt(epoch.UnixNano()+int64(seconds*1e9), 10)
}

var reference = regexp.MustCompile(`\$\{([^}]*)\}`)

// expand replaces ${span}, ${span.trace}, ${span.run} and ${t:seconds}.
func (t *translator) expand(s string) string {
	return reference.ReplaceAllStringFunc(s, func(m string) string {
		m = m[2 : len(m)-1]
		if sec, ok := strings.CutPrefix(m, "t:"); ok {
			f, err := strconv.ParseFloat(sec, 64)
			if err != nil {
				panic(err)
			}
			return nanos(f)
		}
		name, what, _ := strings.Cut(m, ".")
		a := t.known(name)
		switch what {
		case "":
			return a.span
		case "trace":
			return a.trace
		case "run":
			return a.run()
		}
		panic("no reference: " + m)
	})
}

// attribute reads key=value. A key that begins with a dot is one of wandb's.
func (t *translator) attribute(word string) (m member, ok bool) {
	var key, value string
	if word[0] == '"' {
		end := strings.Index(word[1:], `"`) + 2
		key = unquote(word[:end])
		if value, ok = strings.CutPrefix(word[end:], "="); !ok {
			return m, false
		}
	} else {
		if key, value, ok = strings.Cut(word, "="); !ok {
			return m, false
		}
		if key[0] == '.' && !t.expectations {
			key = "wandb" + key
		}
	}
	if strings.HasPrefix(value, "${") && !strings.HasPrefix(value, "${t:") {
		return member{key, t.expand(value)}, true // an id, though it may look like a number
	}
	v, err := literal(t.expand(value))
	if err != nil {
		panic(err)
	}
	return member{key, v}, true
}

func (t *translator) attributes(words []string) (o object) {
	for _, w := range words {
		m, ok := t.attribute(w)
		if !ok {
			panic("what is " + w)
		}
		o = append(o, m)
	}
	return o
}

func otlpAttributes(o object) []any {
	out := []any{}
	for _, m := range o {
		out = append(out, object{{"key", m.key}, {"value", anyValue(m.value)}})
	}
	return out
}

func (t *translator) command(w []string) {
	t.lastWait = false
	switch w[0] {
	case "settings":
		t.settings = must(literal(w[1]))
	case "exempt":
		t.exempt = append(t.exempt, member{w[1], strings.Join(w[2:], " ")})
	case "trace":
		t.trace = w[1]
	case "resource":
		t.resource = t.attributes(w[1:])
	case "scope":
		t.scopeName, t.scope = "", nil
		if len(w) > 1 {
			t.scopeName, t.scope = unquote(w[1]), t.attributes(w[2:])
		}
	case "request":
		t.endRequest()
	case "wait":
		t.endRequest()
		t.steps = append(t.steps, object{{"wait", w[1]}})
		t.lastWait = true
	case "span":
		t.span(w)
	case "carrier":
		t.carrier(w)
	case "open":
		// findSpans looks at it: it only declares a span that is not sent yet.
	case "record":
		t.record(w[1:])
	case "metric":
		t.metric(w[1:])
	default:
		panic("no command: " + w[0])
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func (t *translator) add(kind string, item any) {
	if t.request == nil || t.request.kind != kind {
		t.endRequest()
		t.request = &request{kind: kind}
	}
	var b *block
	if n := len(t.request.blocks); n > 0 {
		b = t.request.blocks[n-1]
	}
	if b == nil || !same(b.resource, t.resource) || !same(b.scope, t.scope) || b.scopeName != t.scopeName {
		b = &block{resource: t.resource, scope: t.scope, scopeName: t.scopeName}
		t.request.blocks = append(t.request.blocks, b)
	}
	b.items = append(b.items, item)
}

func same(a, b object) bool { return bytes.Equal(plain(a), plain(b)) }

func (t *translator) endRequest() {
	if t.request == nil {
		return
	}
	names := map[string][3]string{
		"traces": {"resourceSpans", "scopeSpans", "spans"},
		"logs":   {"resourceLogs", "scopeLogs", "logRecords"},

		"metrics": {"resourceMetrics", "scopeMetrics", "metrics"},
	}[t.request.kind]
	var resources []any
	for _, b := range t.request.blocks {
		scope := object{}
		if b.scopeName != "" {
			scope = append(scope, member{"name", b.scopeName})
		}
		if b.scope != nil {
			scope = append(scope, member{"attributes", otlpAttributes(b.scope)})
		}
		resource := object{}
		if b.resource != nil {
			resource = append(resource, member{"attributes", otlpAttributes(b.resource)})
		}
		resources = append(resources, object{
			{"resource", resource},
			{names[1], []any{object{{"scope", scope}, {names[2], b.items}}}},
		})
	}
	t.steps = append(t.steps, object{{t.request.kind, object{{names[0], resources}}}})
	t.request = nil
}

// otlpSpan is a span under way: its events follow in lines of their own.
type otlpSpan struct {
	fields object
	start  float64
	events []any
	status string
}

func (s *otlpSpan) MarshalJSON() ([]byte, error) {
	o := slices.Clone(s.fields)
	if s.events != nil {
		o = append(o, member{"events", s.events})
	}
	if s.status != "" {
		o = append(o, member{"status", object{{"code", map[string]int{"ok": 1, "error": 2}[s.status]}}})
	}
	return plain(o), nil
}

// span <name> [as <alias>] [under <alias>] [@from-to] [status=error] key=value …
func (t *translator) span(w []string) {
	t.addSpan(unquote(w[1]), t.alias(spanAlias(w)), w[2:], nil)
}

func (t *translator) addSpan(name string, a *alias, w []string, first object) {
	s := &otlpSpan{}
	from, to := 0.0, 10.0
	attrs := first
	parent := ""
	for i := 0; i < len(w); i++ {
		switch {
		case w[i] == "as":
			i++
		case w[i] == "under":
			i++
			parent = t.alias(w[i]).span
		case w[i][0] == '@':
			from, to = period(w[i])
		case strings.HasPrefix(w[i], "status="):
			s.status = w[i][len("status="):]
		case strings.HasPrefix(w[i], "stamp="):
			attrs = append(attrs, t.stamp(w[i][len("stamp="):])...)
		default:
			attrs = append(attrs, t.attributes(w[i:i+1])...)
		}
	}
	s.start = from
	s.fields = object{{"traceId", t.traceID(t.trace)}, {"spanId", a.span}}
	if parent != "" {
		s.fields = append(s.fields, member{"parentSpanId", parent})
	}
	s.fields = append(s.fields, member{"name", name},
		member{"startTimeUnixNano", nanos(from)}, member{"endTimeUnixNano", nanos(to)})
	if len(attrs) > 0 {
		s.fields = append(s.fields, member{"attributes", otlpAttributes(attrs)})
	}
	t.add("traces", s)
}

// stamp is what says "I belong to the run of that span".
func (t *translator) stamp(name string) object {
	a := t.alias(name)
	return object{
		{"wandb.entity", "team"},
		{"wandb.project", "demo"},
		{"wandb.run.id", a.run()},
		{"wandb.run.owner", a.span},
		{"wandb.run.start_time", json.Number(nanos(a.start))},
	}
}

// carrier for <alias> [@from-to] key=value …: a short child span that speaks
// for the task, stamped by its run (of=<alias>: by the run of that one).
func (t *translator) carrier(w []string) {
	task := t.known(w[2])
	owner := task.name
	rest := []string{}
	attrs := object{{"wandb.carrier", true}, {"wandb.task", task.span}}
	if task.parent != nil {
		attrs = append(attrs, member{"wandb.parent_span_id", task.parent.span})
	}
	attrs = append(attrs, member{"wandb.span.name", task.spanName})
	for _, x := range w[3:] {
		if of, ok := strings.CutPrefix(x, "of="); ok {
			owner = of
			continue
		}
		rest = append(rest, x)
	}
	attrs = append(attrs, t.stamp(owner)...)
	t.names++
	self := &alias{span: strings.Repeat(fmt.Sprintf("c%x", t.names%16), 8)}
	scope, name := t.scope, t.scopeName
	t.scope, t.scopeName = nil, "otel-wandb/carrier"
	t.addSpan("wandb.carrier", self, append([]string{"under", task.name}, rest...), attrs)
	t.scope, t.scopeName = scope, name
}

// event is an indented line: [@seconds] <name> key=value …
func (t *translator) event(w []string) {
	blocks := t.request.blocks
	items := blocks[len(blocks)-1].items
	s := items[len(items)-1].(*otlpSpan)
	at := s.start + float64(len(s.events)+1)
	if w[0][0] == '@' {
		at, _ = period(w[0])
		w = w[1:]
	}
	name := unquote(w[0])
	if name[0] == '.' {
		name = "wandb" + name
	}
	e := object{{"timeUnixNano", nanos(at)}, {"name", name}}
	if len(w) > 1 {
		e = append(e, member{"attributes", otlpAttributes(t.attributes(w[1:]))})
	}
	s.events = append(s.events, e)
}

var severities = map[string]int{"DEBUG": 5, "INFO": 9, "WARN": 13, "ERROR": 17, "FATAL": 21}

// record [on <alias>] [@seconds] [event=name] [body=value] [severity=INFO] key=value …
func (t *translator) record(w []string) {
	var trace, span, event string
	at := 1.0
	var body any
	severity := ""
	var attrs object
	for i := 0; i < len(w); i++ {
		key, value, _ := strings.Cut(w[i], "=")
		switch {
		case w[i] == "on":
			i++
			a := t.alias(w[i])
			trace, span = a.trace, a.span
		case w[i][0] == '@':
			at, _ = period(w[i])
		case key == "event":
			event = value
			if event[0] == '.' {
				event = "wandb" + event
			}
		case key == "body":
			body = must(literal(t.expand(value)))
		case key == "severity":
			severity = value
		case key == "stamp":
			attrs = append(attrs, t.stamp(value)...)
		default:
			attrs = append(attrs, t.attributes(w[i:i+1])...)
		}
	}
	r := object{{"timeUnixNano", nanos(at)}}
	if severity != "" {
		r = append(r, member{"severityNumber", severities[severity]}, member{"severityText", severity})
	}
	if event != "" {
		r = append(r, member{"eventName", event})
	}
	if body != nil {
		r = append(r, member{"body", anyValue(body)})
	}
	if attrs != nil {
		r = append(r, member{"attributes", otlpAttributes(attrs)})
	}
	if span != "" {
		r = append(r, member{"traceId", trace}, member{"spanId", span})
	}
	t.add("logs", r)
}

// metric <name> [@seconds] <kind>=<value> key=value …: a metric with one data
// point. Its kind is gauge, sum, delta, histogram, exponential or summary.
func (t *translator) metric(w []string) {
	at := 1.0
	var kind string
	var attrs, point object
	for _, x := range w[1:] {
		key, value, _ := strings.Cut(x, "=")
		switch {
		case x[0] == '@':
			at, _ = period(x)
		case key == "stamp":
			attrs = append(attrs, t.stamp(value)...)
		case key == "gauge", key == "sum", key == "delta":
			kind = key
			point = numberPoint(must(literal(value)))
		case key == "histogram", key == "exponential", key == "summary":
			kind = key
			point = must(literal(value)).(object)
		default:
			attrs = append(attrs, t.attributes([]string{x})...)
		}
	}
	point = append(object{{"timeUnixNano", nanos(at)}}, point...)
	if attrs != nil {
		point = append(point, member{"attributes", otlpAttributes(attrs)})
	}
	const delta, cumulative = 1, 2
	data := object{{"dataPoints", []any{point}}}
	switch kind {
	case "sum":
		data = append(data, member{"aggregationTemporality", cumulative}, member{"isMonotonic", true})
	case "delta":
		kind = "sum"
		data = append(data, member{"aggregationTemporality", delta}, member{"isMonotonic", true})
	case "histogram":
		data = append(data, member{"aggregationTemporality", cumulative})
	case "exponential":
		kind = "exponentialHistogram"
		data = append(data, member{"aggregationTemporality", cumulative})
	}
	t.add("metrics", object{{"name", unquote(w[0])}, {kind, data}})
}

func numberPoint(v any) object {
	switch v := v.(type) {
	case json.Number:
		if isInt.MatchString(string(v)) {
			return object{{"asInt", string(v)}}
		}
		return object{{"asDouble", v}}
	case special:
		return object{{"asDouble", string(v)}}
	case emptyValue:
		return object{{"flags", 1}} // no recorded value
	}
	panic(fmt.Sprintf("no number: %v", v))
}

func (t *translator) inputLines() []byte {
	first := object{{"case", t.name}, {"title", strings.Join(t.title, " ")}}
	if t.about != nil {
		first = append(first, member{"about", strings.Join(t.about, " ")})
	}
	if t.exempt != nil {
		first = append(first, member{"exempt", t.exempt})
	}
	steps := []any{first}
	if t.settings != nil {
		steps = append(steps, object{{"settings", t.settings}})
	}
	var b bytes.Buffer
	for _, s := range append(steps, t.steps...) {
		b.Write(plain(s))
		b.WriteByte('\n')
	}
	return b.Bytes()
}

// expectation reads a line behind "---".
func (t *translator) expectation(s string) {
	w := words(s)
	if !strings.HasPrefix(s, "  ") {
		switch w[0] {
		case "run":
			t.expectRun(w)
		case "nowhere":
			for _, x := range w[1:] {
				t.place(x, nil)
			}
		case "dropped":
			t.dropped = append(t.dropped, t.attributes(w[1:])...)
		case "waiting":
			t.waiting = must(strconv.Atoi(w[1]))
		default:
			panic("no expectation: " + w[0])
		}
		return
	}
	r := t.runs[len(t.runs)-1]
	switch w[0] {
	case "spans":
		for _, x := range w[1:] {
			t.place(x, r.coordinates)
		}
	case "config":
		r.config = merge(r.config, t.attributes(w[1:]))
	case "row":
		t.row(r, w[1:])
	case "summary":
		for _, x := range w[1:] {
			if gone, ok := strings.CutPrefix(x, "!"); ok {
				r.summary = append(r.summary, summaryLine{key: unquote(gone), remove: true})
				continue
			}
			m, ok := t.attribute(x)
			if !ok {
				panic("what is " + x)
			}
			r.summary = append(r.summary, summaryLine{key: m.key, value: m.value})
		}
	case "out", "err":
		stream := map[string]string{"out": "stdout", "err": "stderr"}[w[0]]
		r.console = append(r.console, object{{"stream", stream}, {"text", unquote(w[1])}})
	case "alert":
		r.alerts = append(r.alerts, t.attributes(w[1:]))
	case "metric":
		r.metrics = append(r.metrics, t.attributes(w[1:]))
	case "system":
		at, _ := period(w[1])
		r.system = append(r.system, append(t.attributes(w[2:]), member{"_timestamp", timestamp(at)}))
	case "exit":
		r.exit = json.Number(w[1])
	case "open":
		r.exit = nil
	default:
		panic("no expectation: " + w[0])
	}
}

// place reads <alias>:<rule>.
func (t *translator) place(word string, run any) {
	name, rule, ok := strings.Cut(word, ":")
	if !ok {
		panic("spans want <span>:<rule>, not " + word)
	}
	t.spans = append(t.spans, member{t.known(name).run(), object{{"run", run}, {"rule", rule}}})
}

// expectRun reads run <alias of the deciding owner, or -> key=value …
func (t *translator) expectRun(w []string) {
	r := &expectedRun{exit: json.Number("0")}
	get := func(key, or string) string {
		for _, x := range w[2:] {
			if m, ok := t.attribute(x); ok && m.key == key {
				return fmt.Sprint(m.value)
			}
		}
		return or
	}
	host, entity, project := get("host", ""), get("entity", "team"), get("project", "demo")
	id, name := "", ""
	if w[1] != "-" {
		a := t.known(w[1])
		id, name, r.start = a.run(), a.spanName+"-"+a.span[:6], a.start
		r.config = object{{"otel", object{{"trace_id", a.trace}, {"span_id", a.span}}}}
	}
	id, name = get("id", id), get("name", name)
	r.start = must(strconv.ParseFloat(get("start", fmt.Sprint(r.start)), 64))
	r.coordinates = strings.Join(slices.DeleteFunc([]string{host, entity, project, id}, func(s string) bool { return s == "" }), "/")
	if host != "" {
		r.fields = object{{"host", host}}
	}
	tags := []any{}
	for _, x := range w[2:] {
		if m, _ := t.attribute(x); m.key == "tags" {
			tags = m.value.([]any)
		}
	}
	r.fields = append(r.fields, object{
		{"entity", entity},
		{"project", project},
		{"id", id},
		{"name", name},
		{"group", get("group", "")},
		{"job_type", get("job_type", "")},
		{"notes", get("notes", "")},
		{"tags", tags},
	}...)
	t.runs = append(t.runs, r)
}

// row reads [@seconds] [#_step] [+_runtime] key=value …
func (t *translator) row(r *expectedRun, w []string) {
	at, step := 0.0, r.nextStep
	runtime := -1.0
	var values object
	for _, x := range w {
		switch x[0] {
		case '@':
			at, _ = period(x)
		case '#':
			step = must(strconv.ParseInt(x[1:], 10, 64))
		case '+':
			runtime = must(strconv.ParseFloat(x[1:], 64))
		default:
			values = append(values, t.attributes([]string{x})...)
		}
	}
	if runtime < 0 {
		runtime = at - r.start
	}
	r.nextStep = step + 1
	row := slices.Concat(values, object{
		{"_step", step}, {"_runtime", seconds(runtime)}, {"_timestamp", timestamp(at)},
	})
	r.rows = append(r.rows, row)
	r.rowTimes = append(r.rowTimes, at)
}

func seconds(f float64) json.Number { return json.Number(strconv.FormatFloat(f, 'f', -1, 64)) }

func timestamp(at float64) json.Number { return seconds(float64(epoch.Unix()) + at) }

// merge puts the members of b into a; maps are merged, all else is replaced.
func merge(a, b object) object {
	a = slices.Clone(a)
	for _, m := range b {
		i := slices.IndexFunc(a, func(x member) bool { return x.key == m.key })
		if i < 0 {
			a = append(a, m)
			continue
		}
		old, oldMap := a[i].value.(object)
		now, nowMap := m.value.(object)
		if oldMap && nowMap && len(now) > 0 {
			a[i].value = merge(old, now)
		} else {
			a[i].value = m.value
		}
	}
	return a
}

// summarise is the summary that the rows alone lead to: of each metric the
// last value by time; and what the case says differs.
func (r *expectedRun) summarise() object {
	index := make([]int, len(r.rows))
	for i := range index {
		index[i] = i
	}
	slices.SortStableFunc(index, func(a, b int) int { return cmp.Compare(r.rowTimes[a], r.rowTimes[b]) })
	sum := object{}
	for _, i := range index {
		row := slices.DeleteFunc(slices.Clone(r.rows[i].(object)), func(m member) bool {
			return m.key == "_step" || m.key == "_runtime"
		})
		sum = merge(sum, row)
	}
	for _, l := range r.summary {
		sum = slices.DeleteFunc(sum, func(m member) bool { return m.key == l.key })
		if !l.remove {
			sum = append(sum, member{l.key, l.value})
		}
	}
	return sum
}

func (t *translator) expectJSON() []byte {
	list := func(l []any) []any {
		if l == nil {
			return []any{}
		}
		return l
	}
	runs := []any{}
	for _, r := range t.runs {
		runs = append(runs, slices.Concat(r.fields, object{
			{"config", slices.Concat(object{}, r.config)},
			{"summary", r.summarise()},
			{"rows", list(r.rows)},
			{"console", list(r.console)},
			{"alerts", list(r.alerts)},
			{"metrics", list(r.metrics)},
			{"exit", r.exit},
		}))
		if r.system != nil {
			last := len(runs) - 1
			runs[last] = append(runs[last].(object), member{"system", r.system})
		}
	}
	top := object{
		{"runs", runs},
		{"spans", slices.Concat(object{}, t.spans)},
		{"dropped", slices.Concat(object{}, t.dropped)},
		{"waiting", t.waiting},
	}
	return pretty(plain(top))
}

// pretty gives each run's rows, lines and the like a line of their own.
func pretty(b []byte) []byte {
	var out bytes.Buffer
	if err := json.Indent(&out, b, "", "  "); err != nil {
		panic(err)
	}
	out.WriteByte('\n')
	return out.Bytes()
}
