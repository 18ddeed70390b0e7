package run

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/otel-wandb/otel-wandb/exporter/internal/codec"
	"github.com/otel-wandb/otel-wandb/exporter/internal/dotwandb"
	"github.com/otel-wandb/otel-wandb/internal/runid"
)

// checkpointVersion changes when the saved form does; another version is as
// good as none, and the state is rebuilt from the logs.
const checkpointVersion = 1

// saved is a checkpoint: the state as it was when the open part's log had
// Offset bytes. It holds nothing that the logs do not.
type saved struct {
	Version   int                   `cbor:"1,keyasint"`
	Key       runid.Coordinates     `cbor:"2,keyasint"`
	Offset    int64                 `cbor:"3,keyasint"`
	IDs       savedIdentities       `cbor:"4,keyasint"`
	Owners    []*owner              `cbor:"5,keyasint,omitempty"`
	Tags      []string              `cbor:"6,keyasint,omitempty"`
	Config    map[string]*setting   `cbor:"7,keyasint,omitempty"`
	Metrics   map[string]*aggregate `cbor:"8,keyasint,omitempty"`
	Exact     map[string]*MetricDef `cbor:"9,keyasint,omitempty"`
	Globs     []*MetricDef          `cbor:"10,keyasint,omitempty"`
	Group     string                `cbor:"11,keyasint,omitempty"`
	AskedID   string                `cbor:"12,keyasint,omitempty"`
	Env       *Environment          `cbor:"13,keyasint,omitempty"`
	Heartbeat bool                  `cbor:"14,keyasint,omitempty"`
	Start     int64                 `cbor:"15,keyasint,omitempty"`
	NextStep  int64                 `cbor:"16,keyasint,omitempty"`
	LastStep  int64                 `cbor:"17,keyasint"`
	Rows      int64                 `cbor:"18,keyasint,omitempty"`
	LastTime  int64                 `cbor:"19,keyasint,omitempty"`
	Runtime   float64               `cbor:"20,keyasint,omitempty"`
	Missing   uint64                `cbor:"21,keyasint,omitempty"`
	Parts     []Part                `cbor:"22,keyasint,omitempty"`
	Closed    bool                  `cbor:"23,keyasint,omitempty"`
	ExitCode  int32                 `cbor:"24,keyasint,omitempty"`
	Num       int64                 `cbor:"25,keyasint,omitempty"`
	ClosedBy  int                   `cbor:"26,keyasint,omitempty"`
	Defined   map[string]string     `cbor:"27,keyasint,omitempty"`
	Client    string                `cbor:"28,keyasint,omitempty"`
	Resume    string                `cbor:"29,keyasint,omitempty"`
	Sources   []Source              `cbor:"30,keyasint,omitempty"`
}

// Checkpoint is the state's saved form; offset is the size of the open part's
// log. Everything applied must have been flushed and written.
func (s *State) Checkpoint(offset int64) ([]byte, error) {
	b, err := codec.Marshal(saved{
		Version: checkpointVersion, Key: s.Key, Offset: offset, IDs: s.ids.pack(), Owners: s.owners,
		Tags: s.tags, Config: s.config.settings, Metrics: s.metrics, Exact: s.defs.exact, Globs: s.defs.globs,
		Group: s.group, Client: s.client, Resume: s.resume, AskedID: s.askedID, Env: s.env, Heartbeat: s.heartbeat, Start: s.start,
		NextStep: s.nextStep, LastStep: s.lastStep, Rows: s.rows, LastTime: s.lastTime, Runtime: s.runtime,
		Missing: s.missing, Parts: s.log.parts, Closed: s.log.closed, ExitCode: s.log.exitCode, Num: s.log.num,
		ClosedBy: s.closedBy, Defined: s.defs.written, Sources: s.sources,
	})
	if err != nil {
		return nil, fmt.Errorf("run %q: checkpoint: %w", s.Key, err)
	}
	return b, nil
}

// CheckpointKey reads only whose checkpoint it is.
func CheckpointKey(b []byte) (key runid.Coordinates, err error) {
	var head struct {
		Version int               `cbor:"1,keyasint"`
		Key     runid.Coordinates `cbor:"2,keyasint"`
	}
	if err := codec.Unmarshal(b, &head); err != nil {
		return key, fmt.Errorf("checkpoint: %w", err)
	}
	return head.Key, nil
}

