package online

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-wandb/otel-wandb/exporter/internal/pace"
	"github.com/otel-wandb/otel-wandb/exporter/internal/upload"
	"github.com/otel-wandb/otel-wandb/internal/runid"
	"github.com/otel-wandb/otel-wandb/internal/wandb"
	"github.com/otel-wandb/otel-wandb/internal/wandbtest"
)

const wrongKey = "local-1111111111111111111111111111111111111111"

// byClients has clients bring their keys.
func (f *fixture) byClients() *Clients {
	return &Clients{Trusted: f.url, ByClient: true, Pace: pace.New(pace.Options{Rate: 1000, GraphQLRate: 1000})}
}

// A client whose key W&B refuses brings another: its runs go on, and nobody else's.
func TestAnotherKey(t *testing.T) {
	f := newFixture(t)
	ways := f.byClients()
	o := f.online(func(c *Config) { c.Way = ways.Way })
	o.retryLock = time.Hour
	ways.Changed = o.KeyChanged
	for _, who := range []string{"ada", "bob"} {
		ways.Learn(who, wrongKey)
		f.end(f.begin(who, 3), 9)
		o.Follow(f.key(who), who, f.folder, f.logs(who)).Ended()
	}
	f.end(f.begin("late", 2), 9)
	o.Follow(f.key("late"), "eve", f.folder, f.logs("late")).Ended()
	stopped := func(n int64) {
		t.Helper()
		require.Eventually(t, func() bool { return o.Gauges().Phases[upload.Stopped] == n }, patience, time.Millisecond)
	}
	stopped(2)
	ways.Learn("ada", wrongKey) // the same is no news
	stopped(2)
	ways.Learn("ada", wandbtest.Key)
	f.whole("ada", 3)
	stopped(1)
	ways.Learn("eve", wandbtest.Key)
	f.whole("late", 2)
	o.Shutdown(t.Context())
	_, there := f.server.Run("", "p", "bob")
	assert.False(t, there)
}

// The other key comes while W&B is asked with the one before.
func TestAnotherKeyInBetween(t *testing.T) {
	f := newFixture(t)
	ways := f.byClients()
	ways.Learn("ada", wrongKey)
	var once sync.Once
	o := f.online(func(c *Config) {
		c.Way = func(key runid.Coordinates, client string) (*wandb.Client, upload.Pacer, error) {
			w, p, err := ways.Way(key, client)
			once.Do(func() { ways.Learn("ada", wandbtest.Key) })
			return w, p, err
		}
	})
	ways.Changed = o.KeyChanged
	f.end(f.begin("r", 3), 9)
	o.Follow(f.key("r"), "ada", f.folder, f.logs("r")).Ended()
	f.whole("r", 3)
	o.Shutdown(t.Context())
}

// Keys are kept of so many clients: who was heard of longest ago is forgotten, and
// what was made with its key.
func TestKeysAreBounded(t *testing.T) {
	ways := &Clients{Trusted: "https://a.example", ByClient: true, Pace: pace.New(pace.Options{})}
	changed := 0
	ways.Changed = func(string) { changed++ }
	way := func(client string) error {
		_, _, err := ways.Way(runid.Coordinates{Host: ways.Trusted}, client)
		return err
	}
	require.ErrorIs(t, way("0"), ErrNoKeyYet)
	for i := range maxClients {
		ways.Learn(fmt.Sprint(i), wandbtest.Key)
	}
	require.NoError(t, way("0"))
	require.NoError(t, way("1"))
	ways.Learn("0", wandbtest.Key)
	ways.Learn("2", "no key")
	assert.Equal(t, maxClients, changed)
	ways.Learn("one more", wandbtest.Key)
	ways.Learn("another", wandbtest.Key)
	assert.Equal(t, maxClients, ways.keys.Len())
	require.NoError(t, way("0"), "it was heard of since")
	require.NoError(t, way("1"), "it was used since")
	require.ErrorIs(t, way("2"), ErrNoKeyYet)
	require.ErrorIs(t, way("3"), ErrNoKeyYet)
	assert.Empty(t, ways.made)
}

// A run that W&B refused is the exporter's trouble while its log goes on, and for a
// while after; that it stopped stays to be seen.
func TestARefusalIsOldNews(t *testing.T) {
	f := newFixture(t)
	f.server.Script("UpsertBucket", wandbtest.Fault{Status: 404})
	var later atomic.Int64
	heard := make(chan error, 9)
	o := f.online(func(c *Config) {
		c.now = func() time.Time { return time.Unix(later.Load(), 0) }
		c.Health = func(err error) { heard <- err }
	})
	next := func() error {
		t.Helper()
		select {
		case err := <-heard:
			return err
		case <-time.After(patience):
			require.Fail(t, "nothing is heard")
			return nil
		}
	}
	part := f.begin("bad", 3)
	s := o.Follow(f.key("bad"), "", f.folder, f.logs("bad"))
	require.ErrorIs(t, next(), wandb.ErrNotFound)
	trouble := func() error { o.mu.Lock(); defer o.mu.Unlock(); return s.trouble() }
	later.Store(int64((refusedFor + time.Hour) / time.Second))
	require.Error(t, trouble(), "its log goes on")
	f.end(part, 9)
	s.Ended()
	require.NoError(t, next())
	assert.Equal(t, int64(1), o.Gauges().Phases[upload.Stopped])

	f.server.Script("UpsertBucket", wandbtest.Fault{Status: 404})
	f.end(f.begin("another", 3), 9)
	o.Follow(f.key("another"), "", f.folder, f.logs("another")).Ended()
	require.Error(t, next(), "it ended, and was refused just now")
	later.Add(int64(refusedFor/time.Second) + 1)
	require.NoError(t, next())
	o.Shutdown(t.Context())
	select {
	case err := <-heard:
		assert.Fail(t, "shutting down is no news", "%v", err)
	default:
	}
}
