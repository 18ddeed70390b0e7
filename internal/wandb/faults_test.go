package wandb

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-wandb/otel-wandb/internal/wandbtest"
)

// Each call under each fault: does it survive, after how many tries, how long
// did it wait, and if it fails, as what.
func TestFaults(t *testing.T) {
	calls := map[string]struct {
		endpoint string
		do       func(f *fixture, run Run) error
	}{
		"viewer": {"Viewer", func(f *fixture, _ Run) error {
			_, err := f.Viewer(f.Context())
			return err
		}},
		"upsert": {"UpsertBucket", func(f *fixture, _ Run) error {
			_, err := f.UpsertRun(f.Context(), Upsert{Run: Path{Project: "p", Run: "r"}, Config: telemetry})
			return err
		}},
		"stream": {wandbtest.FileStream, func(f *fixture, run Run) error {
			var r StreamRequest
			require.NoError(f, r.Add(History, 0, `{"_step":0,"x":NaN}`))
			_, err := f.Stream(run.Path, false).Send(f.Context(), &r)
			return err
		}},
		"file": {wandbtest.Storage, func(f *fixture, run Run) error {
			return f.UploadFile(f.Context(), run.Path, "a.txt", bytesBody([]byte("hello")))
		}},
	}
	type fault = wandbtest.Fault
	for _, tc := range []struct {
		name  string
		call  string
		fault fault
		tries int   // requests to the endpoint
		kind  error // nil: it survives
		later bool  // the error is transient
		waits time.Duration
	}{
		{"429", "viewer", fault{Status: 429}, 2, nil, false, 2 * time.Second},
		{"500", "viewer", fault{Status: 500, Times: 3}, 4, nil, false, 14 * time.Second},
		{"reset", "viewer", fault{Reset: true}, 2, nil, false, 2 * time.Second},
		{"answer lost", "viewer", fault{Lost: true}, 2, nil, false, 2 * time.Second},
		{"slow body", "viewer", fault{Stall: true}, 2, nil, false, 32 * time.Second},
		{"malformed", "viewer", fault{Malformed: true}, 1, ErrMalformed, true, 0},
		{"errors in a 200", "viewer", fault{Errors: []string{"boom"}}, 1, ErrRefused, false, 0},
		{"401", "viewer", fault{Status: 401}, 1, ErrUnauthorized, false, 0},
		{"403", "viewer", fault{Status: 403}, 1, ErrForbidden, false, 0},
		{"409", "viewer", fault{Status: 409}, 1, ErrConflict, false, 0},
		{"501", "viewer", fault{Status: 501}, 1, ErrRefused, false, 0},
		{"redirect", "viewer", fault{Status: 302}, 1, ErrMalformed, false, 0},
		{"503 for ever", "viewer", fault{Status: 503, Times: 100}, 21, ErrUnavailable, true, (2 + 4 + 8 + 16 + 32 + 15*60) * time.Second},
		{"Retry-After", "viewer", fault{Status: 503, RetryAfter: "90.5"}, 2, nil, false, 90500 * time.Millisecond},
		{"Retry-After as a date", "viewer", fault{Status: 429, RetryAfter: "Sat, 01 Jan 2000 00:10:00 GMT"}, 2, nil, false, 10 * time.Minute},
		{"Retry-After of the past", "viewer", fault{Status: 429, RetryAfter: "Sat, 01 Jan 1999 00:10:00 GMT"}, 2, nil, false, 0},

		{"409 is an upsert still at work", "upsert", fault{Status: 409}, 2, nil, false, 2 * time.Second},
		{"422", "upsert", fault{Status: 422}, 1, ErrRefused, false, 0},
		{"410", "upsert", fault{Status: 410}, 1, ErrNotFound, false, 0},
		{"answer lost", "upsert", fault{Lost: true}, 2, nil, false, 2 * time.Second},

		{"429", "stream", fault{Status: 429, RetryAfter: "5"}, 2, nil, false, 5 * time.Second},
		{"503 for two hours", "stream", fault{Status: 503, Times: 120}, 121, nil, false, (2 + 4 + 8 + 16 + 32 + 115*60) * time.Second},
		{"reset", "stream", fault{Reset: true, Times: 2}, 3, nil, false, 6 * time.Second},
		{"answer lost", "stream", fault{Lost: true}, 2, nil, false, 2 * time.Second},
		{"slow body", "stream", fault{Stall: true}, 2, nil, false, 182 * time.Second},
		{"malformed is an answer", "stream", fault{Malformed: true}, 1, nil, false, 0},
		{"409", "stream", fault{Status: 409}, 1, ErrConflict, false, 0},
		{"404", "stream", fault{Status: 404}, 1, ErrNotFound, false, 0},
		{"413", "stream", fault{Status: 413}, 1, ErrTooLarge, false, 0},

		{"503", "file", fault{Status: 503}, 2, nil, false, 2 * time.Second},
		{"reset", "file", fault{Reset: true}, 2, nil, false, 2 * time.Second},
		{"403: the URL is asked for again", "file", fault{Status: 403}, 2, nil, false, 0},
		{"403 twice", "file", fault{Status: 403, Times: 2}, 2, ErrForbidden, false, 0},
	} {
		t.Run(tc.call+" "+tc.name, func(t *testing.T) {
			retries := 0
			bubble(t, wandbtest.Options{}, Options{Retrying: func(*Error, time.Duration) { retries++ }}, func(f *fixture) {
				run := f.newRun()
				before := len(f.server.Requests())
				call := calls[tc.call]
				f.server.Script(call.endpoint, tc.fault)
				start := time.Now()
				err := call.do(f, run)
				took := time.Since(start)

				if tc.kind == nil {
					require.NoError(t, err)
				} else {
					require.ErrorIs(t, err, tc.kind)
					assert.Equal(t, tc.later, IsTransient(err))
					assert.ErrorContains(t, err, "wandb.standin", "the host")
					if tc.call != "viewer" {
						assert.ErrorContains(t, err, "p/r", "the run")
					}
					assert.NotContains(t, err.Error(), "signature")
				}
				tries := 0
				for _, r := range f.server.Requests()[before:] {
					if r.Operation == call.endpoint || r.Operation == "" {
						tries++
					}
				}
				assert.Equal(t, tc.tries, tries, "tries")
				if tc.name != "403: the URL is asked for again" && tc.name != "403 twice" {
					assert.Equal(t, tc.tries-1, retries, "retries told of")
				}
				assert.GreaterOrEqual(t, took, tc.waits)
				assert.LessOrEqual(t, took, tc.waits+tc.waits/4)

				if tc.kind == nil && tc.call == "stream" {
					assert.Len(t, f.held().History, 1, "the row is there, once")
				}
				if tc.kind == nil && tc.call == "file" {
					assert.Equal(t, "hello", string(f.held().Files["a.txt"]))
				}
				assert.Empty(t, f.server.Violations())
			})
		})
	}
}

