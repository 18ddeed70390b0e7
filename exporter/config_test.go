package wandbexporter

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/config/confighttp"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/confmaptest"

	"github.com/otel-wandb/otel-wandb/exporter/internal/intake"
	"github.com/otel-wandb/otel-wandb/exporter/internal/placement"
	"github.com/otel-wandb/otel-wandb/exporter/internal/runlog"
	"github.com/otel-wandb/otel-wandb/internal/runid"
)

// load reads one configuration of testdata/config.yaml as the Collector does.
func load(t *testing.T, name string) (*Config, error) {
	t.Helper()
	file, err := confmaptest.LoadConf(filepath.Join("testdata", "config.yaml"))
	require.NoError(t, err)
	sub, err := file.Sub(name)
	require.NoError(t, err)
	cfg := createDefaultConfig().(*Config)
	if err := sub.Unmarshal(cfg); err != nil {
		return nil, err
	}
	return cfg, confmap.Validate(cfg)
}

// changed is the default configuration with changes.
func changed(change func(*Config)) *Config {
	cfg := createDefaultConfig().(*Config)
	change(cfg)
	return cfg
}

func TestConfigs(t *testing.T) {
	proxied := confighttp.NewDefaultClientConfig()
	proxied.ProxyURL = "http://proxy:3128"
	for name, want := range map[string]*Config{
		"wandb":           changed(func(*Config) {}),
		"wandb/project":   changed(func(c *Config) { c.Project = "digits" }),
		"wandb/power_cut": changed(func(c *Config) { c.Fsync = always }),
		"wandb/full": {
			Dir: "/data/runs", Host: "https://wandb.example/", Entity: "ada", Project: "digits",
			AllowedHosts:    []string{"https://api.wandb.ai", "http://localhost:8080/"},
			AllowedEntities: []string{"team-*"}, AllowedProjects: []string{"mnist", "cifar-*"},
			ClientIdentity: []string{"subject", "username"},
			Mode:           modeOnline, APIKey: "0123456789012345678901234567890123456789",
			Credentials: []Credential{
				{Entity: "team-a", IdentityTokenFile: "/run/token"},
				{Host: "http://localhost:8080", APIKey: "local-9876543210987654321098765432109876543210"},
			},
			Upload:       Upload{MaxBehindMiB: 4096, HTTP: proxied},
			Rootless:     off,
			Tasks:        []TaskRule{{SpanName: "job-*", Mode: "auto"}, {ScopeName: "scheduler", Mode: "shared"}},
			MetricEvents: []string{"step.done"},
			Placement: Placement{
				By: stampedOnly, UnknownParent: open, Settle: 10 * time.Second, Retention: 2 * time.Hour,
				Links: 5 * time.Minute, MaxLinks: 1000, MaxWaitingMiB: 16,
			},
			Finish: Finish{Linger: time.Second, RowsTimeout: 30 * time.Second},
			Run:    Run{AbandonAfter: 10 * time.Minute, IdleTimeout: 48 * time.Hour},
			Fsync:  interval, FsyncInterval: 250 * time.Millisecond,
			MaxInFlightMiB: 128, Shards: 3,
		},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, err := load(t, name)
			require.NoError(t, err)
			assert.Equal(t, want, cfg)
		})
	}
}

