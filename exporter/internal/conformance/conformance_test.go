package conformance

import (
	"bytes"
	"flag"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

var update = flag.Bool("update", false, "write input.jsonl and expect.json from case.txt, and the list of cases in README.md; nothing is taken from the exporter")

var seeds = flag.Int("seeds", 0, "play each case in this many more random orders")

const root = "../../testdata/conformance"

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func caseDirs(t *testing.T) (dirs []string) {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(root, "*", "case.txt"))
	require.NoError(t, err)
	for _, path := range found {
		dirs = append(dirs, filepath.Dir(path))
	}
	require.NotEmpty(t, dirs)
	return dirs
}

// Input and expectations are what the readable form says. With -update they
// are written from it.
func TestFilesAgree(t *testing.T) {
	var list strings.Builder
	agree := func(path string, want []byte) {
		if *update {
			require.NoError(t, os.WriteFile(path, want, 0o644))
			return
		}
		got, err := os.ReadFile(path)
		require.NoError(t, err)
		assert.True(t, bytes.Equal(want, got), "%s is not what case.txt says: run `go test ./exporter/internal/conformance -run TestFilesAgree -update` and review the difference", path)
	}
	for _, dir := range caseDirs(t) {
		source, err := os.ReadFile(filepath.Join(dir, "case.txt"))
		require.NoError(t, err)
		input, expect, title := translate(filepath.Base(dir), string(source))
		require.NotEmpty(t, title, dir)
		agree(filepath.Join(dir, "input.jsonl"), input)
		agree(filepath.Join(dir, "expect.json"), expect)
		fmt.Fprintf(&list, "| [%s](%[1]s/case.txt) | %s |\n", filepath.Base(dir), title)
	}
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	require.NoError(t, err)
	const mark = "| case | what it shows |\n|---|---|\n"
	head, _, found := strings.Cut(string(readme), mark)
	require.True(t, found, "README.md has no list of cases")
	agree(filepath.Join(root, "README.md"), []byte(head+mark+list.String()))
}

func TestConformance(t *testing.T) {
	for _, dir := range caseDirs(t) {
		name := filepath.Base(dir)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := readCase(t, dir)
			for _, f := range failures(t, k) {
				t.Error(f)
			}
		})
	}
}

// failures plays a case in all ways and tells what differs.
func failures(t *testing.T, k *kase) (out []string) {
	t.Helper()
	check := func(how string, steps []step, want, got *outcome) {
		if diff := difference(pretty(plain(want)), pretty(plain(got))); diff != "" {
			out = append(out, fmt.Sprintf("%s (- expected, + what came of it):\n%s\nas it was sent:\n%s", how, diff, showSteps(steps)))
		}
	}
	check("in order", k.steps, k.expected(t), playCase(t, k, k.steps, false))
	for i, v := range allVariants(*seeds) {
		if testing.Short() && i%4 != 3 {
			continue
		}
		if slices.ContainsFunc(v.kinds, func(kind string) bool { return k.Exempt[kind] != "" }) {
			continue
		}
		seed := fnv.New64()
		fmt.Fprint(seed, k.Name, v.name)
		steps := v.apply(rand.New(rand.NewPCG(seed.Sum64(), 0)), k.steps)
		check(v.name, steps, k.expected(t).canonical(k.hasMetrics()), playCase(t, k, steps, v.restart).canonical(k.hasMetrics()))
	}
	return out
}

// difference shows the lines that differ, with a little of what stands around.
func difference(want, got []byte) string {
	if bytes.Equal(want, got) {
		return ""
	}
	a, b := strings.Split(string(want), "\n"), strings.Split(string(got), "\n")
	same := make([][]int, len(a)+1) // longest common part of a[i:] and b[j:]
	for i := range same {
		same[i] = make([]int, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				same[i][j] = same[i+1][j+1] + 1
			} else {
				same[i][j] = max(same[i+1][j], same[i][j+1])
			}
		}
	}
	var lines []string
	var differ []bool
	for i, j := 0, 0; i < len(a) || j < len(b); {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			lines, differ = append(lines, "  "+a[i]), append(differ, false)
			i, j = i+1, j+1
		case j == len(b) || i < len(a) && same[i+1][j] >= same[i][j+1]:
			lines, differ = append(lines, "- "+a[i]), append(differ, true)
			i++
		default:
			lines, differ = append(lines, "+ "+b[j]), append(differ, true)
			j++
		}
	}
	var out strings.Builder
	for i, line := range lines {
		if slices.Contains(differ[max(0, i-2):min(len(differ), i+3)], true) {
			out.WriteString(line + "\n")
		}
	}
	return out.String()
}

func showSteps(steps []step) string {
	var b strings.Builder
	for _, s := range steps {
		switch {
		case s.traces != nil:
			b.WriteString("traces:")
			for _, rs := range s.traces.ResourceSpans().All() {
				for _, ss := range rs.ScopeSpans().All() {
					for _, span := range ss.Spans().All() {
						fmt.Fprintf(&b, " %s(%s)", span.Name(), span.SpanID().String()[:4])
					}
				}
			}
		case s.logs != nil:
			b.WriteString("logs:")
			for _, rl := range s.logs.ResourceLogs().All() {
				for _, sl := range rl.ScopeLogs().All() {
					for _, r := range sl.LogRecords().All() {
						fmt.Fprintf(&b, " %s %s(%.4s)", r.EventName(), r.Body().AsString(), r.SpanID().String())
					}
				}
			}
		case s.metrics != nil:
			b.WriteString("metrics:")
			for _, rm := range s.metrics.ResourceMetrics().All() {
				for _, sm := range rm.ScopeMetrics().All() {
					for _, metric := range sm.Metrics().All() {
						b.WriteString(" " + metric.Name())
					}
				}
			}
		default:
			fmt.Fprintf(&b, "wait: %v", s.wait)
		}
		b.WriteByte('\n')
	}
	return b.String()
}
