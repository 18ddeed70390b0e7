package wandbexporter

import (
	"context"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/otel-wandb/otel-wandb/exporter/internal/engine"
	"github.com/otel-wandb/otel-wandb/exporter/internal/online"
	"github.com/otel-wandb/otel-wandb/exporter/internal/upload"
)

const scopeName = "github.com/otel-wandb/otel-wandb/exporter"

// counters are what the exporter says of itself, beside what the Collector's
// helper counts for every exporter. documentation.md lists them.
var counters = []struct{ count, name, unit, description string }{
	{engine.CountRows, "rows", "{row}", "History rows written to run logs."},
	{engine.CountLines, "console_lines", "{line}", "Console lines written to run logs."},
	{engine.CountRepeated, "repeated_items", "{item}", "Items that had come before and changed nothing."},
	{engine.CountOpened, "runs_opened", "{run}", "Runs that got their first part."},
	{engine.CountFinished, "parts_finished", "{part}", "Parts of runs that got their exit."},
	{engine.CountParts, "parts_opened", "{part}", "Parts of runs that were begun: one a run, and one more each time a run goes on after its end."},
	{engine.CountDamaged, "parts_damaged", "{part}", "Parts whose log was found damaged in the middle."},
	{engine.CountRecovered, "runs_recovered", "{run}", "Open runs taken up from an earlier exporter."},
	{engine.CountPoints, "metric_points", "{point}", "Data points of metrics written to run logs, as history or system metrics: one that goes to two runs counts twice."},
	{engine.CountNoRun, "no_run_items", "{item}", "Spans and log records with content, and data points of metrics, that belong to no run: console lines of other programs and the like. No drop; what W&B should have had is also counted by reason."},
	{engine.CountWaited, "waited_items", "{item}", "Spans and log records that had to wait for an ancestor."},
	{engine.CountLogBytes, "log_bytes", "By", "Bytes appended to run logs."},
	{engine.CountAppends, "log_appends", "{append}", "Appends to run logs: several requests share one."},
	{engine.CountRequests, "requests", "{request}", "Requests taken in."},
	{engine.CountBusy, "requests_busy", "{request}", "Requests sent back because too much was in flight: raise max_in_flight_mib, or send less."},
	{engine.CountFailed, "requests_failed", "{request}", "Requests sent back because something could not be written."},
	{engine.CountLinksGone, "links_evicted", "{span}", "Spans forgotten early because placement.max_links was reached."},
}

const prefix = "otelcol_exporter_wandb_"

// metrics are the instruments of one engine. They are read when asked, and
// cost nothing otherwise.
type metrics struct{ registration metric.Registration }

func newMetrics(provider metric.MeterProvider, id component.ID, e *engine.Engine, o *online.Online) (*metrics, error) {
	// As the helper's metrics have it: several exporters of this type in one
	// collector must not report under one name and label set.
	exporter := attribute.String("exporter", id.String())
	of := metric.WithAttributeSet(attribute.NewSet(exporter))
	meter := provider.Meter(scopeName)
	b := instruments{meter: meter}
	counts := map[string]metric.Int64ObservableCounter{}
	for _, c := range counters {
		counts[c.count] = b.counter(c.name, c.unit, c.description)
	}
	dropped := b.counter("dropped_items", "{item}", "Items kept out of every run, by reason.")
	openRuns := b.gauge("runs_open", "{run}", "Runs whose log goes on.")
	waiting := b.gauge("waiting_items", "{item}", "Spans and log records that wait for an ancestor.")
	links := b.gauge("links", "{span}", "Spans remembered for placement.")
	journal := b.gauge("journal_bytes", "By", "Size of the placement journal.")
	inFlight := b.gauge("in_flight_bytes", "By", "Size of the requests under way.")
	uploads := newUploadMetrics(&b)
	if b.err != nil {
		return nil, b.err
	}
	observe := func(_ context.Context, to metric.Observer) error {
		for name, instrument := range counts {
			to.ObserveInt64(instrument, e.Counters().Get(name), of)
		}
		for reason, n := range e.Counters().Dropped() {
			to.ObserveInt64(dropped, n, metric.WithAttributes(exporter, attribute.String("reason", reason)))
		}
		g := e.Gauges()
		to.ObserveInt64(openRuns, g.RunsOpen, of)
		to.ObserveInt64(waiting, g.Waiting, of)
		to.ObserveInt64(links, g.Links, of)
		to.ObserveInt64(journal, g.JournalBytes, of)
		to.ObserveInt64(inFlight, g.InFlightSize, of)
		uploads.observe(to, exporter, o)
		return nil
	}
	r, err := meter.RegisterCallback(observe, b.all...)
	return &metrics{r}, err
}

