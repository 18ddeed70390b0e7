package intake

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/otel-wandb/otel-wandb/exporter/internal/placement"
	"github.com/otel-wandb/otel-wandb/exporter/internal/run"
	"github.com/otel-wandb/otel-wandb/internal/semconv"
)

// oneMetric is a request of one metric.
func oneMetric(name string, edit func(pmetric.Metric)) pmetric.Metrics {
	md := pmetric.NewMetrics()
	m := md.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty().Metrics().AppendEmpty()
	m.SetName(name)
	edit(m)
	return md
}

func gauge(edit func(pmetric.NumberDataPoint)) func(pmetric.Metric) {
	return func(m pmetric.Metric) {
		p := m.SetEmptyGauge().DataPoints().AppendEmpty()
		p.SetTimestamp(1)
		edit(p)
	}
}

// said is what a request's points say, as key=JSON, and its drops by reason.
func said(t *testing.T, md pmetric.Metrics) (values, drops []string) {
	t.Helper()
	for _, u := range Metrics(md, &Options{}) {
		p, ok := u.Payload.(*Payload)
		require.True(t, ok)
		for _, it := range p.Items {
			for _, v := range it.Point.Values {
				values = append(values, v.Key+"="+v.Text())
			}
		}
		for _, d := range p.Drops {
			drops = append(drops, fmt.Sprintf("%s×%d", d.Reason, d.Items))
		}
	}
	return values, drops
}

func TestMetricIsLeftOut(t *testing.T) {
	for _, tt := range []struct {
		name string
		md   pmetric.Metrics
		want []string
	}{
		{"no data", oneMetric("m", func(pmetric.Metric) {}), []string{"bad_metric×1"}},
		{"no points", oneMetric("m", func(m pmetric.Metric) { m.SetEmptyGauge() }), nil},
		{"no value", oneMetric("m", gauge(func(pmetric.NumberDataPoint) {})), []string{"bad_metric×1"}},
		{"no time", oneMetric("m", gauge(func(p pmetric.NumberDataPoint) { p.SetIntValue(1); p.SetTimestamp(0) })), []string{"bad_metric×1"}},
		{"no recorded value", oneMetric("m", gauge(func(p pmetric.NumberDataPoint) {
			p.SetFlags(pmetric.DefaultDataPointFlags.WithNoRecordedValue(true))
		})), nil},
		{"no name", oneMetric("", gauge(func(p pmetric.NumberDataPoint) { p.SetIntValue(1) })), []string{"bad_attribute×1"}},
		{"W&B's own name, of three points", oneMetric("_step", func(m pmetric.Metric) {
			for range 3 {
				p := m.SetEmptyGauge().DataPoints()
				p.AppendEmpty().SetTimestamp(1)
				p.AppendEmpty().SetTimestamp(2)
				p.AppendEmpty().SetTimestamp(3)
			}
		}), []string{"reserved_key×3"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			values, drops := said(t, tt.md)
			assert.Empty(t, values)
			assert.Equal(t, tt.want, drops)
		})
	}
}

