package wandb

import (
	"net/http"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/otel-wandb/otel-wandb/internal/wandbtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fixture is a client and the server it speaks to, in a bubble with a clock of
// its own.
type fixture struct {
	*testing.T
	*Client
	server *wandbtest.Server
}

func bubble(t *testing.T, opts wandbtest.Options, clientOpts Options, test func(f *fixture)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		server := wandbtest.New(opts)
		h, stop := server.InMemory()
		defer stop()
		if clientOpts.HTTP == nil {
			clientOpts.HTTP = h
		}
		clientOpts.BaseURL = wandbtest.URL
		if clientOpts.Credentials.IsZero() {
			clientOpts.Credentials = standinKey(t)
		}
		c, err := New(clientOpts)
		require.NoError(t, err)
		test(&fixture{T: t, Client: c, server: server})
	})
}

func standinKey(t *testing.T) Credentials {
	creds, err := APIKey(wandbtest.Key, "the test")
	require.NoError(t, err)
	return creds
}

// telemetry is the least config of a run that can be resumed.
const telemetry = `{"_wandb":{"value":{"cli_version":"0.0.0","t":{"5":"0.0.0"}}}}`

// newRun makes run p/r.
func (f *fixture) newRun() Run {
	f.Helper()
	run, err := f.UpsertRun(f.Context(), Upsert{Run: Path{Project: "p", Run: "r"}, Fields: &Fields{}, Config: telemetry})
	require.NoError(f, err)
	return run
}

// held is run p/r as the server holds it.
func (f *fixture) held() wandbtest.Run {
	f.Helper()
	r, ok := f.server.Run("", "p", "r")
	require.True(f, ok)
	return r
}

// count is how many requests there were to an endpoint, by path or operation.
func (f *fixture) count(endpoint string) int {
	n := 0
	for _, r := range f.server.Requests() {
		if r.Operation == endpoint || r.Operation == "" && r.Path == endpoint {
			n++
		}
	}
	return n
}

// roundTripper answers requests in a function.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
