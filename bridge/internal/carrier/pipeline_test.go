package carrier

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"

	"github.com/otel-wandb/otel-wandb/internal/sink"
)

func TestALifeOfARunArrivesInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &collector{}
		p, said := open(t, Config{Sink: c, Dir: t.TempDir(), Resource: []attribute.KeyValue{attribute.String("service.name", "train")}})
		task := owner
		task.Parent = [8]byte{7}
		s := p.Open(task)
		require.NoError(t, s.Start([]attribute.KeyValue{attribute.String("wandb.run.mode", "auto")}))
		require.NoError(t, s.Event("wandb.config", start, []attribute.KeyValue{attribute.Int("lr", 1)}))
		require.NoError(t, s.Row(start, 3, true, []attribute.KeyValue{
			attribute.Float64("loss", 0.5), attribute.Float64Slice("h", []float64{1, 2}),
		}, []string{"h"}))
		code := int64(2)
		require.NoError(t, s.End(start.Add(time.Hour), &code, nil))
		require.NoError(t, p.Flush(t.Context()))

		got := c.events()
		wantSeqs(t, got)
		var names []string
		for _, e := range got {
			names = append(names, e.name)
			assert.Equal(t, p.Writer(), e.writer)
		}
		assert.Equal(t, []string{"wandb.run.start", "wandb.config", "wandb.log", "wandb.run.end"}, names)
		assert.Equal(t, map[string]any{
			"wandb.writer": p.Writer(), "wandb.seq": int64(3), "wandb.step": int64(3), "wandb.histogram": []any{"h"},
			"loss": 0.5, "h": []any{1.0, 2.0},
		}, got[2].attrs)
		assert.Equal(t, start, got[2].at)
		assert.Equal(t, map[string]any{
			"wandb.writer": p.Writer(), "wandb.seq": int64(4), "wandb.last_seq": int64(4), "wandb.exit_code": int64(2),
			"wandb.end_time": start.Add(time.Hour).UnixNano(),
		}, got[3].attrs)

		assert.Equal(t, map[string]any{"service.name": "train"}, c.resource.AsRaw())
		span := c.spans[0]
		assert.Equal(t, owner.Trace, [16]byte(span.TraceID()))
		assert.Equal(t, owner.Span, [8]byte(span.ParentSpanID()))
		assert.NotZero(t, span.SpanID())
		assert.Equal(t, map[string]any{
			"wandb.carrier": true, "wandb.run.id": "r", "wandb.run.owner": "0200000000000000", "wandb.entity": "e", "wandb.project": "p",
			"wandb.run.start_time": start.UnixNano(), "wandb.task": "0200000000000000", "wandb.parent_span_id": "0700000000000000",
			"wandb.span.name": "train",
		}, span.Attributes().AsRaw())

		require.NoError(t, p.Shutdown(t.Context()))
		assert.True(t, c.closed)
		assert.Empty(t, said.all())
		left, err := os.ReadDir(p.cfg.Dir)
		require.NoError(t, err)
		assert.Empty(t, left, "all is acknowledged: no file stays")
	})
}

func TestTheStartIsSentAtOnceAndRowsWithinASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &collector{}
		p, _ := open(t, Config{Sink: c})
		s := p.Open(owner)
		began := time.Now()
		require.NoError(t, s.Start(nil))
		synctest.Wait()
		require.Len(t, c.events(), 1, "without any time passing")

		time.Sleep(70 * time.Second) // not upon a heartbeat
		before := len(c.events())
		logRows(t, s, 0, 10)
		time.Sleep(1200 * time.Millisecond) // to the file, and a second
		synctest.Wait()
		assert.Len(t, c.events(), before+10, "%v after the start", time.Since(began))
	})
}

