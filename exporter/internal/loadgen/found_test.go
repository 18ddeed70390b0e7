package loadgen

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-wandb/otel-wandb/exporter/internal/dotwandb"
)

func TestRowsIn(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, torn int, records ...dotwandb.Record) {
		t.Helper()
		framer, log := dotwandb.NewFramer(dotwandb.FileHeaderSize), dotwandb.AppendFileHeader(nil)
		for _, r := range records {
			log = framer.Append(log, r.Append(nil))
		}
		path := filepath.Join(dir, "wandb", name, name+".wandb")
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, log[:len(log)-torn], 0o600))
	}
	run := func(id string) dotwandb.Record { return dotwandb.Record{Run: &dotwandb.Run{ID: id}} }
	row := func(n string) dotwandb.Record {
		return dotwandb.Record{History: &dotwandb.History{Items: []dotwandb.Item{
			{Key: "loss", JSON: "0.5"}, {Key: "row", JSON: n}, {Key: "row", Rest: []string{"nested"}, JSON: "9"},
		}}}
	}
	write("a-1", 0, run("a"), row("0"), row("1"))
	write("a-2", 0, run("a"), row("2"), dotwandb.Record{Exit: &dotwandb.Exit{}})
	write("b", 3, run("b"), row("1000000001"), row("1000000002"))
	// The writer of a's second part was killed while it made it, and made it again.
	write(".tmp-otel-wandb-KILLED", 0, run("a"), row("2"))
	write(".tmp-otel-wandb-SOONER", 60, run("a"), row("2"))

	found, err := RowsIn(dir)
	require.NoError(t, err)
	assert.ElementsMatch(t, []int64{0, 1, 2}, found["a"])
	assert.Equal(t, []int64{1_000_000_001}, found["b"], "the torn record is no row")

	write("c", 0, run("c"), row(`"x"`))
	_, err = RowsIn(dir)
	require.ErrorContains(t, err, "c.wandb: step 0: row is")
}
