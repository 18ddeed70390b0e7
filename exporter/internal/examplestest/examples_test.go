package examplestest

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-wandb/otel-wandb/exporter/internal/runview"
)

// patience bounds an example, on any machine; each takes a second or two.
const patience = 2 * time.Minute

// play runs an example from the top of the repository, and gives the runs that
// came of it by the names of the tasks that opened them.
func play(t *testing.T, example string) (said string, runs map[string]*runview.Run) {
	t.Helper()
	top, err := filepath.Abs(filepath.Join("..", "..", ".."))
	require.NoError(t, err)
	for _, program := range []string{"otelcol-wandb", "otel-wandb"} {
		_, err := os.Stat(filepath.Join(top, "bin", program))
		require.NoError(t, err, "run make build")
	}
	program := filepath.Join(t.TempDir(), example)
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", program, "./examples/"+example)
	build.Dir, build.Env = top, append(os.Environ(), "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	dir := t.TempDir()
	cmd := exec.CommandContext(ctx, program)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	cmd.Dir = top
	// The machine's own settings do no harm.
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool {
		for _, prefix := range []string{"OTEL_", "WANDB_", "RANK=", "JOB_", "SLURM_", "OMPI_", "TRACEPARENT=", "TRACESTATE=", "BAGGAGE="} {
			if strings.HasPrefix(v, prefix) {
				return true
			}
		}
		return false
	})
	cmd.Env = append(cmd.Env, "WANDB_DIR="+dir)
	out, err = cmd.CombinedOutput()
	log, _ := os.ReadFile(filepath.Join(dir, "collector.log"))
	require.NoError(t, err, "%s\n%s", out, log)
	for _, level := range []string{"\twarn\t", "\terror\t"} {
		assert.NotContains(t, string(log), level, "the collector has something to complain of")
	}

	parts, err := runview.List(dir)
	require.NoError(t, err)
	runs = map[string]*runview.Run{}
	for key, group := range runview.Group(parts) {
		run, err := runview.Read(group, runview.Options{})
		require.NoError(t, err)
		assert.Contains(t, string(out), key.ID)
		task := run.Name[:len(run.Name)-len("-012345")]
		assert.NotContains(t, runs, task, "two runs of one task")
		runs[task] = run
		require.NotNil(t, run.Exit, "%s has not ended", run.Name)
		assert.Zero(t, *run.Exit, run.Name)
		assert.NotContains(t, run.Summary, "otel.rows_missing")
	}
	return string(out), runs
}

// column is a metric's values, in the order of its rows.
func column(run *runview.Run, metric string) (values []any) {
	for _, row := range run.Rows {
		if v, ok := row.Values[metric]; ok {
			values = append(values, v)
		}
	}
	return values
}

func TestTwoProcesses(t *testing.T) {
	_, runs := play(t, "two-processes")
	require.Len(t, runs, 2)
	train, report := runs["train"], runs["report"]
	require.NotNil(t, train)
	require.NotNil(t, report)

	assert.Equal(t, "otel-wandb-examples", train.Project)
	assert.Len(t, train.Rows, 11)
	assert.Len(t, column(train, "loss"), 10)
	assert.Len(t, column(train, "test/accuracy"), 1, "what the other process logged")
	assert.EqualValues(t, 256, runview.Flat(train.Config)["evaluate.batch_size"])
	assert.Equal(t, []string{"two-processes"}, train.Tags)

	assert.Equal(t, "otel-wandb-reports", report.Project)
	assert.Len(t, column(report, "page"), 3)
	assert.Equal(t, train.ID[:32], report.ID[:32], "one trace")
}

func TestRanks(t *testing.T) {
	_, runs := play(t, "ranks")
	require.Len(t, runs, 1)
	train := runs["train"]
	require.NotNil(t, train)
	assert.Len(t, train.Rows, 80)
	for _, metric := range []string{"rank0/loss", "rank1/loss", "rank2/loss", "rank3/loss"} {
		assert.Len(t, column(train, metric), 20, metric)
	}
	assert.EqualValues(t, 4, train.Summary["ranks"])
	assert.EqualValues(t, 64, train.Config["batch_size"])
}

func TestRetry(t *testing.T) {
	said, runs := play(t, "retry")
	assert.Contains(t, said, "attempt 1: out of memory")
	assert.Contains(t, said, "attempt 2: succeeded")
	require.Len(t, runs, 1)
	train := runs["train"]
	require.NotNil(t, train)
	assert.Len(t, train.Rows, 10)
	require.Len(t, column(train, "step"), 10)
	for i, step := range column(train, "step") {
		assert.EqualValues(t, i, step, "the second attempt goes on where the first ended")
	}
	assert.Len(t, column(train, "loss"), 10)
	assert.Len(t, train.Parts, 2, "one for each attempt")
}

func TestInProcess(t *testing.T) {
	_, runs := play(t, "inprocess")
	require.Len(t, runs, 1)
	train := runs["train"]
	require.NotNil(t, train)
	assert.Len(t, column(train, "loss"), 10)
	assert.InDelta(t, 0.1, train.Config["lr"], 1e-9)
	assert.InDelta(t, 0.1, train.Summary["loss"], 1e-9)
}
