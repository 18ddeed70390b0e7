package intake

import (
	"slices"
	"strconv"
	"strings"

	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/otel-wandb/otel-wandb/exporter/internal/placement"
	"github.com/otel-wandb/otel-wandb/exporter/internal/run"
	"github.com/otel-wandb/otel-wandb/internal/runmode"
	"github.com/otel-wandb/otel-wandb/internal/semconv"
)

// event reads one event of a span. subject is set on carriers, whose start
// event declares the task they speak for.
func (r *reader) event(items []run.Item, p *Payload, f from, name string, at int64, m pcommon.Map, subject *placement.Subject) []run.Item {
	if !strings.HasPrefix(name, semconv.Prefix) {
		switch {
		case name == semconv.EventException:
			it := f.item(run.KindLine, at)
			it.Line = exception(m, nil)
			numbered(&it, f.writer, m)
			return append(items, it)
		case slices.Contains(r.opts.MetricEvents, name):
			name = semconv.EventLog
		default:
			return items
		}
	}
	if name == semconv.EventRunStart {
		if subject == nil {
			return items // the span itself says all that its start event could
		}
		it := r.start(subject, p, f, at, m)
		numbered(&it, f.writer, m)
		return append(items, it)
	}
	if name == semconv.EventLog && len(items) > 0 && r.piece(&items[len(items)-1], f, m) {
		return items
	}
	items = append(items, run.Item{})
	it := &items[len(items)-1]
	if !r.wandbEvent(it, p, f, name, at, m, m) {
		return r.counted(items[:len(items)-1], f, at, m)
	}
	numbered(it, f.writer, m)
	return items
}

// counted stands in for an event that no run can take and that its writer has
// numbered: else its end event would wait for it.
func (r *reader) counted(items []run.Item, f from, at int64, m pcommon.Map) []run.Item {
	it := f.item(run.KindCounted, at)
	if numbered(&it, f.writer, m); it.ID.Writer == "" {
		return items
	}
	return append(items, it)
}

// piece adds a further piece of a split row to the row: all pieces travel in
// one carrier and are one row before anything is written.
func (r *reader) piece(row *run.Item, f from, m pcommon.Map) bool {
	v, ok := m.Get(semconv.Piece)
	if !ok || row.Kind != run.KindRow || row.ID.Writer == "" {
		return false
	}
	if n := integer(v); n == nil || *n == 0 {
		return false
	}
	var it run.Item
	numbered(&it, f.writer, m)
	if it.ID != row.ID {
		return false
	}
	var p Payload
	r.histograms(m) // a piece names those of its own keys
	row.Row.Values = append(row.Row.Values, r.values(&p, m, true)...)
	return true
}

// wandbEvent reads an event by its name into it. keys holds the row or the settings,
// m the event's own attributes: they differ where a log record has a map as body.
func (r *reader) wandbEvent(it *run.Item, p *Payload, f from, name string, at int64, m, keys pcommon.Map) (ok bool) {
	switch name {
	case semconv.EventLog:
		*it = f.item(run.KindRow, at)
		it.Row = &r.rows.take(1)[0]
		step(it.Row, p, f, m)
		r.histograms(m)
		it.Row.Values = r.values(p, keys, true)
		if len(it.Row.Values) == 0 {
			p.drop(DropEmptyRow, f.who()+" logged a row with nothing in it: attributes of "+semconv.Prefix+"* and the like are no metrics")
			return false
		}
	case semconv.EventConfig:
		*it = f.item(run.KindConfig, at)
		it.Values = r.values(p, keys, false)
	case semconv.EventSummary:
		*it = f.item(run.KindSummary, at)
		it.Values = r.values(p, keys, true)
	case semconv.EventDefineMetric:
		*it = f.item(run.KindMetric, at)
		it.Metric = metric(m)
	case semconv.EventAlert:
		*it = f.item(run.KindAlert, at)
		if it.Alert = alert(p, f, m); it.Alert == nil {
			return false
		}
	case semconv.EventRunHeartbeat:
		*it = f.item(run.KindHeartbeat, at)
		if v, ok := m.Get(semconv.Preempting); ok && v.Type() == pcommon.ValueTypeBool && v.Bool() {
			it.Kind = run.KindPreempting
		}
	case semconv.EventRunEnd:
		*it = f.item(run.KindEnd, at)
		it.End = r.end(f, at, m)
	case semconv.EventTable, semconv.EventMedia:
		*it = f.item(run.KindRow, at)
		it.Row = &r.rows.take(1)[0]
		step(it.Row, p, f, m)
		if !fileRow(it.Row, p, f, name, m, keys) {
			return false
		}
	default:
		p.drop(DropUnknownEvent, f.who()+" has event "+clip(name)+", which is none of the conventions': mend its name")
		return false
	}
	if it.Kind == run.KindMetric {
		numbered(it, f.writer, m)
		it.Metric.Order = it.Order
	}
	return true
}