func TestATrickleIsCollectedAndAStreamIsNot(t *testing.T) {
	for _, tt := range []struct {
		name     string
		every    time.Duration
		requests [2]int // in ten minutes, at least and at most
	}{
		{"ten rows a second: a request a second", 100 * time.Millisecond, [2]int{500, 610}},
		{"a row a second: one in fifteen seconds", time.Second, [2]int{38, 60}},
		{"a row in a minute: each by itself", time.Minute, [2]int{9, 22}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := &collector{}
				p, _ := open(t, Config{Sink: c})
				s := p.Open(owner)
				for i := range int(10 * time.Minute / tt.every) {
					logRows(t, s, i, i+1)
					time.Sleep(tt.every)
				}
				synctest.Wait()
				assert.GreaterOrEqual(t, c.tried(), tt.requests[0])
				assert.LessOrEqual(t, c.tried(), tt.requests[1])
			})
		})
	}
}

func TestNothingIsSentWhileNothingHappens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &collector{}
		p, _ := open(t, Config{Sink: c, Dir: t.TempDir()})
		guest := owner
		guest.Owner = [8]byte{9}
		require.NoError(t, p.Open(guest).Start(nil))
		time.Sleep(time.Hour)
		assert.Equal(t, 1, c.tried())
	})
}

func TestHeartbeatsOnceAMinuteUntilTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &collector{}
		p, _ := open(t, Config{Sink: c})
		s := p.Open(owner)
		require.NoError(t, s.Start(nil))
		time.Sleep(10*time.Minute + time.Second)
		require.NoError(t, s.End(time.Time{}, nil, nil))
		time.Sleep(time.Hour)
		var names []string
		for _, e := range c.events() {
			names = append(names, e.name)
		}
		want := append([]string{"wandb.run.start"}, strings.Split(strings.Repeat("wandb.run.heartbeat ", 10), " ")[:10]...)
		assert.Equal(t, append(want, "wandb.run.end"), names)
		wantSeqs(t, c.events())
	})
}

// A run that goes on for days says so while it does.
func TestRefusedRowsAreToldWithTheHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &collector{}
		p, _ := open(t, Config{Sink: c})
		s := p.Open(owner)
		require.NoError(t, s.Start(nil))
		for range 3 {
			s.Refused()
		}
		time.Sleep(3*time.Minute + 30*time.Second)
		s.Refused()
		require.NoError(t, s.End(time.Time{}, nil, nil))
		require.NoError(t, p.Flush(t.Context()))
		assert.Equal(t, []any{int64(3), int64(4)}, c.values("otel.rows_refused"), "each number once")
		wantSeqs(t, c.events())
	})
}

// The owner of a run alone knows of its end.
func TestPreempting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &collector{}
		p, _ := open(t, Config{Sink: c})
		s := p.Open(owner)
		child := owner
		child.Span = [8]byte{3}
		guest := p.Open(child)
		require.NoError(t, guest.Preempting())
		require.NoError(t, s.Preempting())
		synctest.Wait()
		all := c.events()
		require.Len(t, all, 1, "at once")
		assert.Equal(t, "wandb.run.heartbeat", all[0].name)
		assert.Equal(t, true, all[0].attrs["wandb.preempting"])
		require.NoError(t, s.End(start, nil, nil))
		require.ErrorIs(t, s.Preempting(), ErrEnded)
		guest.Close()
	})
}

func TestHeartbeatsDoNotPileUpWhileTheCollectorIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		away := true
		c := &collector{}
		c.answer = func(int) error {
			if away {
				return errors.New("away")
			}
			return nil
		}
		p, said := open(t, Config{Sink: c})
		s := p.Open(owner)
		require.NoError(t, s.Start(nil))
		time.Sleep(24 * time.Hour)
		c.mu.Lock()
		away = false
		c.mu.Unlock()
		time.Sleep(40 * time.Second) // before the next minute
		assert.Len(t, c.events(), 2, "the start, and one heartbeat that makes up for a day of them")
		assert.Len(t, said.all(), 1)
	})
}

