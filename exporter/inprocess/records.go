package inprocess

import (
	"math"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	collogspb "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
)

// toOTLP makes OTLP of the SDK's records, grouped by resource and scope as
// OpenTelemetry's own exporters do it; theirs cannot be imported. It makes
// messages and not pdata, whose maps look at all keys for each that is added:
// rows of a thousand metrics are normal.
func toOTLP(records []sdklog.Record) *collogspb.ExportLogsServiceRequest {
	type scopeKey struct {
		resource attribute.Distinct
		scope    instrumentation.Scope
	}
	request := &collogspb.ExportLogsServiceRequest{}
	resources := map[attribute.Distinct]*logspb.ResourceLogs{}
	scopes := map[scopeKey]*logspb.ScopeLogs{}
	for i := range records {
		r := &records[i]
		key := scopeKey{r.Resource().Equivalent(), r.InstrumentationScope()}
		sl := scopes[key]
		if sl == nil {
			rl := resources[key.resource]
			if rl == nil {
				rl = &logspb.ResourceLogs{
					Resource:  &resourcepb.Resource{Attributes: keyValues(r.Resource().Attributes())},
					SchemaUrl: r.Resource().SchemaURL(),
				}
				resources[key.resource] = rl
				request.ResourceLogs = append(request.ResourceLogs, rl)
			}
			sl = &logspb.ScopeLogs{
				Scope: &commonpb.InstrumentationScope{
					Name: key.scope.Name, Version: key.scope.Version, Attributes: keyValues(key.scope.Attributes.ToSlice()),
				},
				SchemaUrl: key.scope.SchemaURL,
			}
			scopes[key] = sl
			rl.ScopeLogs = append(rl.ScopeLogs, sl)
		}
		sl.LogRecords = append(sl.LogRecords, record(r))
	}
	return request
}

func record(r *sdklog.Record) *logspb.LogRecord {
	to := &logspb.LogRecord{
		TimeUnixNano:           unixNano(r.Timestamp()),
		ObservedTimeUnixNano:   unixNano(r.ObservedTimestamp()),
		EventName:              r.EventName(),
		SeverityNumber:         logspb.SeverityNumber(r.Severity()), // both are OpenTelemetry's numbers
		SeverityText:           r.SeverityText(),
		Body:                   value(r.Body()),
		Attributes:             make([]*commonpb.KeyValue, 0, r.AttributesLen()),
		DroppedAttributesCount: uint32(min(max(r.DroppedAttributes(), 0), math.MaxUint32)),
		Flags:                  uint32(r.TraceFlags()),
	}
	r.WalkAttributes(func(kv attribute.KeyValue) bool {
		to.Attributes = append(to.Attributes, keyValue(kv))
		return true
	})
	if id := r.TraceID(); id.IsValid() {
		to.TraceId = id[:]
	}
	if id := r.SpanID(); id.IsValid() {
		to.SpanId = id[:]
	}
	return to
}

// unixNano is 0 where there is no time.
func unixNano(t time.Time) uint64 {
	if t.IsZero() {
		return 0
	}
	return uint64(max(t.UnixNano(), 0))
}

func keyValue(kv attribute.KeyValue) *commonpb.KeyValue {
	return &commonpb.KeyValue{Key: string(kv.Key), Value: value(kv.Value)}
}

func keyValues(from []attribute.KeyValue) []*commonpb.KeyValue {
	to := make([]*commonpb.KeyValue, len(from))
	for i, kv := range from {
		to[i] = keyValue(kv)
	}
	return to
}

func value(v attribute.Value) *commonpb.AnyValue {
	switch v.Type() {
	case attribute.EMPTY:
		return &commonpb.AnyValue{}
	case attribute.BOOL:
		return boolean(v.AsBool())
	case attribute.INT64:
		return integer(v.AsInt64())
	case attribute.FLOAT64:
		return double(v.AsFloat64())
	case attribute.STRING:
		return text(v.AsString())
	case attribute.BYTESLICE:
		return &commonpb.AnyValue{Value: &commonpb.AnyValue_BytesValue{BytesValue: v.AsByteSlice()}}
	case attribute.BOOLSLICE:
		return array(v.AsBoolSlice(), boolean)
	case attribute.INT64SLICE:
		return array(v.AsInt64Slice(), integer)
	case attribute.FLOAT64SLICE:
		return array(v.AsFloat64Slice(), double)
	case attribute.STRINGSLICE:
		return array(v.AsStringSlice(), text)
	case attribute.SLICE:
		return array(v.AsSlice(), value)
	case attribute.MAP:
		list := &commonpb.KeyValueList{Values: keyValues(v.AsMap())}
		return &commonpb.AnyValue{Value: &commonpb.AnyValue_KvlistValue{KvlistValue: list}}
	default:
		return text(v.String()) // a kind that OpenTelemetry has added since
	}
}

func boolean(b bool) *commonpb.AnyValue {
	return &commonpb.AnyValue{Value: &commonpb.AnyValue_BoolValue{BoolValue: b}}
}

func integer(n int64) *commonpb.AnyValue {
	return &commonpb.AnyValue{Value: &commonpb.AnyValue_IntValue{IntValue: n}}
}

func double(f float64) *commonpb.AnyValue {
	return &commonpb.AnyValue{Value: &commonpb.AnyValue_DoubleValue{DoubleValue: f}}
}

func text(s string) *commonpb.AnyValue {
	return &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: s}}
}

func array[T any](from []T, of func(T) *commonpb.AnyValue) *commonpb.AnyValue {
	to := &commonpb.ArrayValue{Values: make([]*commonpb.AnyValue, len(from))}
	for i, x := range from {
		to.Values[i] = of(x)
	}
	return &commonpb.AnyValue{Value: &commonpb.AnyValue_ArrayValue{ArrayValue: to}}
}