// step reads the step that an event asks for.
func step(row *run.Row, p *Payload, f from, m pcommon.Map) {
	v, has := m.Get(semconv.Step)
	if !has || v.Type() == pcommon.ValueTypeEmpty {
		return
	}
	if n := integer(v); n != nil {
		row.Step, row.HasStep = *n, true
		return
	}
	p.drop(DropBadAttribute, f.who()+" logged a row with "+semconv.Step+"="+clip(v.AsString())+", which is no whole number: the row is kept without; give an int")
}

func (p *Payload) drop(reason, text string) {
	p.Drops = append(p.Drops, run.Drop{Reason: reason, Items: 1, Text: text})
}

// notRow are prefixes of attributes that say something of the event, not of
// the metrics in it.
var notRow = []string{semconv.Prefix, "event.", "code.", "thread.", "log.", "exception.", "telemetry."}

// values reads the keys of a row, of config or of summary. In all but config a
// leading _ is W&B's.
func (r *reader) values(p *Payload, m pcommon.Map, reserved bool) []run.Value {
	for key, v := range m.All() {
		if !r.body && hasPrefix(key, notRow) {
			continue
		}
		switch {
		case key == "":
			p.drop(DropBadAttribute, "a key of a row, a config or a summary has no name, and is left out: name it")
			continue
		case reserved && key[0] == '_':
			p.drop(DropReservedKey, "metric "+clip(key)+" begins with _, which W&B keeps for itself: rename it")
			continue
		}
		if slices.Contains(r.hists, key) {
			if text := histogramJSON(v); text != nil {
				r.row.addText(cleanKey(key), text)
				continue
			}
		}
		r.row.add(cleanKey(key), nil, v)
	}
	for _, key := range r.row.cut() {
		p.drop(DropBadAttribute, deepText(key))
	}
	r.hists = r.hists[:0]
	return r.row.take()
}

func deepText(key string) string {
	return clip(key) + " is nested more than " + strconv.Itoa(maxDepth) + " deep, and null from there: log it flatter"
}

func (r *reader) histograms(m pcommon.Map) {
	r.hists = r.hists[:0]
	if v, ok := m.Get(semconv.Histogram); ok {
		r.hists = append(r.hists, texts(v)...)
	}
}

func hasPrefix(key string, prefixes []string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(key, p) {
			return true
		}
	}
	return false
}

func metric(m pcommon.Map) *run.MetricDef {
	d := &run.MetricDef{}
	for key, v := range m.All() {
		switch key {
		case semconv.MetricName:
			d.Name = cleanKey(text(v))
		case semconv.MetricStepMetric:
			d.Step = cleanKey(text(v))
		case semconv.MetricSummary:
			for _, op := range texts(v) {
				for part := range strings.SplitSeq(op, ",") {
					d.Summary = append(d.Summary, strings.TrimSpace(part))
				}
			}
		case semconv.MetricGoal:
			d.Goal = text(v)
		case semconv.MetricHidden:
			d.Hidden = v.Type() == pcommon.ValueTypeBool && v.Bool() || v.AsString() == "true"
		}
	}
	return d
}

// alert reads an alert; nil where there is nothing in it.
func alert(p *Payload, f from, m pcommon.Map) *run.Alert {
	get := func(key string) string {
		v, ok := m.Get(key)
		if !ok {
			return ""
		}
		return text(v)
	}
	a := &run.Alert{Title: get(semconv.AlertTitle), Text: get(semconv.AlertText), Level: strings.ToUpper(get(semconv.AlertLevel))}
	if a.Title == "" && a.Text == "" {
		p.drop(DropBadAttribute, f.who()+" has an alert without "+semconv.AlertTitle+" and "+semconv.AlertText+", which is not sent: give a title")
		return nil
	}
	switch a.Level {
	case "INFO", "WARN", "ERROR":
	case "WARNING":
		a.Level = "WARN"
	default:
		if a.Level != "" {
			p.drop(DropBadAttribute, f.who()+" has alert "+clip(a.Title)+" of level "+clip(a.Level)+", which W&B does not know: it is sent as INFO; use INFO, WARN or ERROR")
		}
		a.Level = "INFO"
	}
	return a
}

