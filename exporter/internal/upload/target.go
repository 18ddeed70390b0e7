package upload

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/otel-wandb/otel-wandb/internal/wandb"
)

// Target says that a run's logs are this module's to upload, and to where.
// It is written before anything is sent that its log alone would not say: an
// upload that a person began with `otel-wandb sync`, to another project, or
// under another id because W&B would not take the first.
type Target struct {
	Host string     `json:"host"` // the server's base URL
	Run  wandb.Path `json:"run"`
	// Before are the ids that W&B did not take.
	Before []string `json:"before,omitempty"`
	// Synced are the directories of parts that `wandb sync` had uploaded before.
	Synced []string `json:"synced,omitempty"`
	// Lost says what of the logs W&B can never have, such as what lies behind damage.
	Lost []string `json:"lost,omitempty"`
}

// targetFile is where the target of a run is kept, by what its log calls it.
func targetFile(folder string, log wandb.Path) string {
	sum := sha256.Sum256([]byte(log.String()))
	return filepath.Join(folder, ".otel-wandb", "upload", hex.EncodeToString(sum[:16])+".target")
}

// ReadTarget reads where a run goes; nil where its log says so.
func ReadTarget(folder string, log wandb.Path) (*Target, error) {
	path := targetFile(folder, log)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var t Target
	if err == nil {
		err = json.Unmarshal(b, &t)
	}
	if err != nil {
		return nil, fmt.Errorf("target of the upload of %s: %s: %w; remove it where the run goes to the place that its log names", log, path, err)
	}
	return &t, nil
}

// Write keeps the target of a run. Unlike a position it must not be lost: rows
// would go to two places. So it waits for the disk.
func (t *Target) Write(folder string, log wandb.Path) error {
	path := targetFile(folder, log)
	b, err := json.Marshal(t)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(path), 0o777)
	}
	if err == nil {
		err = replace(path, append(b, '\n'))
	}
	if err != nil {
		return fmt.Errorf("target of the upload of %s: %w", log, err)
	}
	return nil
}

// replace writes a file beside path, syncs it and renames it.
func replace(path string, b []byte) error {
	temp, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	_, err = temp.Write(b)
	err = errors.Join(err, temp.Sync(), temp.Close())
	if err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		_ = os.Remove(temp.Name())
	}
	return err
}

// Known is an upload that a folder holds traces of.
type Known struct {
	Position string     // its position file, be it there or not
	Host     string     // the server's base URL
	Asked    wandb.Path // what the run is called here
	Progress *Progress  // nil: it never got so far as to have a position
	Stop     *Stop      // nil: nothing stopped it
}

// List finds the uploads of a folder of runs. Where something cannot be read,
// the error says so and the rest is there.
func List(folder string) ([]Known, error) {
	dir := filepath.Join(folder, ".otel-wandb", "upload")
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("uploads: %w", err)
	}
	var list []Known
	var errs []error
	done := map[string]bool{}
	for _, e := range entries {
		stem, isPosition := strings.CutSuffix(e.Name(), ".position")
		if !isPosition {
			stem, _ = strings.CutSuffix(e.Name(), ".stopped")
		}
		if stem == e.Name() || done[stem] {
			continue
		}
		done[stem] = true
		k, err := known(filepath.Join(dir, stem+".position"))
		errs = append(errs, err)
		if k.Progress != nil || k.Stop != nil {
			list = append(list, k)
		}
	}
	return list, errors.Join(errs...)
}

func known(position string) (k Known, err error) {
	k.Position = position
	var err1, err2 error
	k.Progress, err1 = ReadProgress(position)
	k.Stop, err2 = ReadStop(position)
	switch {
	case k.Progress != nil:
		k.Host, k.Asked = k.Progress.Host, k.Progress.Asked
	case k.Stop != nil:
		k.Host, k.Asked = k.Stop.Host, k.Stop.Run
	}
	return k, errors.Join(err1, err2)
}
