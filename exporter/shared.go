package wandbexporter

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/otel-wandb/otel-wandb/exporter/internal/engine"
	"github.com/otel-wandb/otel-wandb/exporter/internal/online"
)

// shared is the one engine of a component id: the Collector makes an exporter
// for each signal, and two writers of one run would overwrite each other.
//
//	member (traces)  ─┐ started: counts        ┌─ the first starts the engine
//	member (logs)    ─┼──────────► shared ─────┤
//	member (metrics) ─┘                        └─ the last to leave shuts it down
//
// ConcurrentSafe: a lock guards its state; requests run beside it, in the engine.
type shared struct {
	key    sharedKey
	set    exporter.Settings
	cfg    *Config
	health *health
	keys   atomic.Pointer[online.Clients] // that clients bring; nil while nothing is uploaded

	mu      sync.Mutex       // guards everything below
	started map[*member]bool // those that use the engine
	engine  *engine.Engine   // nil while nobody does
	metrics *metrics
}

// sharedKey is a component id of one collector: the configuration's pointer
// tells collectors in one process apart.
type sharedKey struct {
	id  component.ID
	cfg *Config
}

var engines = struct {
	sync.Mutex
	by map[sharedKey]*shared
}{by: map[sharedKey]*shared{}}

func sharedFor(set exporter.Settings, cfg *Config) *shared {
	engines.Lock()
	defer engines.Unlock()
	key := sharedKey{set.ID, cfg}
	s := engines.by[key]
	if s == nil {
		s = &shared{key: key, set: set, cfg: cfg, health: newHealth(set.Logger), started: map[*member]bool{}}
		engines.by[key] = s
	}
	return s
}

// member is one signal's exporter.
type member struct{ *shared }

func (m *member) start(ctx context.Context, host component.Host) error {
	s := m.shared
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.engine == nil {
		if err := s.open(ctx, host); err != nil {
			return err
		}
	}
	s.started[m] = true
	s.health.add(m, host)
	return nil
}

// open starts the engine.
func (s *shared) open(ctx context.Context, host component.Host) (err error) {
	cfg := s.cfg.engineConfig(s.set.BuildInfo.Version)
	cfg.Logger = s.set.Logger
	if cfg.Online, err = s.online(ctx, host); err != nil {
		return err
	}
	e := engine.New(cfg)
	if err := e.Start(); err != nil {
		if cfg.Online != nil {
			cfg.Online.Shutdown(ctx)
		}
		return err
	}
	m, err := newMetrics(s.set.MeterProvider, s.set.ID, e, cfg.Online)
	if err != nil {
		return errors.Join(err, e.Shutdown(context.Background()))
	}
	s.engine, s.metrics = e, m
	return nil
}

// shutdown ends the engine with its last user. The Collector calls it for an
// exporter that was never started, too.
func (m *member) shutdown(ctx context.Context) error {
	s := m.shared
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.started, m)
	s.health.remove(m)
	if len(s.started) > 0 {
		return nil
	}
	s.forget()
	if s.engine == nil {
		return nil
	}
	err := errors.Join(s.metrics.stop(), s.engine.Shutdown(ctx))
	s.engine, s.metrics = nil, nil
	return err
}

func (s *shared) forget() {
	engines.Lock()
	defer engines.Unlock()
	if engines.by[s.key] == s { // not another's, made since
		delete(engines.by, s.key)
	}
}

var errNotStarted = errors.New("wandb exporter: not started")

// running is the engine, for an exporter that was started.
func (m *member) running() (*engine.Engine, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.started[m] {
		return nil, errNotStarted
	}
	return m.engine, nil
}

func (m *member) consumeTraces(ctx context.Context, td ptrace.Traces) error {
	e, err := m.running()
	if err != nil {
		return err
	}
	return m.report(e.Traces(m.identified(ctx), td))
}

func (m *member) consumeLogs(ctx context.Context, ld plog.Logs) error {
	e, err := m.running()
	if err != nil {
		return err
	}
	return m.report(e.Logs(m.identified(ctx), ld))
}

func (m *member) consumeMetrics(ctx context.Context, md pmetric.Metrics) error {
	e, err := m.running()
	if err != nil {
		return err
	}
	return m.report(e.Metrics(m.identified(ctx), md))
}

// report tells the Collector, and its log, when requests begin to fail, and
// when they are taken again. Being busy is no failure: senders pace themselves
// by it.
func (s *shared) report(err error) error {
	if errors.Is(err, engine.ErrBusy) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	s.health.requests(err)
	return err
}
