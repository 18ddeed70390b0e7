package bridge

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A8: links. What the plugin renders before a task runs, the bridge knows when
// it starts.
func TestA8_Links(t *testing.T) {
	in := []SetupOption{WithEntity("e"), WithProject("p")}
	ranks := rank(2, 2, 2)
	for _, tt := range []struct {
		name       string
		env        map[string]string
		setup      []SetupOption
		opts       []TaskOption
		url, group string
	}{
		{"entity missing: the bare host", nil, []SetupOption{WithProject("p")}, nil, "https://wandb.ai", ""},
		{"project missing: the bare host", nil, []SetupOption{WithEntity("e")}, nil, "https://wandb.ai", ""},
		{"both known", nil, in, []TaskOption{WithRunID("r")}, "https://wandb.ai/e/p/runs/r", ""},
		{"names are escaped", nil, nil, []TaskOption{WithEntity("e"), WithProject("mein Projekt"), WithRunID("r 1")}, "https://wandb.ai/e/mein%20Projekt/runs/r%201", ""},
		{"a host of one's own", nil, in, []TaskOption{WithHost("https://wandb.example.com/"), WithRunID("r")}, "https://wandb.example.com/e/p/runs/r", ""},
		{"a host with api in front", nil, in, []TaskOption{WithHost("https://api.example.com"), WithRunID("r")}, "https://app.example.com/e/p/runs/r", ""},
		{"the context's host beats the program's", map[string]string{"WANDB_BASE_URL": "http://localhost:8080"}, in, []TaskOption{WithHost("https://b.example"), WithRunID("r")}, "https://b.example/e/p/runs/r", ""},
		{"the environment's host", map[string]string{"WANDB_BASE_URL": "http://localhost:8080"}, in, []TaskOption{WithRunID("r")}, "http://localhost:8080/e/p/runs/r", ""},
		{"ranks with mode new: a page of the group", ranks, in, []TaskOption{WithMode(ModeNew)}, "https://wandb.ai/e/p/runs/my-run-task-rank-2", "https://wandb.ai/e/p/groups/my-run-task"},
		{"worker scope: each node's own", ranks, in, []TaskOption{WithRankScope(RankScopeWorker)}, "https://wandb.ai/e/p/runs/my-run-task-worker-1", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newProgramIn(t, tt.env, tt.setup...)
			_, run, err := StartTask(p.ctx, "task", tt.opts...)
			require.NoError(t, err)
			assert.Equal(t, tt.url, run.URL())
			assert.Equal(t, tt.group, run.GroupURL())
			run.End(nil)
			attrs, _ := p.span(t, "task")
			if run.Entity() != "" && run.Project() != "" {
				assert.Equal(t, tt.url, attrs["wandb.run.url"])
			} else {
				assert.NotContains(t, attrs, "wandb.run.url", "a front page is no link to a run")
			}
			assert.Equal(t, run.ID(), attrs["wandb.wb_run_id"])
		})
	}
}

func TestA8_ASharedChildLinksToItsParents(t *testing.T) {
	p := newProgram(t, WithEntity("e"), WithProject("p"))
	ctx, run, err := StartTask(p.ctx, "parent")
	require.NoError(t, err)
	_, child, err := StartTask(ctx, "child", WithMode(ModeShared))
	require.NoError(t, err)
	assert.Equal(t, run.URL(), child.URL())
	_, own, err := StartTask(WithConfig(ctx, WithMode(ModeNew)), "own")
	require.NoError(t, err)
	assert.NotEqual(t, run.URL(), own.URL(), "a mode of the scope counts for the link too")
	own.End(nil)
	child.End(nil)
	run.End(nil)
}

func TestAppURL(t *testing.T) {
	for api, app := range map[string]string{
		"":                           "https://wandb.ai",
		"https://api.wandb.ai":       "https://wandb.ai",
		"https://api.wandb.ai/":      "https://wandb.ai",
		"https://api.wandb.test":     "https://app.wandb.test",
		"https://api.example.com":    "https://app.example.com",
		"http://localhost:8080":      "http://localhost:8080",
		"https://wandb.example.com/": "https://wandb.example.com",
	} {
		assert.Equal(t, app, appURL(api), api)
	}
}
