package run

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/otel-wandb/otel-wandb/exporter/internal/dotwandb"
	"github.com/otel-wandb/otel-wandb/internal/runid"
)

// Config is what the exporter's configuration says of a run's life.
type Config struct {
	Linger       time.Duration // after the last arrival, once no owner is open
	RowsTimeout  time.Duration // after an end event, for rows still on their way
	AbandonAfter time.Duration // without arrival, where heartbeats were seen
	IdleTimeout  time.Duration // without arrival, where none were
	Version      string        // of this exporter
}

// Limits of the W&B backend.
const (
	// MaxLine is the longest history or summary line, in bytes.
	MaxLine = 10<<20 - 100<<10
	// MaxConfigValue is the largest config value, in bytes.
	MaxConfigValue = 10 << 20
)

const (
	// maxConfig bounds all values of the config together: a record of the log
	// has to fit into readers. Small values are not counted out.
	maxConfig  = 16 << 20
	smallValue = 64 << 10
)

// ExitCrashed is how a run ends whose program was not heard of any more.
const ExitCrashed = dotwandb.ExitCrashed

// Drop is something that was kept out of the run, by name.
type Drop struct {
	Reason string
	Items  int
	Text   string // for people: which run and key, what is wrong, what to do
}

// Reasons of drops.
const (
	DropRowTooLong    = "row_too_long"
	DropValueTooLarge = "value_too_large"
	DropBadTag        = "bad_tag"
	DropBadDefinition = "bad_definition"
	DropReservedKey   = "reserved_key"
	DropBadAttribute  = "bad_attribute"
	DropForeignClient = "foreign_client"
	DropTooManyKeys   = "too_many_keys"
)

// Applied counts what a call brought.
type Applied struct {
	Rows, Lines, Repeated int
	Points                int // of metrics, written: as history or system metrics
	NoRun                 int // likewise, which came when the run was over, and are not its
	Drops                 []Drop
	// Preempting: the program was told that it may soon be ended. It is for W&B,
	// while the run goes on: no log says it.
	Preempting bool
}

// State is one run: see the package comment. Make it with NewState, or Load.
type State struct {
	Key runid.Coordinates
	cfg Config

	ids       identities
	owners    []*owner
	tags      []string // sorted
	config    config
	metrics   map[string]*aggregate
	clashes   clashes
	defs      definitions
	group     string // where no owner names one
	client    string // who opened it, where senders are authenticated
	resume    string // "must" or "never", where a task says so
	askedID   string
	env       *Environment
	sources   []Source // where its tasks run
	heartbeat bool

	start    int64 // of the run: its first owner's start, else its first item's time
	nextStep int64
	lastStep int64
	rows     int64
	// The latest row's time and runtime, whatever order rows came in.
	lastTime int64
	runtime  float64 // the longest of any row or owner, seconds
	missing  uint64  // rows an end event counted that never came

	log       log
	lastHeard int64 // when anything arrived, the exporter's clock, unix ns
	summaryAt int64 // when a summary record was last written, likewise
	meta      metaState
	system    map[uint64]struct{} // hashes of system metrics' keys; not kept

	batch
	replay replay
}

// batch is what Apply and Tick brought and Flush has not taken yet.
type batch struct {
	*buffers  // nil while there is no record
	facts     []fact
	factBytes int               // about how long they are
	files     map[string][]byte // by path: what rows of the batch name
	fileBytes int
	note      note
	touched   []*aggregate // changed since the last summary record
	general   bool         // _step, _runtime … changed since then

	defsDirty bool
	revived   bool // a heartbeat after the run was given up
	closedBy  int  // how many owners there were at the last exit

	// Scratch of the request under way.
	pendingRows []pendingRow
	points      []pendingPoint
	bySteps     map[spanStep]int
}

// log is where the run's records go.
type log struct {
	parts    []Part // the last is open unless closed
	closed   bool   // the last part has its exit
	exitCode int32
	num      int64 // records in the open part
}

// Part is one log of the run.
type Part struct {
	Dir   string `cbor:"1,keyasint"` // name of the run directory
	Start int64  `cbor:"2,keyasint"` // start_time in its run record, unix ns
	// Where it left off, once it is closed.
	NextStep int64 `cbor:"3,keyasint,omitempty"`
	Runtime  int32 `cbor:"4,keyasint,omitempty"` // seconds
}

// metaState is what the last run record said, so that only changes are written.
type metaState struct {
	written map[string]string // config by top-level key
	run     string            // name, group, tags … as one text
	dirty   bool              // something changed that may change them
}