func TestRepeatsAfterALostAnswerAreTheSameBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &collector{}
		c.after = func(n int) error {
			if n%2 == 0 {
				return errors.New("the answer is lost")
			}
			return nil
		}
		p, _ := open(t, Config{Sink: c, Dir: t.TempDir()})
		s := p.Open(owner)
		for i := range 20 {
			logRows(t, s, i*10, i*10+10)
			require.NoError(t, p.Flush(t.Context()))
		}
		rows := map[int64]string{}
		for _, e := range c.events() {
			row := fmt.Sprint(e.attrs["row"])
			if before, ok := rows[e.seq]; ok {
				assert.Equal(t, before, row, "what has one number is one row")
			}
			rows[e.seq] = row
		}
		assert.Len(t, rows, 200)
		assert.Equal(t, 40, c.tried())
	})
}

func TestTheCollectorComesBack(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
		said string
	}{
		{"unreachable", errors.New("connection refused"), "cannot be reached"},
		{"busy", &sink.Error{Kind: sink.Transient, After: time.Minute, Err: errors.New("busy")}, "cannot be reached"},
		{"a wrong key", &sink.Error{Kind: sink.Misconfigured, Err: errors.New("unauthenticated")}, "takes nothing"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				back := false
				c := &collector{}
				c.answer = func(int) error {
					if back {
						return nil
					}
					return tt.err
				}
				dir := t.TempDir()
				p, said := open(t, Config{Sink: c, Dir: dir})
				s := p.Open(owner)
				for i := range 1000 {
					logRows(t, s, i, i+1)
					time.Sleep(10 * time.Second)
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				err := p.Flush(ctx)
				require.ErrorIs(t, err, context.DeadlineExceeded)
				assert.ErrorContains(t, err, "1000 of 1000 events")
				assert.ErrorContains(t, err, dir)

				c.mu.Lock()
				back = true
				c.mu.Unlock()
				require.NoError(t, p.Flush(t.Context()))
				wantSeqs(t, c.events())
				assert.Len(t, c.events(), 1000)
				require.Len(t, said.all(), 1, "once, not a thousand times")
				assert.ErrorContains(t, said.all()[0], tt.said)
				assert.ErrorContains(t, said.all()[0], dir)
			})
		})
	}
}

func TestARefusedRequestIsKeptAndHoldsUpNothing(t *testing.T) {
	for _, tt := range []struct {
		name string
		kind sink.Kind
		wait time.Duration
	}{
		{"refused", sink.Refused, 0},
		{"of one segment and too large", sink.TooLarge, 0},
		{"doubtful for long", sink.Doubtful, 10 * time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				bad := true
				c := &collector{}
				c.answer = func(int) error {
					if bad {
						return &sink.Error{Kind: tt.kind, Err: errors.New("no good")}
					}
					return nil
				}
				dir := t.TempDir()
				p, said := open(t, Config{Sink: c, Dir: dir})
				s := p.Open(owner)
				require.NoError(t, s.Start(nil))
				synctest.Wait()
				time.Sleep(tt.wait)
				c.mu.Lock()
				bad = false
				c.mu.Unlock()
				logRows(t, s, 0, 3)
				err := p.Flush(t.Context())
				assert.ErrorContains(t, err, "1 events for good: no good; 1 are kept in "+dir)
				require.NoError(t, p.Flush(t.Context()), "it is said once")
				assert.Len(t, c.values("row"), 3)

				kept, err := filepath.Glob(filepath.Join(dir, "refused-"+p.Writer()+"-*.otlp"))
				require.NoError(t, err)
				require.Len(t, kept, 1)
				require.NotEmpty(t, said.all())
				assert.ErrorContains(t, said.all()[len(said.all())-1], kept[0])
				request, err := os.ReadFile(kept[0])
				require.NoError(t, err)
				again := &collector{}
				require.NoError(t, again.Export(t.Context(), request))
				assert.Equal(t, "wandb.run.start", again.events()[0].name)
			})
		})
	}
}

func TestRequestsGetSmallerWhereTheyAreTooLarge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most = 500 << 10
		c := &limited{most: most}
		p, said := open(t, Config{Sink: c, Dir: t.TempDir()})
		s := p.Open(owner)
		text := strings.Repeat("x", 100<<10)
		for i := range 100 {
			require.NoError(t, s.Row(start, 0, false, []attribute.KeyValue{attribute.Int("row", i), attribute.String("text", text)}, nil))
		}
		require.NoError(t, p.Flush(t.Context()))
		wantSeqs(t, c.events())
		assert.Len(t, c.events(), 100)
		assert.Empty(t, said.all())
	})
}

