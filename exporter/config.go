package wandbexporter

import (
	"errors"
	"fmt"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/collector/config/configopaque"
	"go.opentelemetry.io/collector/confmap"

	"github.com/otel-wandb/otel-wandb/exporter/internal/engine"
	"github.com/otel-wandb/otel-wandb/exporter/internal/intake"
	"github.com/otel-wandb/otel-wandb/exporter/internal/placement"
	"github.com/otel-wandb/otel-wandb/exporter/internal/run"
	"github.com/otel-wandb/otel-wandb/exporter/internal/runlog"
	"github.com/otel-wandb/otel-wandb/internal/runid"
	"github.com/otel-wandb/otel-wandb/internal/semconv"
)

// Config is the configuration of the component "wandb". README.md has each key's
// default, and so has what [NewFactory]'s CreateDefaultConfig returns: begin with
// that, its zero value is not valid. Most people set `project`, or nothing.
type Config struct {
	// Dir is where runs are written: <dir>/wandb/[offline-]run-…. A local disk.
	Dir string `mapstructure:"dir"`

	// Host, Entity and Project are where a run belongs that nothing nearer says.
	Host    string `mapstructure:"host"`
	Entity  string `mapstructure:"entity"`
	Project string `mapstructure:"project"`
	// AllowedHosts are W&B servers besides Host that telemetry may name with
	// wandb.host. Others are refused.
	AllowedHosts []string `mapstructure:"allowed_hosts"`
	// AllowedEntities and AllowedProjects are the only ones that telemetry may
	// name, besides Entity and Project; * stands for any text. Empty allows all.
	AllowedEntities []string `mapstructure:"allowed_entities"`
	AllowedProjects []string `mapstructure:"allowed_projects"`

	// ClientIdentity names attributes of an authenticated client, as the
	// receiver's authenticator gives them; the first that there is says who it is.
	// A run is written by the client that opened it, and by no other.
	ClientIdentity []string `mapstructure:"client_identity"`

	// ClientAPIKey names the metadata (the header) of requests in which clients
	// bring a W&B key of their own, for `host`: the runs that they open are
	// uploaded with it. The receiver needs `include_metadata: true`. Without an
	// authenticator the key is the client's identity too.
	ClientAPIKey string `mapstructure:"client_api_key"`

	// Mode is "offline": runs are written to disk, for `otel-wandb sync` or
	// `wandb sync`; or "online": they go to W&B as well, while they run.
	Mode string `mapstructure:"mode"`
	// APIKey of Host, or IdentityTokenFile. Without both the environment
	// (WANDB_API_KEY) and netrc are asked.
	APIKey            configopaque.String `mapstructure:"api_key"`
	IdentityTokenFile string              `mapstructure:"identity_token_file"`
	// Credentials for other hosts and entities.
	Credentials []Credential `mapstructure:"credentials"`
	Upload      Upload       `mapstructure:"upload"`

	// Rootless says what a root span without a run mode is that carries wandb
	// events: "open" counts it as mode auto, "off" leaves it out.
	Rootless string `mapstructure:"rootless"`
	// Tasks make tasks of spans that carry no run mode themselves.
	Tasks []TaskRule `mapstructure:"tasks"`
	// MetricEvents are names of further span events that are history rows.
	MetricEvents []string `mapstructure:"metric_events"`

	Placement Placement `mapstructure:"placement"`
	Finish    Finish    `mapstructure:"finish"`
	Run       Run       `mapstructure:"run"`

	// Fsync says when what was written is forced to the disk: "never", at each
	// "interval", or "always" before a request is answered. A killed collector
	// loses nothing with any of them; a machine without power may.
	Fsync string `mapstructure:"fsync"`
	// FsyncInterval is how often, with "interval".
	FsyncInterval time.Duration `mapstructure:"fsync_interval"`
	// LatestRun keeps the link wandb/latest-run to the newest run. Turn it off
	// where many runs start each second.
	LatestRun bool `mapstructure:"latest_run"`

	// MaxInFlightMiB bounds the requests under way, in memory. Beyond it senders
	// are told to try again.
	MaxInFlightMiB int64 `mapstructure:"max_in_flight_mib"`
	// Shards is how many goroutines own runs; 0 is one a processor.
	Shards int `mapstructure:"shards"`

	// prevent unkeyed literal initialization
	_ struct{}
}