// NewState makes the state of a run of which nothing is known yet.
func NewState(key runid.Coordinates, cfg Config) *State {
	return &State{Key: key, cfg: cfg, metrics: map[string]*aggregate{}, lastStep: -1}
}

// Open tells whether the run has a log that goes on.
func (s *State) Open() bool { return len(s.log.parts) > 0 && !s.log.closed }

// Parts are the run's logs, the oldest first.
func (s *State) Parts() []Part { return s.log.parts }

// ExitCode is how the last part ended; ok tells whether it has.
func (s *State) ExitCode() (code int32, ok bool) { return s.log.exitCode, s.log.closed }

// Rows is how many history rows the run has.
func (s *State) Rows() int64 { return s.rows }

// Delivery is what one span or log record brings to its run.
type Delivery struct {
	*Context
	Items []Item
}

// Apply takes what one request brings to this run. now is the exporter's clock,
// unix ns. What it leads to is in the batch until Flush.
func (s *State) Apply(now int64, request []Delivery) Applied {
	var a Applied
	heard := false
	for _, d := range request {
		points := d.Joined || len(d.Items) > 0 && d.Items[0].Kind == KindPoint
		if d.Joined && !s.Open() {
			a.NoRun += len(d.Items)
			continue
		}
		if !s.admits(d.Context) {
			a.drop(DropForeignClient, len(d.Items), fmt.Sprintf("run %q: another client opened it, and only that one may write to it: give the task an id of its own, or send both with one client's credentials", s.Key))
			continue
		}
		s.meet(d.Context)
		var from, to int64
		if points {
			from, to = s.pointsOf(d.Context)
		}
		heard = heard || !points || s.hearsPoints(d.Context)
		for i := range d.Items {
			it := &d.Items[i]
			if it.Order.Time == 0 {
				s.date(now, d.Context, it)
			}
			switch {
			case points && (it.Order.Time < from || it.Order.Time > to):
				a.NoRun++
				continue
			case it.Kind != KindTask && it.Kind != KindHeartbeat && it.Kind != KindPreempting:
				if !s.ids.add(it.ID) {
					a.Repeated++
					continue
				}
			case it.ID.Writer != "" && s.ids.add(it.ID):
				// To hear it again changes nothing, but an end event counts it.
				s.note.id(it)
			}
			s.item(now, d.Context, it, &a)
		}
	}
	s.writeRows(&a)
	s.writePoints(&a)
	if heard {
		s.lastHeard = now
	}
	return a
}

// admits tells whether a delivery's sender may write to the run: whoever opened
// it, where senders are authenticated.
func (s *State) admits(ctx *Context) bool {
	if s.client == "" && ctx.Client != "" && len(s.log.parts) == 0 && len(s.owners) == 0 {
		s.client = ctx.Client
		s.fact(fact{Client: ctx.Client})
	}
	return s.client == "" || s.client == ctx.Client
}

// Blank is a state of the run that knows nothing but whose it is.
func (s *State) Blank() *State {
	blank := NewState(s.Key, s.cfg)
	blank.client, blank.sources = s.client, s.sources
	return blank
}

// Client is who opened the run; "" where senders are not authenticated.
func (s *State) Client() string { return s.client }

// meet learns from a delivery's placement: that an owner exists, before it has
// said a word.
func (s *State) meet(ctx *Context) {
	if s.group == "" && ctx.Group != "" {
		s.group = ctx.Group
		s.meta.dirty = true
		s.fact(fact{Group: ctx.Group})
	}
	if ctx.OwnerSpan != (SpanID{}) && s.owner(ctx.OwnerSpan) == nil {
		o := &owner{Span: ctx.OwnerSpan, Trace: ctx.Trace, Start: ctx.OwnerStart}
		s.addOwner(o)
		s.fact(fact{Owner: o})
	}
}

func (s *State) owner(span SpanID) *owner {
	for _, o := range s.owners {
		if o.Span == span {
			return o
		}
	}
	return nil
}

func (s *State) addOwner(o *owner) {
	o.Base = s.runtimeBefore(o.Start)
	s.owners = append(s.owners, o)
	if o.Start != 0 && (s.start == 0 || o.Start < s.start && len(s.log.parts) == 0) {
		s.start = o.Start
	}
	s.meta.dirty = true
}

// runtimeBefore is what a new owner continues from: the run's total so far, if
// it starts after all others have ended.
func (s *State) runtimeBefore(start int64) float64 {
	if len(s.owners) == 0 || start == 0 {
		return 0
	}
	for i, o := range s.owners {
		if !o.ended() && i < s.closedBy {
			continue // it was given up: its end will not come
		}
		if !o.ended() || o.end() > start {
			return 0
		}
	}
	return s.runtime
}

