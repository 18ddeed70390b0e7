package engine

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/otel-wandb/otel-wandb/exporter/internal/disk/disktest"
	"github.com/otel-wandb/otel-wandb/exporter/internal/intake"
	"github.com/otel-wandb/otel-wandb/exporter/internal/placement"
	"github.com/otel-wandb/otel-wandb/exporter/internal/run"
	"github.com/otel-wandb/otel-wandb/exporter/internal/runview"
	"github.com/otel-wandb/otel-wandb/internal/semconv"
)

// machine makes telemetry of a program on a machine.
type machine struct{ resource map[string]string }

func (m machine) onto(to pcommon.Map) {
	for key, v := range m.resource {
		to.PutStr(key, v)
	}
}

// announce opens the run of span n.
func (m machine) announce(n byte, at time.Time) plog.Logs {
	ld := plog.NewLogs()
	rl := ld.ResourceLogs().AppendEmpty()
	m.onto(rl.Resource().Attributes())
	rec := rl.ScopeLogs().AppendEmpty().LogRecords().AppendEmpty()
	rec.SetTraceID(pcommon.TraceID{n})
	rec.SetSpanID(pcommon.SpanID{n})
	rec.SetTimestamp(pcommon.NewTimestampFromTime(at))
	rec.SetEventName(semconv.EventRunStart)
	return ld
}

// gauges are readings of so many gauges, called name.0, name.1 …
func (m machine) gauges(name string, n int, at time.Time) pmetric.Metrics {
	md := pmetric.NewMetrics()
	rm := md.ResourceMetrics().AppendEmpty()
	m.onto(rm.Resource().Attributes())
	metrics := rm.ScopeMetrics().AppendEmpty().Metrics()
	for i := range n {
		metric := metrics.AppendEmpty()
		metric.SetName(fmt.Sprintf("%s.%d", name, i))
		p := metric.SetEmptyGauge().DataPoints().AppendEmpty()
		p.SetTimestamp(pcommon.NewTimestampFromTime(at))
		p.SetDoubleValue(float64(i) + 0.5)
	}
	return md
}

func read(t *testing.T, dir string) (runs []*runview.Run) {
	t.Helper()
	parts, err := runview.List(dir)
	require.NoError(t, err)
	for _, group := range runview.Group(parts) {
		r, err := runview.Read(group, runview.Options{})
		require.NoError(t, err)
		runs = append(runs, r)
	}
	return runs
}

var box = machine{map[string]string{"host.name": "box"}}

// What a run can be joined by survives a kill at any moment, and a point that
// comes again after it changes nothing.
func TestMetricsJoinAfterAKill(t *testing.T) {
	for _, tt := range []struct {
		name   string
		before func(e *Engine) // the kill
	}{
		{"at once", func(*Engine) {}},
		{"after a checkpoint", func(e *Engine) { e.Tick() }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, dir := newClock(), t.TempDir()
			e := start(t, dir, c)
			require.NoError(t, e.Logs(t.Context(), box.announce(1, c.Now())))
			require.NoError(t, e.Metrics(t.Context(), box.gauges("system.a", 3, c.Now())))
			tt.before(e)
			kill(t, e)

			e = start(t, dir, c)
			require.NoError(t, e.Metrics(t.Context(), box.gauges("system.a", 3, c.Now())))
			assert.EqualValues(t, 3, e.Counters().Get(CountRepeated))
			require.NoError(t, e.Metrics(t.Context(), box.gauges("system.a", 3, c.Now().Add(time.Second))))
			assert.EqualValues(t, 3, e.Counters().Get(CountPoints))
			assert.Zero(t, e.Counters().Get(CountNoRun))
			require.NoError(t, e.Shutdown(context.Background()))
			runs := read(t, dir)
			require.Len(t, runs, 1)
			assert.Len(t, runs[0].System, 2)
		})
	}
}