func TestACallEndsWithItsContext(t *testing.T) {
	bubble(t, wandbtest.Options{}, Options{}, func(f *fixture) {
		f.server.Script(wandbtest.GraphQL, wandbtest.Fault{Status: 503, Times: 100})
		ctx, cancel := context.WithTimeout(f.Context(), time.Minute)
		defer cancel()
		start := time.Now()
		_, err := f.Viewer(ctx)
		assert.Equal(f, time.Minute, time.Since(start))
		require.ErrorIs(f, err, context.DeadlineExceeded)
		assert.True(f, IsTransient(err))
		assert.ErrorIs(f, err, ErrUnavailable, "and what it waited for")
	})
}

func TestErrorsSayWhatToDo(t *testing.T) {
	bubble(t, wandbtest.Options{APIKeys: []string{"another"}}, Options{}, func(f *fixture) {
		_, err := f.Viewer(f.Context())
		assert.EqualError(f, err, "wandb: Viewer at wandb.standin: 401 Unauthorized: user is not logged in: "+
			"give an API key of wandb.standin, in WANDB_API_KEY, the configuration or netrc")
		var e *Error
		require.ErrorAs(f, err, &e)
		assert.Equal(f, 401, e.Status)
	})
	for _, tc := range []struct{ body, want string }{
		{`{"errors":[{"message":"a"},{"message":"b"}]}`, "a|b"},
		{`{"error":"a"}`, "a"},
		{`{"error":{"message":"a"}}`, "a"},
		{"plain\n text", "plain text"},
		{"", ""},
		{strings.Repeat("x", 1000), strings.Repeat("x", maxMessage) + "…"},
	} {
		assert.Equal(t, tc.want, strings.Join(messagesOf([]byte(tc.body)), "|"))
	}
}

