package pace

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-wandb/otel-wandb/internal/wandbtest"
)

// 500 runs at once, over a server that takes three file stream requests a second
// and says so: all progress, none is called crashed, nothing is refused.
func TestFiveHundredRuns(t *testing.T) {
	for name, limit := range map[string]wandbtest.Limit{
		"3 a second":   {Requests: 3, Window: time.Second},
		"180 a minute": {Requests: 180, Window: time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			if testing.Short() && limit.Window > time.Second {
				t.Skip("long")
			}
			newFleet(t, 500, wandbtest.Options{StreamLimit: limit}, func(f *fleet) {
				start := time.Now()
				for minute := range 15 { // 50 runs log each minute, 450 rarely
					for i, r := range f.runs {
						if i%10 == 0 || minute%7 == i%7 {
							r.row()
						}
					}
					time.Sleep(time.Minute)
				}
				byRun, all, refused := f.streamed()
				assert.Len(t, byRun, 500)
				worst, first := time.Duration(0), time.Duration(0)
				for _, times := range byRun {
					worst = max(worst, longest(times), time.Since(times[len(times)-1]))
					first = max(first, times[0].Sub(start))
				}
				assert.LessOrEqual(t, worst, hear+10*time.Second)
				assert.Equal(t, 0, refused)
				rate := float64(len(all)) / time.Since(start).Seconds()
				assert.LessOrEqual(t, rate, 2.7, "90 % of the allowance")
				t.Logf("first rows within %s, longest silence %s, %.2f requests a second, at most %d a second and %d a minute, %d refused",
					first, worst, rate, most(all, time.Second), most(all, time.Minute), refused)
				for _, r := range f.runs {
					r.exit()
				}
				f.wg.Wait()
				f.whole("finished", 0)
			})
		})
	}
}

func TestABusyRunAlone(t *testing.T) {
	for runs, want := range map[int]time.Duration{1: time.Second, 10: 7 * time.Second} {
		newFleet(t, runs, wandbtest.Options{}, func(f *fleet) {
			for range 600 {
				for _, r := range f.runs {
					r.row()
				}
				time.Sleep(time.Second)
			}
			byRun, all, _ := f.streamed()
			for _, r := range f.runs {
				r.exit()
			}
			ended := time.Now()
			f.wg.Wait()
			for id, times := range byRun {
				assert.LessOrEqual(t, longest(times), want+time.Second, id)
				assert.InDelta(t, 600/want.Seconds(), len(times), 8, "%d runs: %s", runs, id)
			}
			assert.Less(t, time.Since(ended), 15*time.Second, "ends go before rows")
			t.Logf("%d runs: %d requests in 10 minutes, ended within %s", runs, len(all), time.Since(ended))
			f.whole("finished", 0)
		})
	}
}

// A week without W&B: what was logged meanwhile arrives once, in order.
func TestOutage(t *testing.T) {
	days, runs := 7, 100
	if testing.Short() {
		days, runs = 1, 20
	}
	newFleet(t, runs, wandbtest.Options{StreamLimit: wandbtest.Limit{Requests: 180, Window: time.Minute}}, func(f *fleet) {
		time.Sleep(10 * time.Minute)
		f.set(true)
		for range days * 24 {
			for _, r := range f.runs {
				r.row()
			}
			time.Sleep(time.Hour)
		}
		f.set(false)
		back := time.Now()
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		f.whole("running", 1)
		_, all, refused := f.streamed()
		after := 0
		for _, at := range all {
			if at.After(back) {
				after++
			}
		}
		assert.Equal(t, 0, refused)
		t.Logf("%d runs, %d days: %d tries while it was down, %d requests in the five minutes after it, %d refused",
			runs, days, f.tries, after, refused)
		for _, r := range f.runs {
			r.exit()
		}
		f.wg.Wait()
		f.whole("finished", 1)
	})
}

func (f *fleet) set(down bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = down
}

// Throttling is told once, with what throttles, and its end once.
func TestThrottlingIsTold(t *testing.T) {
	newFleet(t, 60, wandbtest.Options{}, func(f *fleet) {
		for range 300 {
			for _, r := range f.runs {
				r.row()
			}
			time.Sleep(time.Second)
		}
		time.Sleep(5 * time.Minute)
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, n := range f.notices {
			t.Log(n.Text)
		}
		require.Len(t, f.notices, 2)
		assert.Contains(t, f.notices[0].Text, "project standin-team/p at http://wandb.standin is throttled: ")
		assert.Contains(t, f.notices[0].Text, "1.5 a second may go while W&B does not say what it allows")
		assert.NotEmpty(t, f.notices[0].Lane.ThrottledBy)
		assert.True(t, f.notices[1].Over)
		assert.Contains(t, f.notices[1].Text, "is throttled no more, after ")
	})
}
