package bridge

import (
	"go.opentelemetry.io/otel/attribute"

	"github.com/otel-wandb/otel-wandb/internal/semconv"
)

// MetricOption says how a metric is shown: see [Run.DefineMetric].
type MetricOption func(*[]attribute.KeyValue)

// DefineMetric says how a metric, or all whose names begin alike ("val/*"), are
// shown. It may come before or after their values.
//
//	run.DefineMetric("val/*", bridge.WithStepMetric("epoch"))
//	run.DefineMetric("loss", bridge.WithSummary("min"))
func (r *Run) DefineMetric(name string, opts ...MetricOption) {
	if !r.Recording() {
		return
	}
	attrs := []attribute.KeyValue{attribute.String(semconv.MetricName, name)}
	for _, o := range opts {
		if o != nil {
			o(&attrs)
		}
	}
	r.event(semconv.EventDefineMetric, attrs)
}

// WithStepMetric makes another metric the x axis. Default: the row's step.
func WithStepMetric(name string) MetricOption {
	return func(to *[]attribute.KeyValue) { *to = append(*to, attribute.String(semconv.MetricStepMetric, name)) }
}

// WithSummary says which values of the metric stand in the summary: min, max,
// mean, first, last, best (see [WithGoal]), copy or none. Default: last.
func WithSummary(which ...string) MetricOption {
	return func(to *[]attribute.KeyValue) { *to = append(*to, attribute.StringSlice(semconv.MetricSummary, which)) }
}

// Goal says which way a metric is better.
type Goal string

// The goals.
const (
	Minimize Goal = "minimize"
	Maximize Goal = "maximize"
)

// WithGoal says what best means in [WithSummary].
func WithGoal(g Goal) MetricOption {
	return func(to *[]attribute.KeyValue) { *to = append(*to, attribute.String(semconv.MetricGoal, string(g))) }
}

// WithHidden makes no chart of the metric: for x axes and helpers.
func WithHidden() MetricOption {
	return func(to *[]attribute.KeyValue) { *to = append(*to, attribute.Bool(semconv.MetricHidden, true)) }
}