// TaskRule makes tasks of the spans it matches. In the names, * stands for any
// text; an empty name matches all.
type TaskRule struct {
	SpanName  string `mapstructure:"span_name"`
	ScopeName string `mapstructure:"scope_name"`
	Mode      string `mapstructure:"mode"`

	_ struct{}
}

// Placement says how spans without a stamp find their run.
type Placement struct {
	// By is "ancestors", or "stamped_only" where all telemetry is stamped: then
	// nothing waits and nothing is remembered of other spans.
	By string `mapstructure:"by"`
	// UnknownParent is "wait", or "open": a task under a parent that has not
	// come opens a run at once.
	UnknownParent string `mapstructure:"unknown_parent"`
	// Settle is how long after its trace's root a span waits for ancestors.
	Settle time.Duration `mapstructure:"settle"`
	// Retention is how long anything waits at all.
	Retention time.Duration `mapstructure:"retention"`
	// Links is how long a trace that holds nothing for W&B is remembered.
	Links time.Duration `mapstructure:"links"`
	// MaxLinks is how many spans are remembered, at most.
	MaxLinks int `mapstructure:"max_links"`
	// MaxWaitingMiB bounds the size on disk of what waits.
	MaxWaitingMiB int64 `mapstructure:"max_waiting_mib"`

	_ struct{}
}

// Finish says when a run ends whose owners have.
type Finish struct {
	// Linger is how long a run stays open for late spans and rows.
	Linger time.Duration `mapstructure:"linger"`
	// RowsTimeout is how long rows may still come that an end event counted.
	RowsTimeout time.Duration `mapstructure:"rows_timeout"`

	_ struct{}
}

// Run says when a run is given up that nothing comes for.
type Run struct {
	// AbandonAfter holds for runs with heartbeats, IdleTimeout for those without.
	AbandonAfter time.Duration `mapstructure:"abandon_after"`
	IdleTimeout  time.Duration `mapstructure:"idle_timeout"`

	_ struct{}
}

// Values of the keys that are words.
const (
	open        = "open"
	off         = "off"
	wait        = "wait"
	ancestors   = "ancestors"
	stampedOnly = "stamped_only"
	never       = "never"
	interval    = "interval"
	always      = "always"
)

var _ confmap.Validator = (*Config)(nil)