func (s *State) item(now int64, ctx *Context, it *Item, a *Applied) {
	switch it.Kind {
	case KindRow:
		s.collectRow(ctx, it)
	case KindConfig:
		it.Values = s.fitConfig(it.Values, a)
		s.fact(fact{Item: it})
		for i := range it.Values {
			s.setConfig("event", it.Values[i], setting{Order: it.Order})
		}
	case KindSummary:
		it.Values = s.fit("summary", it.Values, a)
		s.fact(fact{Item: it})
		for i := range it.Values {
			s.setSummary(&it.Values[i], it.Order)
		}
	case KindMetric:
		s.fact(fact{Item: it})
		s.define(it.Metric, a)
	case KindLine:
		s.line(it, a)
	case KindAlert:
		s.note.id(it)
		s.alert(it)
	case KindTask:
		s.task(ctx, it, a)
		if it.Carrier {
			s.beats() // who announces a task by carrier sends heartbeats, from a minute on
		}
		if it.End != nil {
			s.end(now, it)
		}
	case KindPoint:
		s.points = append(s.points, pendingPoint{ctx: ctx, item: it})
	case KindCounted:
		s.note.id(it)
	case KindEnd:
		s.note.id(it)
		s.end(now, it)
	case KindHeartbeat, KindPreempting:
		a.Preempting = a.Preempting || it.Kind == KindPreempting
		s.beats()
		s.revived = s.revived || s.log.closed && s.log.exitCode == ExitCrashed
	}
}

// beats notes that silence means death from now on.
func (s *State) beats() {
	if !s.heartbeat {
		s.heartbeat = true
		s.fact(fact{Heartbeat: true})
	}
}

// task takes what a task says of itself: all of it from an owner, and from a
// child on a shared run its config, under its span's name, and its tags.
func (s *State) task(ctx *Context, it *Item, a *Applied) {
	t := it.Task
	t.Config, t.Defaults = s.fitConfig(t.Config, a), s.fitConfig(t.Defaults, a)
	changed := s.addTags(t.Tags, a)
	changed = s.addSource(t.Source) || changed
	at := Order{Time: t.Start, Src: string(it.Span[:])}
	if ctx.Role != RoleOwner {
		for i := range t.Config {
			v := t.Config[i]
			v.Rest = append(append([]string{}, dotted(v.Key)...), v.Rest...)
			v.Key = it.SpanName
			if v.Key == "" || v.Key == wandbKey {
				v.Key = hex.EncodeToString(it.Span[:])
			}
			changed = s.setConfig("member", v, setting{Order: at}) || changed
		}
		if changed {
			s.fact(fact{Item: it, Role: ctx.Role})
		}
		return
	}
	if s.askedID == "" && ctx.AskedID != "" {
		s.askedID = ctx.AskedID
		changed = true
	}
	if s.env == nil && t.Env != nil {
		s.env = t.Env
		changed = true
	}
	o := s.owner(it.Span)
	if o == nil {
		o = &owner{Span: it.Span, Trace: t.Trace, Start: t.Start}
		s.addOwner(o)
		changed = true
	}
	before := *o
	o.Declared = true
	o.Carriers = o.Carriers || it.Carrier
	o.Trace = t.Trace
	if o.Start == 0 || t.Start != 0 && t.Start < o.Start {
		o.Start = t.Start // a start event may say a later time than its span
	}
	if s.resume == "" && (t.Resume == "must" || t.Resume == "never") {
		s.resume = t.Resume
		s.meta.dirty = true
	}
	o.SpanName = nonZero(it.SpanName, o.SpanName)
	o.RunName = nonZero(t.RunName, o.RunName)
	o.Group = nonZero(t.Group, o.Group)
	o.JobType = nonZero(t.JobType, o.JobType)
	o.Notes = nonZero(t.Notes, o.Notes)
	if t.Attempt != nil && (o.Attempt == nil || *o.Attempt != *t.Attempt) {
		o.Attempt = t.Attempt
	}
	if t.Ranks != (runid.Ranks{}) {
		o.Ranks = t.Ranks
	}
	if len(s.log.parts) == 0 && o.Start != 0 && (s.start == 0 || o.Start < s.start) {
		s.start = o.Start
	}
	changed = changed || before != *o
	source := "owner" + string(it.Span[:])
	for i := range t.Config {
		changed = s.setConfig(source, t.Config[i], setting{Order: at, Owner: it.Span}) || changed
	}
	for i := range t.Defaults {
		changed = s.setConfig("base"+source, t.Defaults[i], setting{Order: at, Owner: it.Span, Base: true}) || changed
	}
	if changed {
		s.meta.dirty = true
		s.fact(fact{Item: it, Role: ctx.Role, AskedID: ctx.AskedID})
	}
}

