package pace

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-wandb/otel-wandb/exporter/internal/upload"
	"github.com/otel-wandb/otel-wandb/internal/wandb"
)

// site is a gate and what W&B says to each request that it lets go.
type site struct {
	*testing.T
	*Gate
	answer func() wandb.Outcome
	start  time.Time

	mu   sync.Mutex // guards sent
	sent []sending
}

type sending struct {
	run  string
	kind upload.Kind
	at   time.Duration
}

func inSite(t *testing.T, test func(s *site)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &site{T: t, Gate: New(Options{}).For("https://api.wandb.ai", "me"), start: time.Now()}
		s.answer = func() wandb.Outcome { return wandb.Outcome{Status: http.StatusOK, RetryAfter: -1} }
		test(s)
	})
}

// send does with one request what an uploader and its client do.
func (s *site) send(ctx context.Context, run string, kind upload.Kind, alive bool) error {
	path := wandb.Path{Entity: "e", Project: "p", Run: run}
	if err := s.Wait(ctx, upload.Request{Run: path, Kind: kind, Alive: alive}); err != nil {
		return err
	}
	call := wandb.Call{Op: "file stream", Run: path.String(), Project: "e/p"}
	if err := s.Permit(ctx, call); err != nil {
		return err
	}
	s.mu.Lock()
	s.sent = append(s.sent, sending{run, kind, time.Since(s.start)})
	s.mu.Unlock()
	s.Learn(call, s.answer())
	return nil
}

// count is how many requests of a run went, "" of all.
func (s *site) count(run string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range s.sent {
		if run == "" || x.run == run {
			n++
		}
	}
	return n
}

// window answers as a server that allows so many units a minute, of which each
// request takes some, and others some a second.
func (s *site) window(units, each, others float64) func() wandb.Outcome {
	return func() wandb.Outcome {
		now := time.Since(s.start)
		from := now.Truncate(time.Minute)
		used := others * (now - from).Seconds()
		s.mu.Lock()
		for _, x := range s.sent {
			if x.at >= from {
				used += each
			}
		}
		s.mu.Unlock()
		o := wandb.Outcome{Status: http.StatusOK, RetryAfter: -1}
		o.Limit = &wandb.RateLimit{Remaining: max(0, units-used), Reset: from + time.Minute - now}
		if used > units {
			o.Status, o.RetryAfter = http.StatusTooManyRequests, o.Limit.Reset
		}
		return o
	}
}

// busy sends lines of runs for a time, as fast as may be.
func (s *site) busy(runs int, alive bool, d time.Duration) {
	ctx, cancel := context.WithTimeout(s.Context(), d)
	defer cancel()
	var wg sync.WaitGroup
	for i := range runs {
		wg.Go(func() {
			for s.send(ctx, fmt.Sprintf("r%d", i), upload.Lines, alive) == nil {
			}
		})
	}
	wg.Wait()
}

func TestHalfOfTheAllowanceIsLeft(t *testing.T) {
	for _, tc := range []struct {
		name          string
		units, each   float64
		others        float64 // units a second
		runs          int
		alive         bool
		least, atMost float64 // requests a second
	}{
		{"half", 600, 1, 0, 50, true, 4.5, 5.3},
		{"half, in units of which a request takes many", 1000, 8, 0, 50, true, 0.95, 1.2},
		{"half, in units of which a request takes a part", 1000, 0.25, 0, 100, true, 30, 35},
		{"less where others take steadily, whose requests look like ours", 600, 1, 4, 50, true, 0.9, 3},
		{"others take nearly all", 600, 1, 9, 50, true, 0.1, 0.6},
		{"more than half, as far as it takes to hear all", 180, 1, 0, 400, true, 1.9, 2.1},
		{"90 % at most", 180, 1, 0, 900, true, 2.5, 2.71},
		{"half for runs that nobody waits to hear of", 180, 1, 0, 400, false, 1.35, 1.65},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inSite(t, func(s *site) {
				s.answer = s.window(tc.units, tc.each, tc.others)
				s.busy(tc.runs, tc.alive, 10*time.Minute)
				before := s.count("")
				s.busy(tc.runs, tc.alive, 10*time.Minute)
				rate := float64(s.count("")-before) / 600
				l := s.s.Lanes()[0]
				t.Logf("%.2f requests a second, %d refused", rate, l.Refused)
				assert.GreaterOrEqual(t, rate, tc.least)
				assert.LessOrEqual(t, rate, tc.atMost)
				assert.Zero(t, l.Refused)
				assert.True(t, l.Known)
			})
		})
	}
}

