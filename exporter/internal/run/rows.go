package run

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/otel-wandb/otel-wandb/exporter/internal/dotwandb"
	"github.com/otel-wandb/otel-wandb/internal/extjson"
)

// pendingRow is a row of the request under way: events of one span with one
// explicit step are one row.
type pendingRow struct {
	ctx  *Context
	item *Item // the first event
	more *merged
}

// merged is a row of several events.
type merged struct {
	items  []*Item // all of them
	values []Value
	order  Order // of the latest event
}

type spanStep struct {
	span SpanID
	step int64
}

// collectRow takes a row event; writeRows writes what the request brought.
func (s *State) collectRow(ctx *Context, it *Item) {
	if it.Row.HasStep {
		key := spanStep{it.Span, it.Row.Step}
		if i, ok := s.bySteps[key]; ok {
			s.mergeRow(&s.pendingRows[i], it)
			return
		}
		if s.bySteps == nil {
			s.bySteps = map[spanStep]int{}
		}
		s.bySteps[key] = len(s.pendingRows)
	}
	s.pendingRows = append(s.pendingRows, pendingRow{ctx: ctx, item: it})
}

func (s *State) mergeRow(p *pendingRow, it *Item) {
	if p.more == nil {
		// The first event keeps its own values.
		p.more = &merged{items: []*Item{p.item}, values: slices.Clone(p.item.Row.Values), order: p.item.Order}
	}
	m := p.more
	m.items = append(m.items, it)
	for _, v := range it.Row.Values {
		if i := indexOf(m.values, &v); i < 0 {
			m.values = append(m.values, v)
		} else if !it.Order.Before(latestOf(m.items[:len(m.items)-1], &v)) {
			m.values[i] = v
		}
	}
	if m.order.Before(it.Order) {
		m.order = it.Order
	}
}

func indexOf(values []Value, v *Value) int {
	for i := range values {
		if values[i].Key == v.Key && pathKey("", values[i].Rest) == pathKey("", v.Rest) {
			return i
		}
	}
	return -1
}

// latestOf is the order of the latest of items that has v's key.
func latestOf(items []*Item, v *Value) Order {
	var last Order
	for _, it := range items {
		if indexOf(it.Row.Values, v) >= 0 && last.Before(it.Order) {
			last = it.Order
		}
	}
	return last
}

func (s *State) writeRows(a *Applied) {
	for i := range s.pendingRows {
		s.writeRow(&s.pendingRows[i], a)
	}
	clear(s.pendingRows)
	s.pendingRows = s.pendingRows[:0]
	clear(s.bySteps)
}

func (s *State) writeRow(p *pendingRow, a *Applied) {
	ctx, it := p.ctx, p.item
	values, order := it.Row.Values, it.Order
	if p.more != nil {
		values, order = p.more.values, p.more.order
	}
	if size := rowSize(values) + ownSize(it); size > MaxLine {
		a.drop(DropRowTooLong, 1, fmt.Sprintf("run %q: a row of %s (key %.200q first) is %d bytes, W&B takes %d: log less in one row, or log it as a file",
			s.Key, it.who(), values[0].Key, size, MaxLine))
		s.note.id(it) // its writer has counted it
		return
	}
	own := ctx.OwnerSpan != (SpanID{}) && it.Span == ctx.OwnerSpan
	step := s.nextStep
	var stepValue *Value
	if it.Row.HasStep {
		name := ownStepMetric
		if own {
			if it.Row.Step <= maxStep {
				step = max(step, it.Row.Step)
			}
		} else {
			name = stepMetricName(it.SpanName)
		}
		v := intValue(name, it.Row.Step)
		if indexOf(values, &v) < 0 {
			s.hideStep(name, order)
			stepValue = &v
		}
	}
	s.nextStep, s.lastStep = step+1, step
	s.rows++
	a.Rows++

	if it.Row.File != nil && p.more == nil {
		// Its value is not to be read off the record, which has it in pieces.
		p.more = &merged{items: []*Item{it}, values: values, order: order}
	}
	for i := range values {
		if f := p.file(&values[i]); f != nil {
			s.file(f)
		}
	}
	runtime := s.runtimeAt(ctx, order.Time)
	s.takeBuffers()
	var row dotwandb.RowMark
	s.body, row = dotwandb.OpenRow(s.body)
	write := func(v *Value) {
		m := s.metric(v)
		if p.file(v) == nil {
			s.body = appendValue(s.body, m.encoded, v)
		} else {
			s.body = appendMembers(s.body, v)
		}
		if p.more == nil {
			m.add(v, order)
			s.touch(m)
		}
	}
	for i := range values {
		write(&values[i])
	}
	if stepValue != nil {
		write(stepValue)
	}
	s.body = appendOwn(s.body, order.Time, runtime, step)
	s.body = dotwandb.ShutRow(s.body, row, step)
	s.ends = append(s.ends, len(s.body))
	s.note.row(it, order, p.more != nil)

	if p.more != nil {
		for i, m := range p.more.items {
			if i > 0 {
				s.note.id(m)
			}
			// Values that a later event of the row replaced still count for
			// least, most and mean; the note keeps them.
			s.fact(fact{Item: &Item{Kind: kindValues, Order: m.Order, Values: m.Row.Values}})
			s.aggregateRow(m.Row.Values, m.Order)
		}
		if stepValue != nil {
			s.aggregateRow([]Value{*stepValue}, order)
			s.fact(fact{Item: &Item{Kind: kindValues, Order: order, Values: []Value{*stepValue}}})
		}
	}
	s.after(order.Time, runtime)
}

