package runid

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
)

func TestSanitize(t *testing.T) {
	for _, tt := range []struct {
		name, in, want string
		changed        bool
	}{
		{"plain", "train-7", "train-7", false},
		{"emoji and spaces inside stay", "loss 🚀 run", "loss 🚀 run", false},
		{"slash", "a/b", "a_b-" + shortHash("a/b"), true},
		{"another that would collide with it", "a:b", "a_b-" + shortHash("a:b"), true},
		{"path", "../../etc", ".._.._etc-" + shortHash("../../etc"), true},
		{"spaces around", " x ", "x-" + shortHash(" x "), true},
		{"invalid UTF-8", "a\xffb", "a_b-" + shortHash("a\xffb"), true},
		{"control", "a\x00b", "a_b-" + shortHash("a\x00b"), true},
		{"empty", "", "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, changed := Sanitize(tt.in)
			assert.Equal(t, tt.want, got)
			assert.Equal(t, tt.changed, changed)
		})
	}
	long, changed := Sanitize(strings.Repeat("ü", 10_000))
	assert.True(t, changed)
	assert.LessOrEqual(t, len(long), MaxID)
	assert.True(t, utf8.ValidString(long))
	again, changed := Sanitize(long)
	assert.False(t, changed, "a clean id is clean for ever")
	assert.Equal(t, long, again)
}

// A5 of the acceptance cases, base my-run-task.
func TestA5_DeriveIDAndGroup(t *testing.T) {
	const base = "my-run-task"
	for _, tt := range []struct {
		name      string
		ranks     Ranks
		isNew     bool
		id, group string
	}{
		{"not distributed", Ranks{}, true, base, ""},
		{"world of one", Ranks{WorldSize: 1}, true, base, ""},
		{"1 node, auto", Ranks{Rank: 2, WorldSize: 4, LocalWorldSize: 4}, false, base, ""},
		{"1 node, new, rank 2", Ranks{Rank: 2, WorldSize: 4, LocalWorldSize: 4}, true, base + "-rank-2", base},
		{"2 nodes, auto, worker scope, worker 1", Ranks{Rank: 5, LocalRank: 1, WorldSize: 8, LocalWorldSize: 4, Worker: 1, WorkerScope: true}, false, base + "-worker-1", ""},
		{"2 nodes, new, global, rank 6", Ranks{Rank: 6, LocalRank: 2, WorldSize: 8, LocalWorldSize: 4, Worker: 1}, true, base + "-rank-6", base},
		{"2 nodes, new, worker scope", Ranks{Rank: 6, LocalRank: 2, WorldSize: 8, LocalWorldSize: 4, Worker: 1, WorkerScope: true}, true, base + "-worker-1-rank-2", base + "-worker-1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			id, group := tt.ranks.Derive(base, tt.isNew)
			assert.Equal(t, tt.id, id)
			assert.Equal(t, tt.group, group)
		})
	}
}

func TestA7_WhoDecides(t *testing.T) {
	assert.True(t, Ranks{}.Decides())
	assert.True(t, Ranks{Rank: 0, WorldSize: 8, LocalWorldSize: 4}.Decides())
	assert.False(t, Ranks{Rank: 4, LocalRank: 0, WorldSize: 8, LocalWorldSize: 4}.Decides(), "global scope: rank 0 only")
	assert.True(t, Ranks{Rank: 4, LocalRank: 0, WorldSize: 8, LocalWorldSize: 4, WorkerScope: true}.Decides(), "worker scope: each node's first")
	assert.False(t, Ranks{Rank: 5, LocalRank: 1, WorldSize: 8, LocalWorldSize: 4, WorkerScope: true}.Decides())
}

func TestProjectError(t *testing.T) {
	for _, bad := range []string{"../../etc", "a/b", "a:b", "..", strings.Repeat("x", 129), "a\xff", "a\nb", " ", "\t"} {
		assert.NotEmpty(t, ProjectError(bad), "%q", bad)
	}
	for _, good := range []string{"", "my-project", "mein Projekt 🚀"} {
		assert.Empty(t, ProjectError(good), "%q", good)
	}
}

func TestBase(t *testing.T) {
	assert.Equal(t, "r-a", Base("r", "a", "t", "s"))
	assert.Equal(t, "t-s", Base("r", "", "t", "s"), "half a Flyte name is none")
}

func TestHost(t *testing.T) {
	for in, want := range map[string]string{
		"":                            "",
		"https://api.wandb.ai":        "https://api.wandb.ai",
		"https://api.wandb.ai/":       "https://api.wandb.ai",
		"HTTPS://API.WANDB.AI:443":    "https://api.wandb.ai",
		"https://api.wandb.ai:443//":  "https://api.wandb.ai",
		"http://wandb.lan:80":         "http://wandb.lan",
		"http://wandb.lan:443":        "http://wandb.lan:443",
		"http://Wandb.lan:8080/":      "http://wandb.lan:8080",
		"https://wandb.lan:/":         "https://wandb.lan",
		"https://[::1]:443":           "https://[::1]",
		"https://[::1]:8443":          "https://[::1]:8443",
		"https://Wandb.lan/Some/Path": "https://wandb.lan/Some/Path", // a path has case
		"no URL: At all/":             "no URL: At all",
		"API.WANDB.AI":                "API.WANDB.AI",
	} {
		assert.Equal(t, want, Host(in), "%q", in)
		assert.Equal(t, want, Host(want), "%q: once is enough", in)
	}
}
