package syncing

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/otel-wandb/otel-wandb/exporter/internal/pace"
	"github.com/otel-wandb/otel-wandb/exporter/internal/upload"
	"github.com/otel-wandb/otel-wandb/internal/wandb"
)

// host is one W&B server, its client, and a context that ends when nothing more
// is to be expected of it.
//
// ConcurrentSafe: a lock guards what changes.
type host struct {
	url    string
	client *wandb.Client
	gate   *pace.Gate
	ctx    context.Context
	cancel context.CancelCauseFunc
	watch  Watcher

	patience time.Duration
	idle     func() // lets go of connections

	mu   sync.Mutex // guards good
	good time.Time  // the last good answer
}

// advised is an error with what to do about it.
type advised struct {
	error
	remedy string
}

func (a *advised) Unwrap() error { return a.error }

// RemedyOf is what to do about an error of this package; "" where it says so itself.
func RemedyOf(err error) string {
	var a *advised
	if errors.As(err, &a) {
		return a.remedy
	}
	return "" // W&B's errors say it themselves
}

// host gives the server of a base URL. Its error is of its credentials.
func (s *syncer) host(ctx context.Context, url string) (*host, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h := s.hosts[url]; h != nil {
		if h.ctx.Err() != nil {
			return nil, context.Cause(h.ctx)
		}
		return h, nil
	}
	h := &host{url: url, patience: s.opts.Patience, good: time.Now(), watch: s.opts.Watch}
	creds, err := Credentials(url, s.opts.Getenv, s.opts.Home)
	if err != nil {
		return nil, err
	}
	h.gate = s.opts.Pace.For(url, creds.String())
	transport := s.opts.Transport
	h.idle = func() {}
	if transport == nil {
		own := http.DefaultTransport.(*http.Transport).Clone() // with proxies as the environment has them
		transport, h.idle = own, own.CloseIdleConnections
	}
	h.client, err = wandb.New(wandb.Options{
		BaseURL: url, Credentials: creds, HTTP: &http.Client{Transport: listening{h, transport}},
		Username: s.opts.Getenv("WANDB_USERNAME"), Email: s.opts.Getenv("WANDB_USER_EMAIL"),
		Retrying: h.retrying, Limiter: h.gate,
	})
	if err != nil {
		return nil, err
	}
	h.ctx, h.cancel = context.WithCancelCause(ctx)
	s.hosts[url] = h
	return h, nil
}

// close lets go of all servers.
func (s *syncer) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.hosts {
		h.cancel(nil)
		h.idle()
	}
}

// Credentials are those that belong to a server; that there are none is an error.
func Credentials(url string, getenv func(string) string, home string) (wandb.Credentials, error) {
	creds, warning, err := wandb.Find(wandb.Lookup{BaseURL: url, Getenv: getenv, Home: home})
	if err != nil {
		return creds, err
	}
	if !creds.IsZero() {
		return creds, nil
	}
	err = fmt.Errorf("no API key for %s", url)
	if warning != nil {
		err = fmt.Errorf("%w: %w", err, warning)
	}
	remedy := "set WANDB_API_KEY, or add the server to netrc (wandb login does)"
	if getenv("WANDB_API_KEY")+getenv("WANDB_IDENTITY_TOKEN_FILE") != "" {
		remedy = fmt.Sprintf("the key in the environment belongs to %s: set WANDB_BASE_URL=%s where it is this server's, or add the server to netrc", DefaultHost(getenv), url)
	}
	return creds, &advised{err, remedy}
}

// retrying is told of each failure that the client tries again. W&B's asking to
// be left alone for a while is no trouble: it is there.
func (h *host) retrying(err *wandb.Error, in time.Duration) {
	h.mu.Lock()
	if errors.Is(err, wandb.ErrRateLimited) {
		h.good = time.Now()
	}
	silent := time.Since(h.good)
	h.mu.Unlock()
	if h.patience > 0 && silent+in > h.patience {
		h.cancel(&advised{ // of its text: the client puts the cause into that very error
			fmt.Errorf("%s gave no good answer for %s: %s", h.url, silent.Round(time.Second), err.Error()),
			"check the network and the server; --patience 0 waits for ever",
		})
		return
	}
	h.watch.Trouble(nil, fmt.Sprintf("%v; again in %s", err, in.Round(100*time.Millisecond)))
}

// refused ends the work with a server that does not know the key: no other run
// would fare better.
func (h *host) refused(f *upload.Failure) {
	if errors.Is(f.Err, wandb.ErrUnauthorized) {
		h.cancel(&advised{f.Err, f.Remedy()})
	}
}

// listening notes good answers on their way.
type listening struct {
	h    *host
	next http.RoundTripper
}

func (l listening) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := l.next.RoundTrip(r)
	if err == nil && resp.StatusCode < 500 {
		l.h.mu.Lock()
		l.h.good = time.Now()
		l.h.mu.Unlock()
	}
	return resp, err
}