func TestHopelessConnectionsAreNotTriedAgain(t *testing.T) {
	tries := 0
	bad := roundTripper(func(*http.Request) (*http.Response, error) {
		tries++
		return nil, errors.New("http: invalid header field value")
	})
	bubble(t, wandbtest.Options{}, Options{HTTP: &http.Client{Transport: bad}}, func(f *fixture) {
		_, err := f.Viewer(f.Context())
		require.Error(f, err)
		assert.False(f, IsTransient(err))
		assert.Equal(f, 1, tries)
	})
}

// A redirect is where credentials could leave for another host.
func TestRedirectsAreNotFollowed(t *testing.T) {
	var hosts []string
	moved := roundTripper(func(r *http.Request) (*http.Response, error) {
		hosts = append(hosts, r.URL.Host)
		h := http.Header{"Location": {"http://sub.wandb.standin/graphql"}} // net/http would take the key there
		return &http.Response{StatusCode: http.StatusFound, Header: h, Body: http.NoBody, Request: r}, nil
	})
	bubble(t, wandbtest.Options{}, Options{HTTP: &http.Client{Transport: moved}}, func(f *fixture) {
		_, err := f.Viewer(f.Context())
		assert.ErrorContains(f, err, "moved to http://sub.wandb.standin: the server is elsewhere: set the host to the address it names")
		assert.Equal(f, []string{"wandb.standin"}, hosts)
	})
}

func TestIdentityToken(t *testing.T) {
	file := filepath.Join(t.TempDir(), "jwt")
	require.NoError(t, os.WriteFile(file, []byte(" a.b.c\n"), 0o600))
	server := wandbtest.Options{IdentityTokens: []string{"a.b.c"}, TokenLife: time.Hour}
	client := Options{Credentials: IdentityTokenFile(file, "a file")}
	ask := func(f *fixture) error {
		_, err := f.Viewer(f.Context())
		return err
	}
	t.Run("one exchange serves many requests, until five minutes before its end", func(t *testing.T) {
		bubble(t, server, client, func(f *fixture) {
			require.NoError(f, ask(f))
			time.Sleep(54 * time.Minute)
			require.NoError(f, ask(f))
			assert.Equal(f, 1, f.count("/oidc/token"))
			time.Sleep(time.Minute)
			require.NoError(f, ask(f))
			assert.Equal(f, 2, f.count("/oidc/token"))
			assert.Empty(f, f.server.Violations())
		})
	})
	t.Run("trouble is tried again", func(t *testing.T) {
		bubble(t, server, client, func(f *fixture) {
			f.server.Script(wandbtest.Token, wandbtest.Fault{Status: 503}, wandbtest.Fault{Nth: 2, Reset: true})
			start := time.Now()
			require.NoError(f, ask(f))
			assert.Equal(f, 3*time.Second, time.Since(start))
		})
	})
	t.Run("a refusal is final", func(t *testing.T) {
		bubble(t, wandbtest.Options{}, client, func(f *fixture) {
			err := ask(f)
			require.ErrorIs(f, err, ErrUnauthorized)
			assert.False(f, IsTransient(err))
			assert.NotContains(f, err.Error(), "a.b.c")
			assert.Equal(f, 1, f.count("/oidc/token"))
			assert.Equal(f, 0, f.count("Viewer"))
		})
	})
	t.Run("no file", func(t *testing.T) {
		bubble(t, server, Options{Credentials: IdentityTokenFile(file+"x", "a file")}, func(f *fixture) {
			assert.ErrorContains(f, ask(f), "WANDB_IDENTITY_TOKEN_FILE")
		})
	})
}
