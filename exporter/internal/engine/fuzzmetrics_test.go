package engine

import (
	"context"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/otel-wandb/otel-wandb/internal/semconv"
)

// FuzzMetrics feeds an engine that has an open run with any metrics there are.
// Whatever they are, the engine takes them, twice changes nothing, and what it
// wrote is read again after a restart.
func FuzzMetrics(f *testing.F) {
	at := time.Unix(1_800_000_000, 0)
	for _, md := range []pmetric.Metrics{
		box.gauges("system.cpu.load", 2, at), box.gauges("loss", 1, at), oddMetrics(at),
		machine{map[string]string{semconv.RunID: "asked", semconv.RunOwner: "cut"}}.gauges("a", 1, at),
		machine{map[string]string{semconv.RunID: "asked", semconv.RunOwner: "0101010101010101"}}.gauges("a", 1, at),
	} {
		b, err := (&pmetric.ProtoMarshaler{}).MarshalMetrics(md)
		require.NoError(f, err)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		md, err := (&pmetric.ProtoUnmarshaler{}).UnmarshalMetrics(b)
		if err != nil {
			return
		}
		c, dir := newClock(), t.TempDir()
		c.Add(time.Unix(1_800_000_000, 0).Sub(c.Now()))
		for i := range 2 {
			e := New(Config{Dir: dir, Now: c.Now, Manual: true, Shards: 1})
			require.NoError(t, e.Start())
			require.NoError(t, e.Logs(context.Background(), box.announce(1, c.Now())))
			require.NoError(t, e.Metrics(context.Background(), md))
			points := e.Counters().Get(CountPoints)
			c.Add(time.Second)
			e.Tick()
			require.NoError(t, e.Metrics(context.Background(), md))
			require.Equal(t, points, e.Counters().Get(CountPoints), "a repeat is none")
			if i > 0 {
				require.Zero(t, points, "nor is one after a restart")
			}
			require.Zero(t, e.Waiting())
			kill(t, e)
		}
		e := start(t, dir, c)
		for range 2 {
			c.Add(25 * time.Hour)
			e.Tick()
		}
		require.Zero(t, e.Counters().Get(CountDamaged))
		require.NoError(t, e.Shutdown(context.Background()))
		requireWithin(t, dir, dir)
		requireClean(t, dir)
		for _, run := range read(t, dir) {
			require.Zero(t, run.BadValues, "%s", run.ID)
			require.False(t, run.Damaged)
		}
	})
}

// oddMetrics are of every kind, with what senders get wrong.
func oddMetrics(at time.Time) pmetric.Metrics {
	md := pmetric.NewMetrics()
	rm := md.ResourceMetrics().AppendEmpty()
	box.onto(rm.Resource().Attributes())
	metrics := rm.ScopeMetrics().AppendEmpty().Metrics()
	when := pcommon.NewTimestampFromTime(at)
	add := func(name string) pmetric.Metric {
		m := metrics.AppendEmpty()
		m.SetName(name)
		return m
	}
	add("no.data")
	add("_reserved").SetEmptyGauge().DataPoints().AppendEmpty().SetTimestamp(when)
	add("no.time").SetEmptyGauge().DataPoints().AppendEmpty().SetIntValue(1)
	add("no.value").SetEmptyGauge().DataPoints().AppendEmpty().SetTimestamp(when)
	h := add("histogram").SetEmptyHistogram().DataPoints().AppendEmpty()
	h.SetTimestamp(when)
	h.BucketCounts().FromRaw([]uint64{1, 2, 3, math.MaxUint64})
	h.ExplicitBounds().FromRaw([]float64{math.NaN(), 5, math.Inf(1), -3})
	e := add("exponential").SetEmptyExponentialHistogram().DataPoints().AppendEmpty()
	e.SetTimestamp(when)
	e.SetScale(math.MinInt32)
	e.Positive().SetOffset(math.MaxInt32)
	e.Positive().BucketCounts().FromRaw([]uint64{1, 0, 2})
	e.Negative().BucketCounts().FromRaw([]uint64{3})
	s := add("summary").SetEmptySummary().DataPoints().AppendEmpty()
	s.SetTimestamp(when)
	q := s.QuantileValues().AppendEmpty()
	q.SetQuantile(math.NaN())
	q.SetValue(math.Inf(-1))
	d := add("system.filesystem.utilization").SetEmptySum().DataPoints().AppendEmpty()
	d.SetTimestamp(when)
	d.SetDoubleValue(math.NaN())
	d.Attributes().PutStr("mountpoint", "/\x00\n")
	return md
}
