package bridged

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/otel-wandb/otel-wandb/bridge"
	"github.com/otel-wandb/otel-wandb/exporter/internal/engine"
	"github.com/otel-wandb/otel-wandb/exporter/internal/runview"
)

// Cases of acceptance that bridge and exporter only show together: what ends a
// run is said by the one and decided by the other.

// world is an engine, and programs that send to it, by a clock of the test's.
type world struct {
	t   *testing.T
	dir string
	to  *inside
}

func newWorld(t *testing.T, dir string) *world {
	t.Helper()
	w := &world{t: t, dir: dir, to: &inside{engine: engine.New(engine.Config{Dir: dir})}}
	require.NoError(t, w.to.engine.Start())
	return w
}

// program is a bridge of its own, as another process has it.
func (w *world) program(opts ...bridge.SetupOption) (ctx context.Context, end func()) {
	w.t.Helper()
	tp := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(bridge.NewSpanProcessor()))
	b, err := bridge.New(append([]bridge.SetupOption{
		bridge.WithSink(w.to), bridge.WithDir(""), bridge.WithProject("p"), bridge.WithTracerProvider(tp),
		bridge.WithErrorHandler(func(err error) { assert.NoError(w.t, err) }),
	}, opts...)...)
	require.NoError(w.t, err)
	return b.Context(context.Background()), func() { assert.NoError(w.t, b.Shutdown(context.Background())) }
}

// exit is how the run ended, as far as it is in the log half a minute later: what
// lingers does so for 5 s.
func (w *world) exit(run string) (code *int32, r *runview.Run) {
	w.t.Helper()
	time.Sleep(30 * time.Second)
	r = runsIn(w.t, w.dir)[run]
	require.NotNil(w.t, r, "no run %s", run)
	return r.Exit, r
}

func (w *world) end() { assert.NoError(w.t, w.to.engine.Shutdown(context.Background())) }

// A2: an owner ends its run. A child that shares it does not, in this process or
// in another, whatever becomes of it; what it logged is there when its process
// has ended.
func TestA2_OnlyTheOwnerEndsTheRun(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, dir)
		defer w.end()
		ctx, end := w.program()
		ctx, parent, err := bridge.StartTask(ctx, "parent", bridge.WithRunID("r"))
		require.NoError(t, err)
		bad := errors.New("the child's trouble")

		_, near, err := bridge.StartTask(ctx, "near", bridge.WithMode(bridge.ModeShared))
		require.NoError(t, err)
		near.LogAttrs(attribute.Int("near", 1))
		near.End(&bad)
		code, r := w.exit("r")
		assert.Nil(t, code, "a child in the same process")
		assert.Len(t, r.Rows, 1)

		carried := map[string]string{}
		bridge.Inject(ctx, carried)
		other, endOther := w.program()
		_, far, err := bridge.StartTask(bridge.Extract(other, carried), "far", bridge.WithMode(bridge.ModeShared))
		require.NoError(t, err)
		far.LogAttrs(attribute.Int("far", 1))
		far.End(&bad)
		endOther()
		code, r = w.exit("r")
		assert.Nil(t, code, "a child in another process")
		assert.Len(t, r.Rows, 2, "it flushed")

		parent.End(nil)
		end()
		code, r = w.exit("r")
		require.NotNil(t, code)
		assert.Zero(t, *code, "a child's failure is not the run's")
		assert.Len(t, r.Parts, 1)
	})
}

// A7: of ranks that share a run, rank 0 alone ends it; with worker scope local
// rank 0 of each node, its node's.
func TestA7_WhoEndsARunOfRanks(t *testing.T) {
	for _, tt := range []struct {
		scope bridge.RankScope
		id    func(rank int) string
		last  []int // that end their runs
	}{
		{bridge.RankScopeGlobal, func(int) string { return "ours" }, []int{0}},
		{bridge.RankScopeWorker, func(rank int) string { return fmt.Sprint("ours-", rank/2) }, []int{0, 2}},
	} {
		t.Run(string(tt.scope), func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, dir)
				defer w.end()
				ranks := map[int]*bridge.Run{}
				var ends []func()
				for i := range 4 {
					ctx, end := w.program(bridge.WithDistributed(bridge.Distributed{
						Rank: i, LocalRank: i % 2, WorldSize: 4, LocalWorldSize: 2, Worker: i / 2,
					}), bridge.WithRankScope(tt.scope))
					ends = append(ends, end)
					_, run, err := bridge.StartTask(ctx, "train", bridge.WithMode(bridge.ModeShared), bridge.WithRunID(tt.id(i)))
					require.NoError(t, err)
					run.LogAttrs(attribute.Int("rank", i))
					ranks[i] = run
				}
				bad := errors.New("another rank's trouble")
				for i := range 4 {
					if len(tt.last) == 1 && i != 0 || i%2 != 0 {
						ranks[i].End(&bad)
					}
				}
				for _, i := range tt.last {
					code, _ := w.exit(tt.id(i))
					assert.Nil(t, code, "the others have ended, rank %d has not", i)
				}
				for _, i := range tt.last {
					ranks[i].End(nil)
					code, r := w.exit(tt.id(i))
					if assert.NotNil(t, code, "rank %d has ended", i) {
						assert.Zero(t, *code, "the rank that ends it speaks")
					}
					assert.Len(t, r.Rows, 4/len(tt.last))
				}
				for _, end := range ends {
					end()
				}
			})
		})
	}
}