func TestMetricKey(t *testing.T) {
	attrs := func(name string, pairs ...string) pmetric.Metrics {
		return oneMetric(name, gauge(func(p pmetric.NumberDataPoint) {
			p.SetDoubleValue(0.5)
			for i := 0; i < len(pairs); i += 2 {
				p.Attributes().PutStr(pairs[i], pairs[i+1])
			}
		}))
	}
	long := strings.Repeat("x", 1000)
	key := func(md pmetric.Metrics) string {
		values, drops := said(t, md)
		require.Len(t, values, 1)
		require.Empty(t, drops)
		return values[0]
	}
	for _, tt := range []struct {
		name string
		md   pmetric.Metrics
		want string
	}{
		{"the name", attrs("loss"), "loss=0.5"},
		{"a dot is a dot", attrs("train.loss"), "train.loss=0.5"},
		{"attributes, sorted", attrs("loss", "b", "2", "a", "1"), "loss/a=1,b=2=0.5"},
		{"control characters", attrs("loss", "a", "x\n\x00y"), "loss/a=x__y=0.5"},
		{"what says whose it is, is no attribute", attrs("loss", semconv.RunID, "r"), "loss=0.5"},
		{"system. is W&B's to add", attrs("system.cpu.count"), "cpu.count=0.5"},
		{"other system metrics keep their names", attrs("k8s.pod.cpu.usage"), "k8s.pod.cpu.usage=0.5"},
		{"memory that is used", attrs("system.memory.utilization", "state", "used"), "memory_percent=50"},
		{"the newer name of that attribute", attrs("system.memory.utilization", "system.memory.state", "used"), "memory_percent=50"},
		{"memory of another state", attrs("system.memory.utilization", "state", "free"), "memory.utilization/state=free=0.5"},
		{"memory of no state", attrs("system.memory.utilization"), "memory.utilization=0.5"},
		{"memory of one node of several", attrs("system.memory.utilization", "state", "used", "numa", "1"), "memory.utilization/numa=1,state=used=0.5"},
		{"a GPU", attrs("hw.gpu.utilization", "hw.id", "3"), "gpu.3.gpu=50"},
		{"a GPU without a number", attrs("hw.gpu.utilization", "hw.id", "GPU-a1"), "hw.gpu.utilization/hw.id=GPU-a1=0.5"},
		{"a GPU without a name", attrs("hw.gpu.utilization"), "hw.gpu.utilization=0.5"},
		{"a temperature of no GPU", attrs("hw.temperature", "hw.id", "3"), "hw.temperature/hw.id=3=0.5"},
		{"one sensor of several", attrs("hw.temperature", "hw.id", "3", "hw.type", "gpu", "hw.sensor_location", "memory"), "hw.temperature/hw.id=3,hw.sensor_location=memory,hw.type=gpu=0.5"},
		{"a disk", attrs("system.filesystem.utilization", "mountpoint", "/data", "device", "sda"), "disk./data.usagePercent=50"},
	} {
		t.Run(tt.name, func(t *testing.T) { assert.Equal(t, tt.want, key(tt.md)) })
	}
	a, b := key(attrs("loss", "a", long+"1")), key(attrs("loss", "a", long+"2"))
	assert.NotEqual(t, a, b, "what is cut stays different")
	assert.Less(t, len(a), 300)
	assert.Less(t, len(key(attrs(long))), 600)
}

// The order of attributes is no part of a stream; its time and scope are.
func TestIdentityOfAPoint(t *testing.T) {
	id := func(edit func(pmetric.ResourceMetrics, pmetric.NumberDataPoint)) uint64 {
		md := oneMetric("loss", gauge(func(p pmetric.NumberDataPoint) { p.SetDoubleValue(0.5) }))
		rm := md.ResourceMetrics().At(0)
		edit(rm, rm.ScopeMetrics().At(0).Metrics().At(0).Gauge().DataPoints().At(0))
		return Metrics(md, &Options{})[0].Payload.(*Payload).Items[0].ID.Hash
	}
	put := func(keys ...string) func(pmetric.ResourceMetrics, pmetric.NumberDataPoint) {
		return func(rm pmetric.ResourceMetrics, p pmetric.NumberDataPoint) {
			for _, key := range keys {
				rm.Resource().Attributes().PutStr(key, "v")
				p.Attributes().PutStr(key, "v")
			}
		}
	}
	same := id(put("a", "b"))
	assert.Equal(t, same, id(put("b", "a")))
	for name, other := range map[string]uint64{
		"another attribute": id(put("a", "c")),
		"no attribute":      id(put()),
		"another time":      id(func(rm pmetric.ResourceMetrics, p pmetric.NumberDataPoint) { put("a", "b")(rm, p); p.SetTimestamp(2) }),
		"another scope": id(func(rm pmetric.ResourceMetrics, p pmetric.NumberDataPoint) {
			put("a", "b")(rm, p)
			rm.ScopeMetrics().At(0).Scope().SetName("s")
		}),
		"another resource": id(func(rm pmetric.ResourceMetrics, p pmetric.NumberDataPoint) {
			put("a", "b")(rm, p)
			rm.Resource().Attributes().PutStr("a", "w")
		}),
	} {
		assert.NotEqual(t, same, other, name)
	}
}