// file is what a value of the row tells of; nil for nearly all.
func (p *pendingRow) file(v *Value) *File {
	if p.more == nil {
		return nil
	}
	for _, m := range p.more.items {
		if f := m.Row.File; f != nil && m.Row.Values[0].Key == v.Key && m.Row.Values[0].JSON == v.JSON {
			return f
		}
	}
	return nil
}

// file takes a file that the next row names, and says that it is to be uploaded.
func (s *State) file(f *File) {
	if s.files == nil {
		s.files = map[string][]byte{}
	}
	s.files[f.Path] = f.Content
	s.fileBytes += len(f.Content)
	s.emit(&dotwandb.Record{Files: &dotwandb.Files{Files: []dotwandb.File{
		{Path: f.Path, Policy: dotwandb.FileNow, Type: dotwandb.FileMedia},
	}}})
}

// appendMembers writes an object as one item a key, as W&B's own client does:
// its viewer in the terminal knows an image by the item of its _type.
func appendMembers(b []byte, v *Value) []byte {
	members, _ := extjson.Members(v.JSON) // intake made it
	for _, m := range members {
		b = appendValue(b, dotwandb.AppendPath(nil, v.Key, m.Key), &Value{JSON: m.Raw})
	}
	return b
}

// rowSize is how long a row is as a line; where it is far from too long, about.
func rowSize(values []Value) (size int) {
	for i := range values {
		size += pathSize(&values[i]) + max(len(values[i].JSON), maxNumber)
	}
	if size <= MaxLine {
		return size
	}
	size = 0
	for i := range values {
		size += pathSize(&values[i]) + len(values[i].Text())
	}
	return size
}

// pathSize is how long a value's keys are, with what stands around them.
func pathSize(v *Value) (size int) {
	for _, key := range v.Rest {
		size += len(key) + 4
	}
	return size + len(v.Key) + 4
}

// ownSize is at least what the keys take that every row has, and the step.
func ownSize(it *Item) int {
	const names = 64
	if it.Row.HasStep {
		return len(it.SpanName) + names + 4*maxNumber
	}
	return names + 3*maxNumber
}

// maxStep is the greatest explicit step that moves _step: up to it every reader
// of JSON counts exactly, and behind it there is room to go on.
const maxStep = 1 << 53

// maxNumber is at least how long the text of a number is.
const maxNumber = 32

func appendValue(b, path []byte, v *Value) []byte {
	b, item := dotwandb.OpenItem(b, path)
	return dotwandb.ShutItem(appendText(b, v), item)
}

func appendText(b []byte, v *Value) []byte {
	if v.JSON == "" {
		return AppendFloat(b, v.Num)
	}
	return dotwandb.AppendText(b, v.JSON)
}

// The keys that every row has besides its own.
var (
	timestampPath = dotwandb.AppendPath(nil, "_timestamp")
	runtimePath   = dotwandb.AppendPath(nil, "_runtime")
	stepPath      = dotwandb.AppendPath(nil, "_step")
)

func appendOwn(b []byte, t int64, runtime float64, step int64) []byte {
	b, item := dotwandb.OpenItem(b, timestampPath)
	b = dotwandb.ShutItem(appendSeconds(b, t), item)
	b, item = dotwandb.OpenItem(b, runtimePath)
	// Whole nanoseconds, as they nearly always are, are faster to write than a float.
	if ns := int64(runtime * 1e9); float64(ns)/1e9 == runtime {
		b = appendSeconds(b, ns)
	} else {
		b = AppendFloat(b, runtime)
	}
	b = dotwandb.ShutItem(b, item)
	b, item = dotwandb.OpenItem(b, stepPath)
	return dotwandb.ShutItem(strconv.AppendInt(b, step, 10), item)
}

