package run

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"maps"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/otel-wandb/otel-wandb/exporter/internal/dotwandb"
)

// minConsumer is the oldest W&B client that reads the records we write, as the
// official client says it in its own logs.
const minConsumer = "0.70.0"

// Write is what a run's log must get in one piece. Its records are valid until
// Written is called.
type Write struct {
	Opens   bool      // the records begin a new part
	Start   time.Time // of that part
	Records [][]byte
	Closes  bool // the last record is the exit
	// Files that the records name, by path below the part's directory `files`:
	// they come first. They are the Write's own.
	Files map[string][]byte
}

// emit adds a record to the batch.
func (s *State) emit(r *dotwandb.Record) {
	s.takeBuffers()
	s.body = r.Append(s.body)
	s.ends = append(s.ends, len(s.body))
}

func (s *State) takeBuffers() {
	if s.buffers == nil {
		s.buffers = pool.Get().(*buffers)
	}
}

func (s *State) fact(f fact) {
	s.facts = append(s.facts, f)
	if it := f.Item; it != nil {
		s.factBytes += valuesSize(it.Values)
		if it.Task != nil {
			s.factBytes += valuesSize(it.Task.Config) + valuesSize(it.Task.Defaults)
		}
	}
}

func valuesSize(values []Value) (n int) {
	for i := range values {
		n += len(values[i].Key) + len(values[i].JSON) + numberSize
	}
	return n
}

// numberSize is about how long a number is.
const numberSize = 16

// Pending is about how many bytes the next Flush gives. A batch's note is one
// record, and readers bound those: flush before it gets long.
func (s *State) Pending() int {
	n := s.factBytes + s.fileBytes
	if s.buffers != nil {
		n += len(s.body)
	}
	return n
}

// touch marks a metric for the next summary record.
func (s *State) touch(m *aggregate) {
	if !m.touched {
		m.touched = true
		s.touched = append(s.touched, m)
	}
}

func (s *State) addMetric(key string, m *aggregate) {
	m.known()
	s.metrics[key] = m
	s.clashes.add(key, m.Path, s.metrics)
	if len(s.defs.globs) > 0 {
		s.defsDirty = true // a glob may define it
	}
}

// summaryEvery is how often the log gets the keys of the summary that changed:
// once a second. It is a little less, because who sends once a second is
// sometimes early, and the summary shall go with the rows.
const summaryEvery = 900 * time.Millisecond

// TickSummary adds the changed keys of the summary to the batch, where that is
// due, so that who watches the log sees them. Flush does so with rows already:
// a summary that comes behind them is a request to W&B of its own. What is left
// for the tick is what came too soon after the last one.
func (s *State) TickSummary(now int64) {
	if !s.Open() || now-s.summaryAt < int64(summaryEvery) || len(s.touched) == 0 && !s.general {
		return
	}
	s.summaryAt = now
	s.summary(false)
}

// Close adds the whole summary and the exit to the batch. The next Flush ends
// the part.
func (s *State) Close(code int32) Write {
	s.summary(true)
	s.emit(&dotwandb.Record{Exit: &dotwandb.Exit{Code: code, Runtime: wholeSeconds(s.runtime)}})
	w := s.flushOpen()
	w.Closes = true
	s.shut(code)
	s.revived = false
	s.closedBy = len(s.owners)
	s.leave(code)
	return w
}

// Flush gives what the log must get for all that was applied since the last
// Flush; ok is false where it must get nothing. start is when a part begins
// that has to be begun, unix ns: never before the one before it.
func (s *State) Flush(now int64) (w Write, ok bool) {
	if !s.Open() {
		if !s.wantsPart() {
			// Facts alone open no log behind an exit: they go with the next part,
			// if there is one, and else say nothing that the run would show.
			s.ownFacts()
			return Write{}, false
		}
		return s.flushNew(now), true
	}
	s.metaRecords()
	s.metricRecords(false)
	if s.empty() {
		if len(s.facts) == 0 && s.note.empty() {
			return Write{}, false
		}
		s.general = true
		s.summary(false) // an ordinary record to carry the note
	} else {
		s.TickSummary(now)
	}
	return s.flushOpen(), true
}

// wantsPart tells whether what was applied is worth a log: the first, or
// another one behind an exit.
func (s *State) wantsPart() bool {
	if !s.empty() {
		return true
	}
	if !s.log.closed {
		return len(s.facts) > 0
	}
	items, text := s.metaNow()
	if s.revived || len(s.owners) > s.closedBy || s.defsDirty || len(s.touched) > 0 || s.meta.differs(items, text) {
		return true
	}
	for _, o := range deciding(s.owners) {
		if !o.ended() {
			return false
		}
	}
	code, _ := s.outcome()
	return code != s.log.exitCode && len(s.owners) > 0
}