func TestWhereMetricsGo(t *testing.T) {
	md := pmetric.NewMetrics()
	rm := md.ResourceMetrics().AppendEmpty()
	rm.Resource().Attributes().PutStr("host.name", "box")
	rm.Resource().Attributes().PutInt(semconv.Rank, 3)
	metrics := rm.ScopeMetrics().AppendEmpty().Metrics()
	for _, name := range []string{"system.a", "loss", "process.b", "hw.c"} {
		m := metrics.AppendEmpty()
		m.SetName(name)
		gauge(func(p pmetric.NumberDataPoint) { p.SetIntValue(1) })(m)
	}
	own := metrics.AppendEmpty()
	own.SetName("own")
	gauge(func(p pmetric.NumberDataPoint) {
		p.SetIntValue(1)
		p.Attributes().PutStr(semconv.RunID, "asked")
	})(own)
	units := Metrics(md, &Options{})
	require.Len(t, units, 3, "a machine's, a program's, and the one that names its run")
	of := func(i int) *Payload { return units[i].Payload.(*Payload) }
	assert.Equal(t, &Points{Join: true, Source: of(0).Points.Source, Label: "rank-3"}, of(0).Points)
	assert.Len(t, of(0).Items, 2)
	assert.True(t, of(1).Points.Program)
	assert.Len(t, of(1).Items, 2)
	assert.Equal(t, "box", of(1).Points.Source.HostName)
	assert.Equal(t, &Points{Label: "rank-3"}, of(2).Points)
	assert.Equal(t, "asked", units[2].Stamp.Run.ID)
	assert.Equal(t, placement.SpanID{}, units[2].Stamp.Owner)
}

func TestHistogramBins(t *testing.T) {
	inf, nan := math.Inf(1), math.NaN()
	for _, tt := range []struct {
		name     string
		bounds   []float64
		counts   []uint64
		min, max float64
		edges    []float64
		want     []uint64
	}{
		{"all inside", []float64{0, 1, 2}, []uint64{0, 3, 4, 0}, nan, nan, []float64{0, 1, 2}, []uint64{3, 4}},
		{"extremes are known", []float64{0, 1}, []uint64{1, 2, 3}, -5, 9, []float64{-5, 0, 1, 9}, []uint64{1, 2, 3}},
		{"extremes are not", []float64{0, 4}, []uint64{1, 2, 3}, nan, nan, []float64{-4, 0, 4, 8}, []uint64{1, 2, 3}},
		{"the extreme is the bound", []float64{0, 4}, []uint64{1, 2, 0}, 0, 3, []float64{-4, 0, 4}, []uint64{1, 2}},
		{"one bound", []float64{3}, []uint64{1, 2}, nan, nan, []float64{2, 3, 4}, []uint64{1, 2}},
		{"no bound, extremes", nil, []uint64{2}, 1, 3, []float64{1, 3}, []uint64{2}},
		{"no bound, one value", nil, []uint64{2}, 3, 3, []float64{3, math.Nextafter(3, inf)}, []uint64{2}},
		{"empty ends", []float64{0, 1, 2, 3}, []uint64{0, 0, 5, 0, 0}, nan, nan, []float64{1, 2}, []uint64{5}},
		{"nothing at all", []float64{0, 1}, []uint64{0, 0, 0}, nan, nan, nil, nil},
		{"equal bounds", []float64{0, 1, 1, 2}, []uint64{0, 1, 2, 3, 0}, nan, nan, []float64{0, 1, 2}, []uint64{3, 3}},
		{"bounds that are none", []float64{nan, nan}, []uint64{1, 1, 1}, nan, nan, nil, nil},
		{"more counts than bounds make", []float64{1}, []uint64{1, 1, 7}, 0, 2, []float64{0, 1, 2}, []uint64{1, 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := histogram{}
			for i := range min(len(tt.counts), len(tt.bounds)+1) {
				from, to := -inf, inf
				if i > 0 {
					from = tt.bounds[i-1]
				}
				if i < len(tt.bounds) {
					to = tt.bounds[i]
				}
				h.add(from, to, tt.counts[i])
			}
			edges, counts := h.bins(tt.min, tt.max)
			if tt.name == "bounds that are none" {
				for i := range edges {
					assert.False(t, math.IsNaN(edges[i]) || math.IsInf(edges[i], 0))
				}
				return
			}
			assert.Equal(t, tt.edges, edges)
			assert.Equal(t, tt.want, counts)
		})
	}
}