func nonZero[T comparable](v, or T) T {
	var zero T
	if v == zero {
		return or
	}
	return v
}

func (s *State) addTags(tags []string, a *Applied) (changed bool) {
	for _, tag := range tags {
		if n := len([]rune(tag)); n == 0 || n > runid.MaxTag {
			a.drop(DropBadTag, 1, fmt.Sprintf("run %q: tag %.70q has %d characters, W&B takes 1 to %d: shorten it", s.Key, tag, n, runid.MaxTag))
			continue
		}
		if i, there := slices.BinarySearch(s.tags, tag); !there {
			s.tags = slices.Insert(s.tags, i, tag)
			changed = true
			s.meta.dirty = true
		}
	}
	return changed
}

// fit leaves out values that W&B does not take, before anything keeps them.
func (s *State) fit(what string, values []Value, a *Applied) []Value {
	return slices.DeleteFunc(values, func(v Value) bool {
		if reserved(what, &v) {
			a.drop(DropReservedKey, 1, fmt.Sprintf("run %q: %s key %.200q is W&B's own: rename it", s.Key, what, v.Key))
			return true
		}
		if len(v.JSON) <= MaxConfigValue {
			return false
		}
		a.drop(DropValueTooLarge, 1, fmt.Sprintf("run %q: %s key %.200q is %d bytes, W&B takes %d: log it as a file or a table",
			s.Key, what, v.Key, len(v.JSON), MaxConfigValue))
		return true
	})
}

// wandbKey is the key of a config under which W&B keeps what it knows of a run.
const wandbKey = "_wandb"

// reserved tells whether a key is W&B's own: one in a config, and in a summary
// all that begin as those do which W&B adds to it.
func reserved(what string, v *Value) bool {
	if what == "config" {
		return dotted(v.Key)[0] == wandbKey
	}
	return strings.HasPrefix(v.Key, "_")
}

// fitConfig also bounds the config as a whole: each run record repeats it. And
// a key cannot hold a value and further keys at once.
func (s *State) fitConfig(values []Value, a *Applied) []Value {
	total := s.config.bytes
	values = s.fit("config", values, a)
	above := holders(values)
	return slices.DeleteFunc(values, func(v Value) bool {
		if len(above) > 0 && above[configPath(&v)] {
			a.drop(DropBadAttribute, 1, fmt.Sprintf("run %q: config key %.200q has a value, and keys below it besides, which win: rename one", s.Key, v.Key))
			return true
		}
		if total += len(v.JSON); total <= maxConfig || len(v.JSON) < smallValue {
			return false
		}
		total -= len(v.JSON)
		a.drop(DropValueTooLarge, 1, fmt.Sprintf("run %q: config key %.200q, %d bytes, makes the config larger than %d bytes: log it as a file or a table",
			s.Key, v.Key, len(v.JSON), maxConfig))
		return true
	})
}

// configPath is where a value is in the config, as text.
func configPath(v *Value) string {
	return strings.Join(append(dotted(v.Key), v.Rest...), "\x00")
}

// holders are the paths of values that others of them are to be below; nil as
// good as always.
func holders(values []Value) map[string]bool {
	if len(values) < 2 {
		return nil
	}
	paths := make([]string, len(values))
	for i := range values {
		paths[i] = configPath(&values[i])
	}
	slices.Sort(paths) // NUL sorts first: what is below a path is behind it
	var above map[string]bool
	for i := range paths[1:] {
		if strings.HasPrefix(paths[i+1], paths[i]+"\x00") {
			if above == nil {
				above = map[string]bool{}
			}
			above[paths[i]] = true
		}
	}
	return above
}

func (s *State) setConfig(source string, v Value, as setting) bool {
	as.Path = append(dotted(v.Key), v.Rest...)
	if source == "member" {
		as.Path = append([]string{v.Key}, v.Rest...) // a span's name does not nest
	}
	as.JSON = v.Text()
	if !s.config.set(source, as) {
		return false
	}
	s.meta.dirty = true
	return true
}

func (s *State) setSummary(v *Value, at Order) {
	m := s.metric(v)
	if m.set(v.Text(), at) {
		s.touch(m)
	}
}

// metric is the aggregate of a value's key; it is made where there is none.
func (s *State) metric(v *Value) *aggregate {
	key := pathKey(v.Key, v.Rest)
	m := s.metrics[key]
	if m == nil {
		m = &aggregate{Path: append([]string{v.Key}, v.Rest...)}
		s.addMetric(key, m)
	}
	return m
}

