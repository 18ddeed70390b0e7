package intake

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/otel-wandb/otel-wandb/exporter/internal/run"
	"github.com/otel-wandb/otel-wandb/internal/semconv"
)

// tableOf is a table with one column, in rows of one text.
func tableOf(rows int, cell string) []string {
	units := Traces(oneSpan(func(span ptrace.Span) {
		span.Attributes().PutStr(semconv.RunMode, semconv.ModeAuto)
		ev := span.Events().AppendEmpty()
		ev.SetName(semconv.EventTable)
		ev.Attributes().PutStr(semconv.MediaKey, "t")
		ev.Attributes().PutEmptySlice(semconv.TableColumns).AppendEmpty().SetStr("a")
		data := ev.Attributes().PutEmptySlice(semconv.MediaData)
		for range rows {
			data.AppendEmpty().SetEmptySlice().AppendEmpty().SetStr(cell)
		}
	}), &Options{})
	var reasons []string
	for _, d := range units[0].Payload.(*Payload).Drops {
		reasons = append(reasons, d.Reason)
	}
	return reasons
}

func TestBoundsOfTables(t *testing.T) {
	assert.Empty(t, tableOf(maxTableRows, "x"))
	assert.Equal(t, []string{run.DropValueTooLarge}, tableOf(maxTableRows+1, "x"))
	assert.Empty(t, tableOf(1, strings.Repeat("x", maxMedia-100)))
	assert.Equal(t, []string{run.DropValueTooLarge}, tableOf(1, strings.Repeat("x", maxMedia)))

	text := pcommon.NewValueStr(strings.Repeat(" ", maxMedia+1))
	_, err := rowsOf(text)
	require.ErrorIs(t, err, errTooLarge, "before it is read")
}

func TestFileNames(t *testing.T) {
	for key, want := range map[string]string{
		"loss": "loss", "val/loss": "val_loss", `..\x:*?"<>|`: ".._x_______", "a\x00b\n": "a_b_", "é": "é",
		strings.Repeat("é", 100): strings.Repeat("é", 64), "x" + strings.Repeat("é", 100): "x" + strings.Repeat("é", 63),
	} {
		assert.Equal(t, want, fileName(key))
	}
}
