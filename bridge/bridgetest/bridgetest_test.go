package bridgetest_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/otel-wandb/otel-wandb/bridge"
	"github.com/otel-wandb/otel-wandb/bridge/bridgetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var evaluate = bridge.Task("evaluate", func(ctx context.Context, accuracy float64) (float64, error) {
	bridge.RunFromContext(ctx).Log(map[string]any{"accuracy": accuracy})
	return accuracy, nil
}, bridge.WithConfigValues(map[string]any{"batch": 256}))

var train = bridge.Task("train", func(ctx context.Context, epochs int) (float64, error) {
	run := bridge.RunFromContext(ctx)
	run.LogStep(10, map[string]any{"loss": 0.5, "epochs": epochs})
	run.Config().Update(map[string]any{"optimizer": map[string]any{"lr": 0.1}})
	run.AddTags("late")
	run.Alert(bridge.AlertWarn, "title", "text")
	accuracy, err := evaluate(ctx, 0.9)
	run.Summary().Set("best", accuracy)
	return accuracy, err
}, bridge.WithTags("a"), bridge.WithGroup("g"), bridge.WithRunName("n"))

func TestRecorder(t *testing.T) {
	rec := bridgetest.New(t, bridge.WithProject("vision"), bridge.WithEntity("team"))
	_, err := train(rec.Context(t.Context()), 3)
	require.NoError(t, err)

	run := rec.Run("train")
	step, code := int64(10), int64(0)
	assert.Equal(t, []string{"team", "vision", "g", "n"}, []string{run.Entity, run.Project, run.Group, run.Name})
	assert.Equal(t, []string{"train", "evaluate"}, run.Tasks)
	assert.Equal(t, []bridgetest.Row{
		{Values: map[string]any{"loss": 0.5, "epochs": int64(3)}, Step: &step},
		{Values: map[string]any{"accuracy": 0.9}},
	}, run.Rows)
	assert.Equal(t, map[string]any{"optimizer.lr": 0.1, "evaluate.batch": int64(256)}, run.Config)
	assert.Equal(t, map[string]any{"best": 0.9}, run.Summary)
	assert.Equal(t, []string{"a", "late"}, run.Tags)
	assert.Equal(t, &code, run.ExitCode)
	require.Len(t, run.Events, 1)
	assert.Equal(t, "wandb.alert", run.Events[0].Name)
	assert.Equal(t, "title", run.Events[0].Values["title"])
}

// A row of any width is one, a run under way has no exit code, a failed one has.
func TestRecorder_RunsUnderWay(t *testing.T) {
	rec := bridgetest.New(t)
	ctx, run, err := bridge.StartTask(rec.Context(t.Context()), "wide")
	require.NoError(t, err)
	wide := map[string]any{}
	for i := range 250 {
		wide[fmt.Sprint("m", i)] = i
	}
	run.Log(wide)
	got := rec.Run("wide")
	require.Len(t, got.Rows, 1)
	assert.Len(t, got.Rows[0].Values, 250)
	assert.Nil(t, got.ExitCode)

	_, own, err := bridge.StartTask(ctx, "own", bridge.WithMode(bridge.ModeNew))
	require.NoError(t, err)
	bad := errors.New("bad")
	own.End(&bad)
	run.End(nil)
	assert.Len(t, rec.Runs(), 2)
	assert.Equal(t, int64(1), *rec.Run("own").ExitCode)
	assert.Empty(t, got.Tags, "what was given out does not change")
}