// CheckpointClient reads only who opened the run.
func CheckpointClient(b []byte) (string, error) {
	var head struct {
		Client string `cbor:"28,keyasint"`
	}
	if err := codec.Unmarshal(b, &head); err != nil {
		return "", fmt.Errorf("checkpoint: %w", err)
	}
	return head.Client, nil
}

// Head is what a checkpoint says of a run to those who only look for it.
type Head struct {
	Key     runid.Coordinates `cbor:"2,keyasint"`
	Client  string            `cbor:"28,keyasint"` // who opened it
	Sources []Source          `cbor:"30,keyasint"` // by what metrics join it
}

// CheckpointHead reads only that.
func CheckpointHead(b []byte) (h Head, err error) {
	if err := codec.Unmarshal(b, &h); err != nil {
		return h, fmt.Errorf("checkpoint: %w", err)
	}
	return h, nil
}

// Load makes a state of a checkpoint. Replay what the open part's log holds
// from offset on, then call Replayed.
func Load(b []byte, cfg Config) (s *State, offset int64, err error) {
	var v saved
	if err := codec.Unmarshal(b, &v); err != nil {
		return nil, 0, fmt.Errorf("checkpoint: %w", err)
	}
	if v.Version != checkpointVersion {
		return nil, 0, fmt.Errorf("run %q: checkpoint has version %d, want %d", v.Key, v.Version, checkpointVersion)
	}
	s = NewState(v.Key, cfg)
	s.ids, s.owners, s.tags = v.IDs.unpack(), v.Owners, v.Tags
	s.config.settings, s.defs.exact, s.defs.globs, s.defs.written = v.Config, v.Exact, v.Globs, v.Defined
	for _, c := range v.Config {
		s.config.bytes += len(c.JSON)
	}
	s.client, s.resume, s.sources = v.Client, v.Resume, v.Sources
	s.group, s.askedID, s.env, s.heartbeat, s.start = v.Group, v.AskedID, v.Env, v.Heartbeat, v.Start
	s.nextStep, s.lastStep, s.rows, s.lastTime = v.NextStep, v.LastStep, v.Rows, v.LastTime
	s.runtime, s.missing, s.closedBy = v.Runtime, v.Missing, v.ClosedBy
	s.log = log{parts: v.Parts, closed: v.Closed, exitCode: v.ExitCode, num: v.Num}
	for key, m := range v.Metrics {
		m.known()
		s.metrics[key] = m
	}
	return s, v.Offset, nil
}

// ReplayPart begins the replay of a part from its front: the checkpoint was
// lost. Parts are replayed in the order of their start times.
func (s *State) ReplayPart(dir string) {
	if s.Open() {
		s.shut(brokenCode) // it has no end, and the run went on in this one
	}
	s.log.parts = append(s.log.parts, Part{Dir: dir})
	s.log.closed, s.log.num = false, 0
	s.replay = replay{}
}

// replay collects a batch's records until its note comes.
type replay struct {
	rows    []*dotwandb.History
	metrics []*dotwandb.Metric
	records int64
	exit    *dotwandb.Exit
	start   int64
}

// Replay takes one record of the log and tells whether a batch ends with it:
// the log may be cut behind it, not elsewhere. An error says that the record
// is whole and its note is not ours: the log was not written by this exporter.
func (s *State) Replay(b []byte) (batchEnd bool, err error) {
	rec, err := dotwandb.Decode(b)
	if err != nil {
		return false, err
	}
	s.replay.records++
	switch {
	case rec.History != nil:
		s.replay.rows = append(s.replay.rows, rec.History)
	case rec.Exit != nil:
		s.replay.exit = rec.Exit
	case rec.Run != nil:
		s.replay.start = rec.Run.StartTime.UnixNano()
	case rec.Metric != nil:
		s.replay.metrics = append(s.replay.metrics, rec.Metric)
	}
	if rec.UUID == "" {
		return false, nil
	}
	entries, facts, err := decodeNote(rec.UUID)
	if err != nil {
		return false, fmt.Errorf("record %d: %w", rec.Num, err)
	}
	s.replayBatch(entries, facts)
	return true, nil
}

