package pace

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/otel-wandb/otel-wandb/internal/wandbtest"
)

// 216·A runs are heard of every four minutes at an allowance of A requests a
// second, and far more than that before one of them is called crashed. The
// figures in docs/operations.md.
func TestTheCeiling(t *testing.T) {
	for _, tt := range []struct {
		perA int
		most time.Duration // between requests of a run
	}{
		{100, 200 * time.Second}, {180, 200 * time.Second}, {216, 240 * time.Second}, {260, 290 * time.Second},
	} {
		t.Run(fmt.Sprintf("%d·A", tt.perA), func(t *testing.T) {
			if testing.Short() {
				t.Skip("long")
			}
			const a = 1 // request a second
			newFleet(t, tt.perA*a, wandbtest.Options{StreamLimit: wandbtest.Limit{Requests: 60 * a, Window: time.Minute}}, func(f *fleet) {
				for _, r := range f.runs {
					r.row()
				}
				time.Sleep(15 * time.Minute)
				from := time.Now()
				time.Sleep(15 * time.Minute)
				byRun, _, refused := f.streamed()
				worst, requests := time.Duration(0), 0
				for _, times := range byRun {
					for i := 1; i < len(times); i++ {
						if times[i].After(from) {
							worst = max(worst, times[i].Sub(times[i-1]))
							requests++
						}
					}
				}
				assert.LessOrEqual(t, worst, tt.most+5*time.Second)
				assert.Zero(t, refused)
				for _, r := range f.server.Runs() {
					assert.Equal(t, "running", r.State)
					assert.Zero(t, r.Crashes)
				}
				t.Logf("longest silence %s, %.2f requests a second", worst.Round(time.Second), float64(requests)/900)
			})
		})
	}
}
