package upload

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/otel-wandb/otel-wandb/internal/wandb"
)

// Failure is why the upload of a run stopped: what the log holds stays there.
type Failure struct {
	Run wandb.Path
	Log string // the part it is about; "": none was begun
	Err error
}

func (f *Failure) Error() string {
	return fmt.Sprintf("upload of run %s stopped, what it has stays in %s: %v", f.Run, nonEmpty(f.Log, "its log"), f.Err)
}

func (f *Failure) Unwrap() error { return f.Err }

// Remedy is what a person can do about it, before the upload is started again.
func (f *Failure) Remedy() string {
	var advised interface{ Remedy() string }
	switch {
	case f.Gone():
		return "if the run was deleted at W&B, its id is gone for good: otel-wandb sync --new-id uploads all of it as another run"
	case errors.As(f.Err, &advised) && advised.Remedy() != "":
		return advised.Remedy()
	case errors.Is(f.Err, fs.ErrNotExist):
		return "put the log back, or remove the position of this upload"
	}
	return "see what it says, and start the upload again when that is put right: it goes on where it stopped"
}

// ErrNoRun is in the Failure of a log that does not say which run it is of.
var ErrNoRun = errors.New("no run record among the first ten records")

// Stop is why an upload stopped, for whoever looks at the folder later.
type Stop struct {
	Time   time.Time  `json:"time"`
	Host   string     `json:"host"` // the server's base URL
	Run    wandb.Path `json:"run"`  // as it was asked for
	Error  string     `json:"error"`
	Remedy string     `json:"remedy"`
	Gone   bool       `json:"gone,omitempty"` // only another id helps: see Failure.Gone
}

// stopFile lies beside the position: an upload may stop before it has one.
func stopFile(position string) string { return strings.TrimSuffix(position, ".position") + ".stopped" }

// Gone tells whether W&B has the run no more, or is at odds with it: its rows
// can only go there under another id.
func (f *Failure) Gone() bool {
	var e *wandb.Error
	switch {
	case errors.Is(f.Err, wandb.ErrDeleted):
		return true
	case errors.As(f.Err, &e) && e.Op == wandb.OpFileStream: // an upsert may have named a wrong entity
		return errors.Is(e, wandb.ErrNotFound) || errors.Is(e, wandb.ErrConflict)
	}
	return false
}

// stopped leaves a note of the failure beside the position.
func (u *Uploader) stopped(f *Failure) {
	position := u.opts.Position
	note := Stop{
		Time: time.Now().UTC(), Host: u.opts.Client.BaseURL(), Run: u.opts.Run,
		Error: f.Error(), Remedy: f.Remedy(), Gone: f.Gone(),
	}
	if u.state != nil {
		note.Run = u.state.Asked
	}
	b, err := json.Marshal(note)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(position), 0o777)
	}
	if err == nil {
		err = os.WriteFile(stopFile(position), append(b, '\n'), 0o666)
	}
	if err != nil {
		u.notify(StateTrouble, fmt.Errorf("note of a stopped upload: %w; otel-wandb ls will not say why it stopped", err))
	}
}

// ReadStop reads why the upload with that position stopped; nil when it did not.
func ReadStop(position string) (*Stop, error) { return readStop(stopFile(position)) }

func readStop(path string) (*Stop, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var s Stop
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	if err != nil {
		return nil, fmt.Errorf("note of a stopped upload: %s: %w", path, err)
	}
	return &s, nil
}

// clearStop removes the note: the upload goes on.
func clearStop(position string) error {
	if err := os.Remove(stopFile(position)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("note of a stopped upload: %w; otel-wandb ls says that it is stopped until this file is removed", err)
	}
	return nil
}