type limited struct {
	collector
	most int
}

func (l *limited) Export(ctx context.Context, request []byte) error {
	if len(request) > l.most {
		return &sink.Error{Kind: sink.TooLarge, Err: errors.New("too large")}
	}
	return l.collector.Export(ctx, request)
}

func TestRequestsStayUnderThreeMiB(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &collector{}
		p, _ := open(t, Config{Sink: c, Dir: t.TempDir()})
		s := p.Open(owner)
		for i := range 40 {
			text := strings.Repeat("x", (i%10)*100<<10)
			require.NoError(t, s.Row(start, 0, false, []attribute.KeyValue{attribute.String("a", text), attribute.String("b", text), attribute.Int("row", i)}, nil))
			if i%10 == 9 {
				p.Write() // all together is more than memory may hold, where the disk is slow
			}
		}
		require.NoError(t, p.Flush(t.Context()))
		assert.Len(t, c.events(), 40)
		wantSeqs(t, c.events())
		for _, size := range c.sizes {
			assert.Less(t, size, 3<<20)
		}
	})
}

func TestWhatIsTooLargeIsRefusedByName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &collector{}
		p, _ := open(t, Config{Sink: c})
		s := p.Open(owner)
		big := strings.Repeat("x", MaxValue-100)
		many := make([]attribute.KeyValue, 300)
		for i := range many {
			many[i] = attribute.String(fmt.Sprintf("k%03d", i), strings.Repeat("x", 10<<10))
		}
		for _, tt := range []struct {
			name  string
			row   []attribute.KeyValue
			is    error
			names string
		}{
			{"a text", []attribute.KeyValue{attribute.Int("ok", 1), attribute.String("text", big+big)}, ErrValueTooLarge, `"text"`},
			{"a list", []attribute.KeyValue{attribute.Int64Slice("list", make([]int64, MaxValue))}, ErrValueTooLarge, `"list"`},
			{"three of them", []attribute.KeyValue{attribute.String("a", big), attribute.String("b", big), attribute.String("c", big)}, ErrRowTooLarge, `"c"`},
			{"many", many, ErrRowTooLarge, `"k2`},
			{"nothing", nil, ErrEmptyRow, "e/p/r"},
			{"no metric", []attribute.KeyValue{attribute.Int("_x", 1), attribute.Int("wandb.step", 1), {Key: "e"}}, ErrEmptyRow, "train"},
		} {
			err := s.Row(start, 0, false, tt.row, nil)
			require.ErrorIs(t, err, tt.is, tt.name)
			assert.ErrorContains(t, err, tt.names, tt.name)
			assert.ErrorContains(t, err, "e/p/r", tt.name)
			assert.Less(t, len(err.Error()), 500, tt.name)
		}
		require.ErrorIs(t, s.Event("wandb.config", start, []attribute.KeyValue{attribute.String("k", big+big)}), ErrValueTooLarge)
		require.ErrorIs(t, s.Event("my.event", start, nil), ErrUnknownEvent)
		require.NoError(t, s.Row(start, 0, false, []attribute.KeyValue{attribute.String("a", big), attribute.String("row", "x")}, nil))
		require.NoError(t, p.Flush(t.Context()))
		assert.Len(t, c.events(), 1, "no number is lost to what was refused")
		require.ErrorIs(t, s.Event("wandb.table", start, []attribute.KeyValue{attribute.String("data", big+big)}), ErrValueTooLarge)
		s.Refused()
		require.NoError(t, s.End(start, nil, nil))
		require.NoError(t, p.Flush(t.Context()))
		wantSeqs(t, c.events())
		assert.Equal(t, []any{int64(6)}, c.values("otel.rows_refused"), "four rows, a table, and one that the caller refused")
	})
}

