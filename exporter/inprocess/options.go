package inprocess

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"time"

	"go.opentelemetry.io/otel"

	"github.com/otel-wandb/otel-wandb/exporter/internal/engine"
	"github.com/otel-wandb/otel-wandb/exporter/internal/intake"
	"github.com/otel-wandb/otel-wandb/exporter/internal/placement"
	"github.com/otel-wandb/otel-wandb/internal/runid"
	"github.com/otel-wandb/otel-wandb/internal/semconv"
)

// Option changes how an [Exporter] works.
type Option func(*settings)

type settings struct {
	dir, host, entity, project string

	allowedHosts []string
	metricEvents []string
	tasks        []intake.TaskRule
	parkBytes    int64
	patience     time.Duration
	handle       func(error)

	mode, apiKey string
	http         *http.Client
	links        func(line string)
	closeIdle    func()

	open func(engine.Config) (sink, error) // tests put something in between
}

// WithDir writes runs to dir/wandb. Without it they go where W&B's own client
// puts them: to $WANDB_DIR/wandb, else to wandb in the working directory.
func WithDir(dir string) Option { return func(s *settings) { s.dir = dir } }

// WithProject names the project of runs that name none. Default:
// $WANDB_PROJECT, else "uncategorized".
func WithProject(project string) Option { return func(s *settings) { s.project = project } }

// WithEntity names the user or team of runs that name none. Default:
// $WANDB_ENTITY, else the default of whoever uploads.
func WithEntity(entity string) Option { return func(s *settings) { s.entity = entity } }

// WithHost names the W&B server of runs that name none. Default:
// $WANDB_BASE_URL, else https://api.wandb.ai.
func WithHost(baseURL string) Option { return func(s *settings) { s.host = baseURL } }

// WithAllowedHosts names further W&B servers that spans may ask for. Others are
// refused.
func WithAllowedHosts(baseURLs ...string) Option {
	return func(s *settings) { s.allowedHosts = append(s.allowedHosts, baseURLs...) }
}

// WithTaskRule makes tasks of spans that carry no run mode: those with this name,
// in which * stands for any text. mode is "auto", "new" or "shared". Each call
// adds a rule; the first that matches holds.
func WithTaskRule(spanName, mode string) Option {
	return func(s *settings) {
		s.tasks = append(s.tasks, intake.TaskRule{SpanName: spanName, Mode: mode})
	}
}

// WithMetricEvents makes history rows of span events of these names, too. Each
// call adds names.
func WithMetricEvents(names ...string) Option {
	return func(s *settings) { s.metricEvents = append(s.metricEvents, names...) }
}

// WithPark bounds the memory for what cannot be written yet, in bytes above zero.
// Default: 64 MiB.
func WithPark(bytes int64) Option { return func(s *settings) { s.parkBytes = bytes } }

// WithPatience bounds how long ForceFlush and Shutdown wait for what cannot be
// written, and Shutdown for uploads, where their context does not end earlier.
// Default: 30 s.
func WithPatience(d time.Duration) Option { return func(s *settings) { s.patience = d } }

// WithErrorHandler takes what the Exporter has to say while it works: that it
// cannot write, what was kept out of every run and why. Default: [otel.Handle].
func WithErrorHandler(handle func(error)) Option { return func(s *settings) { s.handle = handle } }

// Defaults that are not W&B's.
const (
	defaultPark     = 64 << 20
	defaultPatience = 30 * time.Second
)

func newSettings(opts []Option) (*settings, error) {
	s := &settings{
		dir:       cmp.Or(os.Getenv("WANDB_DIR"), "."),
		host:      cmp.Or(os.Getenv("WANDB_BASE_URL"), "https://api.wandb.ai"),
		entity:    os.Getenv("WANDB_ENTITY"),
		project:   cmp.Or(os.Getenv("WANDB_PROJECT"), "uncategorized"),
		parkBytes: defaultPark,
		patience:  defaultPatience,
		handle:    otel.Handle,
		open:      openEngine,
		mode:      modeOf(os.Getenv),
		links:     printLine,
		closeIdle: func() {},
	}
	for _, o := range opts {
		o(s)
	}
	if err := s.validate(); err != nil {
		return nil, err
	}
	return s, nil
}

// validate says what is wrong: which option, and what to do.
func (s *settings) validate() error {
	if s.dir == "" {
		return fmt.Errorf("wandb in process: WithDir is empty: name the directory that runs are written to")
	}
	for _, host := range append([]string{s.host}, s.allowedHosts...) {
		if u, err := url.Parse(host); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return fmt.Errorf("wandb in process: host %q is no base URL of a W&B server: mend WithHost, WithAllowedHosts or WANDB_BASE_URL, for example https://api.wandb.ai", host)
		}
	}
	if s.project == "" {
		return fmt.Errorf("wandb in process: WithProject is empty: name a project, or leave the option out")
	}
	if why := runid.ProjectError(s.project); why != "" {
		return fmt.Errorf("wandb in process: project %q %s: mend WithProject or WANDB_PROJECT", s.project, why)
	}
	if why := runid.ProjectError(s.entity); why != "" {
		return fmt.Errorf("wandb in process: entity %q %s: mend WithEntity or WANDB_ENTITY", s.entity, why)
	}
	for _, t := range s.tasks {
		if !slices.Contains([]string{semconv.ModeAuto, semconv.ModeNew, semconv.ModeShared}, t.Mode) {
			return fmt.Errorf("wandb in process: WithTaskRule(%q, %q): the mode is auto, new or shared", t.SpanName, t.Mode)
		}
	}
	if s.parkBytes <= 0 || s.patience <= 0 {
		return fmt.Errorf("wandb in process: WithPark is %d and WithPatience %v: both must be above zero", s.parkBytes, s.patience)
	}
	if s.handle == nil {
		return fmt.Errorf("wandb in process: WithErrorHandler is nil: give a handler, or leave the option out")
	}
	return nil
}

func (s *settings) engineConfig() engine.Config {
	return engine.Config{
		Dir: s.dir,
		Placement: placement.Config{
			Default:      runid.Coordinates{Host: runid.Host(s.host), Entity: s.entity, Project: s.project},
			AllowedHosts: s.allowedHosts,
		},
		Intake:           intake.Options{Rules: s.tasks, MetricEvents: s.metricEvents},
		Shards:           1, // a program has few runs open at a time
		LatestRun:        true,
		FinishOnShutdown: true,
		Logger:           newLogger(s.handle),
	}
}
