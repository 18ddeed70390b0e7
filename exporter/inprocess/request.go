package inprocess

import (
	"context"
	"fmt"
	"strings"

	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// request is one export of the SDK, as OTLP: what the engine takes whole, or
// not at all. It is kept encoded, so that the park's bound is true.
type request struct {
	count Count
	body  []byte
	write func(ctx context.Context, to sink) error
	seq   uint64 // its place in the park
}

func tracesRequest(body []byte, spans int) *request {
	r := &request{count: Count{Spans: spans}, body: body}
	r.write = func(ctx context.Context, to sink) error {
		td, err := (&ptrace.ProtoUnmarshaler{}).UnmarshalTraces(body)
		if err != nil {
			return fmt.Errorf("spans as OTLP: %w", err)
		}
		return to.Traces(ctx, td)
	}
	return r
}

func logsRequest(body []byte, records int) *request {
	r := &request{count: Count{LogRecords: records}, body: body}
	r.write = func(ctx context.Context, to sink) error {
		ld, err := (&plog.ProtoUnmarshaler{}).UnmarshalLogs(body)
		if err != nil {
			return fmt.Errorf("log records as OTLP: %w", err)
		}
		return to.Logs(ctx, ld)
	}
	return r
}

func metricsRequest(body []byte, points int) *request {
	r := &request{count: Count{DataPoints: points}, body: body}
	r.write = func(ctx context.Context, to sink) error {
		md, err := (&pmetric.ProtoUnmarshaler{}).UnmarshalMetrics(body)
		if err != nil {
			return fmt.Errorf("metrics as OTLP: %w", err)
		}
		return to.Metrics(ctx, md)
	}
	return r
}

func (c Count) add(d Count) Count {
	return Count{Spans: c.Spans + d.Spans, LogRecords: c.LogRecords + d.LogRecords, DataPoints: c.DataPoints + d.DataPoints}
}

func (c Count) sub(d Count) Count {
	return Count{Spans: c.Spans - d.Spans, LogRecords: c.LogRecords - d.LogRecords, DataPoints: c.DataPoints - d.DataPoints}
}

// String is for messages: "3 spans and 1 log record".
func (c Count) String() string {
	var parts []string
	for _, p := range []struct {
		n    int
		name string
	}{{c.Spans, "span"}, {c.LogRecords, "log record"}, {c.DataPoints, "data point"}} {
		switch p.n {
		case 0:
		case 1:
			parts = append(parts, "1 "+p.name)
		default:
			parts = append(parts, fmt.Sprintf("%d %ss", p.n, p.name))
		}
	}
	if len(parts) == 0 {
		return "nothing"
	}
	return strings.Join(parts, " and ")
}
