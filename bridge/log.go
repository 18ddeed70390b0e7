package bridge

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"go.opentelemetry.io/otel/attribute"

	"github.com/otel-wandb/otel-wandb/bridge/internal/carrier"
	"github.com/otel-wandb/otel-wandb/internal/semconv"
)

// Log logs one row of metrics: numbers, bools, text, and slices, maps and
// structs of these. An error is its text, a [time.Duration] as in "1.5s", a
// [time.Time] as in RFC 3339; all else is what [encoding/json] makes of it. Names are literal: a dot does not nest, and a slash makes a
// section of charts ("val/loss"). A value that cannot be JSON is left out.
//
//	run.Log(map[string]any{"loss": 0.5, "val/accuracy": 0.9})
func (r *Run) Log(values map[string]any) {
	if r.Recording() {
		r.row(0, false, r.attributes("metric", values), nil)
	}
}

// LogStep is Log at a step of the program's own: the row's place on the x axis,
// wherever it stands among the rows. Steps may come in any order, and nothing
// is lost when one goes back.
func (r *Run) LogStep(step int64, values map[string]any) {
	if r.Recording() {
		r.row(step, true, r.attributes("metric", values), nil)
	}
}

// LogAttrs is Log without a map, for hot loops: it allocates nothing, and attrs
// can be used again. [Step] among the attributes is the row's step.
//
//	run.LogAttrs(bridge.Step(n), attribute.Float64("loss", loss))
func (r *Run) LogAttrs(attrs ...attribute.KeyValue) {
	if !r.Recording() {
		return
	}
	at := -1
	for i := range attrs {
		if attrs[i].Key == semconv.Step {
			at = i
			break
		}
	}
	switch {
	case at < 0:
		r.row(0, false, attrs, nil)
	case at == 0:
		r.row(attrs[0].Value.AsInt64(), true, attrs[1:], nil)
	default:
		step := attrs[at].Value.AsInt64()
		r.row(step, true, slices.Concat(attrs[:at], attrs[at+1:]), nil)
	}
}

// Step is the step of a row, for [Run.LogAttrs].
func Step(n int64) attribute.KeyValue { return attribute.Int64(semconv.Step, n) }

// LogHistogram logs the distribution of values as a histogram, in a row of its
// own. NaN and infinities are left out of it.
func (r *Run) LogHistogram(name string, values []float64) {
	if r.Recording() {
		r.row(0, false, []attribute.KeyValue{attribute.Float64Slice(name, values)}, []string{name})
	}
}

func (r *Run) row(step int64, hasStep bool, row []attribute.KeyValue, histograms []string) {
	switch {
	case len(row) == 0:
	case r.carrier != nil:
		// Not by the interface, and no time unless the program's clock is another:
		// a row would move to the heap, and the carrier has a cheaper clock.
		var at time.Time
		if r.bridge.time != nil {
			at = r.bridge.time()
		}
		r.said(r.carrier.Row(at, step, hasStep, row, histograms))
	default:
		r.said(r.stream.Row(r.now(), step, hasStep, slices.Clone(row), histograms))
	}
}

// attributes are the values that can be logged; the others are said once.
func (r *Run) attributes(what string, values map[string]any) []attribute.KeyValue {
	out := make([]attribute.KeyValue, 0, len(values))
	for k, v := range values {
		val, err := valueOf(what+" "+k, v)
		if err != nil {
			r.wrong(err)
			continue
		}
		out = append(out, attribute.KeyValue{Key: attribute.Key(k), Value: val})
	}
	return out
}

// Config is the config of the run that r is on: see [Config.Update].
func (r *Run) Config() Config { return Config{r} }

// Config changes a run's config. The zero value does nothing.
// ConcurrentSafe: like its run.
type Config struct{ run *Run }

// Update sets config keys, nested maps and dotted keys alike, and leaves the
// others. It is the run's own config, whichever of its tasks says it.
func (c Config) Update(values map[string]any) {
	if !c.run.Recording() {
		return
	}
	flat := make(map[string]attribute.Value, len(values))
	for _, k := range slices.Sorted(maps.Keys(values)) {
		c.run.wrong(flatten(flat, "config", "", map[string]any{k: values[k]}))
	}
	c.run.event(semconv.EventConfig, pairs(flat))
}

func pairs(values map[string]attribute.Value) []attribute.KeyValue {
	out := make([]attribute.KeyValue, 0, len(values))
	for _, k := range slices.Sorted(maps.Keys(values)) {
		out = append(out, attribute.KeyValue{Key: attribute.Key(k), Value: values[k]})
	}
	return out
}

// Summary is the summary of the run that r is on: see [Summary.Set].
func (r *Run) Summary() Summary { return Summary{r} }

// Summary changes a run's summary, the values in the table of runs. The zero
// value does nothing.
// ConcurrentSafe: like its run.
type Summary struct{ run *Run }

// Set sets a value, which holds until a later row has that key. Without it the
// summary is each metric's last value, or what [Run.DefineMetric] says.
func (s Summary) Set(key string, value any) { s.Update(map[string]any{key: value}) }

// Update is Set for many.
func (s Summary) Update(values map[string]any) {
	if s.run.Recording() {
		s.run.event(semconv.EventSummary, s.run.attributes("summary", values))
	}
}

func (r *Run) event(name string, attrs []attribute.KeyValue) {
	if len(attrs) > 0 {
		r.said(r.stream.Event(name, r.now(), attrs))
	}
}

// AddTags adds tags to the run, 1 to 64 characters each.
func (r *Run) AddTags(tags ...string) {
	if !r.Recording() || len(tags) == 0 {
		return
	}
	r.mu.Lock()
	r.added = joinTags(r.added, tags)
	all := joinTags(r.tags, r.added)
	r.mu.Unlock()
	r.span.SetAttributes(attribute.StringSlice(semconv.RunTags, all))
	// To add tags is to announce the task again, with these.
	mode := semconv.ModeAuto
	if !r.owner.IsValid() {
		mode = semconv.ModeShared
	}
	again := []attribute.KeyValue{attribute.String(semconv.RunMode, mode), attribute.StringSlice(semconv.RunTags, all)}
	if !r.owner.IsValid() {
		again = append(again, request(r.coords)...)
	}
	r.said(r.stream.Start(again))
}

// AlertLevel is how urgent an alert is. The zero value is [AlertInfo].
type AlertLevel string

// The levels of alerts.
const (
	AlertInfo  AlertLevel = "INFO"
	AlertWarn  AlertLevel = "WARN"
	AlertError AlertLevel = "ERROR"
)

// Alert sends an alert by the ways that the receivers chose in W&B.
func (r *Run) Alert(level AlertLevel, title, text string) {
	if !r.Recording() {
		return
	}
	if level == "" {
		level = AlertInfo
	}
	r.event(semconv.EventAlert, []attribute.KeyValue{
		attribute.String(semconv.AlertTitle, title), attribute.String(semconv.AlertText, text), attribute.String(semconv.AlertLevel, string(level)),
	})
}

// said says once what could not be logged. The stream's own errors say whose
// they are, and it says itself, once, that its buffer is full.
func (r *Run) said(err error) {
	if err == nil || errors.Is(err, carrier.ErrFull) {
		return
	}
	r.bridge.report(err)
}

// wrong says once what is wrong with a value that was to be logged.
func (r *Run) wrong(err error) {
	if err != nil {
		r.bridge.report(fmt.Errorf("run %s, task %q: %w", r.coords, r.task, err))
	}
}

func (b *Bridge) clock() time.Time {
	if b == nil || b.time == nil {
		return time.Now()
	}
	return b.time()
}