func TestWithoutHeaders(t *testing.T) {
	inSite(t, func(s *site) {
		s.busy(20, false, 10*time.Minute)
		assert.InDelta(t, 1.5*600, s.count(""), 5)
	})
}

func TestSharesAreFair(t *testing.T) {
	inSite(t, func(s *site) {
		s.busy(30, true, 20*time.Minute)
		for i := range 30 {
			assert.InDelta(t, 60, s.count(fmt.Sprintf("r%d", i)), 2)
		}
	})
}

func TestRetryAfterIsObeyed(t *testing.T) {
	inSite(t, func(s *site) {
		ok := s.answer
		refused := false
		s.answer = func() wandb.Outcome {
			if !refused && time.Since(s.start) >= time.Minute {
				refused = true
				return wandb.Outcome{Status: http.StatusTooManyRequests, RetryAfter: 90 * time.Second}
			}
			return ok()
		}
		s.busy(10, true, 10*time.Minute)
		var gap time.Duration
		for i := 1; i < len(s.sent); i++ {
			gap = max(gap, s.sent[i].at-s.sent[i-1].at)
		}
		assert.GreaterOrEqual(t, gap, 90*time.Second, "nobody sends")
		assert.LessOrEqual(t, gap, 92*time.Second)
		late := 0
		for _, x := range s.sent {
			if x.at > 3*time.Minute && x.at <= 4*time.Minute {
				late++
			}
		}
		assert.Less(t, late, 80, "slower than before, without headers")
	})
}

// First rows go before others, and ends too, but do not shut them out.
func TestWhoGoesFirst(t *testing.T) {
	inSite(t, func(s *site) {
		s.busy(100, false, 3*time.Minute)
		ctx, cancel := context.WithCancel(s.Context())
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				for s.send(ctx, fmt.Sprintf("r%d", i), upload.Lines, false) == nil {
				}
			})
		}
		time.Sleep(time.Minute)
		from := time.Since(s.start)
		for i := range 20 {
			wg.Go(func() { _ = s.send(ctx, fmt.Sprintf("new%d", i), upload.Lines, true) })
			wg.Go(func() { _ = s.send(ctx, fmt.Sprintf("old%d", i), upload.End, true) })
		}
		time.Sleep(time.Minute)
		cancel()
		wg.Wait()
		var opened, ended time.Duration
		others := 0
		for _, x := range s.sent {
			switch {
			case x.at < from:
			case x.run[0] == 'n':
				opened = x.at - from
			case x.run[0] == 'o':
				ended = x.at - from
			case ended == 0 && opened > 0:
				others++
			}
		}
		t.Logf("20 opened within %s, 20 ended within %s, of 140 requests that wait", opened, ended)
		assert.LessOrEqual(t, opened, 20*time.Second)
		assert.LessOrEqual(t, ended, 38*time.Second)
		assert.Positive(t, others, "lines go on")
	})
}

