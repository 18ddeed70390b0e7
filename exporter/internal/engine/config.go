package engine

import (
	"time"

	"go.uber.org/zap"

	"github.com/otel-wandb/otel-wandb/exporter/internal/intake"
	"github.com/otel-wandb/otel-wandb/exporter/internal/online"
	"github.com/otel-wandb/otel-wandb/exporter/internal/placement"
	"github.com/otel-wandb/otel-wandb/exporter/internal/run"
	"github.com/otel-wandb/otel-wandb/exporter/internal/runlog"
)

// Config is all that an engine needs to know. Dir is required; the zero value
// of the rest is filled by New.
type Config struct {
	Dir       string // runs go to Dir/wandb
	Placement placement.Config
	Run       run.Config
	Intake    intake.Options

	Shards          int   // goroutines that own runs
	MaxInFlight     int64 // bytes of requests under way; beyond, ErrBusy
	MaxWaitingBytes int64 // of the journal that waits
	LatestRun       bool  // keep the link wandb/latest-run
	Sync            runlog.SyncPolicy
	SyncInterval    time.Duration
	// FinishOnShutdown ends runs whose owners have ended without lingering:
	// a program that stops will send no more.
	FinishOnShutdown bool

	// Online uploads the runs; nil: they stay offline. The engine shuts it down.
	Online *online.Online

	Logger *zap.Logger
	// Now is the clock. Tests bring their own and call Tick themselves.
	Now func() time.Time
	// Manual stops the engine from calling Tick by itself.
	Manual bool
	// Observe is told of each unit that was placed, for tests and tools.
	Observe func(s *placement.Subject, d *placement.Decision, rule placement.Rule)
}

func (c *Config) fill() {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&c.Placement.Settle, time.Minute)
	def(&c.Placement.Retention, 24*time.Hour)
	def(&c.Placement.Links, time.Hour)
	if c.Placement.MaxLinks == 0 {
		c.Placement.MaxLinks = 1_000_000
	}
	if c.Placement.MaxWaiting == 0 {
		c.Placement.MaxWaiting = 1_000_000
	}
	def(&c.Run.Linger, 5*time.Second)
	def(&c.Run.RowsTimeout, time.Minute)
	def(&c.Run.AbandonAfter, 3*time.Minute)
	def(&c.Run.IdleTimeout, 24*time.Hour)
	if c.Run.Version == "" {
		c.Run.Version = "0.0.0"
	}
	def(&c.SyncInterval, time.Second)
	if c.Shards == 0 {
		c.Shards = 4
	}
	if c.MaxInFlight == 0 {
		c.MaxInFlight = 64 << 20
	}
	if c.MaxWaitingBytes == 0 {
		c.MaxWaitingBytes = 1 << 30
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
}
