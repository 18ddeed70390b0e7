package upload

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/otel-wandb/otel-wandb/exporter/internal/dotwandb"
	"github.com/otel-wandb/otel-wandb/internal/extjson"
	"github.com/otel-wandb/otel-wandb/internal/wandb"
)

// state is a position at work. It has one goroutine.
type state struct {
	position
	config, summary *object
	telemetry       *dotwandb.Telemetry
	environments    []dotwandb.Environment // by writer, the last of each
	metrics         []dotwandb.Metric      // the last definition of each, in order of the first

	skipped func(error) // is told of each line that goes nowhere
	leftOut string      // the keys of the summary that were, the last time
}

func newState(p position, skipped func(error)) *state {
	s := &state{position: p, config: parse(p.Config), summary: parse(p.Summary), skipped: skipped}
	for _, b := range p.Kept {
		rec, err := dotwandb.Decode(b)
		switch {
		case err != nil: // the position was decoded: it says what was written
		case rec.Telemetry != nil:
			s.telemetry = rec.Telemetry
		case rec.Environment != nil:
			s.environments = append(s.environments, *rec.Environment)
		case rec.Metric != nil:
			s.metrics = append(s.metrics, *rec.Metric)
		}
	}
	return s
}

// pack is the position as it is to be written.
func (s *state) pack() *position {
	s.Version = positionVersion
	s.Config, s.Summary = s.config.text(), s.summary.text()
	s.Kept = nil
	keep := func(r dotwandb.Record) { s.Kept = append(s.Kept, r.Append(nil)) }
	if s.telemetry != nil {
		keep(dotwandb.Record{Telemetry: s.telemetry})
	}
	for i := range s.environments {
		keep(dotwandb.Record{Environment: &s.environments[i]})
	}
	for i := range s.metrics {
		keep(dotwandb.Record{Metric: &s.metrics[i]})
	}
	return &s.position
}

// batch is what goes to W&B at once, in this order: the upsert that the state
// has become dirty for, lines, and the alert at which it ends.
type batch struct {
	wandb.StreamRequest
	alert *dotwandb.Alert
	named int // files that its records name
}

// begin turns to a part.
func (s *state) begin(part string) {
	s.Part, s.Offset, s.Tail, s.Taken = part, dotwandb.FileHeaderSize, nil, 0
	s.Reopen = s.Reopen || s.Done && s.Upserted
	s.Exit, s.Done, s.SummaryFresh = nil, false, true
	s.move()
}

// apply takes a record in. With wandb.ErrFull nothing of it is, but for the
// lines that Taken counts: the same record is to be applied again.
func (s *state) apply(rec *dotwandb.Record, b *batch) error {
	switch {
	case rec.History != nil:
		return s.history(rec.History, b)
	case rec.Output != nil:
		return s.output(rec.Output, b)
	case rec.Stats != nil:
		if len(rec.Stats.Items) > 0 {
			return s.line(b, wandb.Events, &s.Next.Events, s.event(rec.Stats))
		}
	case rec.Summary != nil:
		s.changeSummary(rec.Summary.Update, rec.Summary.Remove)
	case rec.Run != nil:
		s.run(rec.Run)
	case rec.Config != nil:
		s.change(s.config, rec.Config.Update, rec.Config.Remove)
		s.ConfigDirty = true
	case rec.Metric != nil:
		s.metric(rec.Metric)
	case rec.Telemetry != nil:
		s.telemetry, s.ConfigDirty = rec.Telemetry, true
	case rec.Environment != nil:
		s.environment(rec.Environment)
	case rec.Files != nil:
		s.files(rec.Files, b)
	case rec.Alert != nil:
		b.alert = rec.Alert
	case rec.Exit != nil:
		return s.exit(rec.Exit, b)
	}
	return nil
}

// line puts the next line of a file into the batch. One that W&B does not take
// is passed over: the rest goes on, and it takes up no number.
func (s *state) line(b *batch, file wandb.File, next *int, text string) error {
	err := b.Add(file, *next, text)
	switch {
	case errors.Is(err, wandb.ErrLine):
		s.TooLong++
		name := text[:min(len(text), 80)]
		s.skipped(fmt.Errorf("%s: %w (it begins %q, behind offset %d of part %s)", s.Asked, err, name, s.Offset, s.Part))
		return nil
	case err != nil:
		return err
	}
	*next++
	return nil
}

// history takes a row in, and its tables.
func (s *state) history(h *dotwandb.History, b *batch) error {
	tables, err := s.tables(h)
	if err != nil {
		return err
	}
	number := s.Next.History
	if err := s.line(b, wandb.History, &s.Next.History, s.row(h, tables)); err != nil {
		return err
	}
	s.NextStep = stepIn(h) + 1
	if s.Next.History > number {
		s.logged(tables, b)
	}
	return nil
}

