package loadgen

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/otel-wandb/otel-wandb/exporter/internal/dotwandb"
)

// RowsIn reads every run log under dir, a run's parts as one, and returns the
// values of the metric "row" by run id, as often as they are there: what
// Rows.Check asks for. It reads strictly, as W&B's own sync does; a torn tail,
// of a writer that was killed, is not an error. Hidden folders hold no runs: a
// writer that was killed while it made a log has left half of one there.
func RowsIn(dir string) (map[string][]int64, error) {
	found := map[string][]int64{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() && strings.HasPrefix(entry.Name(), ".") && path != dir {
			return fs.SkipDir
		}
		if err != nil || entry.IsDir() || filepath.Ext(path) != ".wandb" {
			return err
		}
		if err := readRows(path, found); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		return nil
	})
	return found, err
}

func readRows(path string, found map[string][]int64) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	reader, err := dotwandb.NewReader(f, dotwandb.Strict)
	if err != nil {
		return err
	}
	run := ""
	for {
		data, err := reader.Next()
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil
		}
		if err != nil {
			return err
		}
		record, err := dotwandb.Decode(data)
		if err != nil {
			return err
		}
		if record.Run != nil {
			run = record.Run.ID
		}
		if record.History == nil {
			continue
		}
		for _, item := range record.History.Items {
			if item.Key != "row" || len(item.Rest) > 0 {
				continue
			}
			row, err := strconv.ParseFloat(item.JSON, 64) // exact up to 2^53
			if err != nil {
				return fmt.Errorf("step %d: row is %s", record.History.Step, item.JSON)
			}
			found[run] = append(found[run], int64(row))
		}
	}
}