// empty tells whether no record waits to be flushed.
func (s *State) empty() bool { return s.buffers == nil || len(s.ends) == 0 }

// ownFacts copies what kept facts borrow: the request they came with is answered.
func (s *State) ownFacts() {
	for i := range s.facts {
		if it := s.facts[i].Item; it != nil {
			own := *it
			own.Values = slices.Clone(it.Values)
			if it.Task != nil {
				task := *it.Task
				task.Config, task.Defaults = slices.Clone(task.Config), slices.Clone(task.Defaults)
				own.Task = &task
			}
			own.Row = nil
			s.facts[i].Item = &own
		}
	}
}

// forgetBatch makes room for the next batch's facts.
func (s *State) forgetBatch() {
	s.facts, s.factBytes = s.facts[:0], 0
	s.note.reset()
}

// flushNew begins a part: what a reader must know comes first, as if this log
// were the only one of the run.
func (s *State) flushNew(now int64) Write {
	first := s.buffers // of what comes behind the beginning
	if first == nil {
		first = &buffers{}
	}
	s.buffers = nil

	start := s.start
	if start == 0 {
		start = now
	}
	later := len(s.log.parts) > 0
	if later {
		// Parts sync in the order of their start times: strictly greater.
		start = max(now, s.log.parts[len(s.log.parts)-1].Start+int64(time.Millisecond))
	} else {
		s.start = start
	}
	s.emit(&dotwandb.Record{Header: &dotwandb.Header{Producer: s.cfg.Version, MinConsumer: minConsumer}})
	s.log.parts = append(s.log.parts, Part{Start: start})
	s.log.closed, s.log.num, s.revived = false, 0, false
	items, text := s.metaNow()
	s.runRecord(items)
	s.meta = metaState{written: byKey(items), run: text}
	if env := s.environment(); env != nil {
		s.emit(&dotwandb.Record{Environment: env})
	}
	s.emit(&dotwandb.Record{Telemetry: s.telemetry()})
	s.defs.written = nil
	s.metricRecords(true)
	if later {
		s.summary(true)
	}
	offset := len(s.body)
	s.body = append(s.body, first.body...)
	for _, end := range first.ends {
		s.ends = append(s.ends, offset+end)
	}
	first.body, first.ends = first.body[:0], first.ends[:0]
	pool.Put(first)
	s.TickSummary(now)
	w := s.flushOpen()
	w.Opens, w.Start = true, time.Unix(0, start)
	return w
}

// flushOpen numbers the batch's records and puts the note on the last.
func (s *State) flushOpen() Write {
	uuid, err := s.note.encode(s.facts)
	if err != nil {
		panic(err) // only types can fail to encode: a programmer's mistake
	}
	out := slices.Grow(s.out[:0], len(s.body)+len(s.ends)*6+len(uuid)+8)
	w := Write{Records: s.records[:0], Files: s.files}
	s.files, s.fileBytes = nil, 0
	from := 0
	for i, end := range s.ends {
		s.log.num++
		at := len(out)
		out = append(out, s.body[from:end]...)
		if i < len(s.ends)-1 {
			out = dotwandb.AppendNum(out, s.log.num, "")
		} else {
			out = dotwandb.AppendNum(out, s.log.num, uuid)
		}
		w.Records = append(w.Records, out[at:len(out):len(out)])
		from = end
	}
	s.out, s.records = out, w.Records
	s.body, s.ends = s.body[:0], s.ends[:0]
	s.forgetBatch()
	return w
}

// Written says that the last Write is in the log: its memory is used again, by
// this run or another.
func (s *State) Written() {
	if s.buffers != nil && s.empty() {
		pool.Put(s.buffers)
		s.buffers = nil
	}
}

// buffers are the memory of a batch. Runs share them: 10,000 may be open, and
// few write at a time.
type buffers struct {
	body    []byte // records without number, one after another
	ends    []int  // where each ends in body
	out     []byte // what the last Write's records lie in
	records [][]byte
}

var pool = sync.Pool{New: func() any { return new(buffers) }}

// Began says in which directory the part lies that the last Write opened.
func (s *State) Began(dir string) { s.log.parts[len(s.log.parts)-1].Dir = dir }

// metaRecords writes what changed of config, name, tags …: one config record,
// and one complete run record, because each of W&B's readers takes only one.
func (s *State) metaRecords() {
	if !s.meta.dirty {
		return
	}
	s.meta.dirty = false
	items, text := s.metaNow()
	if !s.meta.differs(items, text) {
		return
	}
	var changed []dotwandb.Item
	for _, it := range items {
		if s.meta.written[it.Key] != it.JSON {
			changed = append(changed, it)
		}
	}
	if len(changed) > 0 {
		s.emit(&dotwandb.Record{Config: &dotwandb.Config{Update: changed}})
	}
	s.meta.written, s.meta.run = byKey(items), text
	s.runRecord(items)
}