func (s *State) replayBatch(entries []noteEntry, facts []fact) {
	r := s.replay
	s.replay = replay{}
	s.log.num += r.records
	if r.start != 0 && len(s.log.parts) > 0 {
		part := &s.log.parts[len(s.log.parts)-1]
		if part.Start == 0 {
			part.Start = r.start
		}
		if s.start == 0 && len(s.log.parts) == 1 {
			s.start = r.start
		}
	}
	for _, m := range r.metrics {
		if s.defs.written == nil {
			s.defs.written = map[string]string{}
		}
		s.defs.written[m.Name+"\x00"+m.GlobName] = fmt.Sprintf("%+v", *m)
	}
	for i := range facts {
		s.replayFact(&facts[i])
	}
	for _, e := range entries {
		s.ids.add(e.id)
		if !e.row || len(r.rows) == 0 {
			continue
		}
		row := r.rows[0]
		r.rows = r.rows[1:]
		s.replayRow(row, e)
	}
	if r.exit != nil {
		s.shut(r.exit.Code)
		s.closedBy = len(s.owners)
		s.leave(r.exit.Code)
	}
}

func (s *State) replayRow(row *dotwandb.History, e noteEntry) {
	s.rows++
	values := make([]Value, 0, len(row.Items))
	for _, it := range row.Items {
		switch it.Key {
		case "_step":
			if n, err := strconv.ParseInt(it.JSON, 10, 64); err == nil {
				s.lastStep, s.nextStep = n, n+1
			}
		case "_runtime":
			if f, err := strconv.ParseFloat(it.JSON, 64); err == nil {
				s.runtime = max(s.runtime, f)
			}
		case "_timestamp":
		default:
			values = append(values, parseValue(it))
		}
	}
	s.lastTime = max(s.lastTime, e.order.Time)
	if !e.merged {
		s.aggregateRow(values, e.order)
	}
}

// parseValue is the value that was written as an item.
func parseValue(it dotwandb.Item) Value {
	v := Value{Key: it.Key, Rest: it.Rest, JSON: it.JSON}
	v.Num, v.Numeric = parseNumber(it.JSON)
	if v.Numeric && it.JSON != "-0" && floatJSON(v.Num) == it.JSON {
		v.JSON = ""
	}
	return v
}

// parseNumber reads a JSON number, bare NaN and infinities included.
func parseNumber(text string) (f float64, ok bool) {
	if text == "" || !strings.ContainsRune("-0123456789NI", rune(text[0])) {
		return 0, false
	}
	f, err := strconv.ParseFloat(text, 64)
	return f, err == nil
}

// replayFact does to the state what its item did, and writes nothing.
func (s *State) replayFact(f *fact) {
	var a Applied
	switch {
	case f.Owner != nil:
		if s.owner(f.Owner.Span) == nil {
			s.addOwner(&owner{Span: f.Owner.Span, Trace: f.Owner.Trace, Start: f.Owner.Start})
		}
	case f.Heartbeat:
		s.heartbeat = true
	case f.Client != "":
		s.client = f.Client
	case f.Group != "":
		s.group = f.Group
	case f.Item == nil:
	case f.Item.Kind == KindTask:
		s.task(&Context{Role: f.Role, AskedID: f.AskedID}, f.Item, &a)
	case f.Item.Kind == KindEnd:
		s.end(f.At, f.Item)
	case f.Item.Kind == kindValues:
		s.aggregateRow(f.Item.Values, f.Item.Order)
	case f.Item.Kind == KindLine:
		s.exception(f.Item)
	default:
		s.ids.add(f.Item.ID)
		s.item(f.At, &Context{}, f.Item, &a)
	}
	s.facts = s.facts[:0] // what it did was written before
}

// Replayed ends a replay: records behind the last note are forgotten, and what
// the state says now is what its log says.
func (s *State) Replayed() {
	s.replay = replay{}
	s.buffers = nil
	s.forgetBatch()
	s.revived = s.log.closed && s.log.exitCode == brokenCode
	items, text := s.metaNow()
	s.meta = metaState{written: byKey(items), run: text}
	s.defsDirty = false
	s.touched = s.touched[:0]
	for key, m := range s.metrics {
		s.clashes.add(key, m.Path, s.metrics)
		m.touched, m.shown = false, true // as far as is known
		if s.Open() {
			s.touch(m) // the last summary record may be older than the rows
		}
	}
	s.general = s.Open()
}