// An exponential histogram of any range fits into the bins that W&B shows.
func TestExponentialHistogramsAreBounded(t *testing.T) {
	for _, scale := range []int32{-10, 0, 3, 20} {
		md := oneMetric("h", func(m pmetric.Metric) {
			p := m.SetEmptyExponentialHistogram().DataPoints().AppendEmpty()
			p.SetTimestamp(1)
			p.SetScale(scale)
			p.SetCount(2001)
			p.SetZeroCount(1)
			counts := make([]uint64, 1000)
			for i := range counts {
				counts[i] = 1
			}
			p.Positive().SetOffset(-500)
			p.Positive().BucketCounts().FromRaw(counts)
			p.Negative().SetOffset(-500)
			p.Negative().BucketCounts().FromRaw(counts)
		})
		units := Metrics(md, &Options{})
		values := units[0].Payload.(*Payload).Items[0].Point.Values
		require.Len(t, values, 2)
		assert.Equal(t, "h/count", values[1].Key)
		_, bins, _ := strings.Cut(values[0].JSON, `"bins":[`)
		edges := strings.Split(strings.TrimSuffix(bins, "]}"), ",")
		assert.LessOrEqual(t, len(edges), maxMetricBins+1)
		assert.NotContains(t, values[0].JSON, "Inf")
		assert.NotContains(t, values[0].JSON, "NaN")
		sum, from := 0, strings.TrimPrefix(values[0].JSON, `{"_type":"histogram","values":[`)
		from, _, _ = strings.Cut(from, "]")
		for n := range strings.SplitSeq(from, ",") {
			var v int
			_, err := fmt.Sscan(n, &v)
			require.NoError(t, err)
			sum += v
		}
		assert.Equal(t, 2001, sum, "scale %d: no value is lost", scale)
	}
}

func TestSource(t *testing.T) {
	for name, want := range map[string]string{
		"trainer": "trainer", "unknown_service:train": "train", "unknown_service": "", "": "",
	} {
		md := oneMetric("m", gauge(func(p pmetric.NumberDataPoint) { p.SetIntValue(1) }))
		attrs := md.ResourceMetrics().At(0).Resource().Attributes()
		attrs.PutStr("host.name", "box")
		attrs.PutStr("service.name", name)
		attrs.PutInt("process.pid", 7)
		from := Metrics(md, &Options{})[0].Payload.(*Payload).Points.Source
		assert.Equal(t, &run.Source{HostName: "box", Service: want, PID: "7"}, from)
	}
	md := oneMetric("m", gauge(func(p pmetric.NumberDataPoint) { p.SetIntValue(1) }))
	md.ResourceMetrics().At(0).Resource().Attributes().PutStr("service.name", "trainer")
	assert.Nil(t, Metrics(md, &Options{})[0].Payload.(*Payload).Points.Source, "a service's name is no place")
}
