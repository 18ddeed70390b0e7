package upload

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/otel-wandb/otel-wandb/exporter/internal/codec"
	"github.com/otel-wandb/otel-wandb/exporter/internal/dotwandb"
	"github.com/otel-wandb/otel-wandb/internal/wandb"
)

// positionVersion is of the file's content. Another one is a lost position.
const positionVersion = 1

// position is all that is known of a run's upload: where in which log it is,
// and what came of the records so far.
type position struct {
	Version int

	Host  string     // the server's base URL
	Asked wandb.Path // what the run is called here; an empty entity is the user's own

	// What W&B answered to the first upsert, and what its server can do.
	Upserted   bool
	Path       wandb.Path
	StorageID  string
	Named      string // the run's name as W&B answered it last
	Structured bool   // console lines are JSON
	Globs      bool   // metric definitions may be globs
	Artifacts  bool   // tables are artifacts too, and rows refer to them

	Log    string // says which log: when its first part began
	Part   string // the part's directory
	Offset int64  // in the part's log: the end of a whole record
	Tail   []byte // the last bytes before Offset: a log that lost them is another one
	Taken  int    // lines of the record there that are sent already
	Exit   *dotwandb.Exit
	Done   bool   // nothing is left to say of this part and those before it
	Reopen bool   // the run ended, and goes on with this part: an upsert says so
	Last   string // the last part with which it did: the mark names it

	Base      lines   // the numbers of this log's first lines
	Next      lines   // the numbers of its next ones
	Step      int64   // is added to steps: behind those of a run that was resumed
	Runtime   int64   // is added to runtimes, seconds
	Continued bool    // somebody else wrote to the run, as far as is known here
	Moved     []moved // where a part goes on behind what somebody else wrote in between
	Theirs    lines   // how much that was

	FirstStep, FirstRuntime int64 // Step and Runtime before any part Moved

	NextStep int64 // in the log: behind that of the last row
	Ran      int64 // in the log: seconds when it ended last

	Start        int64 // of the first part, unix ns
	Fields, Sent wandb.Fields
	Kept         [][]byte // records that the config is made of besides

	// Objects as text. Old ones are what W&B had before.
	Config, Summary, OldConfig, OldSummary string
	OwnConfig                              string // our last, when somebody else went on with the run
	ConfigDirty, SummaryDirty              bool
	SummaryFresh                           bool // the part has said nothing yet: its first summary replaces all

	Halves [2]half // of lines of stdout and stderr whose newline has not come

	Files      []runFile          // to go up
	Uploaded   []string           // that did, of which W&B's file stream has not been told
	LastTables map[string]runFile // of each metric, the last that is an artifact

	TooLong, BadValues, AlertsRefused, FilesFailed int
}

// lines are line numbers of the files that count them.
type lines struct{ History, Events, Console int }

// moved is where a part goes on: its first lines' numbers, and what is added to
// its steps and runtimes.
type moved struct {
	Part    string
	Lines   lines
	Step    int64
	Runtime int64
}

// sent are the lines of the log that W&B has.
func (p *position) sent() lines {
	return lines{
		History: p.Next.History - p.Base.History - p.Theirs.History,
		Events:  p.Next.Events - p.Base.Events - p.Theirs.Events,
		Console: p.Next.Console - p.Base.Console - p.Theirs.Console,
	}
}

// half is a line whose newline has not come.
type half struct {
	Time int64 // unix ns
	Text string
}

// PositionFile is where the position of a run is kept, below a folder of runs.
// It is a state file: without it the upload asks W&B and does again what may be
// done again.
func PositionFile(folder string, baseURL string, run wandb.Path) string {
	sum := sha256.Sum256([]byte(baseURL + "\x00" + run.String()))
	return filepath.Join(folder, ".otel-wandb", "upload", hex.EncodeToString(sum[:16])+".position")
}

// loadPosition reads a position; nil where there is none that can be used.
func loadPosition(path string) (*position, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("position of an upload: %w", err)
	}
	var p position
	if err := codec.Unmarshal(b, &p); err != nil {
		return nil, fmt.Errorf("position of an upload: %s: %w; W&B is asked instead", path, err)
	}
	if p.Version != positionVersion {
		return nil, fmt.Errorf("position of an upload: %s is of version %d, not %d; W&B is asked instead", path, p.Version, positionVersion)
	}
	return &p, nil
}

// save replaces the file as a whole. It does not wait for the disk: an older
// position, or none, only makes the same requests go out again.
func (p *position) save(path string) error {
	b, err := codec.Marshal(p)
	if err != nil {
		return err
	}
	if err = os.MkdirAll(filepath.Dir(path), 0o777); err == nil {
		temp := path + ".new" // one writer a run: a leftover is written over
		if err = os.WriteFile(temp, b, 0o666); err == nil {
			err = os.Rename(temp, path)
		}
	}
	if err != nil {
		return fmt.Errorf("position of the upload of %s: %w; after a restart more is sent again", p.Asked, err)
	}
	return nil
}