// Heartbeats wait for lines, up to 4 minutes, and one that waits is woken.
func TestHeartbeatsWait(t *testing.T) {
	inSite(t, func(s *site) {
		ctx, cancel := context.WithTimeout(s.Context(), 20*time.Minute)
		defer cancel()
		var wg sync.WaitGroup
		for i := range 60 {
			wg.Go(func() {
				_ = s.send(ctx, fmt.Sprintf("idle%d", i), upload.Lines, true)
				for {
					select {
					case <-time.After(30 * time.Second):
					case <-ctx.Done():
						return
					}
					_ = s.send(ctx, fmt.Sprintf("idle%d", i), upload.Heartbeat, true)
				}
			})
		}
		s.busy(5, true, 20*time.Minute)
		wg.Wait()
		last, idle := map[string]time.Duration{}, time.Duration(0)
		for _, x := range s.sent {
			if x.run[0] == 'i' {
				idle = max(idle, x.at-last[x.run])
			}
			last[x.run] = x.at
		}
		assert.LessOrEqual(t, idle, hear)
		assert.Greater(t, s.count("r0"), 200, "what heartbeats leave is for lines: 1.5/s less 60 each 4 minutes at least")
		t.Logf("longest silence of an idle run %s, %d requests of a busy one", idle, s.count("r0"))

		path := wandb.Path{Entity: "e", Project: "p", Run: "idle0"}
		wake := make(chan struct{}, 1)
		s.s.mu.Lock()
		s.s.lanes[laneKey{host: s.host, project: "e/p"}].until = time.Now().Add(time.Hour)
		s.s.mu.Unlock()
		wake <- struct{}{}
		err := s.Wait(s.Context(), upload.Request{Run: path, Kind: upload.Heartbeat, Alive: true, Woken: wake})
		assert.ErrorIs(t, err, upload.ErrWoken)
	})
}

func TestACancelledWaitLeavesItsPlace(t *testing.T) {
	inSite(t, func(s *site) {
		s.busy(10, true, time.Minute)
		ctx, cancel := context.WithCancelCause(s.Context())
		var wg sync.WaitGroup
		for i := range 1000 {
			wg.Go(func() {
				err := s.Wait(ctx, upload.Request{Run: wandb.Path{Entity: "e", Project: "p", Run: fmt.Sprintf("c%d", i)}, Kind: upload.Lines, Alive: true})
				if err != nil {
					assert.EqualError(t, err, "enough")
				}
			})
		}
		synctest.Wait()
		assert.Greater(t, s.s.Lanes()[0].Waiting, 990)
		cancel(errors.New("enough"))
		wg.Wait()
		assert.Zero(t, s.s.Lanes()[0].Waiting)
		before := s.count("")
		s.busy(10, true, time.Minute)
		assert.Greater(t, s.count("")-before, 85, "as fast as before")
		time.Sleep(10 * time.Minute)
		s.busy(1, true, time.Second)
		assert.Equal(t, 1, s.s.Lanes()[0].Runs, "silent runs are forgotten")
	})
}

// A permit is for one try: retries take more, and they are of the same account.
func TestRetriesTakePermits(t *testing.T) {
	inSite(t, func(s *site) {
		call := wandb.Call{Op: "file stream", Run: "e/p/r", Project: "e/p"}
		require.NoError(t, s.Wait(s.Context(), upload.Request{Run: wandb.Path{Entity: "e", Project: "p", Run: "r"}, Kind: upload.Lines}))
		for range 30 {
			require.NoError(t, s.Permit(s.Context(), call))
			s.Learn(call, wandb.Outcome{RetryAfter: -1})
		}
		assert.InDelta(t, 27/1.5, time.Since(s.start).Seconds(), 1)
		assert.EqualValues(t, 30, s.s.Lanes()[0].Sent)
	})
}

// GraphQL has a lane of its own, in which runs that are nearly open go first.
func TestGraphQLIsBudgetedApart(t *testing.T) {
	inSite(t, func(s *site) {
		var mu sync.Mutex
		var opened []time.Duration
		var wg sync.WaitGroup
		for i := range 200 {
			wg.Go(func() {
				for _, op := range []string{"ServerFeaturesQuery", "RunResumeStatus", "UpsertBucket"} {
					c := wandb.Call{Op: op, Run: fmt.Sprintf("e/p/%d", i)}
					if op == "ServerFeaturesQuery" {
						c.Run = ""
					}
					assert.NoError(t, s.Permit(s.Context(), c))
					s.Learn(c, wandb.Outcome{Status: 200, RetryAfter: -1})
				}
				mu.Lock()
				defer mu.Unlock()
				opened = append(opened, time.Since(s.start))
			})
		}
		wg.Wait()
		assert.InDelta(t, 54, time.Since(s.start).Seconds(), 1, "600 less 60 at 10 a second")
		assert.Less(t, opened[100], 35*time.Second)
		require.Len(t, s.s.Lanes(), 1)
		assert.Equal(t, "me", s.s.Lanes()[0].Account)
	})
}

