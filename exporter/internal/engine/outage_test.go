package engine

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/otel-wandb/otel-wandb/exporter/internal/online"
	"github.com/otel-wandb/otel-wandb/exporter/internal/pace"
	"github.com/otel-wandb/otel-wandb/exporter/internal/placement"
	"github.com/otel-wandb/otel-wandb/exporter/internal/run"
	"github.com/otel-wandb/otel-wandb/internal/runid"
	"github.com/otel-wandb/otel-wandb/internal/semconv"
	"github.com/otel-wandb/otel-wandb/internal/wandb"
	"github.com/otel-wandb/otel-wandb/internal/wandbtest"
)

// sender is a program with one task. What is not taken it keeps, and sends again
// with what came meanwhile.
type sender struct {
	id      byte
	began   time.Time
	rows    int // that were logged
	pending plog.LogRecordSlice
}

func (s *sender) trace() pcommon.TraceID { return pcommon.TraceID{1, s.id} }
func (s *sender) span() pcommon.SpanID   { return pcommon.SpanID{2, s.id} }
func (s *sender) name() string           { return fmt.Sprintf("r%d", s.id) }

func (s *sender) add(event string) plog.LogRecord {
	rec := s.pending.AppendEmpty()
	rec.SetTraceID(s.trace())
	rec.SetSpanID(s.span())
	rec.SetTimestamp(pcommon.NewTimestampFromTime(time.Now()))
	rec.SetEventName(event)
	rec.Attributes().PutStr("log.record.uid", fmt.Sprintf("%s-%s-%d", s.name(), event, time.Now().UnixNano()))
	return rec
}

func (s *sender) start() {
	s.began = time.Now()
	rec := s.add(semconv.EventRunStart)
	rec.Attributes().PutStr(semconv.RunMode, semconv.ModeAuto)
	rec.Attributes().PutStr(semconv.RunID, s.name())
}

func (s *sender) row() {
	rec := s.add(semconv.EventLog)
	rec.Attributes().PutInt("x", int64(s.rows))
	rec.Attributes().PutStr("log.record.uid", fmt.Sprintf("%s-%d", s.name(), s.rows))
	s.rows++
}

func (s *sender) send(e *Engine) error {
	ld := plog.NewLogs()
	s.pending.CopyTo(ld.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords())
	err := e.Logs(context.Background(), ld)
	if err == nil {
		s.pending = plog.NewLogRecordSlice()
	}
	return err
}

func (s *sender) end(t *testing.T, e *Engine) {
	td := ptrace.NewTraces()
	span := td.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans().AppendEmpty()
	span.SetTraceID(s.trace())
	span.SetSpanID(s.span())
	span.SetName("train")
	span.SetStartTimestamp(pcommon.NewTimestampFromTime(s.began))
	span.SetEndTimestamp(pcommon.NewTimestampFromTime(time.Now()))
	span.Attributes().PutStr(semconv.RunMode, semconv.ModeAuto)
	span.Attributes().PutStr(semconv.RunID, s.name())
	require.NoError(t, e.Traces(context.Background(), td))
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// W&B is away for a week, and only so much may wait for it. What waits stays
// within that, senders keep the rest, no run is given up meanwhile though all that
// it says is sent back, and afterwards W&B has each row once and in order.
func TestAWeekWithoutWandb(t *testing.T) {
	days, runs := 1, 20
	if os.Getenv("OUTAGE_LONG") != "" {
		days, runs = 7, 100
	}
	const rowsAnHour = 10
	bound := int64(runs) * 10 << 10 // about four hours of rows
	dir := t.TempDir()
	t.Setenv("NETRC", filepath.Join(dir, "none"))
	synctest.Test(t, func(t *testing.T) {
		server := wandbtest.New(wandbtest.Options{})
		h, stop := server.InMemory()
		defer stop()
		var away atomic.Bool
		there := h.Transport
		h.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
			if away.Load() {
				_ = r.Body.Close()
				return nil, errors.New("no route to host")
			}
			return there.RoundTrip(r)
		})
		ways := &online.Clients{
			Given: []online.Credential{{Host: wandbtest.URL, APIKey: wandbtest.Key}}, Trusted: wandbtest.URL,
			Base: wandb.Options{HTTP: h, Storage: h}, Pace: pace.New(pace.Options{}),
		}
		e := New(Config{
			Dir: dir, Manual: true,
			Placement: placement.Config{Default: runid.Coordinates{Host: wandbtest.URL, Project: "p"}},
			Run:       run.Config{AbandonAfter: 90 * time.Minute}, // they are heard once an hour
			Online:    online.New(online.Config{Way: ways.Way, Host: wandbtest.URL, MaxBehind: bound}),
		})
		require.NoError(t, e.Start())

		all := make([]*sender, runs)
		for i := range all {
			all[i] = &sender{id: byte(i + 1), pending: plog.NewLogRecordSlice()}
			all[i].start()
			all[i].row()
			require.NoError(t, all[i].send(e))
		}
		time.Sleep(10 * time.Minute)

		away.Store(true)
		var most int64
		refused := 0
		for range days * 24 {
			for _, s := range all {
				for range rowsAnHour {
					s.row()
				}
				s.add(semconv.EventRunHeartbeat)
				if s.send(e) != nil {
					refused++
				}
			}
			e.Tick()
			time.Sleep(time.Hour)
			most = max(most, e.cfg.Online.Gauges().Behind)
		}
		away.Store(false)
		t.Logf("%d runs, %d days: %d KiB of logs waited at most of %d KiB allowed, %d requests were sent back",
			runs, days, most>>10, bound>>10, refused)
		assert.NotZero(t, refused, "the bound was reached")
		// What is behind is looked at every two seconds: all may send once in between.
		assert.Less(t, most, bound+int64(runs)*rowsAnHour*400)

		for _, s := range all {
			for s.send(e) != nil {
				time.Sleep(time.Minute)
				e.Tick()
			}
		}
		for _, s := range all {
			s.end(t, e)
		}
		for range 30 {
			time.Sleep(time.Minute)
			e.Tick()
		}
		require.NoError(t, e.Shutdown(context.Background()))

		held := server.Runs()
		require.Len(t, held, runs)
		for _, r := range held {
			var s *sender
			for _, one := range all {
				if one.name() == r.ID {
					s = one
				}
			}
			require.NotNil(t, s, r.ID)
			require.Len(t, r.History, s.rows, r.ID)
			for n, line := range r.History {
				require.Equal(t, n, line.Offset, r.ID)
				require.Contains(t, line.Text, fmt.Sprintf(`"x":%d,`, n), r.ID)
			}
			assert.Equal(t, "finished", r.State, r.ID)
			parts, err := filepath.Glob(filepath.Join(dir, "wandb", "run-*-"+r.ID, "*.wandb"))
			require.NoError(t, err)
			assert.Len(t, parts, 1, "it was not given up")
		}
		assert.Empty(t, server.Violations())
	})
}