func TestWideRowsAreSplit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &collector{}
		p, _ := open(t, Config{Sink: c})
		s := p.Open(owner)
		row := make([]attribute.KeyValue, 250)
		for i := range row {
			row[i] = attribute.Int(fmt.Sprint(i), i)
		}
		require.NoError(t, s.Row(start, 9, true, row, []string{"249"}))
		require.NoError(t, p.Flush(t.Context()))
		got := c.events()
		require.Len(t, got, 3)
		keys := 0
		for i, e := range got {
			assert.Equal(t, int64(1), e.seq)
			assert.Equal(t, int64(i), e.attrs["wandb.piece"])
			assert.Equal(t, int64(3), e.attrs["wandb.pieces"])
			assert.LessOrEqual(t, len(e.attrs), 128)
			for k := range e.attrs {
				if !strings.HasPrefix(k, "wandb.") {
					keys++
				}
			}
		}
		assert.Equal(t, 250, keys)
		assert.Equal(t, int64(9), got[0].attrs["wandb.step"])
		assert.Equal(t, []any{"249"}, got[2].attrs["wandb.histogram"])
		assert.Len(t, c.spans, 1, "all pieces travel in one carrier")
	})
}

func TestTheFirstPieceOfAWideRowHoldsAMetric(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &collector{}
		p, _ := open(t, Config{Sink: c})
		row := make([]attribute.KeyValue, 150)
		for i := range row {
			row[i] = attribute.Int(fmt.Sprintf("_%d", i), i)
		}
		row[120].Key = "loss"
		require.NoError(t, p.Open(owner).Row(start, 0, false, row, nil))
		require.NoError(t, p.Flush(t.Context()))
		assert.Equal(t, int64(120), c.events()[0].attrs["loss"])
		assert.Equal(t, attribute.Key("_0"), row[0].Key, "the caller's row is the caller's")
	})
}

func TestFullRefusesRowsAndKeepsTheEnd(t *testing.T) {
	for _, tt := range []struct {
		name string
		dir  bool
	}{{"files", true}, {"memory", false}} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				away := true
				c := &collector{}
				c.answer = func(int) error {
					if away {
						return errors.New("away")
					}
					return nil
				}
				cfg := Config{Sink: c, MaxBytes: 1 << 20}
				if tt.dir {
					cfg.Dir = t.TempDir()
				}
				p, said := open(t, cfg)
				s := p.Open(owner)
				require.NoError(t, s.Start(nil))
				taken, refused := 0, 0
				for i := range 20_000 {
					switch err := s.Row(start, 0, false, number(i), nil); {
					case err == nil:
						taken++
					default:
						require.ErrorIs(t, err, ErrFull)
						refused++
					}
					if i%100 == 0 {
						time.Sleep(time.Second)
					}
				}
				assert.Positive(t, refused)
				assert.Greater(t, taken, 5000)
				assert.Equal(t, uint64(refused), p.RefusedRows())
				assert.LessOrEqual(t, p.spool.Size(), int64(1<<20))
				require.NoError(t, s.Event("wandb.alert", start, []attribute.KeyValue{attribute.String("title", "x")}))
				require.NoError(t, s.End(start, nil, nil), "the end finds room")
				full := 0
				for _, err := range said.all() {
					if errors.Is(err, ErrFull) {
						full++
					}
				}
				assert.Equal(t, 1, full, "said once")

				c.mu.Lock()
				away = false
				c.mu.Unlock()
				require.NoError(t, p.Flush(t.Context()))
				wantSeqs(t, c.events())
				events := c.events()
				require.Equal(t, taken+4, len(events), "rows, start, alert, what was refused, end") //nolint:testifylint // not all of them in a message
				told := events[len(events)-2]
				assert.Equal(t, "wandb.summary", told.name)
				assert.EqualValues(t, refused, told.attrs["otel.rows_refused"], "the run says how many are not in it")
				other := p.Open(owner)
				require.NoError(t, other.Row(start, 0, false, number(0), nil), "there is room again")
				err := p.Shutdown(t.Context())
				require.ErrorIs(t, err, ErrFull)
				assert.ErrorContains(t, err, fmt.Sprintf("%d rows were refused", refused))
			})
		})
	}
}

