package upload

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-wandb/otel-wandb/exporter/internal/dotwandb"
	"github.com/otel-wandb/otel-wandb/internal/extjson"
	"github.com/otel-wandb/otel-wandb/internal/wandb"
	"github.com/otel-wandb/otel-wandb/internal/wandbtest"
)

// W&B's own client shows the beginning of a long line. The file has all of it.
func TestLongConsoleLine(t *testing.T) {
	for _, features := range [][]string{nil, {wandb.StructuredConsoleLogs}} {
		bubble(t, wandbtest.Options{Features: features}, func(f *fixture) {
			t := f.T
			fits, long := strings.Repeat("é", maxShown), strings.Repeat("é", 30_000)
			f.write(1, opening(start)...)
			f.write(1, line(fits, false), line(long, true), line("next", false), exit(0))
			require.NoError(t, f.uploader().Run(t.Context()))
			got := f.held()
			require.Len(t, got.Console, 3)
			for _, l := range got.Console[:2] {
				assert.Contains(t, l.Text, fits)
				assert.Equal(t, maxShown, strings.Count(l.Text, "é"))
			}
			assert.Contains(t, got.Console[2].Text, "next")
			assert.Equal(t, fits+"\n"+long+"\nnext\n", string(got.Files[consoleFile]))
		})
	}
}

// A server that expands globs gets those, and not what they define; another one
// the other way round. What was defined by name goes to both.
func TestGlobs(t *testing.T) {
	for _, expands := range []bool{true, false} {
		var o wandbtest.Options
		want := []string{"loss", "val/acc", "epoch"}
		if expands {
			o.Features = []string{wandb.ExpandMetricGlobs}
			want = []string{"loss", "val/*", "epoch"}
		}
		bubble(t, o, func(f *fixture) {
			t := f.T
			f.write(1, opening(start)...)
			f.write(1,
				rec{Metric: &dotwandb.Metric{Name: "loss", Defined: true}},
				rec{Metric: &dotwandb.Metric{GlobName: "val/*", StepMetric: "epoch", Defined: true}},
				rec{Metric: &dotwandb.Metric{Name: "val/acc", StepMetric: "epoch", Defined: true, Expanded: true}},
				row(0, "loss", "1"), exit(0))
			require.NoError(t, f.uploader().Run(t.Context()))
			var config struct {
				Wandb struct {
					Value struct {
						M []struct {
							Name string `json:"1"`
							Glob string `json:"2"`
						} `json:"m"`
					} `json:"value"`
				} `json:"_wandb"`
			}
			require.NoError(t, json.Unmarshal([]byte(f.held().ConfigJSON), &config))
			var names []string
			for _, m := range config.Wandb.Value.M {
				names = append(names, m.Name+m.Glob)
			}
			assert.Equal(t, want, names)
		})
	}
}

func TestUnset(t *testing.T) {
	for _, tt := range []struct {
		name string
		path string
		want string
	}{
		{"a key", "n", `{"o":{"a":1,"b":{"c":2}}}`},
		{"one of several below", "o.a", `{"n":5,"o":{"b":{"c":2}}}`},
		{"the last one below takes the object along", "o.b.c", `{"n":5,"o":{"a":1}}`},
		{"nothing is below a number", "n.a", `{"n":5,"o":{"a":1,"b":{"c":2}}}`},
		{"nor below a number in an object", "o.a.x", `{"n":5,"o":{"a":1,"b":{"c":2}}}`},
		{"what is not there", "x.y", `{"n":5,"o":{"a":1,"b":{"c":2}}}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := strings.Split(tt.path, ".")
			o := parse(`{"n":5,"o":{"a":1,"b":{"c":2}}}`)
			o.unset(&dotwandb.Item{Key: path[0], Rest: path[1:]})
			_, err := extjson.Members(o.text())
			require.NoError(t, err)
			assert.JSONEq(t, tt.want, o.text())
		})
	}
}
