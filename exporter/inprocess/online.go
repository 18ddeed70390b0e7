package inprocess

import (
	"fmt"
	"net/http"
	"os"
	"slices"
	"sync"

	"github.com/otel-wandb/otel-wandb/exporter/internal/online"
	"github.com/otel-wandb/otel-wandb/exporter/internal/pace"
	"github.com/otel-wandb/otel-wandb/internal/runid"
	"github.com/otel-wandb/otel-wandb/internal/wandb"
)

// Modes, as W&B's own client has them in WANDB_MODE.
const (
	modeOffline = "offline"
	modeOnline  = "online"
)

// modeOf is what WANDB_MODE says; without it runs are uploaded where there is a
// key in the environment, on purpose: one in netrc is there for other programs
// too, whose tests should not fill a project.
func modeOf(getenv func(string) string) string {
	switch mode := getenv("WANDB_MODE"); {
	case mode == modeOnline || mode == "run":
		return modeOnline
	case mode == "" && (getenv("WANDB_API_KEY") != "" || getenv("WANDB_IDENTITY_TOKEN_FILE") != ""):
		return modeOnline
	}
	return modeOffline
}

// online is what uploads the runs; nil where they stay offline.
func (s *settings) online(stops *stops) (*online.Online, error) {
	if s.mode != modeOnline {
		return nil, nil
	}
	own := runid.Host(s.host)
	client := s.http
	if client == nil {
		transport := http.DefaultTransport.(*http.Transport).Clone()
		client, s.closeIdle = &http.Client{Transport: transport}, transport.CloseIdleConnections
	}
	ways := &online.Clients{
		Base:    wandb.Options{HTTP: client, UserAgent: "otel-wandb-inprocess"},
		Trusted: own,
		Warn:    func(err error) { s.handle(fmt.Errorf("wandb in process: netrc is passed over: %w", err)) },
		Pace: pace.New(pace.Options{Notify: func(n pace.Notice) {
			if !n.Over {
				s.handle(fmt.Errorf("wandb in process: %s", n.Text))
			}
		}}),
	}
	if s.apiKey != "" {
		ways.Given = []online.Credential{{Host: own, APIKey: s.apiKey}}
	}
	if _, _, err := ways.Way(runid.Coordinates{Host: own, Entity: s.entity}, ""); err != nil {
		return nil, fmt.Errorf("wandb in process: %w; or write runs to disk only, with WithUpload(false) or WANDB_MODE=offline", err)
	}
	return online.New(online.Config{
		Way: ways.Way, Host: own, Entity: s.entity, Drain: s.patience, Logger: newLogger(s.handle),
		Say: s.links, StopAsked: stops.asked,
	}), nil
}

// stops tells those who listen that somebody pressed a run's stop button at W&B.
//
// ConcurrentSafe: by a lock.
type stops struct {
	mu  sync.Mutex
	all []func(host, entity, project, runID string)
}

func (s *stops) add(stopped func(host, entity, project, runID string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, stopped)
}

func (s *stops) asked(run runid.Coordinates) {
	s.mu.Lock()
	all := slices.Clone(s.all)
	s.mu.Unlock()
	for _, stopped := range all {
		stopped(run.Host, run.Entity, run.Project, run.ID)
	}
}

// WithUpload says whether runs go to W&B while they run, from their logs on disk,
// or to disk only. Default: $WANDB_MODE, else they do where $WANDB_API_KEY is set.
func WithUpload(on bool) Option {
	return func(s *settings) {
		if s.mode = modeOffline; on {
			s.mode = modeOnline
		}
	}
}

// WithAPIKey is the key of the host, for uploads. Default: $WANDB_API_KEY,
// for the host of $WANDB_BASE_URL; else what netrc has.
func WithAPIKey(key string) Option { return func(s *settings) { s.apiKey = key } }

// WithHTTPClient reaches W&B through a client of the program's own: proxies,
// certificates. It must not have a timeout. Default: one of our own.
func WithHTTPClient(client *http.Client) Option { return func(s *settings) { s.http = client } }

// WithLinks takes the line with a run's page, when W&B has the run, and the line
// with its state at the end. Default: they are printed to standard error, as
// W&B's own client does it. nil keeps them quiet.
func WithLinks(say func(line string)) Option {
	return func(s *settings) {
		if s.links = say; say == nil {
			s.links = func(string) {}
		}
	}
}

func printLine(line string) { _, _ = fmt.Fprintln(os.Stderr, line) }