func TestWithoutAFolderItLivesInMemoryAndSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "file")
		require.NoError(t, os.WriteFile(file, nil, 0o600))
		c := &collector{}
		p, said := open(t, Config{Sink: c, Dir: file})
		s := p.Open(owner)
		logRows(t, s, 0, 1000)
		require.NoError(t, p.Flush(t.Context()))
		assert.Len(t, c.values("row"), 1000)
		require.Len(t, said.all(), 1)
		assert.ErrorContains(t, said.all()[0], file)
		require.NoError(t, p.Shutdown(t.Context()))
	})
}

func TestShutdownSaysWhatIsLeftAndWhere(t *testing.T) {
	for _, tt := range []struct {
		name, dir, says string
	}{
		{"files", "x", "/x`"},
		{"memory", "", "lost when the program ends"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := &collector{answer: func(int) error { return errors.New("away") }}
				cfg := Config{Sink: c}
				if tt.dir != "" {
					cfg.Dir = filepath.Join(t.TempDir(), tt.dir)
				}
				p, _ := open(t, cfg)
				s := p.Open(owner)
				logRows(t, s, 0, 7)
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				err := p.Shutdown(ctx)
				assert.ErrorContains(t, err, "7 of 7 events")
				assert.ErrorContains(t, err, tt.says)
				assert.Equal(t, err, p.Shutdown(t.Context()), "the second time too")
				require.ErrorIs(t, s.Row(start, 0, false, number(1), nil), ErrClosed)
				require.ErrorIs(t, p.Flush(t.Context()), ErrClosed)
			})
		})
	}
}

func TestTheNextProcessSendsWhatWasLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		away := &collector{answer: func(int) error { return errors.New("away") }}
		first, _ := open(t, Config{Sink: away, Dir: dir, Resource: []attribute.KeyValue{attribute.String("service.name", "first")}})
		logRows(t, first.Open(owner), 0, 100)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.Error(t, first.Shutdown(ctx))

		c := &collector{}
		second, said := open(t, Config{Sink: c, Dir: dir})
		synctest.Wait()
		assert.Len(t, c.values("row"), 100)
		assert.Equal(t, map[string]any{"service.name": "first"}, c.resource.AsRaw())
		assert.Equal(t, first.Writer(), c.events()[0].writer)
		require.NoError(t, second.Shutdown(t.Context()))
		assert.Empty(t, said.all())
		left, err := os.ReadDir(dir)
		require.NoError(t, err)
		assert.Empty(t, left)
	})
}

func TestAProgramThatDiesAgainAndAgainDoesNotFillTheDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		away := &collector{answer: func(int) error { return errors.New("away") }}
		taken := 0
		for range 5 {
			p, _ := open(t, Config{Sink: away, Dir: dir, MaxBytes: 256 << 10})
			synctest.Wait()
			s := p.Open(owner)
			for s.Row(start, 0, false, number(taken), nil) == nil {
				taken++
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			require.Error(t, p.Shutdown(ctx))
			cancel()
		}
		size := int64(0)
		require.NoError(t, filepath.WalkDir(dir, func(_ string, e os.DirEntry, err error) error {
			if err == nil && !e.IsDir() {
				info, err := e.Info()
				size += info.Size()
				return err
			}
			return err
		}))
		assert.LessOrEqual(t, size, int64(256<<10))

		c := &collector{}
		p, _ := open(t, Config{Sink: c, Dir: dir, MaxBytes: 256 << 10})
		time.Sleep(time.Minute)
		assert.Len(t, c.values("row"), taken)
		require.NoError(t, p.Open(owner).Row(start, 0, false, number(0), nil), "there is room again")
		require.NoError(t, p.Flush(t.Context()))
	})
}

