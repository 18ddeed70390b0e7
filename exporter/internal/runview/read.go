package runview

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/otel-wandb/otel-wandb/exporter/internal/dotwandb"
)

// Options of [Read]. With all of them a run of any size needs little memory: what
// they are called with is not kept. An error of theirs ends reading.
type Options struct {
	OnRow    func(Row) error
	OnLine   func(Line) error
	OnSample func(Sample) error
}

// Run is a run, as W&B would have it after syncing its parts in order.
type Run struct {
	Key
	Name, Group, JobType, Notes string
	Tags                        []string
	Start                       time.Time // of the first part

	Config  map[string]any
	Summary map[string]any
	Rows    []Row // unless Options.OnRow
	Console []Line
	System  []Sample
	Alerts  []dotwandb.Alert
	Metrics []dotwandb.Metric // the last definition of each, in order of the first

	RowCount  int
	Exit      *int32 // of the last part; nil: it is open
	Parts     []Part
	Damaged   bool // records lie behind damage in some part, which W&B will not see
	AfterExit int  // records behind an exit, which W&B will not see
	BadValues int  // values that are not JSON; they are kept as their text
}

// Row is one history row. Values are nested as they were logged.
type Row struct {
	Part   int // index into Run.Parts
	Num    int64
	UUID   string
	Step   int64
	Values map[string]any
}

// Line is one line of the console, without its newline.
type Line struct {
	Time   time.Time
	Stderr bool
	Text   string
}

// Sample is what system metrics said at a moment. Keys have no "system." in front.
type Sample struct {
	Time   time.Time
	Values map[string]any
}

// Part is what one log of the run had to say.
type Part struct {
	PartInfo
	Records   int    // up to the exit
	Rows      int    //
	Exit      *int32 // nil: it is open, or its writer died
	AfterExit int
	Note      string // the first uuid of its records: it says who wrote the part

	// End is where strict reading ended, the end of the last whole record.
	End int64
	// Err is why it ended there, when that was not the end of the file: a torn
	// tail, which is nothing unusual in a log that is being written, or damage.
	Err error
}

// Read replays the parts of one run, in the order of their start times.
func Read(parts []PartInfo, opts Options) (*Run, error) {
	if len(parts) == 0 {
		return nil, errors.New("a run without parts")
	}
	parts = slices.SortedFunc(slices.Values(parts), byStart)
	v := viewer{opts: opts, metrics: make(map[string]int), run: Run{
		Key: parts[0].Key(), Start: parts[0].Start,
		Config: make(map[string]any), Summary: make(map[string]any),
	}}
	for _, p := range parts {
		if err := v.read(p); err != nil {
			return nil, fmt.Errorf("%s: %w", p.Path, err)
		}
	}
	return &v.run, nil
}

// viewer is the state of replaying.
type viewer struct {
	opts    Options
	run     Run
	metrics map[string]int // index into run.Metrics

	// Of the part that is being read. They replace the run's at its end.
	part            Part
	config, summary map[string]any
	halves          [2]halfLine // of stdout and stderr
}

func (v *viewer) read(info PartInfo) error {
	v.part = Part{PartInfo: info}
	v.config, v.summary = make(map[string]any), make(map[string]any)
	if err := v.replay(); err != nil {
		return err
	}
	if err := v.endLines(); err != nil {
		return err
	}
	if v.part.Run != nil {
		v.run.Config = v.config // even when empty: W&B sends it whole
	}
	if len(v.summary) > 0 {
		v.run.Summary = v.summary
	}
	v.run.Exit = v.part.Exit
	v.run.AfterExit += v.part.AfterExit
	v.run.Parts = append(v.run.Parts, v.part)
	return nil
}

// replay reads the part's log. Damage is a finding, not an error.
func (v *viewer) replay() error {
	file, err := os.Open(v.part.Path)
	if err != nil {
		return err
	}
	defer file.Close()
	r, err := dotwandb.NewReader(file, dotwandb.Strict)
	for err == nil {
		v.part.End = r.Offset()
		var b []byte
		if b, err = r.Next(); err != nil {
			break
		}
		if v.part.Exit != nil {
			v.part.AfterExit++
			continue
		}
		var rec dotwandb.Record
		if rec, err = dotwandb.Decode(b); err != nil {
			v.run.Damaged = true
			break
		}
		v.part.Records++
		if v.part.Note == "" {
			v.part.Note = rec.UUID
		}
		if err := v.apply(&rec); err != nil {
			return err
		}
	}
	var damage *dotwandb.CorruptError
	switch {
	case errors.Is(err, io.EOF):
		return nil
	case errors.As(err, &damage) && !damage.Torn:
		v.run.Damaged = true
	}
	v.part.Err = err
	return nil
}

func (v *viewer) apply(rec *dotwandb.Record) error {
	switch {
	case rec.History != nil:
		return v.row(rec)
	case rec.Output != nil:
		return v.output(rec.Output)
	case rec.Stats != nil:
		return v.sample(rec.Stats)
	case rec.Run != nil:
		v.describe(rec.Run)
	case rec.Config != nil:
		v.change(v.config, rec.Config.Update, rec.Config.Remove)
	case rec.Summary != nil:
		v.change(v.summary, rec.Summary.Update, rec.Summary.Remove)
	case rec.Alert != nil:
		v.run.Alerts = append(v.run.Alerts, *rec.Alert)
	case rec.Metric != nil:
		v.metric(rec.Metric)
	case rec.Exit != nil:
		v.part.Exit = &rec.Exit.Code
	}
	return nil
}