// appendSeconds writes nanoseconds as a decimal number of seconds, exactly.
func appendSeconds(b []byte, ns int64) []byte {
	if ns < 0 {
		return AppendFloat(b, float64(ns)/1e9)
	}
	b = strconv.AppendInt(b, ns/1e9, 10)
	frac := ns % 1e9
	if frac == 0 {
		return b
	}
	b = append(b, '.')
	for unit := int64(1e8); frac > 0; unit /= 10 {
		b = append(b, byte('0'+frac/unit))
		frac %= unit
	}
	return b
}

// after keeps the latest time and the longest runtime of rows.
func (s *State) after(t int64, runtime float64) {
	s.lastTime = max(s.lastTime, t)
	s.runtime = max(s.runtime, runtime)
	s.general = true
}

func (s *State) aggregateRow(values []Value, o Order) {
	for i := range values {
		m := s.metric(&values[i])
		m.add(&values[i], o)
		s.touch(m)
	}
}

// date gives what came without a time that of its owner's start, which is the
// same whenever and however often it comes; where that is not known, that of the
// run's start, or now. In 1970 it would be the beginning of every chart.
func (s *State) date(now int64, ctx *Context, it *Item) {
	switch it.Kind {
	case KindRow, KindConfig, KindSummary, KindLine:
	default:
		return
	}
	start := ctx.OwnerStart
	if o := s.owner(ctx.OwnerSpan); o != nil && start == 0 {
		start = o.Start
	}
	it.Order.Time = cmp.Or(start, s.start, now)
}

// runtimeAt is how long the run had run at t, in seconds: since its owner's
// start, after what earlier attempts ran.
func (s *State) runtimeAt(ctx *Context, t int64) float64 {
	start, base := ctx.OwnerStart, 0.0
	switch {
	case ctx.OwnerSpan != (SpanID{}):
		if o := s.owner(ctx.OwnerSpan); o != nil {
			base = o.Base
			if start == 0 {
				start = o.Start
			}
		}
	default:
		// A guest's clock is that of the run's owner, not its own.
		if o := s.ownerAt(t); o != nil {
			start, base = o.Start, o.Base
		}
	}
	if start == 0 {
		if s.start == 0 {
			s.start = t
		}
		start = s.start
	}
	if t < start {
		return base // clocks disagree: nothing runs for a negative time
	}
	return base + seconds(t-start)
}

// ownerAt is the owner that started last before t; nil where none is known.
func (s *State) ownerAt(t int64) (last *owner) {
	for _, o := range s.owners {
		if o.Start != 0 && o.Start <= t && (last == nil || o.Start > last.Start) {
			last = o
		}
	}
	return last
}

// hideStep defines a step metric as hidden, once: it is an axis, not a chart.
func (s *State) hideStep(name string, o Order) {
	if s.defs.find(name) == nil {
		o.Time = -1 << 62 // what anyone says of it is later
		m := &MetricDef{Name: name, Hidden: true, Order: o}
		s.defs.add(m)
		s.defsDirty = true
		s.fact(fact{Item: &Item{Kind: KindMetric, Metric: m}})
	}
}

func timeJSON(ns int64) string { return string(appendSeconds(nil, ns)) }

func (s *State) line(it *Item, a *Applied) {
	if s.exception(it) {
		s.fact(fact{Item: &Item{
			Kind: KindLine, Order: it.Order, Span: it.Span,
			Line: &Line{ErrorType: it.Line.ErrorType, ErrorMessage: it.Line.ErrorMessage},
		}})
	}
	s.note.id(it)
	for _, text := range it.Line.Text {
		s.emit(&dotwandb.Record{Output: &dotwandb.Output{
			Stderr: it.Line.Stderr, Time: unixTime(it.Order.Time), Line: strings.TrimRight(text, "\n") + "\n",
		}})
		a.Lines++
	}
}

func (s *State) alert(it *Item) {
	s.emit(&dotwandb.Record{Alert: &dotwandb.Alert{Title: it.Alert.Title, Text: it.Alert.Text, Level: it.Alert.Level}})
}

func (s *State) define(m *MetricDef, a *Applied) {
	if m.Name == "" || strings.Contains(strings.TrimSuffix(m.Name, "*"), "*") {
		a.drop(DropBadDefinition, 1, fmt.Sprintf("run %q: define_metric %.200q: name a metric, with a * only at the end", s.Key, m.Name))
		return
	}
	for _, word := range m.unknown() {
		a.drop(DropBadDefinition, 1, fmt.Sprintf("run %q: define_metric %.200q has %s, and the rest of it holds", s.Key, m.Name, word))
	}
	if !s.defs.add(m) {
		return
	}
	s.defsDirty = true
	for _, metric := range s.metrics {
		if metric.HasRows && s.defs.find(metric.name) == m {
			s.touch(metric) // its summary looks different now
		}
	}
}