// A second resource of the run's is known after a kill as well.
func TestMetricsJoinByALaterResourceAfterAKill(t *testing.T) {
	c, dir := newClock(), t.TempDir()
	e := start(t, dir, c)
	id := map[string]string{semconv.RunID: "shared"}
	second := machine{map[string]string{"host.name": "second", semconv.RunID: "shared"}}
	require.NoError(t, e.Logs(t.Context(), machine{id}.announce(1, c.Now())))
	e.Tick()
	require.NoError(t, e.Logs(t.Context(), second.announce(2, c.Now())))
	e.Tick() // its checkpoint
	kill(t, e)
	e = start(t, dir, c)
	require.NoError(t, e.Metrics(t.Context(), machine{map[string]string{"host.name": "second"}}.gauges("system.a", 1, c.Now())))
	assert.EqualValues(t, 1, e.Counters().Get(CountPoints))
	require.NoError(t, e.Shutdown(context.Background()))
}

// Metrics that find no run are counted and left alone; the log says once, and as
// no warning, what they could find one by.
func TestMetricsOfNoRun(t *testing.T) {
	c, dir := newClock(), t.TempDir()
	core, logs := observer.New(zap.InfoLevel)
	e := New(Config{Dir: dir, Now: c.Now, Manual: true, Logger: zap.New(core)})
	require.NoError(t, e.Start())
	for i := range 3 {
		require.NoError(t, e.Metrics(t.Context(), box.gauges("a", 2, c.Now().Add(time.Duration(i)*time.Hour))))
		c.Add(time.Hour)
	}
	assert.EqualValues(t, 6, e.Counters().Get(CountNoRun))
	assert.Empty(t, e.Counters().Dropped())
	assert.Zero(t, e.Waiting())
	require.Equal(t, 1, logs.Len())
	assert.Equal(t, zap.InfoLevel, logs.All()[0].Level)
	assert.Contains(t, logs.All()[0].Message, semconv.EventRunStart)
	assert.Contains(t, logs.All()[0].Message, semconv.RunID)
	require.NoError(t, e.Shutdown(context.Background()))
	assert.Empty(t, read(t, dir))
}

// A run that another program writes does not hold back the metrics of a machine.
func TestMetricsDoNotWaitForAnotherProgramsRun(t *testing.T) {
	c, dir := newClock(), t.TempDir()
	first := start(t, dir, c)
	require.NoError(t, first.Logs(t.Context(), box.announce(1, c.Now())))
	first.Tick()
	second := start(t, dir, c) // finds the run's state, and cannot have the run
	require.NoError(t, second.Metrics(t.Context(), box.gauges("system.a", 2, c.Now())))
	require.NoError(t, second.Metrics(t.Context(), box.gauges("system.a", 2, c.Now())))
	assert.EqualValues(t, 4, second.Counters().Get(CountNoRun))
	require.NoError(t, first.Metrics(t.Context(), box.gauges("system.a", 2, c.Now())))
	assert.EqualValues(t, 2, first.Counters().Get(CountPoints))
	require.NoError(t, second.Shutdown(context.Background()))
	require.NoError(t, first.Shutdown(context.Background()))
}

// Who may not write to a run does not join it either.
func TestMetricsOfAnotherClient(t *testing.T) {
	c, dir := newClock(), t.TempDir()
	e := start(t, dir, c)
	carol, dave := WithClient(t.Context(), "carol"), WithClient(t.Context(), "dave")
	require.NoError(t, e.Logs(carol, box.announce(1, c.Now())))
	require.NoError(t, e.Metrics(dave, box.gauges("system.a", 1, c.Now())))
	assert.EqualValues(t, 1, e.Counters().Get(CountNoRun))
	require.NoError(t, e.Metrics(carol, box.gauges("system.a", 1, c.Now())))
	assert.EqualValues(t, 1, e.Counters().Get(CountPoints))
	require.NoError(t, e.Shutdown(context.Background()))
}

