package wandbexporter

import (
	"context"
	"errors"
	"sync"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/otel-wandb/otel-wandb/exporter/internal/engine"
)

// shared is the one engine of a component id: the Collector makes an exporter
// for each signal, and two writers of one run would overwrite each other.
type shared struct {
	key sharedKey
	set exporter.Settings
	cfg *Config

	mu      sync.Mutex // guards everything below
	users   int        // exporters that have started and not shut down
	engine  *engine.Engine
	metrics *metrics
	hosts   []component.Host
	failing bool // what was last reported
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
		s = &shared{key: key, set: set, cfg: cfg}
		engines.by[key] = s
	}
	return s
}

func (s *shared) start(_ context.Context, host component.Host) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hosts = append(s.hosts, host)
	if s.users++; s.users > 1 {
		return nil
	}
	cfg := s.cfg.engineConfig(s.set.BuildInfo.Version)
	cfg.Logger = s.set.Logger
	e := engine.New(cfg)
	if err := e.Start(); err != nil {
		s.users--
		return err
	}
	m, err := newMetrics(s.set.MeterProvider, e)
	if err != nil {
		s.users--
		return errors.Join(err, e.Shutdown(context.Background()))
	}
	s.engine, s.metrics = e, m
	return nil
}

// shutdown ends the engine with its last user. The Collector calls it for an
// exporter that was never started, too.
func (s *shared) shutdown(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users == 0 {
		s.forget()
		return nil
	}
	if s.users--; s.users > 0 {
		return nil
	}
	s.forget()
	err := errors.Join(s.metrics.stop(), s.engine.Shutdown(ctx))
	s.engine, s.hosts = nil, nil
	return err
}

func (s *shared) forget() {
	engines.Lock()
	defer engines.Unlock()
	delete(engines.by, s.key)
}

func (s *shared) running() *engine.Engine {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.engine
}

var errNotStarted = errors.New("wandb exporter: not started")

func (s *shared) consumeTraces(ctx context.Context, td ptrace.Traces) error {
	e := s.running()
	if e == nil {
		return errNotStarted
	}
	return s.report(e.Traces(ctx, td))
}

func (s *shared) consumeLogs(ctx context.Context, ld plog.Logs) error {
	e := s.running()
	if e == nil {
		return errNotStarted
	}
	return s.report(e.Logs(ctx, ld))
}

// report tells the Collector when requests begin to fail, and when they are
// taken again. Being busy is no failure: senders pace themselves by it.
func (s *shared) report(err error) error {
	if errors.Is(err, engine.ErrBusy) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if failing := err != nil; failing != s.failing {
		s.failing = failing
		event := componentstatus.NewEvent(componentstatus.StatusOK)
		if failing {
			event = componentstatus.NewRecoverableErrorEvent(err)
		}
		for _, host := range s.hosts {
			componentstatus.ReportStatus(host, event)
		}
	}
	return err
}