// Whatever is done at once, nobody waits for ever and no permit is lost.
func TestConcurrentSafe(t *testing.T) {
	s := New(Options{Rate: 1e5, GraphQLRate: 1e5, Notify: func(Notice) {}})
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(i), 1))
			g := s.For("h", "a")
			for range 200 {
				path := wandb.Path{Entity: "e", Project: fmt.Sprint(r.IntN(3)), Run: fmt.Sprint(r.IntN(8))}
				ctx, cancel := context.WithCancel(t.Context())
				if r.IntN(4) == 0 {
					cancel()
				} else if r.IntN(4) == 0 {
					go cancel()
				}
				kind := []upload.Kind{upload.Lines, upload.Heartbeat, upload.End, upload.Upsert}[r.IntN(4)]
				_ = g.Wait(ctx, upload.Request{Run: path, Kind: kind, Alive: r.IntN(2) == 0, Urgent: true})
				c := wandb.Call{Run: path.String()}
				if r.IntN(3) > 0 {
					c.Project = path.Entity + "/" + path.Project
				}
				if g.Permit(ctx, c) == nil {
					g.Learn(c, wandb.Outcome{Status: []int{0, 200, 503}[r.IntN(3)], RetryAfter: -1})
				}
				s.Lanes()
				cancel()
			}
		})
	}
	wg.Wait()
	for _, l := range s.Lanes() {
		assert.Zero(t, l.Waiting)
	}
	for _, l := range s.lanes {
		assert.Zero(t, l.flying)
		assert.Zero(t, l.heartbeats)
		assert.Empty(t, l.due.counts)
	}
}

func TestQueuesKeepTheirOrder(t *testing.T) {
	q := queue{less: byClass}
	var all []*waiter
	for i := range 1000 {
		w := &waiter{class: class(rand.IntN(4)), key: time.Unix(rand.Int64N(50), 0), number: uint64(i)}
		all = append(all, w)
		q.add(w)
	}
	for _, w := range all[:300] {
		q.remove(w)
	}
	rest := slices.Clone(all[300:])
	slices.SortFunc(rest, func(a, b *waiter) int {
		if byClass(a, b) {
			return -1
		}
		return 1
	})
	for _, want := range rest {
		require.Same(t, want, q.head())
		q.remove(want)
	}
}

// One run logs a row each second, nine are quiet and say so often, and W&B says
// nothing of limits: the rows are hardly kept waiting, since heartbeats take what
// rows leave.
func TestHeartbeatsLeaveRoomForRows(t *testing.T) {
	inSite(t, func(s *site) {
		ctx, cancel := context.WithTimeout(s.Context(), 20*time.Minute)
		defer cancel()
		var wg sync.WaitGroup
		for i := range 9 {
			wg.Go(func() {
				for {
					_ = s.send(ctx, fmt.Sprintf("idle%d", i), upload.Heartbeat, true)
					select {
					case <-time.After(10 * time.Second):
					case <-ctx.Done():
						return
					}
				}
			})
		}
		time.Sleep(5 * time.Minute) // those that nobody heard of go at once
		rows := time.NewTicker(1010 * time.Millisecond)
		defer rows.Stop()
		var waited time.Duration
		for range 600 {
			<-rows.C
			asked := time.Now()
			if s.send(ctx, "busy", upload.Lines, true) == nil {
				waited = max(waited, time.Since(asked))
			}
		}
		cancel()
		wg.Wait()
		t.Logf("a row waited for %s at most, beside %d heartbeats", waited, s.count("")-s.count("busy"))
		assert.Less(t, waited, 100*time.Millisecond)
		assert.Greater(t, s.count("idle0"), 4, "but they are heard of")
	})
}
