package wandb

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"time"
)

// Options of a client.
type Options struct {
	// BaseURL of the server; "" is W&B's own.
	BaseURL     string
	Credentials Credentials
	// HTTP sends the requests. It must not set a timeout of its own, nor put
	// headers on requests that are secret.
	HTTP *http.Client
	// Storage sends files to signed URLs, which may be on other hosts; nil is
	// HTTP.
	Storage *http.Client
	// UserAgent names the program.
	UserAgent string
	// Username and Email say for whom a service account makes runs.
	Username, Email string
	// Header is put on every request to the base URL.
	Header http.Header
	// Limiter says when each try may go: several clients may share one. The
	// default is the client's own, for each project's file streams.
	Limiter Limiter
	// Retrying is told of each failure that is tried again, and in how long.
	Retrying func(err *Error, in time.Duration)
}

// Client speaks to one W&B server with one user's credentials. Make it with New.
//
// ConcurrentSafe: but for the limiter, which has locks, it is immutable.
type Client struct {
	base      *url.URL
	http      *http.Client // does not follow redirects: credentials stay here
	storage   *http.Client
	auth      authorizer
	header    http.Header // of all requests to base
	graphQLH  http.Header // of GraphQL besides
	streamH   http.Header // of file streams besides
	agent     string
	retrying  func(*Error, time.Duration)
	limiter   Limiter
	described string // the credentials, for people
}

// New makes a client. It sends nothing.
func New(opts Options) (*Client, error) {
	base, err := ParseBaseURL(opts.BaseURL)
	if err != nil {
		return nil, err
	}
	if opts.HTTP == nil {
		opts.HTTP = &http.Client{}
	}
	if opts.Storage == nil {
		opts.Storage = opts.HTTP
	}
	if opts.UserAgent == "" {
		opts.UserAgent = "otel-wandb"
	}
	if opts.Limiter == nil {
		opts.Limiter = &limiters{of: map[string]*limiter{}}
	}
	if opts.Retrying == nil {
		opts.Retrying = func(*Error, time.Duration) {}
	}
	c := &Client{
		base:      base,
		http:      &http.Client{Transport: opts.HTTP.Transport, Timeout: opts.HTTP.Timeout, CheckRedirect: noRedirect},
		storage:   opts.Storage,
		header:    opts.Header.Clone(),
		graphQLH:  http.Header{"X-Wandb-Username": {opts.Username}, "X-Wandb-User-Email": {opts.Email}},
		streamH:   http.Header{},
		agent:     opts.UserAgent,
		retrying:  opts.Retrying,
		limiter:   opts.Limiter,
		described: opts.Credentials.String(),
	}
	switch creds := opts.Credentials; {
	case creds.key != "":
		c.auth = basic(creds.key)
	case creds.tokenFile != "":
		c.auth = &exchanger{client: c, file: creds.tokenFile, turn: make(chan struct{}, 1)}
	default:
		c.auth = anonymous{}
	}
	return c, nil
}

func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// BaseURL is the server's.
func (c *Client) BaseURL() string { return c.base.String() }

// Shared gives the client as one of several writers of a run, by an id of its
// own for each writer and run: see NewClientID.
func (c *Client) Shared(clientID string) *Client {
	shared := *c
	shared.graphQLH, shared.streamH = c.graphQLH.Clone(), c.streamH.Clone()
	shared.graphQLH.Set("X-Wandb-Use-Async-Filestream", "true")
	shared.graphQLH.Set("X-Wandb-Client-Id", clientID)
	shared.streamH.Set("X-Wandb-Use-Async-Filestream", "true")
	shared.streamH.Set("X-Wandb-Async-Client-Id", clientID) // not the name that GraphQL has for it
	return &shared
}

// request is what is sent, as often as it takes.
type request struct {
	op, run  string
	method   string
	url      string
	header   http.Header
	body     func() (io.ReadCloser, int64, error)
	policy   policy
	ok       func(status int) bool
	limited  *Call // what the limiter is told of it; nil: it is not asked
	signed   bool  // a signed URL: no credentials
	anything bool  // the answer is not read, but for errors
}

// answer is what came back in the end.
type answer struct {
	header http.Header
	body   []byte
}

// maxAnswer bounds what is read of an answer: a resumed run's config and summary.
const maxAnswer = 256 << 20

