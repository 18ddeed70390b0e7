package wandbexporter

import (
	"context"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/confighttp"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/exporter/exporterhelper"
	"go.uber.org/zap"
)

// Type is the component's type, as configurations name it.
var Type = component.MustNewType("wandb")

// NewFactory returns the factory of the component "wandb".
func NewFactory() exporter.Factory {
	return exporter.NewFactory(Type, createDefaultConfig,
		exporter.WithTraces(createTraces, component.StabilityLevelAlpha),
		exporter.WithLogs(createLogs, component.StabilityLevelAlpha),
		exporter.WithMetrics(createMetrics, component.StabilityLevelAlpha),
	)
}

func createDefaultConfig() component.Config {
	return &Config{
		Dir:            ".",
		Host:           "https://api.wandb.ai",
		Project:        "uncategorized", // as W&B's own client has it
		ClientIdentity: []string{"subject", "username"},
		Mode:           modeOffline,
		Upload:         Upload{HTTP: confighttp.NewDefaultClientConfig()},
		Rootless:       open,
		Placement: Placement{
			By: ancestors, UnknownParent: wait,
			Settle: time.Minute, Retention: 24 * time.Hour,
			Links: time.Hour, MaxLinks: 1_000_000, MaxWaitingMiB: 1024,
		},
		Finish:         Finish{Linger: 5 * time.Second, RowsTimeout: time.Minute},
		Run:            Run{AbandonAfter: 3 * time.Minute, IdleTimeout: 24 * time.Hour},
		Fsync:          never,
		FsyncInterval:  time.Second,
		LatestRun:      true,
		MaxInFlightMiB: 64,
	}
}

func createTraces(ctx context.Context, set exporter.Settings, cfg component.Config) (exporter.Traces, error) {
	m := &member{sharedFor(set, cfg.(*Config))}
	return exporterhelper.NewTraces(ctx, quiet(set), cfg, m.consumeTraces, options(m)...)
}

func createLogs(ctx context.Context, set exporter.Settings, cfg component.Config) (exporter.Logs, error) {
	m := &member{sharedFor(set, cfg.(*Config))}
	return exporterhelper.NewLogs(ctx, quiet(set), cfg, m.consumeLogs, options(m)...)
}

func createMetrics(ctx context.Context, set exporter.Settings, cfg component.Config) (exporter.Metrics, error) {
	m := &member{sharedFor(set, cfg.(*Config))}
	return exporterhelper.NewMetrics(ctx, quiet(set), cfg, m.consumeMetrics, options(m)...)
}

// options leave out queue and retry, on purpose: a queue says "taken" before
// anything is on disk, and the run's log is the queue. What cannot be taken goes
// back to the sender, which keeps it.
func options(m *member) []exporterhelper.Option {
	return []exporterhelper.Option{
		exporterhelper.WithStart(m.start),
		exporterhelper.WithShutdown(m.shutdown),
		// A request takes as long as the disk does: given up halfway, it would be
		// sent again while it is still being written.
		exporterhelper.WithTimeout(exporterhelper.TimeoutConfig{Timeout: 0}),
		exporterhelper.WithCapabilities(consumer.Capabilities{MutatesData: false}),
	}
}

// quiet keeps the helper from logging each request that goes back as "rejecting
// data": it is not lost, and the exporter says itself, once, why it went back.
func quiet(set exporter.Settings) exporter.Settings {
	set.Logger = zap.NewNop()
	return set
}
