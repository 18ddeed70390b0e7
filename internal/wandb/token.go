package wandb

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// Exchanges of identity tokens, as W&B's client does them.
const (
	tokenRetries = 3
	tokenTimeout = 10 * time.Second
	tokenOverall = time.Minute
	tokenSpare   = 5 * time.Minute // a token with no more than this left is renewed
	tokenMaxWait = 5 * time.Second
)

// exchanger turns an identity token into access tokens, which it keeps in
// memory only.
//
// ConcurrentSafe: turn admits one goroutine at a time.
type exchanger struct {
	client *Client
	file   string

	turn    chan struct{} // holds a value while somebody is at what follows
	token   string
	expires time.Time
}

func (x *exchanger) authorize(ctx context.Context, h http.Header) error {
	select {
	case x.turn <- struct{}{}:
		defer func() { <-x.turn }()
	case <-ctx.Done():
		return &Error{Op: "token exchange", Host: x.client.base.Host, Kind: ErrUnavailable, Err: context.Cause(ctx), transient: true}
	}
	if time.Until(x.expires) <= tokenSpare {
		if err := x.renew(ctx); err != nil {
			return err
		}
	}
	h.Set("Authorization", "Bearer "+x.token)
	return nil
}

// renew gets a new access token. The file is read each time: who makes identity
// tokens replaces them.
func (x *exchanger) renew(ctx context.Context) error {
	text, err := os.ReadFile(x.file)
	if err != nil {
		return fmt.Errorf("identity token: %w: see that WANDB_IDENTITY_TOKEN_FILE names a file that can be read", err)
	}
	ctx, cancel := context.WithTimeout(ctx, tokenOverall)
	defer cancel()
	form := url.Values{
		"grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"},
		"assertion":  {strings.TrimSpace(string(text))},
	}
	r := request{
		op: "token exchange", method: http.MethodPost, url: x.client.base.String() + "/oidc/token",
		header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}},
		body:   bytesBody([]byte(form.Encode())), ok: any2xx,
		policy: policy{timeout: tokenTimeout, again: func(status int) bool {
			return status == http.StatusTooManyRequests || status >= 500
		}},
	}
	plain := *x.client
	plain.auth = anonymous{}
	var a answer
	for try := 0; ; try++ {
		if a, err = plain.do(ctx, r); err == nil {
			break
		}
		if !IsTransient(err) || try >= tokenRetries {
			return err
		}
		if sleep(ctx, min(time.Second<<try, tokenMaxWait)) != nil {
			return err
		}
	}
	var got struct {
		AccessToken string  `json:"access_token"`
		ExpiresIn   float64 `json:"expires_in"`
	}
	if err := json.Unmarshal(a.body, &got); err != nil || got.AccessToken == "" {
		return &Error{Op: r.op, Host: x.client.base.Host, Kind: ErrMalformed, Err: errors.New("no access token in the answer"), transient: true}
	}
	x.token = got.AccessToken
	x.expires = time.Now().Add(time.Duration(got.ExpiresIn * float64(time.Second)))
	return nil
}