func byKey(items []dotwandb.Item) map[string]string {
	m := make(map[string]string, len(items))
	for _, it := range items {
		m[it.Key] = it.JSON
	}
	return m
}

func (m *metaState) differs(items []dotwandb.Item, text string) bool {
	return text != m.run || !maps.Equal(byKey(items), m.written)
}

// names are the run's own fields: those of the deciding owner that started last.
func (s *State) names() (r dotwandb.Run) {
	for _, o := range deciding(s.owners) {
		r.DisplayName = nonZero(o.RunName, nonZero(defaultName(o), r.DisplayName))
		r.Group = nonZero(o.Group, r.Group)
		r.JobType = nonZero(o.JobType, r.JobType)
		r.Notes = nonZero(o.Notes, r.Notes)
	}
	r.Group = nonZero(r.Group, s.group)
	r.ID, r.Entity, r.Project, r.BaseURL = s.Key.ID, s.Key.Entity, s.Key.Project, s.Key.Host
	r.Tags = s.tags
	return r
}

// defaultName is "<span name>-<first 6 hex of its span id>"; none before the
// span's name is known.
func defaultName(o *owner) string {
	if o.SpanName == "" {
		return ""
	}
	return o.SpanName + "-" + hex.EncodeToString(o.Span[:3])
}

// metaNow is the config as it is, and the run's own fields as one text.
func (s *State) metaNow() (items []dotwandb.Item, text string) {
	able := deciding(s.owners)
	isDeciding := func(span SpanID) bool {
		return slices.ContainsFunc(able, func(o *owner) bool { return o.Span == span })
	}
	var extra []setting
	own := func(key, value string) {
		extra = append(extra, setting{Path: []string{"otel", key}, JSON: string(appendString(nil, value))})
	}
	if len(able) > 0 {
		last := able[len(able)-1]
		own("trace_id", hex.EncodeToString(last.Trace[:]))
		own("span_id", hex.EncodeToString(last.Span[:]))
	}
	if s.askedID != "" {
		own("asked_run_id", s.askedID)
	}
	if s.resume != "" {
		own("resume", s.resume)
	}
	r := s.names()
	items = s.config.render(isDeciding, extra...)
	return items, strings.Join(append([]string{r.DisplayName, r.Group, r.JobType, r.Notes}, r.Tags...), "\x00")
}

func (s *State) runRecord(items []dotwandb.Item) {
	r := s.names()
	part := s.log.parts[len(s.log.parts)-1]
	r.StartTime = time.Unix(0, part.Start)
	r.Config = items
	r.Telemetry = s.telemetry()
	if len(s.log.parts) > 1 {
		before := s.log.parts[len(s.log.parts)-2]
		r.StartingStep, r.Runtime = before.NextStep, before.Runtime
	}
	if s.env != nil {
		r.Host, r.GitRemote, r.GitCommit = s.env.Host, s.env.GitRemote, s.env.GitCommit
	}
	s.emit(&dotwandb.Record{Run: &r})
}

// Numbers of wandb_internal's telemetry features.
const (
	featureFinish  = 2
	featureOffline = 4
)

// telemetry must be in every run: without it W&B takes the run for one that
// never started, and resume passes it over.
func (s *State) telemetry() *dotwandb.Telemetry {
	return &dotwandb.Telemetry{
		CLIVersion: s.cfg.Version, CoreVersion: s.cfg.Version,
		Platform: runtime.GOOS + "-" + runtime.GOARCH, Features: []int{featureFinish, featureOffline},
	}
}

func (s *State) environment() *dotwandb.Environment {
	if s.env == nil {
		return nil
	}
	return &dotwandb.Environment{
		OS: s.env.OS, StartedAt: time.Unix(0, s.start), Docker: s.env.Image, Args: s.env.Args,
		Program: s.env.Program, Executable: s.env.Executable, Host: s.env.Host, Username: s.env.User,
		GitRemote: s.env.GitRemote, GitCommit: s.env.GitCommit, WriterID: "otel-wandb",
	}
}