// Metrics that go on for ever keep no run open, and no run is opened again by
// them when it has ended.
func TestMetricsKeepNoRunOpen(t *testing.T) {
	c, dir := newClock(), t.TempDir()
	e := start(t, dir, c)
	p := newProgram(7, "train")
	at := c.Now()
	mustSend(t, e, p.task(at)) // it has ended
	named := machine{map[string]string{semconv.RunID: p.run}}
	for i := range 60 {
		c.Add(time.Second)
		require.NoError(t, e.Metrics(t.Context(), named.gauges("loss", 1, at.Add(time.Hour+time.Duration(i)*time.Second))))
		e.Tick()
	}
	assert.EqualValues(t, 1, e.Counters().Get(CountParts))
	assert.EqualValues(t, 1, e.Counters().Get(CountFinished))
	assert.EqualValues(t, 60, e.Counters().Get(CountNoRun))
	require.NoError(t, e.Shutdown(context.Background()))
}

// An attribute of many values makes a bounded number of keys, and is named.
func TestMetricsOfManyKeysAreBounded(t *testing.T) {
	for _, name := range []string{"requests", "system.requests"} {
		t.Run(name, func(t *testing.T) {
			c, dir := newClock(), t.TempDir()
			e := start(t, dir, c)
			require.NoError(t, e.Logs(t.Context(), box.announce(1, c.Now())))
			for i := range 6 {
				at := c.Now().Add(time.Duration(i) * time.Second)
				md := pmetric.NewMetrics()
				rm := md.ResourceMetrics().AppendEmpty()
				box.onto(rm.Resource().Attributes())
				metric := rm.ScopeMetrics().AppendEmpty().Metrics().AppendEmpty()
				metric.SetName(name)
				points := metric.SetEmptyGauge().DataPoints()
				for j := range 2000 {
					p := points.AppendEmpty()
					p.SetTimestamp(pcommon.NewTimestampFromTime(at))
					p.SetIntValue(1)
					p.Attributes().PutInt("id", int64(i*2000+j))
				}
				require.NoError(t, e.Metrics(t.Context(), md))
			}
			assert.EqualValues(t, 10_000, e.Counters().Get(CountPoints))
			assert.Equal(t, map[string]int64{"too_many_keys": 2000}, e.Counters().Dropped())
			require.NoError(t, e.Shutdown(context.Background()))
		})
	}
}

// A full memory sends metrics back, as it does all else.
func TestMetricsAreSentBackWhenBusy(t *testing.T) {
	c := newClock()
	e := New(Config{Dir: t.TempDir(), Now: c.Now, Manual: true, MaxInFlight: 1})
	require.NoError(t, e.Start())
	e.inFlight.Add(1)
	require.ErrorIs(t, e.Metrics(t.Context(), box.gauges("a", 1, c.Now())), ErrBusy)
	e.inFlight.Add(-1)
	require.NoError(t, e.Metrics(t.Context(), box.gauges("a", 1, c.Now())))
	require.NoError(t, e.Shutdown(context.Background()))
}

// A stamp that is cut is no run's name, and is counted though the metrics then
// find none.
func TestMetricsWithABadStamp(t *testing.T) {
	c := newClock()
	e := start(t, t.TempDir(), c)
	bad := machine{map[string]string{semconv.RunID: "x", semconv.RunOwner: "cut"}}
	require.NoError(t, e.Metrics(t.Context(), bad.gauges("a", 2, c.Now())))
	assert.Equal(t, map[string]int64{intake.DropBadStamp: 1}, e.Counters().Dropped())
	require.NoError(t, e.Shutdown(context.Background()))
}

// What one of two runs' logs does not take is sent back, and then each run has it
// once, whether or not the exporter is killed in between.
func TestMetricsOnAFullDisk(t *testing.T) {
	for _, killed := range []bool{false, true} {
		t.Run(fmt.Sprintf("killed=%v", killed), func(t *testing.T) {
			c, disk := newClock(), disktest.New(t, t.TempDir())
			dir := filepath.Join(disk.Dir, "runs")
			e := start(t, dir, c)
			for n := range byte(2) {
				require.NoError(t, e.Logs(t.Context(), box.announce(n+1, c.Now())))
			}
			e.Tick()
			full := pcommon.TraceID{2}.String()
			disk.Only(func(path string) bool { return strings.Contains(filepath.Base(path), "run-"+full) })
			disk.Leave(10)
			readings := func() pmetric.Metrics { return box.gauges("system.a", 3, c.Now()) }
			require.ErrorIs(t, e.Metrics(t.Context(), readings()), syscall.ENOSPC)
			disk.Mend()
			if killed {
				kill(t, e)
				e = start(t, dir, c)
			}
			require.NoError(t, e.Metrics(t.Context(), readings()))
			require.NoError(t, e.Metrics(t.Context(), readings()))
			require.NoError(t, e.Shutdown(context.Background()))
			runs := read(t, dir)
			require.Len(t, runs, 2)
			for _, r := range runs {
				require.Len(t, r.System, 1, r.ID)
				assert.Len(t, r.System[0].Values, 3)
			}
		})
	}
}

