package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// built holds the workflow for all tests of one run.
var built = filepath.Join(os.TempDir(), "demo-test-"+strconv.Itoa(os.Getpid()))

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if err := os.RemoveAll(built); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(code)
	}))
}

// args are those of a demo with what is built, in a folder that goes away.
func args(t *testing.T, more ...string) []string {
	t.Helper()
	top := filepath.Join("..", "..", "..")
	collector, tool := filepath.Join(top, "bin", "otelcol-wandb"), filepath.Join(top, "bin", "otel-wandb")
	for _, program := range []string{collector, tool} {
		_, err := os.Stat(program)
		require.NoError(t, err, "run make build")
	}
	return append([]string{
		"-collector", collector, "-tool", tool,
		"-config", filepath.Join(top, "collector-config", "laptop.yaml"), "-dir", t.TempDir(),
	}, more...)
}

var workflowProgram = sync.OnceValues(func() (string, error) {
	path := filepath.Join(built, "workflow")
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", path, "..")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	_, err := output(build)
	return path, err
})

func builtWorkflow(t *testing.T) string {
	t.Helper()
	path, err := workflowProgram()
	require.NoError(t, err)
	return path
}

// The whole demo, and once more at once: they are not in each other's way.
func TestDemo(t *testing.T) {
	t.Setenv("OTEL_TRACES_SAMPLER", "always_off") // the user's own settings do no harm
	t.Setenv("WANDB_DIR", "/nowhere")
	workflow := builtWorkflow(t)
	var together sync.WaitGroup
	for range 2 {
		arguments := args(t, "-workflow", workflow)
		together.Go(func() {
			var out bytes.Buffer
			if assert.NoError(t, demo(t.Context(), arguments, &out), "%s", &out) {
				assert.Contains(t, out.String(), "joins_parent")
				assert.Contains(t, out.String(), "on disk: 3 runs, 338 rows; ended 3, failed 1")
				assert.Contains(t, out.String(), "Everything is as it must be")
				assertGone(t, out.String())
			}
		})
	}
	together.Wait()
}

// The same, uploaded to the stand-in while it runs.
func TestDemoOnline(t *testing.T) {
	t.Setenv("WANDB_BASE_URL", "")
	t.Setenv("WANDB_API_KEY", "")
	var out bytes.Buffer
	require.NoError(t, demo(t.Context(), args(t, "-workflow", builtWorkflow(t), "-online"), &out), "%s", &out)
	assert.Contains(t, out.String(), "at W&B: 3 runs, 338 rows; ended 3")
	assert.Contains(t, out.String(), "/runs/")
	assert.Contains(t, out.String(), "Everything is as it must be")
	assertGone(t, out.String())
}

var address = regexp.MustCompile(`OTLP at (\S+) \(gRPC\)`)

// assertGone asserts that the collector has ended which the demo speaks of.
func assertGone(t *testing.T, said string) {
	t.Helper()
	found := address.FindStringSubmatch(said)
	if !assert.NotEmpty(t, found, "no address in: %s", said) {
		return
	}
	if conn, err := net.Dial("tcp", found[1]); !assert.Error(t, err, "the collector is still there") {
		assert.NoError(t, conn.Close())
	}
}

// cancelAt is a screen that interrupts the demo when it shows a text.
type cancelAt struct {
	bytes.Buffer
	text   string
	cancel func()
}

func (c *cancelAt) Write(b []byte) (int, error) {
	n, err := c.Buffer.Write(b)
	if strings.Contains(c.String(), c.text) {
		c.cancel()
	}
	return n, err
}

func TestInterruptedLeavesNothingRunning(t *testing.T) {
	for _, at := range []string{"[1/4]", "[2/4]", "[3/4]"} {
		t.Run(at, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			out := &cancelAt{text: at, cancel: cancel}
			require.Error(t, demo(ctx, args(t, "-workflow", builtWorkflow(t)), out))
			assert.NotContains(t, out.String(), "Everything")
			if at != "[1/4]" {
				assertGone(t, out.String())
			}
		})
	}
}

func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o755))
	return path
}

func TestCollectorThatFailsIsHeard(t *testing.T) {
	err := demo(t.Context(), args(t, "-workflow", script(t, ""), "-collector", script(t, "echo no such key >&2; exit 1")), new(bytes.Buffer))
	require.ErrorContains(t, err, "ended before it was ready (exit status 1)")
	require.ErrorContains(t, err, "no such key")
}

func TestWorkflowThatFailsIsHeard(t *testing.T) {
	var out bytes.Buffer
	err := demo(t.Context(), args(t, "-workflow", script(t, "echo no GPU; exit 3")), &out)
	require.ErrorContains(t, err, "exit status 3")
	require.ErrorContains(t, err, "no GPU")
	assertGone(t, out.String())
}

func TestNotBuiltSaysWhatToDo(t *testing.T) {
	require.ErrorContains(t, demo(t.Context(), args(t, "-workflow", "/nowhere"), new(bytes.Buffer)), "make demo")
}

func TestCheckExplained(t *testing.T) {
	right := `{"runs":[
		{"owner":"train-workflow","spans":10,"rows":313},
		{"owner":"probe-lr","spans":1,"rows":20},
		{"owner":"probe-large-batch","spans":1,"rows":5}]}`
	require.NoError(t, checkExplained([]byte(right)))
	for want, change := range map[string][2]string{
		"has 9 spans and 313 rows, and should have 10 and 313": {`"spans":10`, `"spans":9`},
		"probe-lr opened no run":                               {"probe-lr", "probe-lx"},
		"4 runs, and should be 3":                              {`"runs":[`, `"runs":[{},`},
		"1 tasks were refused":                                 {`{"runs"`, `{"refused":1,"runs"`},
	} {
		require.ErrorContains(t, checkExplained([]byte(strings.Replace(right, change[0], change[1], 1))), want)
	}
}

func TestCheckOnDisk(t *testing.T) {
	zero, one := int32(0), int32(1)
	right := []onDisk{
		{Name: "train-workflow-0123ab", State: "finished", Exit: &zero, Rows: 313},
		{Name: "probe-lr-0123ab", State: "finished", Exit: &zero, Rows: 20},
		{Name: "probe-large-batch-0123ab", State: "failed", Exit: &one, Rows: 5},
	}
	require.NoError(t, checkOnDisk(right))
	for want, change := range map[string]func([]onDisk){
		"no run on disk is called after probe-lr":                             func(r []onDisk) { r[1].Name = "probe-lr" },
		"has 312 rows on disk, and should have 313":                           func(r []onDisk) { r[0].Rows-- },
		`is "finished", and should be "failed" with exit code 1`:              func(r []onDisk) { r[2].State = "finished" },
		`probe-lr-0123ab is "finished", and should be "finished" with exit c`: func(r []onDisk) { r[1].Exit = &one },
	} {
		wrong := slices.Clone(right)
		change(wrong)
		require.ErrorContains(t, checkOnDisk(wrong), want)
	}
	require.ErrorContains(t, checkOnDisk(append(right, right[0])), "4 runs are on disk, and 3 should be")
}