func (m *metrics) stop() error { return m.registration.Unregister() }

// instruments makes instruments; the first error stays.
type instruments struct {
	meter metric.Meter
	all   []metric.Observable
	err   error
}

func (b *instruments) counter(name, unit, description string) metric.Int64ObservableCounter {
	i, err := b.meter.Int64ObservableCounter(prefix+name, metric.WithUnit(unit), metric.WithDescription(description))
	b.add(i, err)
	return i
}

func (b *instruments) gauge(name, unit, description string) metric.Int64ObservableGauge {
	i, err := b.meter.Int64ObservableGauge(prefix+name, metric.WithUnit(unit), metric.WithDescription(description))
	b.add(i, err)
	return i
}

func (b *instruments) add(i metric.Observable, err error) {
	if err != nil && b.err == nil {
		b.err = err
	}
	b.all = append(b.all, i)
}

// uploadMetrics are what is said of uploads: nothing but zeros where runs stay
// offline.
type uploadMetrics struct {
	counts []struct {
		instrument metric.Int64ObservableCounter
		of         func(*online.Counts) int64
	}
	runs, behind metric.Int64ObservableGauge
}

func newUploadMetrics(b *instruments) (m uploadMetrics) {
	for _, c := range []struct {
		name, unit, description string
		of                      func(*online.Counts) int64
	}{
		{"upload_lines", "{line}", "Lines that W&B acknowledged: history, system metrics, console, summaries.", func(c *online.Counts) int64 { return c.Lines }},
		{"upload_retries", "{request}", "Requests to W&B that failed for now and are tried again.", func(c *online.Counts) int64 { return c.Retries }},
		{"upload_runs_opened", "{run}", "Runs that W&B got to know.", func(c *online.Counts) int64 { return c.Opened }},
		{"upload_runs_ended", "{run}", "Runs whose end W&B got to know.", func(c *online.Counts) int64 { return c.Ended }},
		{"upload_logs_damaged", "{part}", "Parts whose log is damaged: what lies behind that is not uploaded.", func(c *online.Counts) int64 { return c.LogsDamaged }},
		{"upload_refused", "{item}", "Lines, alerts and files that W&B does not take, and files that are gone. What is there stays on disk, and the rest goes on.", func(c *online.Counts) int64 { return c.LinesTooLong + c.AlertsRefused + c.FilesFailed }},
	} {
		m.counts = append(m.counts, struct {
			instrument metric.Int64ObservableCounter
			of         func(*online.Counts) int64
		}{b.counter(c.name, c.unit, c.description), c.of})
	}
	m.runs = b.gauge("upload_runs", "{run}", "Runs under upload, by what each does: waiting, sending, hindered, stopped.")
	m.behind = b.gauge("upload_behind_bytes", "By", "Bytes of run logs that W&B does not have yet.")
	return m
}

func (m *uploadMetrics) observe(to metric.Observer, exporter attribute.KeyValue, o *online.Online) {
	var counts online.Counts
	gauges := online.Gauges{}
	if o != nil {
		counts, gauges = o.Counts(), o.Gauges()
	}
	of := metric.WithAttributes(exporter)
	for _, c := range m.counts {
		to.ObserveInt64(c.instrument, c.of(&counts), of)
	}
	for phase := upload.Waiting; phase < upload.Completed; phase++ {
		to.ObserveInt64(m.runs, gauges.Phases[phase], metric.WithAttributes(exporter, attribute.String("phase", phase.String())))
	}
	to.ObserveInt64(m.behind, gauges.Behind, of)
}
