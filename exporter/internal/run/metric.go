package run

import (
	"fmt"
	"slices"
	"strings"

	"github.com/otel-wandb/otel-wandb/exporter/internal/dotwandb"
)

// MetricDef is a define_metric event.
type MetricDef struct {
	Name    string   `cbor:"1,keyasint"` // literal: a dot does not nest; a trailing * is a glob
	Step    string   `cbor:"2,keyasint,omitempty"`
	Summary []string `cbor:"3,keyasint,omitempty"` // of min max mean last first best none copy
	Goal    string   `cbor:"4,keyasint,omitempty"` // minimize or maximize
	Hidden  bool     `cbor:"5,keyasint,omitempty"`
	Order   Order    `cbor:"6,keyasint"`
}

func (m *MetricDef) glob() bool { return strings.HasSuffix(m.Name, "*") }

func (m *MetricDef) matches(name string) bool {
	return strings.HasPrefix(name, strings.TrimSuffix(m.Name, "*"))
}

// definitions are the run's metric definitions: exact names win over globs,
// then the later event wins.
type definitions struct {
	exact   map[string]*MetricDef
	globs   []*MetricDef // the latest last
	written map[string]string
}

// add records a definition and tells whether it is the latest of its name.
func (d *definitions) add(m *MetricDef) bool {
	if m.glob() {
		i := slices.IndexFunc(d.globs, func(g *MetricDef) bool { return g.Name == m.Name })
		switch {
		case i < 0:
			d.globs = append(d.globs, m)
		case m.Order.Before(d.globs[i].Order) || m.Order == d.globs[i].Order:
			return false
		default:
			d.globs[i] = m
		}
		slices.SortFunc(d.globs, func(a, b *MetricDef) int {
			if a.Order.Before(b.Order) {
				return -1
			}
			return 1
		})
		return true
	}
	if old := d.exact[m.Name]; old != nil && (m.Order.Before(old.Order) || m.Order == old.Order) {
		return false
	}
	if d.exact == nil {
		d.exact = map[string]*MetricDef{}
	}
	d.exact[m.Name] = m
	return true
}

// find is the definition that holds for a metric; nil where none does. name is
// its path joined with dots.
func (d *definitions) find(name string) *MetricDef {
	if m := d.exact[name]; m != nil {
		return m
	}
	for i := len(d.globs) - 1; i >= 0; i-- {
		if d.globs[i].matches(name) {
			return d.globs[i]
		}
	}
	return nil
}

// unknown says which of the definition's words mean nothing.
func (m *MetricDef) unknown() (words []string) {
	for _, op := range m.Summary {
		switch op {
		case "", "min", "max", "mean", "last", "first", "best", "none", "copy":
		default:
			words = append(words, fmt.Sprintf("summary %.70q: use min, max, mean, last, first, best, none or copy", op))
		}
	}
	switch m.Goal {
	case "", "minimize", "maximize":
	default:
		words = append(words, fmt.Sprintf("goal %.70q: use minimize or maximize", m.Goal))
	}
	return words
}

// record is the metric record that defines recordName by m.
func (m *MetricDef) record(recordName string, glob bool) dotwandb.Metric {
	r := dotwandb.Metric{Defined: true, Hidden: m.Hidden, Overwrite: true}
	if glob {
		r.GlobName = recordName
	} else {
		r.Name = recordName
	}
	if m.Step != "" {
		r.StepMetric = escapeDots(m.Step)
	}
	for _, op := range m.Summary {
		switch op {
		case "min":
			r.Summary.Min = true
		case "max":
			r.Summary.Max = true
		case "mean":
			r.Summary.Mean = true
		case "best":
			r.Summary.Best = true
		case "last":
			r.Summary.Last = true
		case "none":
			r.Summary.None = true
		case "copy":
			r.Summary.Copy = true
		case "first":
			r.Summary.First = true
		}
	}
	switch m.Goal {
	case "minimize":
		r.Goal = 1
	case "maximize":
		r.Goal = 2
	}
	return r
}

// escapeDots keeps a literal name literal: an unescaped dot in a metric
// record's name addresses a nested key.
func escapeDots(name string) string {
	if !strings.ContainsAny(name, `.\`) {
		return name
	}
	return strings.NewReplacer(`\`, `\\`, `.`, `\.`).Replace(name)
}

// stepMetricName is where the explicit steps of a span that owns no run are
// kept: "<span name>/step", without what has a meaning in metric names.
func stepMetricName(spanName string) string {
	clean := strings.Map(func(r rune) rune {
		switch {
		case r < ' ' || r == 0x7f:
			return -1
		case strings.ContainsRune(`.*/\`, r):
			return '_'
		}
		return r
	}, spanName)
	clean = strings.TrimLeft(strings.TrimSpace(clean), "_")
	if clean == "" {
		clean = "span"
	}
	return clean + "/" + ownStepMetric
}

// ownStepMetric is where the owner's explicit steps are kept.
const ownStepMetric = "step"
