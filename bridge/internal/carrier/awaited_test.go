package carrier

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A program that ends while the collector is away waits some seconds. One that
// comes back within them is noticed, however long it had been away.
func TestWhoWaitsNoticesThatTheCollectorIsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &collector{}
		back := time.Now().Add(time.Hour)
		c.answer = func(int) error {
			if time.Now().Before(back) {
				return errors.New("away")
			}
			return nil
		}
		p, _ := open(t, Config{Sink: c})
		s := p.Open(owner)
		require.NoError(t, s.Start(nil))
		time.Sleep(time.Until(back) - 8*time.Second)
		began := time.Now()
		code := int64(0)
		require.NoError(t, s.End(time.Now(), &code, nil))
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		tried := c.tried()
		require.NoError(t, p.Shutdown(ctx))
		assert.Less(t, time.Since(began), 10*time.Second)
		assert.Less(t, c.tried()-tried, 25, "it does not hammer")
		wantSeqs(t, c.events())
	})
}
