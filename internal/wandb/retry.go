package wandb

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// policy says what is tried again, how often, and how long one try may take.
type policy struct {
	retries int
	timeout time.Duration // of one try; 0 is none
	again   func(status int) bool
}

// The policies of W&B's own client.
var (
	graphQLPolicy = policy{retries: 20, timeout: 30 * time.Second, again: mostFailures}
	upsertPolicy  = policy{retries: 20, timeout: 30 * time.Second, again: upsertFailures}
	streamPolicy  = policy{retries: 10_085, timeout: 180 * time.Second, again: mostFailures} // about a week
	filePolicy    = policy{retries: 20, again: storageFailures}
)

// mostFailures are all but those by which W&B says that it understood.
func mostFailures(status int) bool {
	switch status {
	case 400, 401, 403, 404, 409, 410, 413, 422, 501:
		return false
	}
	return status >= 400
}

// upsertFailures: a conflict is an earlier, timed-out upsert still at work.
func upsertFailures(status int) bool { return status == http.StatusConflict || mostFailures(status) }

func storageFailures(status int) bool {
	return status == http.StatusTooManyRequests || status >= 500 && status != http.StatusNotImplemented
}

const (
	firstWait = 2 * time.Second
	maxWait   = time.Minute
)

// wait is how long to wait before try n+1, n from 0: what the answer asks for,
// else twice as long each time with a little chance in it.
func wait(n int, retryAfter string, now time.Time) time.Duration {
	if d, ok := parseRetryAfter(retryAfter, now); ok {
		return d
	}
	d := float64(firstWait) * math.Pow(2, float64(n)) * (1 + 0.25*rand.Float64())
	return time.Duration(min(d, float64(maxWait)))
}

// parseRetryAfter reads seconds, or a date.
func parseRetryAfter(text string, now time.Time) (time.Duration, bool) {
	if seconds, err := strconv.ParseFloat(text, 64); err == nil {
		ok := seconds >= 0 && seconds < math.MaxInt64/float64(time.Second)
		return time.Duration(seconds * float64(time.Second)), ok
	}
	if date, err := http.ParseTime(text); err == nil {
		return max(0, date.Sub(now)), true
	}
	return 0, false
}

// hopeless tells whether a request that got no answer never will.
func hopeless(err error) bool {
	var verification *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	var hostname x509.HostnameError
	var invalid x509.CertificateInvalidError
	if errors.As(err, &verification) || errors.As(err, &authority) || errors.As(err, &hostname) || errors.As(err, &invalid) {
		return true
	}
	return slices.ContainsFunc([]string{"unsupported protocol scheme", "invalid header", "stopped after"},
		func(s string) bool { return strings.Contains(err.Error(), s) }) // net/http has no types for them
}

type onRetryKey struct{}

// OnRetry gives a context whose requests tell f of each failure that is tried
// again, besides Options.Retrying: a client has many users. It is called by the
// goroutine that made the request.
func OnRetry(ctx context.Context, f func(*Error)) context.Context {
	return context.WithValue(ctx, onRetryKey{}, f)
}

// retries tells who asked to be told.
func (c *Client) retries(ctx context.Context, failed *Error, in time.Duration) {
	c.retrying(failed, in)
	if f, ok := ctx.Value(onRetryKey{}).(func(*Error)); ok {
		f(failed)
	}
}
