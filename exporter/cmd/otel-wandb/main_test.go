package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if os.Getenv(asTool) != "" {
		main() // a test wants the tool as a process
		return
	}
	goleak.VerifyTestMain(m)
}

type result struct {
	code     int
	out, err string
}

func tool(t *testing.T, stdin string, args ...string) result {
	t.Helper()
	var out, errs bytes.Buffer
	code := run(args, strings.NewReader(stdin), &out, &errs)
	return result{code, out.String(), errs.String()}
}

const explainData = "../../internal/explain/testdata/"

func TestExplainSaysByItsExitCodeWhetherAllIsPlaced(t *testing.T) {
	for _, tt := range []struct {
		name  string
		stdin string
		args  []string
		code  int
		want  string
	}{
		{"all placed", "", []string{explainData + "ranks_retry_guest.json"}, 0, "refused: 0"},
		{"nothing for W&B", "", []string{explainData + "nothing_for_wandb.json"}, 0, "Nothing here makes a run"},
		{"refused", "", []string{explainData + "workflow.json"}, 2, "shared_without_parent"},
		{"kept out", "", []string{explainData + "mixed_lines.json"}, 2, "no_task"},
		{"two files are one input", "", []string{explainData + "ranks_retry_guest.json", explainData + "nothing_for_wandb.json"}, 0, "runs: 2 · spans: 4"},
		{"standard input", `{"resourceSpans":[]}`, []string{"-"}, 0, "runs: 0"},
		{"the default project", "", []string{"--project", "vision", explainData + "ranks_retry_guest.json"}, 0, "vision/team-board"},
		{"an allowed host", "", []string{"--allow-host", "https://evil.example", explainData + "everything_wrong.json"}, 2, "https://evil.example/"},
		{"stamped only", "", []string{"--placement", "stamped_only", explainData + "everything_wrong.json"}, 2, "no_task"},
		{"a task rule", "", []string{"--task", "serv*", explainData + "nothing_for_wandb.json"}, 0, "opens"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := tool(t, tt.stdin, append([]string{"explain"}, tt.args...)...)
			assert.Equal(t, tt.code, r.code, r.err)
			assert.Contains(t, r.out, tt.want)
		})
	}
}

func TestExplainErrorsGoToStandardError(t *testing.T) {
	for _, tt := range []struct {
		name, stdin string
		args        []string
		want        string
	}{
		{"no file", "", []string{"explain"}, "name a FILE of recorded telemetry"},
		{"a file that is not there", "", []string{"explain", "none.json"}, "none.json"},
		{"not OTLP", "{}", []string{"explain", "-"}, "standard input: JSON value 1"},
		{"an unknown word", "", []string{"explain", "--rootless", "no", "-"}, `--rootless is "no": use open or off`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := tool(t, tt.stdin, tt.args...)
			assert.Equal(t, 1, r.code)
			assert.Empty(t, r.out)
			assert.Contains(t, r.err, tt.want)
		})
	}
}

func TestExplainJSON(t *testing.T) {
	r := tool(t, "", "explain", "--json", explainData+"workflow.json")
	require.Equal(t, 2, r.code, r.err)
	var report map[string]any
	require.NoError(t, json.Unmarshal([]byte(r.out), &report))
	assert.InDelta(t, 13, report["rows"], 0)
}

func TestExplainWritesNothing(t *testing.T) {
	file, err := filepath.Abs(explainData + "workflow.json")
	require.NoError(t, err)
	t.Chdir(t.TempDir())
	tool(t, "", "explain", file)
	entries, err := os.ReadDir(".")
	require.NoError(t, err)
	assert.Empty(t, entries)
}