// row is a history row as a line.
func (s *state) row(h *dotwandb.History, tables []runFile) string {
	text := s.rowText(h, tables, func(raw string) string { return raw })
	if _, err := extjson.Members(text); err == nil && !strings.ContainsAny(text, "\n\r") {
		return text
	}
	return s.rowText(h, tables, s.fit)
}

func (s *state) fit(raw string) string {
	text, ok := fit(raw)
	if !ok {
		s.BadValues++
	}
	return text
}

func (s *state) rowText(h *dotwandb.History, tables []runFile, fit func(string) string) string {
	var o object
	for i := range h.Items {
		it := &h.Items[i]
		if len(it.Rest) == 0 {
			switch it.Key {
			case "_step":
				continue // it is the record's
			case "_runtime":
				o.put(it.Key, addSeconds(fit(it.JSON), s.Runtime))
				continue
			}
		}
		o.set(it, fit(it.JSON))
	}
	for _, f := range tables {
		s.refer(o.node(f.Table), f)
	}
	o.put("_step", strconv.FormatInt(stepIn(h)+s.Step, 10))
	return o.text()
}

// stepIn is a row's step in the log: of its values, which is what W&B goes by,
// before the record's own number.
func stepIn(h *dotwandb.History) int64 {
	for i := range h.Items {
		if h.Items[i].Key == "_step" && len(h.Items[i].Rest) == 0 {
			if n, err := strconv.ParseInt(h.Items[i].JSON, 10, 64); err == nil {
				return n
			}
			break
		}
	}
	return h.Step
}

// addSeconds adds to a number, where it is one.
func addSeconds(raw string, seconds int64) string {
	if seconds == 0 {
		return raw
	}
	if n, err := strconv.ParseInt(raw, 10, 64); err == nil {
		return strconv.FormatInt(n+seconds, 10)
	}
	f, err := strconv.ParseFloat(raw, 64)
	if err != nil || f-f != 0 {
		return raw
	}
	return strconv.FormatFloat(f+float64(seconds), 'f', -1, 64)
}

// event is a sample of system metrics as a line.
func (s *state) event(stats *dotwandb.Stats) string {
	var o object
	o.put("_wandb", "true")
	o.put("_timestamp", secondsText(time.Duration(stats.Time.UnixNano())))
	o.put("_runtime", secondsText(max(0, time.Duration(stats.Time.UnixNano()-s.Start))+time.Duration(s.Runtime)*time.Second))
	for i := range stats.Items {
		o.put("system."+stats.Items[i].Key, s.fit(stats.Items[i].JSON))
	}
	return o.text()
}

// secondsText is a time in seconds, to the microsecond.
func secondsText(d time.Duration) string {
	return strconv.FormatFloat(float64(d.Microseconds())/1e6, 'f', -1, 64)
}

// maxLine bounds a console line: a progress bar that only ever returns the
// carriage would be one without end.
const maxLine = 64 << 10

// maxShown is how many characters of a line go to W&B, as with its own client.
// The log has them all.
const maxShown = 4096

func cut(text string, characters int) string {
	for i := range text {
		if characters--; characters < 0 {
			return text[:i]
		}
	}
	return text
}

type console struct {
	stderr bool
	half
}

// output puts console lines together: W&B's own client writes a record for each
// write of the program, of which a line may have many.
func (s *state) output(o *dotwandb.Output, b *batch) error {
	list, h := split(s.Halves[index(o.Stderr)], o)
	if err := s.console(list, b); err != nil {
		return err
	}
	s.Halves[index(o.Stderr)] = h
	return nil
}

// split puts a record behind half a line, and gives the lines that it ends and
// the half that is left.
func split(h half, o *dotwandb.Output) (list []console, left half) {
	for text := range strings.Lines(o.Line) {
		if h.Text == "" {
			h.Time = o.Time.UnixNano()
		}
		text, ended := strings.CutSuffix(text, "\n")
		h.Text += text
		if ended || len(h.Text) > maxLine {
			list = append(list, console{o.Stderr, h})
			h = half{}
		}
	}
	return list, h
}

// halfLines are lines whose newline never came.
func halfLines(halves *[2]half) (list []console) {
	for _, stderr := range []bool{false, true} {
		if h := halves[index(stderr)]; h.Text != "" {
			list = append(list, console{stderr, h})
		}
	}
	*halves = [2]half{}
	return list
}

func index(stderr bool) int {
	if stderr {
		return 1
	}
	return 0
}

// console sends lines of one record, those that Taken counts before left out.
func (s *state) console(list []console, b *batch) error {
	for _, c := range list[min(s.Taken, len(list)):] {
		if err := s.line(b, wandb.Console, &s.Next.Console, s.consoleText(c)); err != nil {
			return err
		}
		s.Taken++
	}
	s.Taken = 0
	return nil
}

const consoleTime = "2006-01-02T15:04:05.000000"

