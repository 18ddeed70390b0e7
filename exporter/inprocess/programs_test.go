package inprocess

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// secondProgram, in the environment, makes the test binary a program that
// writes to that directory beside the test.
const secondProgram = "OTEL_WANDB_TEST_SECOND_PROGRAM"

// runSecondProgram writes a run of its own and then a row to the run that the
// test writes, too. It says when it has, and ends when its input does.
func runSecondProgram(dir string) (status int) {
	ctx := context.Background()
	fail := func(err error) int {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	e, err := New(ctx, WithDir(dir), WithPatience(patience))
	if err != nil {
		return fail(err)
	}
	tp := sdktrace.NewTracerProvider(sdktrace.WithSyncer(e.Spans()))
	writeTask(ctx, tp, "second", "")
	fmt.Println("wrote its own")
	writeTask(ctx, tp, "second", "both")
	fmt.Println("waits:", e.Stats().Parked.Spans)
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
	if err := e.Shutdown(ctx); err != nil {
		return fail(err)
	}
	return 0
}

func writeTask(ctx context.Context, tp trace.TracerProvider, name, id string) {
	attrs := []attribute.KeyValue{attribute.String("wandb.run.mode", "auto")}
	if id != "" {
		attrs = append(attrs, attribute.String("wandb.run.id", id))
	}
	_, span := tp.Tracer("test").Start(ctx, name, trace.WithNewRoot(), trace.WithAttributes(attrs...))
	span.AddEvent("wandb.log", trace.WithAttributes(attribute.String("from", name)))
	span.End()
}

// Two programs in one folder: each writes its own runs, and a run that both
// write is written by one after the other, with nothing lost.
func TestTwoProgramsInOneFolder(t *testing.T) {
	dir := t.TempDir()
	first := newProgram(t, dir)
	writeTask(t.Context(), first.traces, "first", "")
	writeTask(t.Context(), first.traces, "first", "both")

	self, err := os.Executable()
	require.NoError(t, err)
	second := exec.CommandContext(t.Context(), self)
	second.Env = append(os.Environ(), secondProgram+"="+dir)
	stdin, err := second.StdinPipe()
	require.NoError(t, err)
	stdout, err := second.StdoutPipe()
	require.NoError(t, err)
	second.Stderr = os.Stderr
	require.NoError(t, second.Start())

	lines := bufio.NewScanner(stdout)
	require.True(t, lines.Scan())
	assert.Equal(t, "wrote its own", lines.Text())
	require.True(t, lines.Scan())
	assert.Equal(t, "waits: 1", lines.Text(), "the first program has the run")

	// The first program is not disturbed, and the second goes on when it ends.
	writeTask(t.Context(), first.traces, "first", "")
	first.shutdown(t.Context(), t)
	assert.Empty(t, first.said.all())
	require.NoError(t, stdin.Close())
	require.NoError(t, second.Wait())

	runs := readRuns(t, dir)
	require.Len(t, runs, 4)
	for id, run := range runs {
		require.NotNil(t, run.Exit, "run %s", id)
		if id != "both" {
			assert.Len(t, run.Rows, 1, "run %s", id)
			continue
		}
		assert.Len(t, run.Parts, 2)
		var from []any
		for _, row := range run.Rows {
			from = append(from, row.Values["from"])
		}
		assert.Equal(t, []any{"first", "second"}, from)
	}
}