// describe takes over a run record. What it does not set stays: W&B's sync
// sends no empty fields.
func (v *viewer) describe(run *dotwandb.Run) {
	if v.part.Run == nil {
		v.part.Run = run // a log that was listed before it had one
	}
	r := &v.run
	r.ID = cmp.Or(run.ID, r.ID)
	r.Entity = cmp.Or(run.Entity, r.Entity)
	r.Project = cmp.Or(run.Project, r.Project)
	r.Name = cmp.Or(run.DisplayName, r.Name)
	r.Group = cmp.Or(run.Group, r.Group)
	r.JobType = cmp.Or(run.JobType, r.JobType)
	r.Notes = cmp.Or(run.Notes, r.Notes)
	if len(run.Tags) > 0 {
		r.Tags = run.Tags
	}
	if len(run.Config) > 0 {
		clear(v.config)
		v.change(v.config, run.Config, nil)
	}
	v.change(v.summary, run.Summary, nil)
}

func (v *viewer) change(m map[string]any, update, removed []dotwandb.Item) {
	for i := range update {
		v.put(m, &update[i])
	}
	for i := range removed {
		remove(m, &removed[i])
	}
}

func (v *viewer) put(m map[string]any, it *dotwandb.Item) {
	if !put(m, it) {
		v.run.BadValues++
	}
}

func (v *viewer) row(rec *dotwandb.Record) error {
	row := Row{Part: len(v.run.Parts), Num: rec.Num, UUID: rec.UUID, Step: rec.History.Step, Values: make(map[string]any, len(rec.History.Items))}
	for i := range rec.History.Items {
		v.put(row.Values, &rec.History.Items[i])
	}
	if step, ok := row.Values["_step"].(int64); ok {
		row.Step = step // what W&B goes by
	}
	v.part.Rows++
	v.run.RowCount++
	if v.opts.OnRow != nil {
		return v.opts.OnRow(row)
	}
	v.run.Rows = append(v.run.Rows, row)
	return nil
}

func (v *viewer) sample(stats *dotwandb.Stats) error {
	s := Sample{Time: stats.Time, Values: make(map[string]any, len(stats.Items))}
	for i := range stats.Items {
		v.put(s.Values, &stats.Items[i])
	}
	if v.opts.OnSample != nil {
		return v.opts.OnSample(s)
	}
	v.run.System = append(v.run.System, s)
	return nil
}

func (v *viewer) metric(m *dotwandb.Metric) {
	key := m.Name + "\x00" + m.GlobName
	if i, ok := v.metrics[key]; ok {
		v.run.Metrics[i] = *m
		return
	}
	v.metrics[key] = len(v.run.Metrics)
	v.run.Metrics = append(v.run.Metrics, *m)
}

// halfLine is a line whose newline has not come.
type halfLine struct {
	time time.Time
	text strings.Builder
}

// maxLine bounds a line: a progress bar that only ever returns the carriage
// would be one without end.
const maxLine = 64 << 10

// output puts lines together: W&B's client writes a record for each write of
// the program, of which a line may have many.
func (v *viewer) output(o *dotwandb.Output) error {
	half := v.half(o.Stderr)
	for text := range strings.Lines(o.Line) {
		if half.text.Len() == 0 {
			half.time = o.Time
		}
		line, ended := strings.CutSuffix(text, "\n")
		half.text.WriteString(line)
		if ended || half.text.Len() > maxLine {
			if err := v.endLine(o.Stderr); err != nil {
				return err
			}
		}
	}
	return nil
}

func (v *viewer) half(stderr bool) *halfLine {
	if stderr {
		return &v.halves[1]
	}
	return &v.halves[0]
}

// endLines ends the lines whose newline never came.
func (v *viewer) endLines() error {
	for _, stderr := range []bool{false, true} {
		if v.half(stderr).text.Len() > 0 {
			if err := v.endLine(stderr); err != nil {
				return err
			}
		}
	}
	return nil
}

func (v *viewer) endLine(stderr bool) error {
	half := v.half(stderr)
	line := Line{Time: half.time, Stderr: stderr, Text: half.text.String()}
	*half = halfLine{}
	if v.opts.OnLine != nil {
		return v.opts.OnLine(line)
	}
	v.run.Console = append(v.run.Console, line)
	return nil
}

// Flat gives nested values as paths joined by dots, as W&B shows them.
func Flat(nested map[string]any) map[string]any {
	flat := make(map[string]any, len(nested))
	flatten(flat, "", nested)
	return flat
}

func flatten(into map[string]any, prefix string, nested map[string]any) {
	for k, x := range nested {
		if m, ok := x.(map[string]any); ok && len(m) > 0 {
			flatten(into, prefix+k+".", m)
			continue
		}
		into[prefix+k] = x
	}
}
