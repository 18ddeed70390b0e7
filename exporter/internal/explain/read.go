package explain

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// Sink takes the requests that Read finds, in their order.
type Sink interface {
	Traces(ptrace.Traces)
	Logs(plog.Logs)
	Metrics(pmetric.Metrics)
}

// Read reads OTLP in JSON: one request or any number of them, one a line, as
// the Collector's file exporter writes them, or pretty-printed. name is for errors.
func Read(r io.Reader, name string, to Sink) error {
	d := json.NewDecoder(r)
	for n := 1; ; n++ {
		at := d.InputOffset()
		var raw json.RawMessage
		err := d.Decode(&raw)
		switch {
		case errors.Is(err, io.EOF) && n == 1:
			return fmt.Errorf("%s is empty: give it OTLP in JSON, for example what the Collector's file exporter writes", name)
		case errors.Is(err, io.EOF):
			return nil
		case err == nil:
			err = request(raw, to)
		}
		if err != nil {
			return fmt.Errorf("%s: JSON value %d, at byte %d: %w", name, n, at, err)
		}
	}
}

// request reads one export request. Its kind is that of its only key.
func request(raw json.RawMessage, to Sink) error {
	var kind struct {
		Spans   json.RawMessage `json:"resourceSpans"`
		Logs    json.RawMessage `json:"resourceLogs"`
		Metrics json.RawMessage `json:"resourceMetrics"`
	}
	if json.Unmarshal(raw, &kind) != nil { // raw is JSON, so it can only be of another kind
		return errors.New("it is no object: each value must be one with resourceSpans, resourceLogs or resourceMetrics")
	}
	switch {
	case kind.Spans != nil:
		td, err := (&ptrace.JSONUnmarshaler{}).UnmarshalTraces(raw)
		if err != nil {
			return fmt.Errorf("spans: %w", err)
		}
		to.Traces(td)
	case kind.Logs != nil:
		ld, err := (&plog.JSONUnmarshaler{}).UnmarshalLogs(raw)
		if err != nil {
			return fmt.Errorf("log records: %w", err)
		}
		to.Logs(ld)
	case kind.Metrics != nil:
		md, err := (&pmetric.JSONUnmarshaler{}).UnmarshalMetrics(raw)
		if err != nil {
			return fmt.Errorf("metrics: %w", err)
		}
		to.Metrics(md)
	default:
		return errors.New("neither resourceSpans nor resourceLogs nor resourceMetrics is in it: this is no OTLP request")
	}
	return nil
}