// Validate says what is wrong with the configuration: which key, and what to do.
func (c *Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	oneOf := func(key, value string, words ...string) {
		if !slices.Contains(words, value) {
			bad("`%s` is %q: use %s", key, value, strings.Join(words, " or "))
		}
	}
	if c.Dir == "" {
		bad("`dir` is empty: name the directory that runs are written to, for example ${env:WANDB_DIR:-.}")
	}
	for i, host := range append([]string{c.Host}, c.AllowedHosts...) {
		key := "host"
		if i > 0 {
			key = fmt.Sprintf("allowed_hosts[%d]", i-1)
		}
		if u, err := url.Parse(host); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			bad("`%s` is %q: give the base URL of a W&B server, for example https://api.wandb.ai", key, host)
		}
	}
	if why := runid.ProjectError(c.Project); why != "" || c.Project == "" {
		bad("`project` is %q, which %s: name a project that W&B accepts", c.Project, orText(why, "is empty"))
	}
	if why := runid.ProjectError(c.Entity); why != "" {
		bad("`entity` is %q, which %s: name a user or team, or leave it out for the default of the API key", c.Entity, why)
	}
	oneOf("mode", c.Mode, modeOffline, modeOnline)
	c.validateOnline(bad)
	oneOf("rootless", c.Rootless, open, off)
	for i, t := range c.Tasks {
		oneOf(fmt.Sprintf("tasks[%d].mode", i), t.Mode, semconv.ModeAuto, semconv.ModeNew, semconv.ModeShared)
		if t.SpanName == "" && t.ScopeName == "" {
			bad("`tasks[%d]` matches every span: give it a `span_name` or a `scope_name`", i)
		}
	}
	for i, name := range c.MetricEvents {
		if name == "" || name == semconv.EventException || strings.HasPrefix(name, semconv.Prefix) {
			bad("`metric_events[%d]` is %q, which has a meaning of its own or none: name other span events", i, name)
		}
	}
	oneOf("placement::by", c.Placement.By, ancestors, stampedOnly)
	oneOf("placement::unknown_parent", c.Placement.UnknownParent, wait, open)
	oneOf("fsync", c.Fsync, never, interval, always)
	for key, d := range map[string]time.Duration{
		"placement::settle": c.Placement.Settle, "placement::retention": c.Placement.Retention, "placement::links": c.Placement.Links,
		"finish::linger": c.Finish.Linger, "finish::rows_timeout": c.Finish.RowsTimeout,
		"run::abandon_after": c.Run.AbandonAfter, "run::idle_timeout": c.Run.IdleTimeout, "fsync_interval": c.FsyncInterval,
	} {
		switch {
		case d <= 0:
			bad("`%s` is %v: give a duration above zero, for example 5s", key, d)
		case d < time.Millisecond: // a number without a unit is nanoseconds
			bad("`%s` is %v: give a duration with a unit, for example 5s", key, d)
		}
	}
	for key, n := range map[string]int64{
		"placement::max_links": int64(c.Placement.MaxLinks), "placement::max_waiting_mib": c.Placement.MaxWaitingMiB,
		"max_in_flight_mib": c.MaxInFlightMiB,
	} {
		if n <= 0 {
			bad("`%s` is %d: give a number above zero", key, n)
		}
	}
	if c.Shards < 0 || c.Shards > 256 {
		bad("`shards` is %d: use 0 for one a processor, or up to 256", c.Shards)
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}

func orText(s, or string) string {
	if s == "" {
		return or
	}
	return s
}

// engineConfig is the configuration as the engine takes it.
func (c *Config) engineConfig(version string) engine.Config {
	e := engine.Config{
		Dir: c.Dir,
		Placement: placement.Config{
			Default:      runid.Coordinates{Host: runid.Host(c.Host), Entity: c.Entity, Project: c.Project},
			AllowedHosts: c.AllowedHosts, AllowedEntities: c.AllowedEntities, AllowedProjects: c.AllowedProjects,
			StampedOnly: c.Placement.By == stampedOnly,
			OpenUnknown: c.Placement.UnknownParent == open,
			Settle:      c.Placement.Settle, Retention: c.Placement.Retention,
			Links: c.Placement.Links, MaxLinks: c.Placement.MaxLinks,
		},
		Run: run.Config{
			Linger: c.Finish.Linger, RowsTimeout: c.Finish.RowsTimeout,
			AbandonAfter: c.Run.AbandonAfter, IdleTimeout: c.Run.IdleTimeout, Version: version,
		},
		Intake:          intake.Options{RootlessOff: c.Rootless == off, MetricEvents: c.MetricEvents},
		Shards:          c.Shards,
		MaxInFlight:     c.MaxInFlightMiB << 20,
		MaxWaitingBytes: c.Placement.MaxWaitingMiB << 20,
		LatestRun:       c.LatestRun,
		SyncInterval:    c.FsyncInterval,
	}
	for _, t := range c.Tasks {
		e.Intake.Rules = append(e.Intake.Rules, intake.TaskRule{SpanName: t.SpanName, ScopeName: t.ScopeName, Mode: t.Mode})
	}
	switch c.Fsync {
	case interval:
		e.Sync = runlog.SyncInterval
	case always:
		e.Sync = runlog.SyncAlways
	}
	if e.Shards == 0 {
		e.Shards = runtime.GOMAXPROCS(0)
	}
	return e
}