// consoleText is a line in the form that the server wants.
func (s *state) consoleText(c console) string {
	at := time.Unix(0, c.Time).UTC().Format(consoleTime)
	text := cut(strings.TrimSuffix(c.Text, "\r"), maxShown)
	if !s.Structured {
		if c.stderr {
			return "ERROR " + at + " " + text
		}
		return at + " " + text
	}
	b := []byte(`{`)
	if c.stderr {
		b = append(b, `"level":"error",`...)
	}
	b = append(b, `"ts":"`+at+`","content":`...)
	return string(append(appendQuoted(b, text), '}'))
}

// exit ends the part: lines without their newline end with it.
func (s *state) exit(e *dotwandb.Exit, b *batch) error {
	halves := s.Halves // kept, should there be no room for them
	if err := s.console(halfLines(&halves), b); err != nil {
		return err
	}
	s.Halves, s.Exit = halves, e
	s.Ran = max(s.Ran, int64(e.Runtime))
	return nil
}

// run takes over a run record. What it does not set stays.
func (s *state) run(r *dotwandb.Run) {
	if s.Start == 0 && !r.StartTime.IsZero() {
		s.Start = r.StartTime.UnixNano()
	}
	set := func(field *string, value string) {
		if value != "" {
			*field = value
		}
	}
	f := &s.Fields
	set(&f.DisplayName, r.DisplayName)
	set(&f.Group, r.Group)
	set(&f.JobType, r.JobType)
	set(&f.Notes, r.Notes)
	set(&f.Host, r.Host)
	set(&f.Repo, r.GitRemote)
	set(&f.Commit, r.GitCommit)
	if len(r.Tags) > 0 {
		f.Tags = r.Tags
	}
	if r.Telemetry != nil {
		s.telemetry = r.Telemetry
	}
	if len(r.Config) > 0 {
		before := s.config.text()
		s.config = &object{}
		s.change(s.config, r.Config, nil)
		s.ConfigDirty = s.ConfigDirty || s.config.text() != before
	}
	if len(r.Summary) > 0 {
		s.changeSummary(r.Summary, nil)
	}
}

func (s *state) change(o *object, update, remove []dotwandb.Item) {
	for i := range update {
		o.set(&update[i], s.fit(update[i].JSON))
	}
	for i := range remove {
		o.unset(&remove[i])
	}
}

func (s *state) changeSummary(update, remove []dotwandb.Item) {
	if s.SummaryFresh {
		s.SummaryFresh = false
		s.summary = parse(s.OldSummary)
	}
	if len(s.LastTables) > 0 {
		defer s.keepReferences(update)()
	}
	s.change(s.summary, update, remove)
	for i := range update { // what counts over the whole run
		it, raw := &update[i], update[i].JSON
		switch {
		case it.Key == "_step" && len(it.Rest) == 0:
			if n, err := strconv.ParseInt(raw, 10, 64); err == nil {
				raw = strconv.FormatInt(n+s.Step, 10)
			}
		case it.Key == "_runtime" && len(it.Rest) == 0,
			it.Key == "_wandb" && slices.Equal(it.Rest, []string{"runtime"}):
			raw = addSeconds(raw, s.Runtime)
		}
		if raw != it.JSON {
			s.summary.set(it, raw)
		}
	}
	s.SummaryDirty = true
}

// finish puts the summary into the batch, once for all its changes.
func (s *state) finish(b *batch) {
	if !s.SummaryDirty {
		return
	}
	text, long := s.summary.within(wandb.MaxLine)
	err := b.SetSummary(text)
	switch {
	case errors.Is(err, wandb.ErrFull):
		return // it goes with the next
	case err != nil:
		s.TooLong++
		s.skipped(fmt.Errorf("%s: the summary: %w", s.Asked, err))
	case long == s.leftOut:
	case long != "":
		s.TooLong++
		s.skipped(fmt.Errorf("%s: the summary has more than %d bytes and goes without its longest values, %s: log them as files or tables", s.Asked, wandb.MaxLine, long))
	}
	s.leftOut, s.SummaryDirty = long, false
}

func (s *state) metric(m *dotwandb.Metric) {
	i := slices.IndexFunc(s.metrics, func(old dotwandb.Metric) bool {
		return old.Name == m.Name && old.GlobName == m.GlobName
	})
	switch {
	case i < 0:
		s.metrics = append(s.metrics, *m)
	case s.metrics[i] == *m:
		return
	default:
		s.metrics[i] = *m
	}
	s.ConfigDirty = true
}

func (s *state) environment(e *dotwandb.Environment) {
	s.ConfigDirty = true
	s.file(runFile{Path: metadataFile})
	s.Fields.Program = nonEmpty(e.Program, s.Fields.Program)
	i := slices.IndexFunc(s.environments, func(old dotwandb.Environment) bool { return old.WriterID == e.WriterID })
	if i < 0 {
		s.environments = append(s.environments, *e)
		return
	}
	s.environments[i] = *e
}

func nonEmpty(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
