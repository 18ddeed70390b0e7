package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-wandb/otel-wandb/exporter/internal/dotwandb"
	"github.com/otel-wandb/otel-wandb/exporter/internal/runlog"
)

// finished writes a run that is over.
func finished(t *testing.T, dir string) {
	t.Helper()
	root, err := runlog.OpenRoot(dir, runlog.Options{Location: time.UTC})
	require.NoError(t, err)
	defer root.Close()
	folder, err := root.Folder("", "")
	require.NoError(t, err)
	began := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var raw [][]byte
	for i, r := range []dotwandb.Record{
		{Header: &dotwandb.Header{Producer: "1", MinConsumer: "0.70.0"}},
		{Run: &dotwandb.Run{ID: "r1", Project: "demo", StartTime: began}},
		{Exit: &dotwandb.Exit{}},
	} {
		r.Num = int64(i + 1)
		raw = append(raw, r.Append(nil))
	}
	p, err := folder.Create("r1", began, raw...)
	require.NoError(t, err)
	require.NoError(t, p.Finish())
}

func TestLsFindsItsDirectory(t *testing.T) {
	runs, other := t.TempDir(), t.TempDir()
	finished(t, runs)
	sync := "  wandb sync " + filepath.Join("wandb", "offline-run-20260102_030405-r1") + "\n"

	t.Setenv("WANDB_DIR", runs)
	assert.Contains(t, tool(t, "", "ls").out, "demo/r1", "WANDB_DIR")
	assert.Contains(t, tool(t, "", "ls", other).out, "no runs in "+other, "the argument wins")

	t.Setenv("WANDB_DIR", "")
	t.Chdir(runs)
	assert.Contains(t, tool(t, "", "ls").out, sync, "commands are as one types them here")
	assert.Contains(t, tool(t, "", "ls", "wandb").out, sync, "the folder itself")
	assert.Contains(t, tool(t, "", "ls", "wandb/offline-run-20260102_030405-r1").out, sync, "one run")
}

func TestLsSaysWhatNoCollectorHasTaken(t *testing.T) {
	dir := t.TempDir()
	spool := filepath.Join(dir, "wandb", "outbox", "1f0c52aa", "3f9a", "000001.spool")
	require.NoError(t, os.MkdirAll(filepath.Dir(spool), 0o777))
	require.NoError(t, os.WriteFile(spool, []byte("rows"), 0o666))

	out := tool(t, "", "ls", dir).out
	assert.Contains(t, out, "no runs in "+dir+"\n4 bytes are in the outbox")
	assert.Contains(t, out, "otel-wandb sync "+dir)
	assert.Contains(t, tool(t, "", "ls", "--json", dir).out, `"outbox_bytes": 4`)
}

func TestLsJSON(t *testing.T) {
	runs := t.TempDir()
	finished(t, runs)
	r := tool(t, "", "ls", "--json", runs)
	require.Equal(t, 0, r.code, r.err)
	var l struct {
		Runs []struct{ Run, State, Upload string }
	}
	require.NoError(t, json.Unmarshal([]byte(r.out), &l))
	require.Len(t, l.Runs, 1)
	assert.Equal(t, "demo/r1", l.Runs[0].Run)
	assert.Equal(t, "finished", l.Runs[0].State)
	assert.Equal(t, "sync", l.Runs[0].Upload)
	assert.Contains(t, tool(t, "", "ls", "--json", t.TempDir()).out, `"runs": []`, "what a list is read by goes on")
}

func TestLsOfNothingIsAnError(t *testing.T) {
	r := tool(t, "", "ls", filepath.Join(t.TempDir(), "none"))
	assert.Equal(t, 1, r.code)
	assert.Contains(t, r.err, "none")
	assert.Empty(t, r.out)
}

func TestLsWritesNothing(t *testing.T) {
	dir := t.TempDir()
	tool(t, "", "ls", dir)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Empty(t, entries)
}
