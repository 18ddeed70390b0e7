package explain

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/otel-wandb/otel-wandb/exporter/internal/placement"
	"github.com/otel-wandb/otel-wandb/internal/runid"
)

var update = flag.Bool("update", false, "write what explain says now to testdata/*.txt; read the difference before committing it")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func explained(t *testing.T, text string) *Report {
	t.Helper()
	e := New(Options{Placement: placement.Config{Default: runid.Coordinates{Host: "https://api.wandb.ai", Project: "demo"}}})
	require.NoError(t, Read(strings.NewReader(text), "input", e))
	return e.Report()
}

func TestGolden(t *testing.T) {
	inputs, err := filepath.Glob("testdata/*.json")
	require.NoError(t, err)
	require.NotEmpty(t, inputs)
	for _, input := range inputs {
		t.Run(strings.TrimSuffix(filepath.Base(input), ".json"), func(t *testing.T) {
			b, err := os.ReadFile(input)
			require.NoError(t, err)
			var got bytes.Buffer
			explained(t, string(b)).Text(&got)
			golden := strings.TrimSuffix(input, ".json") + ".txt"
			if *update {
				require.NoError(t, os.WriteFile(golden, got.Bytes(), 0o666))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			if diff := cmp.Diff(string(want), got.String()); diff != "" {
				t.Errorf("%s differs (-want +got); if the new text is right, run with -update:\n%s", golden, diff)
			}
		})
	}
}

// lines are a request each.
func lines(t *testing.T, name string) []string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	require.NoError(t, err)
	return strings.Split(strings.TrimSpace(string(b)), "\n")
}

func TestTheOrderOfRequestsDecidesNothing(t *testing.T) {
	all := lines(t, "mixed_lines.json")
	want := explained(t, strings.Join(all, "\n"))
	for i := range all {
		turned := explained(t, strings.Join(append(append([]string{}, all[i:]...), all[:i]...), "\n"))
		assert.Equal(t, want.Rows, turned.Rows)
		assert.Equal(t, want.Refused, turned.Refused)
		assert.Equal(t, want.KeptOut, turned.KeptOut)
		assert.Len(t, turned.Runs, len(want.Runs))
	}
}

func TestRepeatsCountOnce(t *testing.T) {
	text := strings.Join(lines(t, "mixed_lines.json"), "\n")
	once, twice := explained(t, text), explained(t, text+text)
	assert.Equal(t, once.Rows, twice.Rows)
	assert.Equal(t, once.Runs[0].Rows, twice.Runs[0].Rows)
	assert.Positive(t, twice.Runs[0].Repeats)
}

func TestReadErrorsSayWhereAndWhatToDo(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"nothing", "", "trace.json is empty: give it OTLP in JSON"},
		{"no JSON", "hello", "trace.json: JSON value 1, at byte 0: invalid character 'h'"},
		{"another JSON", `{"resourceSpans":[]} {"data":[]}`, "trace.json: JSON value 2, at byte 20: neither resourceSpans nor resourceLogs nor resourceMetrics is in it: this is no OTLP request"},
		{"an array", `[]`, "trace.json: JSON value 1, at byte 0: it is no object: each value must be one with resourceSpans, resourceLogs or resourceMetrics"},
		{"cut off", `{"resourceSpans":[{`, "unexpected EOF"},
		{"a span id that is none", `{"resourceSpans":[{"scopeSpans":[{"spans":[{"spanId":"xyz"}]}]}]}`, "JSON value 1, at byte 0: spans: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := Read(strings.NewReader(tt.text), "trace.json", New(Options{}))
			require.ErrorContains(t, err, tt.want)
		})
	}
}

func TestJSONSaysWhatTheTextSays(t *testing.T) {
	b, err := os.ReadFile("testdata/workflow.json")
	require.NoError(t, err)
	out, err := json.Marshal(explained(t, string(b)))
	require.NoError(t, err)
	var back struct {
		Traces []struct {
			Roots []struct {
				Name, Run, Rule, Role string
				Children              []struct{ Name, Run, Rule string }
			}
		}
		Runs []struct {
			Run  string
			Rows int
		}
		Refused int
	}
	require.NoError(t, json.Unmarshal(out, &back))
	var train bool
	for _, root := range back.Traces[0].Roots {
		if root.Name == "train" {
			train = true
			assert.Equal(t, "opens", root.Rule)
			assert.Equal(t, "owner", root.Role)
			assert.Equal(t, "joins_parent", root.Children[0].Rule)
			assert.Equal(t, root.Run, root.Children[0].Run)
		}
	}
	assert.True(t, train)
	assert.Equal(t, 1, back.Refused)
}