func TestARunOpenedAgainGoesOnCounting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &collector{}
		p, _ := open(t, Config{Sink: c})
		for i := range 5 {
			s := p.Open(owner)
			guest := p.Open(Task{Trace: owner.Trace, Span: [8]byte{8}, Owner: owner.Span, Run: owner.Run})
			logRows(t, s, i*2, i*2+1)
			logRows(t, guest, i*2+1, i*2+2)
			require.NoError(t, s.End(start, nil, nil))
			require.ErrorIs(t, s.End(start, nil, nil), ErrEnded)
			require.ErrorIs(t, s.Row(start, 0, false, number(1), nil), ErrEnded)
			guest.Close()
			guest.Close()
		}
		assert.Empty(t, p.runs)
		require.NoError(t, p.Flush(t.Context()))
		seqs := map[int64]bool{}
		for _, e := range c.events() {
			seqs[e.seq] = true
		}
		assert.Len(t, seqs, 15)
		assert.True(t, seqs[15])
	})
}

func TestStreams_ConcurrentSafe(t *testing.T) {
	c := &collector{}
	p, said := open(t, Config{Sink: c, Dir: t.TempDir(), Flush: time.Millisecond, Send: time.Millisecond})
	said.bubble = false
	const goroutines, each = 100, 200
	var wg sync.WaitGroup
	streams := make([]*Stream, 10) // on one run
	for i := range streams {
		task := owner
		task.Span = [8]byte{2, byte(i)}
		streams[i] = p.Open(task)
	}
	for g := range goroutines {
		wg.Go(func() {
			for i := range each {
				if err := streams[g%len(streams)].Row(start, 0, false, number(g*each+i), nil); err != nil {
					t.Error(err)
					return
				}
				if i == each/2 {
					if err := p.Flush(t.Context()); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	require.NoError(t, p.Shutdown(t.Context()))
	seen, rows := make([]bool, goroutines*each), map[any]bool{}
	for _, e := range c.events() {
		assert.False(t, seen[e.seq-1], "number %d twice", e.seq)
		seen[e.seq-1] = true
		rows[e.attrs["row"]] = true
	}
	assert.NotContains(t, seen, false, "numbers have no gap")
	assert.Len(t, rows, goroutines*each)
	assert.Empty(t, said.all())
}

func TestOddValuesArrive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &collector{}
		p, _ := open(t, Config{Sink: c})
		s := p.Open(owner)
		require.NoError(t, s.Row(time.Time{}, 0, true, []attribute.KeyValue{
			attribute.Float64("inf", math.Inf(1)), attribute.String("t\xff", "\xff"), attribute.Int("wandb.seq", 7),
		}, nil))
		require.NoError(t, p.Flush(t.Context()))
		e := c.spans[0].Events().At(0)
		seq, _ := e.Attributes().Get("wandb.seq")
		assert.Equal(t, int64(1), seq.Int(), "the first of two is ours")
		text, _ := e.Attributes().Get("t\uFFFD")
		assert.Equal(t, "\uFFFD", text.Str())
		assert.Equal(t, time.Now().UTC(), e.Timestamp().AsTime())
	})
}

func TestWhoListensToTroubleMayLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &collector{answer: func(int) error { return errors.New("away") }}
		var p *Pipeline
		var s *Stream
		heard := make(chan error, 10)
		p, err := Start(Config{Sink: c, MaxBytes: 128 << 10, Report: func(err error) {
			heard <- errors.Join(err, s.Row(start, 0, false, number(0), nil), p.Flush(t.Context()))
		}})
		require.NoError(t, err)
		s = p.Open(owner)
		for err == nil {
			err = s.Row(start, 0, false, number(0), nil)
		}
		require.ErrorIs(t, err, ErrFull)
		synctest.Wait() // it is in Flush now
		c.mu.Lock()
		c.answer = nil
		c.mu.Unlock()
		require.ErrorIs(t, <-heard, ErrFull)
		require.ErrorIs(t, p.Shutdown(t.Context()), ErrFull, "which says how many rows were refused")
	})
}

func TestShutdownDoesNotWaitForWhoListens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck := make(chan struct{})
		p, err := Start(Config{Sink: &collector{answer: func(int) error { return errors.New("away") }}, Report: func(error) { <-stuck }})
		require.NoError(t, err)
		logRows(t, p.Open(owner), 0, 1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		require.ErrorIs(t, p.Shutdown(ctx), context.DeadlineExceeded)
		close(stuck)
	})
}
