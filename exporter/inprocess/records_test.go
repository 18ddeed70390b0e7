package inprocess

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploghttp"
	otellog "go.opentelemetry.io/otel/log"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/trace"
	collogspb "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
)

// Records become the OTLP that OpenTelemetry's own exporter makes of them.
func TestRecordsAreWhatOTLPMakesOfThem(t *testing.T) {
	var theirs collogspb.ExportLogsServiceRequest
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if assert.NoError(t, err) {
			assert.NoError(t, proto.Unmarshal(body, &theirs))
		}
	}))
	defer server.Close()
	client, err := otlploghttp.New(t.Context(), otlploghttp.WithEndpointURL(server.URL))
	require.NoError(t, err)
	defer func() { assert.NoError(t, client.Shutdown(context.Background())) }()

	records := everyKindOfRecord(t)
	require.NoError(t, client.Export(t.Context(), records))
	ours := toOTLP(records)
	if diff := cmp.Diff(&theirs, ours, protocmp.Transform()); diff != "" {
		t.Errorf("theirs (-), ours (+):\n%s", diff)
	}
	require.Len(t, ours.GetResourceLogs(), 1)
	assert.Len(t, ours.GetResourceLogs()[0].GetScopeLogs(), 2)
}

func TestARecordWithoutAnything(t *testing.T) {
	assert.Len(t, toOTLP(make([]sdklog.Record, 1)).GetResourceLogs(), 1)
}

// everyKindOfRecord has each kind of value, as body and as attribute.
func everyKindOfRecord(t *testing.T) []sdklog.Record {
	t.Helper()
	keep := &recordKeeper{}
	provider := sdklog.NewLoggerProvider(
		sdklog.WithProcessor(sdklog.NewSimpleProcessor(keep)),
		sdklog.WithResource(resource.NewWithAttributes("https://schema/resource", attribute.String("service.name", "test"))),
		sdklog.WithAttributeCountLimit(12),
	)
	values := []attribute.Value{
		{},
		attribute.BoolValue(true), attribute.Int64Value(-1), attribute.Float64Value(0.5), attribute.StringValue("text"),
		attribute.BoolSliceValue([]bool{true, false}), attribute.Int64SliceValue([]int64{1, 2}),
		attribute.Float64SliceValue([]float64{0.5}), attribute.StringSliceValue([]string{"a", ""}),
		attribute.ByteSliceValue([]byte{0, 255}),
		attribute.SliceValue(attribute.IntValue(1), attribute.SliceValue(attribute.StringValue("deep"))),
		attribute.MapValue(attribute.Int("n", 1), attribute.Map("inner", attribute.Bool("b", true))),
	}
	var attrs []attribute.KeyValue
	for i, v := range values {
		attrs = append(attrs, attribute.KeyValue{Key: attribute.Key(rune('a' + i)), Value: v})
	}
	attrs = append(attrs, attribute.String("one too many", "dropped"))
	ctx := trace.ContextWithSpanContext(t.Context(), trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled,
	}))
	scoped := provider.Logger("one", otellog.WithInstrumentationVersion("v1"), otellog.WithSchemaURL("https://schema/scope"),
		otellog.WithInstrumentationAttributes(attribute.String("scope", "attribute")))
	for _, body := range values {
		var r otellog.Record
		r.SetTimestamp(time.Unix(0, 1))
		r.SetObservedTimestamp(time.Unix(0, 2))
		r.SetEventName("wandb.log")
		r.SetSeverity(otellog.SeverityError2)
		r.SetSeverityText("bad")
		r.SetBody(body)
		r.AddAttributes(attrs...)
		scoped.Emit(ctx, r)
	}
	var plain otellog.Record
	plain.SetErr(errors.New("an error"))
	provider.Logger("two").Emit(t.Context(), plain)
	return keep.records
}

type recordKeeper struct{ records []sdklog.Record }

func (k *recordKeeper) Export(_ context.Context, records []sdklog.Record) error {
	for i := range records {
		k.records = append(k.records, records[i].Clone())
	}
	return nil
}
func (*recordKeeper) Shutdown(context.Context) error   { return nil }
func (*recordKeeper) ForceFlush(context.Context) error { return nil }