// metricRecords writes the definitions that changed: of globs also the metrics
// that they define, because only some servers expand globs themselves.
func (s *State) metricRecords(all bool) {
	if !s.defsDirty && !all {
		return
	}
	s.defsDirty = false
	if s.defs.written == nil {
		s.defs.written = map[string]string{}
	}
	write := func(r dotwandb.Metric) {
		text := fmt.Sprintf("%+v", r)
		if key := r.Name + "\x00" + r.GlobName; s.defs.written[key] != text {
			s.defs.written[key] = text
			s.emit(&dotwandb.Record{Metric: &r})
		}
	}
	step := func(m *MetricDef) {
		// A step metric that nobody defined gets an entry of its own.
		if m.Step != "" && s.defs.find(m.Step) == nil {
			write(dotwandb.Metric{Name: escapeDots(m.Step)})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.defs.exact)) {
		m := s.defs.exact[name]
		step(m)
		write(m.record(escapeDots(name), false))
	}
	for _, m := range s.defs.globs {
		step(m)
		write(m.record(m.Name, true))
	}
	for _, key := range slices.Sorted(maps.Keys(s.metrics)) {
		m := s.metrics[key]
		def := s.defs.find(m.name)
		if def == nil || !m.HasRows || !def.glob() {
			continue
		}
		parts := make([]string, len(m.Path))
		for i, p := range m.Path {
			parts[i] = escapeDots(p)
		}
		r := def.record(strings.Join(parts, "."), false)
		r.Expanded = true
		write(r)
	}
}

// summary writes summary records: all keys, or those that changed.
func (s *State) summary(all bool) {
	s.metricRecords(false)
	list := s.touched
	if all || s.clashes.any {
		list = slices.Collect(maps.Values(s.metrics))
	}
	sortByPath(list)
	remove, update := s.metricItems(list)
	s.touched, s.general = s.touched[:0], false
	if s.lastStep >= 0 {
		update = append(update,
			dotwandb.Item{Key: "_step", JSON: intJSON(s.lastStep)},
			dotwandb.Item{Key: "_timestamp", JSON: timeJSON(s.lastTime)})
	}
	update = append(update,
		dotwandb.Item{Key: "_runtime", JSON: floatJSON(s.runtime)},
		dotwandb.Item{Key: "_wandb", Rest: []string{"runtime"}, JSON: intJSON(int64(s.runtime))})
	if all {
		verdict := s.verdict()
		update = append(update, verdict...)
		if len(s.log.parts) > 1 {
			// A part begins with what the one before it said in the end, which may
			// hold no more: missing rows came, another attempt succeeded.
			for _, key := range []string{errorType, errorMessage, rowsMissing} {
				if !slices.ContainsFunc(verdict, func(it dotwandb.Item) bool { return it.Key == key }) {
					remove = append(remove, dotwandb.Item{Key: key})
				}
			}
		}
	}
	// A line has a bound, as rows have: a long summary takes several.
	from, size := 0, 0
	for i := range update {
		n := len(update[i].Key) + len(update[i].JSON)
		if size += n; size > MaxLine && i > from {
			s.emit(&dotwandb.Record{Summary: &dotwandb.Summary{Update: update[from:i]}})
			from, size = i, n
		}
	}
	s.emit(&dotwandb.Record{Summary: &dotwandb.Summary{Update: update[from:], Remove: remove}})
}

// metricItems are what the summary is to get of metrics, and to lose. They are
// all there are, where some were maps and plain values.
func (s *State) metricItems(list []*aggregate) (remove, update []dotwandb.Item) {
	var shown []*aggregate // those of update
	for _, m := range list {
		m.touched = false
		it, ok := m.item(s.defs.find(m.name))
		switch {
		case ok:
			m.shown = true
			shown, update = append(shown, m), append(update, it)
		case m.shown:
			m.shown = false
			remove = append(remove, it)
		}
	}
	if s.clashes.any {
		update = whole(shown, update)
		for i := range remove {
			remove[i].Rest = nil
		}
		remove = slices.DeleteFunc(remove, func(gone dotwandb.Item) bool {
			return slices.ContainsFunc(update, func(it dotwandb.Item) bool { return it.Key == gone.Key })
		})
	}
	return remove, update
}

// Keys of the summary that say how the run ended.
const (
	errorType    = "error.type"
	errorMessage = "error.message"
	rowsMissing  = "otel.rows_missing"
)

// verdict is what the summary says of the run's end: the error of the owner
// that failed, and rows that were counted and never came.
func (s *State) verdict() (items []dotwandb.Item) {
	if _, failed := s.outcome(); failed != nil && (failed.ErrorType != "" || failed.ErrorText != "") {
		items = append(items,
			dotwandb.Item{Key: errorType, JSON: string(appendString(nil, cmp.Or(failed.ErrorType, "error")))},
			dotwandb.Item{Key: errorMessage, JSON: string(appendString(nil, failed.ErrorText))})
	}
	if s.missing > 0 {
		items = append(items, dotwandb.Item{Key: rowsMissing, JSON: intJSON(int64(s.missing))})
	}
	return items
}

func unixTime(ns int64) time.Time { return time.Unix(0, ns) }

// wholeSeconds is a runtime as records have it; a clock may be centuries off.
func wholeSeconds(ran float64) int32 { return int32(min(ran, math.MaxInt32)) }