// What names a run and is no metric is counted, whatever becomes of the rest.
func TestMetricsThatAreNone(t *testing.T) {
	c := newClock()
	e := start(t, t.TempDir(), c)
	md := machine{map[string]string{semconv.RunID: "x"}}.gauges("_a", 2, c.Now())
	require.NoError(t, e.Metrics(t.Context(), md))
	assert.Equal(t, map[string]int64{intake.DropReservedKey: 2}, e.Counters().Dropped())
	require.NoError(t, e.Shutdown(context.Background()))
}

// Where only stamps count, nothing is joined, and an id alone is no stamp.
func TestMetricsWhereOnlyStampsCount(t *testing.T) {
	c := newClock()
	e := New(Config{Dir: t.TempDir(), Now: c.Now, Manual: true, Placement: placement.Config{StampedOnly: true}})
	require.NoError(t, e.Start())
	stamped := map[string]string{semconv.RunID: "x", semconv.RunOwner: "0101010101010101", "host.name": "box"}
	require.NoError(t, e.Metrics(t.Context(), machine{stamped}.gauges("a", 2, c.Now())))
	assert.EqualValues(t, 2, e.Counters().Get(CountPoints))
	require.NoError(t, e.Metrics(t.Context(), machine{map[string]string{semconv.RunID: "x"}}.gauges("b", 3, c.Now())))
	require.NoError(t, e.Metrics(t.Context(), box.gauges("system.a", 4, c.Now())))
	assert.EqualValues(t, 7, e.Counters().Get(CountNoRun))
	require.NoError(t, e.Shutdown(context.Background()))
}

// A machine's metrics are no sign that a run on it lives.
func TestJoinedMetricsAreNoSignOfLife(t *testing.T) {
	c, dir := newClock(), t.TempDir()
	e := New(Config{Dir: dir, Now: c.Now, Manual: true, Run: run.Config{IdleTimeout: time.Hour}})
	require.NoError(t, e.Start())
	require.NoError(t, e.Logs(t.Context(), box.announce(1, c.Now())))
	for range 61 {
		c.Add(time.Minute)
		require.NoError(t, e.Metrics(t.Context(), box.gauges("system.a", 1, c.Now())))
		require.NoError(t, e.Metrics(t.Context(), box.gauges("_bad", 1, c.Now())))
		e.Tick()
	}
	assert.EqualValues(t, 1, e.Counters().Get(CountFinished))
	require.NoError(t, e.Shutdown(context.Background()))
}

// BenchmarkMetrics is a machine's metrics joining runs: 200 readings a request.
func BenchmarkMetrics(b *testing.B) {
	for _, runs := range []int{0, 1, 8} {
		b.Run(fmt.Sprintf("runs=%d", runs), func(b *testing.B) {
			e := New(Config{Dir: filepath.Join(b.TempDir(), "runs")})
			require.NoError(b, e.Start())
			at := time.Now()
			for i := range runs {
				require.NoError(b, e.Logs(b.Context(), box.announce(byte(i+1), at)))
			}
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				n++
				require.NoError(b, e.Metrics(b.Context(), box.gauges("system.a", 200, at.Add(time.Duration(n)*time.Second))))
			}
			b.ReportMetric(float64(200*n)/b.Elapsed().Seconds(), "points/s")
			require.NoError(b, e.Shutdown(context.Background()))
		})
	}
}
