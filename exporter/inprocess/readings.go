package inprocess

import (
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	colmetricspb "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
)

// readings makes OTLP of what the SDK has read, as OpenTelemetry's own exporters
// do it; theirs cannot be imported. Exemplars are left out: no run holds them.
func readings(read *metricdata.ResourceMetrics) (request *colmetricspb.ExportMetricsServiceRequest, points int) {
	rm := &metricspb.ResourceMetrics{
		Resource:  &resourcepb.Resource{Attributes: keyValues(read.Resource.Attributes())},
		SchemaUrl: read.Resource.SchemaURL(),
	}
	for i := range read.ScopeMetrics {
		from := &read.ScopeMetrics[i]
		sm := &metricspb.ScopeMetrics{
			Scope: &commonpb.InstrumentationScope{
				Name: from.Scope.Name, Version: from.Scope.Version, Attributes: keyValues(from.Scope.Attributes.ToSlice()),
			},
			SchemaUrl: from.Scope.SchemaURL,
		}
		for j := range from.Metrics {
			m := &metricspb.Metric{Name: from.Metrics[j].Name, Description: from.Metrics[j].Description, Unit: from.Metrics[j].Unit}
			points += data(m, from.Metrics[j].Data)
			sm.Metrics = append(sm.Metrics, m)
		}
		rm.ScopeMetrics = append(rm.ScopeMetrics, sm)
	}
	return &colmetricspb.ExportMetricsServiceRequest{ResourceMetrics: []*metricspb.ResourceMetrics{rm}}, points
}

// data gives a metric its data, and tells how many points these are. A kind that
// OpenTelemetry has added since has none here, and the engine counts it.
func data(m *metricspb.Metric, from metricdata.Aggregation) int {
	switch d := from.(type) {
	case metricdata.Gauge[int64]:
		return gauge(m, d.DataPoints)
	case metricdata.Gauge[float64]:
		return gauge(m, d.DataPoints)
	case metricdata.Sum[int64]:
		return sum(m, d)
	case metricdata.Sum[float64]:
		return sum(m, d)
	case metricdata.Histogram[int64]:
		return histogram(m, d)
	case metricdata.Histogram[float64]:
		return histogram(m, d)
	case metricdata.ExponentialHistogram[int64]:
		return exponential(m, d)
	case metricdata.ExponentialHistogram[float64]:
		return exponential(m, d)
	case metricdata.Summary:
		return summary(m, d)
	}
	return 1
}

func gauge[N int64 | float64](m *metricspb.Metric, from []metricdata.DataPoint[N]) int {
	m.Data = &metricspb.Metric_Gauge{Gauge: &metricspb.Gauge{DataPoints: numbers(from)}}
	return len(from)
}

func sum[N int64 | float64](m *metricspb.Metric, from metricdata.Sum[N]) int {
	m.Data = &metricspb.Metric_Sum{Sum: &metricspb.Sum{
		DataPoints: numbers(from.DataPoints), AggregationTemporality: temporality(from.Temporality), IsMonotonic: from.IsMonotonic,
	}}
	return len(from.DataPoints)
}

func numbers[N int64 | float64](from []metricdata.DataPoint[N]) (to []*metricspb.NumberDataPoint) {
	for i := range from {
		p := &metricspb.NumberDataPoint{
			Attributes: attributes(&from[i].Attributes), StartTimeUnixNano: unixNano(from[i].StartTime), TimeUnixNano: unixNano(from[i].Time),
		}
		switch v := any(from[i].Value).(type) {
		case int64:
			p.Value = &metricspb.NumberDataPoint_AsInt{AsInt: v}
		case float64:
			p.Value = &metricspb.NumberDataPoint_AsDouble{AsDouble: v}
		}
		to = append(to, p)
	}
	return to
}

func histogram[N int64 | float64](m *metricspb.Metric, from metricdata.Histogram[N]) int {
	var points []*metricspb.HistogramDataPoint
	for i := range from.DataPoints {
		p := &from.DataPoints[i]
		total := float64(p.Sum)
		points = append(points, &metricspb.HistogramDataPoint{
			Attributes: attributes(&p.Attributes), StartTimeUnixNano: unixNano(p.StartTime), TimeUnixNano: unixNano(p.Time),
			Count: p.Count, Sum: &total, BucketCounts: p.BucketCounts, ExplicitBounds: p.Bounds,
			Min: extreme(p.Min), Max: extreme(p.Max),
		})
	}
	m.Data = &metricspb.Metric_Histogram{Histogram: &metricspb.Histogram{
		DataPoints: points, AggregationTemporality: temporality(from.Temporality),
	}}
	return len(points)
}

func exponential[N int64 | float64](m *metricspb.Metric, from metricdata.ExponentialHistogram[N]) int {
	var points []*metricspb.ExponentialHistogramDataPoint
	for i := range from.DataPoints {
		p := &from.DataPoints[i]
		total := float64(p.Sum)
		points = append(points, &metricspb.ExponentialHistogramDataPoint{
			Attributes: attributes(&p.Attributes), StartTimeUnixNano: unixNano(p.StartTime), TimeUnixNano: unixNano(p.Time),
			Count: p.Count, Sum: &total, Scale: p.Scale, ZeroCount: p.ZeroCount, ZeroThreshold: p.ZeroThreshold,
			Positive: buckets(p.PositiveBucket), Negative: buckets(p.NegativeBucket),
			Min: extreme(p.Min), Max: extreme(p.Max),
		})
	}
	m.Data = &metricspb.Metric_ExponentialHistogram{ExponentialHistogram: &metricspb.ExponentialHistogram{
		DataPoints: points, AggregationTemporality: temporality(from.Temporality),
	}}
	return len(points)
}

func buckets(from metricdata.ExponentialBucket) *metricspb.ExponentialHistogramDataPoint_Buckets {
	return &metricspb.ExponentialHistogramDataPoint_Buckets{Offset: from.Offset, BucketCounts: from.Counts}
}

func summary(m *metricspb.Metric, from metricdata.Summary) int {
	var points []*metricspb.SummaryDataPoint
	for i := range from.DataPoints {
		p := &from.DataPoints[i]
		to := &metricspb.SummaryDataPoint{
			Attributes: attributes(&p.Attributes), StartTimeUnixNano: unixNano(p.StartTime), TimeUnixNano: unixNano(p.Time),
			Count: p.Count, Sum: p.Sum,
		}
		for _, q := range p.QuantileValues {
			to.QuantileValues = append(to.QuantileValues, &metricspb.SummaryDataPoint_ValueAtQuantile{Quantile: q.Quantile, Value: q.Value})
		}
		points = append(points, to)
	}
	m.Data = &metricspb.Metric_Summary{Summary: &metricspb.Summary{DataPoints: points}}
	return len(points)
}

func extreme[N int64 | float64](from metricdata.Extrema[N]) *float64 {
	v, ok := from.Value()
	if !ok {
		return nil
	}
	f := float64(v)
	return &f
}

func attributes(from *attribute.Set) []*commonpb.KeyValue { return keyValues(from.ToSlice()) }

func temporality(t metricdata.Temporality) metricspb.AggregationTemporality {
	if t == metricdata.DeltaTemporality {
		return metricspb.AggregationTemporality_AGGREGATION_TEMPORALITY_DELTA
	}
	return metricspb.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE
}
