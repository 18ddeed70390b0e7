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
	"github.com/otel-wandb/otel-wandb/internal/collectortest"
)

// patience bounds an example, on any machine; each takes a second or two.
const patience = 2 * time.Minute

// top is the top of the repository, where examples find a collector that is up
// to date.
func top(t *testing.T) string {
	t.Helper()
	top, err := collectortest.Top()
	require.NoError(t, err)
	collectortest.Built(t)
	_, err = os.Stat(filepath.Join(top, "bin", "otel-wandb"))
	require.NoError(t, err, "run make build")
	return top
}

// build builds a program of the examples.
func build(t *testing.T, example string) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "program")
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", program, "./examples/"+example)
	build.Dir, build.Env = top(t), append(os.Environ(), "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return program
}

// play runs an example, and gives the runs that came of it. All have succeeded.
func play(t *testing.T, example string) (said string, runs map[string]*runview.Run) {
	t.Helper()
	dir := t.TempDir()
	said, log := execute(t, dir, build(t, example))
	for _, level := range []string{"\twarn\t", "\terror\t"} {
		assert.NotContains(t, log, level, "the collector has something to complain of")
	}
	runs = read(t, dir)
	for _, run := range runs {
		assert.Contains(t, said, run.ID)
		assert.Zero(t, *run.Exit, run.Name)
	}
	return said, runs
}

// execute runs a program from the top of the repository, with dir for its runs.
func execute(t *testing.T, dir, program string, args ...string) (said, log string) {
	t.Helper()
	top := top(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
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
	out, err := cmd.CombinedOutput()
	collector, _ := os.ReadFile(filepath.Join(dir, "collector.log"))
	require.NoError(t, err, "%s\n%s", out, collector)
	return string(out), string(collector)
}

// read reads the runs in dir, by the names of the tasks that opened them.
func read(t *testing.T, dir string) map[string]*runview.Run {
	t.Helper()
	parts, err := runview.List(dir)
	require.NoError(t, err)
	runs := map[string]*runview.Run{}
	for _, group := range runview.Group(parts) {
		run, err := runview.Read(group, runview.Options{})
		require.NoError(t, err)
		task := run.Name[:len(run.Name)-len("-012345")]
		assert.NotContains(t, runs, task, "two runs of one task")
		runs[task] = run
		require.NotNil(t, run.Exit, "%s has not ended", run.Name)
		assert.NotContains(t, run.Summary, "otel.rows_missing")
	}
	return runs
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
	// How many parts depends on whether the retry came within the linger; what
	// the run says does not.
	require.NotNil(t, train.Exit)
	assert.Zero(t, *train.Exit, "the later attempt decides")
	assert.NotContains(t, train.Summary, "error.type", "the error was the first attempt's")
	assert.Contains(t, consoleText(train), "out of memory", "which is still in the console")
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

// The workflow gives the same on the bridge and on the plain OpenTelemetry API.
func TestWorkflow(t *testing.T) {
	demo := build(t, "workflow/demo")
	for _, example := range []string{"workflow", "plain"} {
		t.Run(example, func(t *testing.T) {
			dir := t.TempDir()
			execute(t, dir, demo, "-workflow", build(t, example), "-dir", dir)
			folders, err := filepath.Glob(filepath.Join(dir, "*"))
			require.NoError(t, err)
			require.Len(t, folders, 1)
			runs := read(t, folders[0])
			require.Len(t, runs, 3)

			train := runs["train-workflow"]
			require.NotNil(t, train)
			assert.Equal(t, "otel-wandb-examples", train.Project)
			assert.Equal(t, "training", train.JobType)
			assert.Equal(t, []string{"evaluated", "example", "workflow"}, train.Tags)
			assert.Len(t, train.Rows, 313)
			assert.Len(t, column(train, "val/accuracy"), 6)
			assert.Len(t, column(train, "accuracy"), 300)
			config := runview.Flat(train.Config)
			for key, want := range map[string]any{"model": "resnet50", "batch_size": 64, "optimizer.lr": 0.01, "evaluate.batch_size": 256} {
				assert.EqualValues(t, want, config[key], key)
			}
			summary := runview.Flat(train.Summary)
			assert.InDelta(t, 0.93, summary["best_accuracy"], 1e-9)
			assert.InDelta(t, 0.0459, summary["loss.min"], 1e-3)
			assert.Len(t, train.Console, 12)
			assert.Zero(t, *train.Exit)

			probe := runs["probe-lr"]
			require.NotNil(t, probe)
			assert.Equal(t, train.ID, probe.Group)
			assert.EqualValues(t, 190, probe.Summary["step"])
			assert.Zero(t, *probe.Exit)

			large := runs["probe-large-batch"]
			require.NotNil(t, large)
			assert.Len(t, large.Rows, 5)
			assert.EqualValues(t, 1, *large.Exit)
			assert.Equal(t, "out of memory at batch size 4096", large.Summary["error.message"])
		})
	}
}

// consoleText is what a run's console shows.
func consoleText(r *runview.Run) string {
	var b strings.Builder
	for _, l := range r.Console {
		b.WriteString(l.Text + "\n")
	}
	return b.String()
}