func bytesBody(b []byte) func() (io.ReadCloser, int64, error) {
	return func() (io.ReadCloser, int64, error) { return io.NopCloser(bytes.NewReader(b)), int64(len(b)), nil }
}

func exactly200(status int) bool { return status == http.StatusOK }
func any2xx(status int) bool     { return status >= 200 && status < 300 }

// do sends a request until it is answered or hopeless.
func (c *Client) do(ctx context.Context, r request) (answer, error) {
	for try := 0; ; try++ {
		a, retryAfter, failed := c.try(ctx, r)
		if failed == nil {
			return a, nil
		}
		failed.Attempts = try + 1
		if ctx.Err() != nil && failed.Status == 0 {
			failed.Err = errors.Join(failed.Err, context.Cause(ctx))
			failed.transient = true
			return answer{}, failed
		}
		if !failed.transient || try >= r.policy.retries {
			return answer{}, failed
		}
		d := wait(try, retryAfter, time.Now())
		c.retries(ctx, failed, d)
		if err := sleep(ctx, d); err != nil {
			failed.Err = errors.Join(failed.Err, err)
			return answer{}, failed
		}
	}
}

// try sends a request once.
func (c *Client) try(ctx context.Context, r request) (a answer, retryAfter string, failed *Error) {
	fail := func(kind, err error, transient bool) (answer, string, *Error) {
		return answer{}, "", &Error{Op: r.op, Host: c.base.Host, Run: r.run, Kind: kind, Err: err, transient: transient}
	}
	outcome := Outcome{RetryAfter: -1}
	if r.limited != nil {
		if err := c.limiter.Permit(ctx, *r.limited); err != nil {
			return fail(ErrRateLimited, err, true)
		}
		defer func() { c.limiter.Learn(*r.limited, outcome) }()
	}
	if r.policy.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, r.policy.timeout)
		defer cancel()
	}
	body, size, err := r.body()
	if err != nil {
		return fail(ErrRefused, err, false)
	}
	req, err := http.NewRequestWithContext(ctx, r.method, r.url, body)
	if err != nil {
		_ = body.Close()
		return fail(ErrRefused, errors.New("a URL that cannot be used"), false) // err would show it
	}
	req.ContentLength = size
	if size == 0 { // not known, to net/http
		_ = body.Close()
		req.Body = http.NoBody
	}
	maps.Copy(req.Header, r.header)
	req.Header.Set("User-Agent", c.agent)
	httpClient := c.storage
	if !r.signed {
		httpClient = c.http
		for key, values := range c.header {
			req.Header[key] = values
		}
		if err := c.auth.authorize(ctx, req.Header); err != nil {
			_ = body.Close()
			var e *Error
			if errors.As(err, &e) {
				return answer{}, "", &Error{Op: r.op, Host: c.base.Host, Run: r.run, Kind: e.Kind, Err: err, transient: e.transient}
			}
			return fail(ErrUnauthorized, err, false)
		}
	}
	resp, err := httpClient.Do(req)
	if err != nil {
		if err = withoutURL(err); errors.Is(err, context.DeadlineExceeded) && r.policy.timeout > 0 {
			err = fmt.Errorf("no answer within %s: %w", r.policy.timeout, err)
		}
		return fail(ErrUnavailable, err, !hopeless(err))
	}
	defer resp.Body.Close()
	outcome = outcomeOf(resp, time.Now())
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil && (r.ok(resp.StatusCode) && !r.anything) {
		return fail(ErrUnavailable, fmt.Errorf("the answer broke off: %w", err), true)
	}
	if !r.ok(resp.StatusCode) {
		messages := messagesOf(text)
		if to, err := resp.Location(); err == nil && resp.StatusCode < 400 {
			messages = []string{"moved to " + to.Scheme + "://" + to.Host}
		}
		failed = &Error{
			Op: r.op, Host: c.base.Host, Run: r.run, Status: resp.StatusCode,
			Messages: messages, Kind: kindOf(resp.StatusCode), transient: r.policy.again(resp.StatusCode),
		}
		if isDeleted(resp.StatusCode, messages) {
			failed.Kind, failed.transient = ErrDeleted, false
		}
		return answer{}, resp.Header.Get("Retry-After"), failed
	}
	return answer{header: resp.Header, body: text}, "", nil
}

// withoutURL takes the URL out of an error of net/http: a signed one is a secret.
func withoutURL(err error) error {
	var e *url.Error
	if errors.As(err, &e) {
		return e.Err
	}
	return err
}