// end takes how a task ended. Only owners end anything.
func (s *State) end(now int64, it *Item) {
	o := s.owner(it.Span)
	if o == nil {
		return
	}
	switch {
	case it.End.Event && o.EventEnd == nil, it.End.Event && *o.EventEnd != *it.End && o.EventEnd.Time <= it.End.Time:
		o.EventEnd, o.EventAt = it.End, now
		o.Carriers = true
	case !it.End.Event && o.SpanEnd == nil:
		o.SpanEnd = it.End
	default:
		return
	}
	if o.Start != 0 && o.end() > o.Start {
		s.runtime = max(s.runtime, o.Base+seconds(o.end()-o.Start))
	}
	s.meta.dirty = true // another owner may decide now
	s.fact(fact{Item: &Item{Kind: KindEnd, Span: it.Span, End: it.End}, At: now})
}

func seconds(ns int64) float64 { return float64(ns) / float64(time.Second) }

// exception remembers an owner's last exception.
func (s *State) exception(it *Item) bool {
	o := s.owner(it.Span)
	if o == nil || it.Line.ErrorType == "" && it.Line.ErrorMessage == "" || it.Order.Before(o.ErrorAt) {
		return false
	}
	o.ErrorAt, o.ErrorType, o.ErrorText = it.Order, it.Line.ErrorType, it.Line.ErrorMessage
	return true
}

// outcome is what the owners make of the run: the code, and the owner whose
// failure it is (nil: none failed).
func (s *State) outcome() (code int32, failed *owner) {
	for _, o := range deciding(s.owners) {
		if c := o.exitCode(); o.ended() && c != 0 {
			code, failed = c, o
		}
	}
	return code, failed
}

// Due tells whether the run is over at now, and with which exit code. Until deaf
// the exporter sent back all that came: that was nobody's silence.
func (s *State) Due(now, deaf int64) (code int32, due bool) {
	if !s.Open() {
		return 0, false
	}
	quiet := time.Duration(now - max(s.lastHeard, deaf))
	able := deciding(s.owners)
	open, missing := len(able) == 0, uint64(0)
	for _, o := range able {
		switch {
		case !o.ended():
			open = true
		case o.EventEnd != nil:
			if n := s.missingRows(o); n > 0 && time.Duration(now-max(o.EventAt, deaf)) < s.cfg.RowsTimeout {
				open = true
			} else {
				missing += n
			}
		case o.Carriers:
			// Its span came first; its end event counts the rows still on their way.
			open = open || quiet < s.cfg.RowsTimeout
		}
	}
	if !open && quiet >= s.cfg.Linger {
		s.missing = missing
		code, _ = s.outcome()
		return code, true
	}
	patience := s.cfg.IdleTimeout
	if s.heartbeat {
		patience = s.cfg.AbandonAfter
	}
	if quiet >= patience {
		return ExitCrashed, true
	}
	return 0, false
}

// Ended tells whether all owners that decide have ended, and with which code.
func (s *State) Ended() (code int32, ended bool) {
	if !s.Open() || len(s.owners) == 0 {
		return 0, false
	}
	for _, o := range deciding(s.owners) {
		if !o.ended() {
			return 0, false
		}
	}
	code, _ = s.outcome()
	return code, true
}

// brokenCode is no exit code: the last part has none, and is not continued.
const brokenCode = -1 << 31

// Broken says that the open part's log cannot be continued. The next Flush
// begins another part.
func (s *State) Broken() {
	s.shut(brokenCode)
	s.revived = true
}

// shut notes that the open part has ended, and where the next one goes on.
func (s *State) shut(code int32) {
	s.log.closed, s.log.exitCode = true, code
	part := &s.log.parts[len(s.log.parts)-1]
	part.NextStep, part.Runtime = s.nextStep, wholeSeconds(s.runtime)
}

func (s *State) missingRows(o *owner) uint64 {
	if o.EventEnd.Writer == "" {
		return 0
	}
	return s.ids.missing(o.EventEnd.Writer, o.EventEnd.LastSeq)
}

// Resumed tells the state that the exporter is back: the time it was away
// counts as nobody's silence.
func (s *State) Resumed(now int64) {
	s.lastHeard, s.summaryAt = now, now
	for _, o := range s.owners {
		if o.EventAt != 0 {
			o.EventAt = now
		}
	}
}

func (a *Applied) drop(reason string, n int, text string) {
	a.Drops = append(a.Drops, Drop{Reason: reason, Items: n, Text: text})
}
