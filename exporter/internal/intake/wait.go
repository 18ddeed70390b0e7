package intake

import (
	"fmt"

	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/otel-wandb/otel-wandb/exporter/internal/placement"
)

// What waits is kept as the OTLP data it came as, so that a later version of
// this program reads it with its own rules.
const (
	kindSpans   = 't'
	kindRecords = 'l'
)

// Encode gives the OTLP form of units that must wait; Decode gives the same
// units back, in the same order. All must come from one request.
func Encode(payloads []*Payload) ([]byte, error) {
	if len(payloads) == 0 {
		return nil, nil
	}
	if payloads[0].span != nil {
		return encodeSpans(payloads)
	}
	return encodeRecords(payloads)
}

func encodeSpans(payloads []*Payload) ([]byte, error) {
	td := ptrace.NewTraces()
	var lastRS ptrace.ResourceSpans
	var lastSS ptrace.ScopeSpans
	var to ptrace.ScopeSpans
	var toRS ptrace.ResourceSpans
	for i, p := range payloads {
		src := p.span
		if i == 0 || src.rs != lastRS {
			toRS = td.ResourceSpans().AppendEmpty()
			src.rs.Resource().CopyTo(toRS.Resource())
		}
		if i == 0 || src.rs != lastRS || src.ss != lastSS {
			to = toRS.ScopeSpans().AppendEmpty()
			src.ss.Scope().CopyTo(to.Scope())
		}
		lastRS, lastSS = src.rs, src.ss
		src.span.CopyTo(to.Spans().AppendEmpty())
	}
	b, err := (&ptrace.ProtoMarshaler{}).MarshalTraces(td)
	if err != nil {
		return nil, fmt.Errorf("encode spans that wait: %w", err)
	}
	return append(b, kindSpans), nil
}

func encodeRecords(payloads []*Payload) ([]byte, error) {
	ld := plog.NewLogs()
	last := &recordScope{}
	var to plog.ScopeLogs
	var toRL plog.ResourceLogs
	for _, p := range payloads {
		src := p.record
		if src.in.rl != last.rl {
			toRL = ld.ResourceLogs().AppendEmpty()
			src.in.rl.Resource().CopyTo(toRL.Resource())
		}
		if src.in != last {
			to = toRL.ScopeLogs().AppendEmpty()
			src.in.sl.Scope().CopyTo(to.Scope())
		}
		last = src.in
		src.record.CopyTo(to.LogRecords().AppendEmpty())
	}
	b, err := (&plog.ProtoMarshaler{}).MarshalLogs(ld)
	if err != nil {
		return nil, fmt.Errorf("encode log records that wait: %w", err)
	}
	return append(b, kindRecords), nil
}

// Decode reads what Encode wrote.
func Decode(b []byte, opts *Options) ([]placement.Unit, error) {
	if len(b) == 0 {
		return nil, nil
	}
	body, kind := b[:len(b)-1], b[len(b)-1]
	switch kind {
	case kindSpans:
		td, err := (&ptrace.ProtoUnmarshaler{}).UnmarshalTraces(body)
		if err != nil {
			return nil, fmt.Errorf("spans that waited: %w", err)
		}
		return Traces(td, opts), nil
	case kindRecords:
		ld, err := (&plog.ProtoUnmarshaler{}).UnmarshalLogs(body)
		if err != nil {
			return nil, fmt.Errorf("log records that waited: %w", err)
		}
		return Logs(ld, opts), nil
	}
	return nil, fmt.Errorf("what waited is of unknown kind %q", kind)
}
