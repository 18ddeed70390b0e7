package doctor

import (
	"bytes"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/otel-wandb/otel-wandb/internal/wandb"
	"github.com/otel-wandb/otel-wandb/internal/wandbtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// site is all that a doctor looks at, in good health.
type site struct {
	opts      Options
	env       map[string]string
	server    *wandbtest.Server
	collector *httptest.Server
}

func newSite(t *testing.T, opts wandbtest.Options) *site {
	s := &site{server: wandbtest.New(opts)}
	web := httptest.NewServer(s.server)
	s.collector = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(func() { s.server.Close(); web.Close(); s.collector.Close() })
	s.env = map[string]string{"WANDB_BASE_URL": web.URL, "WANDB_API_KEY": wandbtest.Key, "WANDB_PROJECT": "vision"}
	s.opts = Options{
		Dir: t.TempDir(), Endpoint: s.collector.URL, Home: t.TempDir(), Timeout: 2 * time.Second,
		Getenv: func(k string) string { return s.env[k] },
		Free:   func(string) (int64, bool) { return 100 << 30, true },
	}
	return s
}

func statuses(r *Report) map[string]Status {
	m := map[string]Status{}
	for _, c := range r.Checks {
		m[c.Name] = c.Status
	}
	return m
}

func TestDoctor(t *testing.T) {
	healthy := map[string]Status{
		"server": OK, "key": OK, "project": NotTried, "features": OK, "clock": OK, "limits": OK,
		"directory": OK, "disk": OK, "runs": OK, "collector": OK,
	}
	for _, tt := range []struct {
		name   string
		server wandbtest.Options
		harm   func(t *testing.T, s *site)
		want   map[string]Status // what differs from the healthy; "" is not looked at
		says   string
	}{
		{"all is well", wandbtest.Options{Features: []string{wandb.StructuredConsoleLogs}}, func(*testing.T, *site) {}, nil, wandb.StructuredConsoleLogs},
		{"a server with limits", wandbtest.Options{GraphQLLimit: wandbtest.Limit{Requests: 60, Window: time.Minute}}, func(*testing.T, *site) {}, nil, "58 requests are left"},
		{"limits used up", wandbtest.Options{GraphQLLimit: wandbtest.Limit{Requests: 2, Window: time.Minute}}, func(*testing.T, *site) {}, map[string]Status{"limits": Fix}, "there again by itself"},
		{"no key", wandbtest.Options{}, func(_ *testing.T, s *site) { delete(s.env, "WANDB_API_KEY") }, noServer("key"), "set WANDB_API_KEY"},
		{"a key of no form", wandbtest.Options{}, func(_ *testing.T, s *site) { s.env["WANDB_API_KEY"] = "short" }, noServer("key"), "copy all of it"},
		{
			"a key that is not known",
			wandbtest.Options{},
			func(_ *testing.T, s *site) { s.env["WANDB_API_KEY"] = strings.Repeat("x", 40) },
			with(noServer("key"), "clock", OK), "give an API key of",
		},
		{"a project of no form", wandbtest.Options{}, func(_ *testing.T, s *site) { s.opts.Project, s.opts.Write = "a/b", true }, map[string]Status{"project": Fix}, "holds one of"},
		{"no such server", wandbtest.Options{}, func(_ *testing.T, s *site) { s.env["WANDB_BASE_URL"] = "http://127.0.0.1:1" }, with(noServer("server"), "clock", NotTried), "check the network"},
		{"W&B's page for its server", wandbtest.Options{}, func(_ *testing.T, s *site) { s.env["WANDB_BASE_URL"] = "https://wandb.ai" }, noServer("server"), "use https://api.wandb.ai"},
		{"the key of another server", wandbtest.Options{}, func(_ *testing.T, s *site) { s.opts.BaseURL = "http://other.invalid" }, noServer("key"), "set WANDB_BASE_URL=http://other.invalid"},
		{"another's entity", wandbtest.Options{}, func(_ *testing.T, s *site) { s.env["WANDB_ENTITY"] = "others" }, map[string]Status{"project": Fix}, "WANDB_ENTITY"},
		{"an entity that is not there", wandbtest.Options{Entities: []string{"team"}}, func(_ *testing.T, s *site) { s.opts.Entity, s.opts.Write = "others", true }, map[string]Status{"project": Fix}, "an entity must exist"},
		{
			"an old server", wandbtest.Options{}, func(_ *testing.T, s *site) {
				s.server.Script("ServerFeaturesQuery", wandbtest.Fault{Errors: []string{"no such field"}})
			}, nil, "an old server",
		},
		{"a clock ahead", wandbtest.Options{}, func(_ *testing.T, s *site) { s.opts.Now = func() time.Time { return time.Now().Add(time.Hour) } }, map[string]Status{"clock": Fix}, "s ahead of the server"},
		{"a clock behind", wandbtest.Options{}, func(_ *testing.T, s *site) { s.opts.Now = func() time.Time { return time.Now().Add(-time.Hour) } }, map[string]Status{"clock": Fix}, "behind"},
		{"no directory", wandbtest.Options{}, func(_ *testing.T, s *site) { s.opts.Dir = filepath.Join(s.opts.Dir, "none") }, map[string]Status{"directory": Fix, "disk": "", "runs": ""}, "WANDB_DIR"},
		{"a full disk", wandbtest.Options{}, func(_ *testing.T, s *site) { s.opts.Free = func(string) (int64, bool) { return 9 << 20, true } }, map[string]Status{"disk": Fix}, "9 MiB are free"},
		{"no collector", wandbtest.Options{}, func(_ *testing.T, s *site) { s.opts.Endpoint = "127.0.0.1:1" }, map[string]Status{"collector": Fix}, "start the collector"},
		{"no collector wanted", wandbtest.Options{}, func(_ *testing.T, s *site) { s.opts.Endpoint = "none" }, map[string]Status{"collector": NotTried}, "asked not to"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSite(t, tt.server)
			tt.harm(t, s)
			r := Look(t.Context(), s.opts)
			want := maps.Clone(healthy)
			fix := false
			for name, status := range tt.want {
				want[name] = status
				if status == "" {
					delete(want, name)
				}
				fix = fix || status == Fix
			}
			var b bytes.Buffer
			r.Text(&b)
			assert.Equal(t, want, statuses(r), b.String())
			assert.Equal(t, !fix, r.OK)
			assert.Contains(t, b.String(), tt.says)
			assert.NotContains(t, b.String(), wandbtest.Key)
			assert.Empty(t, s.server.Runs(), "it leaves nothing behind")
			for _, c := range r.Checks {
				assert.True(t, c.Status != Fix || c.Fix != "", "%s: no remedy", c.Name)
			}
		})
	}
}

// noServer is where the questions after the first are not asked.
func noServer(name string) map[string]Status {
	m := map[string]Status{"server": "", "key": "", "project": "", "features": "", "clock": "", "limits": ""}
	m[name] = Fix
	return m
}

func with(m map[string]Status, name string, status Status) map[string]Status {
	m[name] = status
	return m
}

// With leave to write, a run is made and ended.
func TestWrite(t *testing.T) {
	s := newSite(t, wandbtest.Options{})
	s.opts.Write = true
	r := Look(t.Context(), s.opts)
	assert.Equal(t, OK, statuses(r)["project"])
	runs := s.server.Runs()
	require.Len(t, runs, 1)
	assert.Equal(t, "finished", runs[0].State)
	assert.Equal(t, "vision", runs[0].Project)
	assert.Empty(t, s.server.Violations())
	entries, err := os.ReadDir(s.opts.Dir)
	require.NoError(t, err)
	assert.Empty(t, entries)
}
