package bridged

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/otel-wandb/otel-wandb/bridge"
	"github.com/otel-wandb/otel-wandb/exporter/internal/engine"
)

// inside is the way to an engine in this process: all of the exporter that is
// there when the clock is not the world's.
type inside struct {
	mu     sync.Mutex
	engine *engine.Engine
	away   bool
	tries  int
}

func (s *inside) Export(ctx context.Context, request []byte) error {
	r := ptraceotlp.NewExportRequest()
	if err := r.UnmarshalProto(request); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tries++
	if s.away {
		return errors.New("connection refused")
	}
	return s.engine.Traces(ctx, r.Traces())
}

func (*inside) Shutdown(context.Context) error { return nil }

func (s *inside) tried() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tries
}

func (s *inside) set(away bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away = away
}

// A collector that is away for an hour, by a clock of the test's: the bridge with
// its files, and the exporter's engine with its own, are as they always are; time
// and what lies between the two are not.
func TestAnHourWithoutACollector(t *testing.T) {
	const minute, hour = 600, 36_000 // rows, ten a second
	for _, tt := range []struct {
		name  string
		down  bool // the collector; else it is up and hears nothing
		parts int
	}{
		{"it was down", true, 1},
		{"it was cut off, and gave the run up", false, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir, outbox := t.TempDir(), t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				s := &inside{}
				up := func() {
					s.engine = engine.New(engine.Config{Dir: dir})
					require.NoError(t, s.engine.Start())
					s.set(false)
				}
				down := func() { require.NoError(t, s.engine.Shutdown(context.Background())) }
				up()
				said := make(chan error, 100)
				b, err := bridge.New(bridge.WithSink(s), bridge.WithDir(outbox), bridge.WithProject("p"),
					bridge.WithTracerProvider(noop.NewTracerProvider()), bridge.WithErrorHandler(func(err error) { said <- err }))
				require.NoError(t, err)
				_, run, err := bridge.StartTask(b.Context(context.Background()), "train", bridge.WithRunID("hour"))
				require.NoError(t, err)
				n := 0
				rows := func(more int) {
					for range more {
						run.LogAttrs(attribute.Int("row", n))
						n++
						time.Sleep(100 * time.Millisecond)
					}
				}
				rows(2 * minute)
				s.set(true)
				if tt.down {
					down()
				}
				before := s.tried()
				rows(hour)
				assert.Less(t, s.tried()-before, 250, "it tries twice a minute, and more at the beginning")
				assert.Len(t, said, 1, "and says so once")
				if tt.down {
					up()
				}
				s.set(false)
				rows(minute)
				run.End(nil)
				require.NoError(t, b.Shutdown(context.Background()))
				time.Sleep(time.Minute)
				down()
				require.NotEmpty(t, said)
				assert.ErrorContains(t, <-said, "cannot be reached")
			})
			r := runsIn(t, dir)["hour"]
			wantRows(t, r, 0, 3*minute+hour)
			require.NotNil(t, r.Exit)
			assert.Zero(t, *r.Exit)
			assert.Len(t, r.Parts, tt.parts)
			for i, p := range r.Parts[:len(r.Parts)-1] {
				require.NotNil(t, p.Exit, "part %d", i)
				assert.EqualValues(t, 254, *p.Exit, "part %d", i)
			}
		})
	}
}