// Each mistake has an error that names the key and what to do.
func TestInvalidConfigs(t *testing.T) {
	want := map[string][]string{
		"dir":                 {"`dir` is empty", "name the directory", "${env:WANDB_DIR:-.}"},
		"host_without_scheme": {"`host` is \"api.wandb.ai\"", "https://api.wandb.ai"},
		"host_scheme":         {"`host` is \"ftp://api.wandb.ai\"", "base URL"},
		"allowed_host":        {"`allowed_hosts[1]` is \"nonsense\"", "base URL"},
		"project_empty":       {"`project` is \"\"", "is empty", "name a project"},
		"project_name":        {"`project` is \"a/b\"", "holds one of", "name a project"},
		"entity_name":         {"`entity` is \"a:b\"", "holds one of", "leave it out"},
		"rootless":            {"`rootless` is \"close\"", "use open or off"},
		"task_mode":           {"`tasks[0].mode` is \"sometimes\"", "use auto or new or shared"},
		"task_matches_all":    {"`tasks[0]` matches every span", "`span_name` or a `scope_name`"},
		"placement_by":        {"`placement::by` is \"guess\"", "use ancestors or stamped_only"},
		"unknown_parent":      {"`placement::unknown_parent` is \"drop\"", "use wait or open"},
		"fsync":               {"`fsync` is \"sometimes\"", "use never or interval or always"},
		"duration":            {"`finish::linger` is 0s", "a duration above zero"},
		"duration_negative":   {"`placement::retention` is -1h0m0s", "a duration above zero"},
		"number":              {"`placement::max_links` is 0", "a number above zero"},
		"in_flight":           {"`max_in_flight_mib` is -1", "a number above zero"},
		"shards":              {"`shards` is 1000", "up to 256"},
		"two_at_once":         {"`fsync` is", "`shards` is"},
		"unknown_key":         {"projekt"},
		"mode":                {"`mode` is \"live\"", "use offline or online"},
		"api_key":             {"`api_key`", "has 5 characters", "copy all of it"},
		"two_secrets":         {"both `api_key` and `identity_token_file`", "leave one out"},
		"credentials_empty":   {"`credentials[0]` has neither"},
		"credentials_host":    {"`credentials[0].host`", "no W&B URL"},
		"max_behind":          {"`upload::max_behind_mib` is -1"},
		"upload_endpoint":     {"`upload::http::endpoint`", "`host`"},
		"allowed_projects":    {"`allowed_projects[0]` is empty", "give a name"},
		"duration_text":       {"finish.linger", "invalid duration"},
		"duration_unit":       {"`run::idle_timeout` is 3.6µs", "a duration with a unit"},
		"metric_events":       {"`metric_events[0]` is \"wandb.log\"", "`metric_events[1]` is \"\"", "other span events"},
	}
	file, err := confmaptest.LoadConf(filepath.Join("testdata", "config.yaml"))
	require.NoError(t, err)
	var listed []string
	for name := range file.ToStringMap() {
		if rest, ok := strings.CutPrefix(name, "invalid/"); ok {
			listed = append(listed, rest)
		}
	}
	assert.ElementsMatch(t, listed, slices.Collect(maps.Keys(want)))
	for name, texts := range want {
		t.Run(name, func(t *testing.T) {
			_, err := load(t, "invalid/"+name)
			require.Error(t, err)
			for _, text := range texts {
				assert.ErrorContains(t, err, text)
			}
		})
	}
}

func TestConfigStructFollowsTheCollectorsRules(t *testing.T) {
	assert.NoError(t, componenttest.CheckConfigStruct(createDefaultConfig()))
}

// What a person wrote is what the engine gets.
func TestEngineConfig(t *testing.T) {
	cfg, err := load(t, "wandb/full")
	require.NoError(t, err)
	e := cfg.engineConfig("v1")
	assert.Equal(t, "/data/runs", e.Dir)
	assert.Equal(t, placement.Config{
		Default:         runid.Coordinates{Host: "https://wandb.example", Entity: "ada", Project: "digits"},
		AllowedHosts:    []string{"https://api.wandb.ai", "http://localhost:8080/"},
		AllowedEntities: []string{"team-*"}, AllowedProjects: []string{"mnist", "cifar-*"},
		StampedOnly: true, OpenUnknown: true, Settle: 10 * time.Second, Retention: 2 * time.Hour,
		Links: 5 * time.Minute, MaxLinks: 1000,
	}, e.Placement)
	assert.Equal(t, "v1", e.Run.Version)
	assert.Equal(t, time.Second, e.Run.Linger)
	assert.Equal(t, 30*time.Second, e.Run.RowsTimeout)
	assert.Equal(t, 10*time.Minute, e.Run.AbandonAfter)
	assert.Equal(t, 48*time.Hour, e.Run.IdleTimeout)
	assert.Equal(t, intake.Options{
		RootlessOff: true, MetricEvents: []string{"step.done"},
		Rules: []intake.TaskRule{{SpanName: "job-*", Mode: "auto"}, {ScopeName: "scheduler", Mode: "shared"}},
	}, e.Intake)
	assert.Equal(t, runlog.SyncInterval, e.Sync)
	assert.Equal(t, 250*time.Millisecond, e.SyncInterval)
	assert.False(t, e.LatestRun)
	assert.EqualValues(t, 128<<20, e.MaxInFlight)
	assert.EqualValues(t, 16<<20, e.MaxWaitingBytes)
	assert.Equal(t, 3, e.Shards)

	assert.Equal(t, runlog.SyncAlways, changed(func(c *Config) { c.Fsync = always }).engineConfig("").Sync)
	assert.Equal(t, runlog.SyncNever, changed(func(*Config) {}).engineConfig("").Sync)
	assert.Positive(t, changed(func(*Config) {}).engineConfig("").Shards)
}
