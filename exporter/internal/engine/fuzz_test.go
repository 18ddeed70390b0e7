package engine

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// FuzzOTLP feeds an engine with any OTLP there is. Whatever it is, the engine
// takes it, goes on, and what it wrote is read again after a restart.
func FuzzOTLP(f *testing.F) {
	at := time.Unix(1_800_000_000, 0)
	spans, records := &ptrace.ProtoMarshaler{}, &plog.ProtoMarshaler{}
	p := newProgram(7, "fuzzed")
	for _, td := range []ptrace.Traces{
		p.start(at), p.rows(at, 0, 3), p.child(at, 1, 3, 5), p.between(at), p.task(at), p.end(at, 1), duplicated(),
	} {
		b, err := spans.MarshalTraces(td)
		require.NoError(f, err)
		f.Add(b, false)
	}
	for _, tt := range badInputs() {
		switch {
		case tt.span != nil:
			td, s := p.span(at, p.mid(), p.root, "bad")
			rowEvents(s, at, 0, 1, 0)
			tt.span(s)
			if b, err := spans.MarshalTraces(td); err == nil && len(b) < 10_000 {
				f.Add(b, false)
			}
		case tt.logs != nil:
			ld := plog.NewLogs()
			tt.logs(ld.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords().AppendEmpty())
			if b, err := records.MarshalLogs(ld); err == nil && len(b) < 10_000 {
				f.Add(b, true)
			}
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, logs bool) {
		var td ptrace.Traces
		var ld plog.Logs
		var err error
		if logs {
			ld, err = (&plog.ProtoUnmarshaler{}).UnmarshalLogs(b)
		} else {
			td, err = (&ptrace.ProtoUnmarshaler{}).UnmarshalTraces(b)
		}
		if err != nil {
			return
		}
		c, dir := newClock(), t.TempDir()
		for range 2 {
			e := New(Config{Dir: dir, Now: c.Now, Manual: true, Shards: 1})
			require.NoError(t, e.Start())
			for range 2 {
				if logs {
					require.NoError(t, e.Logs(context.Background(), ld))
				} else {
					require.NoError(t, e.Traces(context.Background(), td))
				}
				c.Add(time.Second)
				e.Tick()
			}
			kill(t, e)
		}
		e := start(t, dir, c)
		c.Add(25 * time.Hour)
		e.Tick()
		e.Tick()
		require.Zero(t, e.Waiting())
		require.Zero(t, e.Counters().Get(CountDamaged))
		require.NoError(t, e.Shutdown(context.Background()))
		requireWithin(t, dir, dir)
		requireClean(t, dir)
		onDisk(t, dir)
	})
}
