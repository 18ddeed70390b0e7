package wandb

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
)

// Credentials are what one W&B server knows a user by: an API key, a file that
// holds an identity token, or nothing. They print as what they are and where
// they are from, never as their secret.
//
// ConcurrentSafe: immutable.
type Credentials struct {
	source    string // where they were found
	key       string
	tokenFile string
}

// APIKey makes credentials of a key, after checking its form.
func APIKey(key, source string) (Credentials, error) {
	if err := checkKey(key); err != nil {
		return Credentials{}, fmt.Errorf("the API key of %s %w", source, err)
	}
	return Credentials{source: source, key: key}, nil
}

// IdentityTokenFile makes credentials of a file that holds an identity token
// (a JWT), which W&B exchanges for access tokens.
func IdentityTokenFile(path, source string) Credentials {
	return Credentials{source: source, tokenFile: path}
}

// IsZero tells whether there are none.
func (c Credentials) IsZero() bool { return c.key == "" && c.tokenFile == "" }

func (c Credentials) String() string {
	switch {
	case c.key != "":
		return "API key of " + c.source
	case c.tokenFile != "":
		return "identity token of " + c.source
	default:
		return "no credentials"
	}
}

// GoString keeps %#v from showing the secret.
func (c Credentials) GoString() string { return "wandb.Credentials(" + c.String() + ")" }

// LogValue keeps slog from showing the secret.
func (c Credentials) LogValue() slog.Value { return slog.StringValue(c.String()) }

// MarshalText keeps encoders from showing the secret.
func (c Credentials) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

var (
	jwtForm    = regexp.MustCompile(`^[\w-]+\.[\w-]+\.[\w-]+$`)
	secretForm = regexp.MustCompile(`^[\w-]+$`)
)

// minSecret is how long the secret part of an API key is at least.
const minSecret = 40

// checkKey says what is wrong with a key, without showing it.
func checkKey(key string) error {
	if key == "" {
		return errors.New("is empty: set it, or leave it out")
	}
	if key != strings.TrimSpace(key) {
		return errors.New("has white space around it: remove it")
	}
	if jwtForm.MatchString(key) {
		return nil
	}
	secret := key
	if _, rest, ok := strings.Cut(key, "-"); ok {
		secret = rest
	}
	switch {
	case len(secret) < minSecret:
		return fmt.Errorf("has %d characters, a key has %d or more: copy all of it from the page /authorize of your W&B", len(secret), minSecret)
	case !secretForm.MatchString(secret):
		return errors.New("has characters that no key has: copy it again from the page /authorize of your W&B")
	}
	return nil
}

// authorizer puts credentials on requests.
type authorizer interface {
	authorize(ctx context.Context, h http.Header) error
}

// basic is an API key: a key in the form of a token is sent alike, W&B tells
// them apart.
type basic string

func (key basic) authorize(_ context.Context, h http.Header) error {
	h.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("api:"+string(key))))
	return nil
}

// anonymous sends requests as they are.
type anonymous struct{}

func (anonymous) authorize(context.Context, http.Header) error { return nil }