// start reads a start event: it declares a task while its span is still open.
func (r *reader) start(s *placement.Subject, p *Payload, f from, at int64, m pcommon.Map) run.Item {
	a := r.attributes(m)
	if a.parent != "" {
		if parent, ok := spanID(a.parent); ok {
			s.Parent = parent
		}
	}
	if a.spanName != "" {
		s.Name = a.spanName
	}
	s.Declares = true
	if s.Stamp != nil {
		a.hasOwner = true // its coordinates are the stamp's
	}
	mode := r.mode(&a, s, &p.Drops)
	if mode == 0 {
		mode = runmode.Auto // who announces itself is a task
	}
	if s.Stamp != nil && s.Stamp.Owner == s.Span && s.Stamp.Start != 0 {
		at = s.Stamp.Start
	}
	p.Drops = append(p.Drops, a.bad...)
	r.badDefaults(p)
	s.Task = r.placementTask(&a, s, mode, at)
	it := f.item(run.KindTask, at)
	it.SpanName = s.Name
	it.Task = r.runTask(&a, s, at)
	return it
}

func (r *reader) end(f from, at int64, m pcommon.Map) *run.End {
	e := &run.End{Event: true, Time: at, Writer: f.writer}
	for key, v := range m.All() {
		switch key {
		case semconv.ExitCode:
			e.ExitCode = integer(v)
		case semconv.ProcessExitCode:
			e.ProcessCode = integer(v)
		case semconv.Writer:
			e.Writer = text(v)
		case semconv.LastSeq:
			if n := integer(v); n != nil && *n > 0 {
				e.LastSeq = uint64(*n)
			}
		case semconv.EndTime:
			if n := integer(v); n != nil {
				e.Time = *n
			}
		}
	}
	if e.LastSeq == 0 {
		e.Writer = ""
	}
	return e
}

// exception is what a console shows of an exception, and what the summary of a
// failed run says of it.
func exception(m pcommon.Map, before []string) *run.Line {
	get := func(key string) string {
		v, ok := m.Get(key)
		if !ok {
			return ""
		}
		return strings.ToValidUTF8(v.AsString(), "\uFFFD")
	}
	l := &run.Line{Stderr: true, ErrorType: get(semconv.ExceptionType), ErrorMessage: get(semconv.ExceptionMessage), Text: before}
	head := l.ErrorType
	if head != "" && l.ErrorMessage != "" {
		head += ": "
	}
	head += l.ErrorMessage
	stack := get(semconv.ExceptionStacktrace)
	if head != "" && !strings.Contains(stack, head) {
		l.Text = append(l.Text, lines(head)...)
	}
	if stack != "" {
		l.Text = append(l.Text, lines(stack)...)
	}
	if len(l.Text) == 0 {
		l.Text = []string{"exception"}
	}
	return l
}

// lines splits text into console lines and takes control codes out: W&B runs
// lines without newline together, and its terminal obeys what it finds. Of a
// line that went back to its beginning, as progress bars do, the last is left.
func lines(s string) []string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	s = strings.ReplaceAll(s, "\r\n", "\n")
	var out []string
	for line := range strings.SplitSeq(strings.Trim(s, "\n"), "\n") {
		line = strings.TrimRight(line, "\r")
		out = append(out, stripControls(line[strings.LastIndexByte(line, '\r')+1:]))
	}
	return out
}

// stripControls takes out control characters and ANSI escape sequences; a tab
// stays.
func stripControls(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == 0x1b && i+1 < len(s) && s[i+1] == '[':
			i += 2
			for i < len(s) && (s[i] < 0x40 || s[i] > 0x7e) {
				i++ // parameters, up to the final byte
			}
		case c == 0x1b && i+1 < len(s) && s[i+1] == ']':
			i = titleEnd(s, i+2)
		case c == '\t' || c >= ' ' && c != 0x7f:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// titleEnd is the last byte of a command to the terminal's window that began
// before from: a title, a link. It ends in BEL or ESC \; one that does not end
// has only its two bytes taken out.
func titleEnd(s string, from int) int {
	for i := from; i < len(s); i++ {
		switch {
		case s[i] == 0x07:
			return i
		case s[i] == 0x1b && i+1 < len(s) && s[i+1] == '\\':
			return i + 1
		}
	}
	return from - 1
}
