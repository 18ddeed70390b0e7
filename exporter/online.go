package wandbexporter

import (
	"context"
	"fmt"
	"net/http"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/confighttp"
	"go.opentelemetry.io/collector/config/configopaque"
	"go.opentelemetry.io/otel/trace/noop"
	"go.uber.org/zap"

	"github.com/otel-wandb/otel-wandb/exporter/internal/online"
	"github.com/otel-wandb/otel-wandb/exporter/internal/pace"
	"github.com/otel-wandb/otel-wandb/internal/runid"
	"github.com/otel-wandb/otel-wandb/internal/wandb"
)

// Credential is a key for one W&B server, or for one entity on it.
type Credential struct {
	// Host is the server's base URL; empty is the exporter's own.
	Host string `mapstructure:"host"`
	// Entity is the user or team whose runs are sent with it; empty is all.
	Entity string `mapstructure:"entity"`
	// APIKey, or IdentityTokenFile: one of the two.
	APIKey            configopaque.String `mapstructure:"api_key"`
	IdentityTokenFile string              `mapstructure:"identity_token_file"`

	_ struct{}
}

// Upload says how runs go to W&B, with `mode: online`.
type Upload struct {
	// MaxBehindMiB bounds the run logs that W&B does not have yet; 0 is as much
	// as the disk takes. Beyond it senders are told to try again.
	MaxBehindMiB int64 `mapstructure:"max_behind_mib"`
	// HTTP is how W&B is reached: proxies, certificates, headers.
	HTTP confighttp.ClientConfig `mapstructure:"http"`

	_ struct{}
}

// Values of the key `mode`.
const (
	modeOffline = "offline"
	modeOnline  = "online"
)

// validateOnline says what is wrong with the keys that matter for uploads.
func (c *Config) validateOnline(bad func(format string, args ...any)) {
	credentials := append([]Credential{{APIKey: c.APIKey, IdentityTokenFile: c.IdentityTokenFile}}, c.Credentials...)
	for i, cr := range credentials {
		key := ""
		if i > 0 {
			key = fmt.Sprintf("credentials[%d].", i-1)
			if cr.APIKey == "" && cr.IdentityTokenFile == "" {
				bad("`credentials[%d]` has neither an `api_key` nor an `identity_token_file`: give one, or leave it out", i-1)
			}
		}
		if cr.APIKey != "" && cr.IdentityTokenFile != "" {
			bad("both `%[1]sapi_key` and `%[1]sidentity_token_file` are set: leave one out", key)
		}
		if cr.APIKey != "" {
			if _, err := wandb.APIKey(string(cr.APIKey), "`"+key+"api_key`"); err != nil {
				bad("%w", err)
			}
		}
		if cr.Host != "" {
			if _, err := wandb.ParseBaseURL(cr.Host); err != nil {
				bad("`%shost`: %w", key, err)
			}
		}
	}
	if c.Upload.MaxBehindMiB < 0 {
		bad("`upload::max_behind_mib` is %d: use 0 for as much as the disk takes, or a number above", c.Upload.MaxBehindMiB)
	}
	if c.Upload.HTTP.Endpoint != "" {
		bad("`upload::http::endpoint` is set: W&B's address is `host`")
	}
	for _, l := range []struct {
		key   string
		names []string
	}{{"allowed_entities", c.AllowedEntities}, {"allowed_projects", c.AllowedProjects}} {
		for i, name := range l.names {
			if name == "" {
				bad("`%s[%d]` is empty: give a name, in which * stands for any text", l.key, i)
			}
		}
	}
}

// clients are the ways to W&B that the configuration allows.
func (c *Config) clients(ctx context.Context, host component.Host, set component.TelemetrySettings, version string) (*online.Clients, error) {
	own := runid.Host(c.Host)
	all := &online.Clients{
		Trusted: own, Authenticated: c.Upload.HTTP.Auth.HasValue(), ByClient: c.ClientAPIKey != "",
		Warn: func(err error) { set.Logger.Warn("netrc is passed over", zap.Error(err)) },
		Pace: pace.New(pace.Options{Notify: func(n pace.Notice) {
			if n.Over {
				set.Logger.Info(n.Text)
			} else {
				set.Logger.Warn(n.Text)
			}
		}}),
	}
	for _, cr := range append(c.Credentials, Credential{APIKey: c.APIKey, IdentityTokenFile: c.IdentityTokenFile}) {
		at := runid.Host(cr.Host)
		if at == "" {
			at = own
		}
		all.Given = append(all.Given, online.Credential{
			Host: at, Entity: cr.Entity, APIKey: string(cr.APIKey), IdentityTokenFile: cr.IdentityTokenFile,
		})
	}
	// Headers may be secret, and so are signed URLs: headers go to `host` only,
	// by the client, and nothing that could be exported says where files go.
	http1 := c.Upload.HTTP
	http1.Headers = nil
	toHost, err := http1.ToClient(ctx, host.GetExtensions(), set)
	if err != nil {
		return nil, fmt.Errorf("`upload::http`: %w", err)
	}
	http1.Auth, http1.Middlewares = confighttp.ClientConfig{}.Auth, nil
	set.TracerProvider = noop.NewTracerProvider()
	toStorage, err := http1.ToClient(ctx, nil, set)
	if err != nil {
		return nil, fmt.Errorf("`upload::http`: %w", err)
	}
	// Each request has a bound of its own, files and streams different ones.
	toHost.Timeout, toStorage.Timeout = 0, 0
	header := http.Header{}
	for name, value := range c.Upload.HTTP.Headers.Iter {
		header.Set(name, string(value))
	}
	all.Base = wandb.Options{HTTP: toHost, Storage: toStorage, UserAgent: "otel-wandb/" + version, Header: header}
	return all, nil
}

// online is what uploads the runs; nil with `mode: offline`.
func (s *shared) online(ctx context.Context, host component.Host) (*online.Online, error) {
	if s.cfg.Mode != modeOnline {
		return nil, nil
	}
	clients, err := s.cfg.clients(ctx, host, s.set.TelemetrySettings, s.set.BuildInfo.Version)
	if err != nil {
		return nil, err
	}
	own := runid.Coordinates{Host: runid.Host(s.cfg.Host), Entity: s.cfg.Entity}
	client, _, err := clients.Way(own, "")
	if err != nil && s.cfg.ClientAPIKey == "" {
		return nil, fmt.Errorf("`mode: online`: %w; `mode: offline` writes runs to disk only", err)
	}
	o := online.New(online.Config{
		Way: clients.Way, Host: own.Host, Entity: own.Entity, MaxBehind: s.cfg.Upload.MaxBehindMiB << 20,
		Logger: s.set.Logger, Health: s.health.uploads,
	})
	clients.Changed = o.KeyChanged
	if client != nil {
		o.Greet(client)
	}
	s.keys.Store(clients)
	return o, nil
}
