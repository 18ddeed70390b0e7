package upload

import (
	"errors"
	"io/fs"
	"os"

	"github.com/otel-wandb/otel-wandb/internal/wandb"
)

// Progress is what a position file says, for whoever looks from outside.
type Progress struct {
	Host  string     // the server's base URL
	Asked wandb.Path // what the run is called here
	Path  wandb.Path // as W&B spells it, once the run is there; else as it is asked for
	There bool       // W&B has the run

	History, Events, Console int // lines of this log that W&B has
	TooLong                  int // lines that W&B does not take

	Part   string // the directory of the part it is at
	Offset int64  // in the part's log: what is before is at W&B
	Done   bool   // all of that part and those before it is, the end too
}

// ReadProgress reads how far the upload with that position is; nil when it has
// not begun.
func ReadProgress(position string) (*Progress, error) {
	if _, err := os.Stat(position); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	p, err := loadPosition(position)
	if err != nil || p == nil {
		return nil, err
	}
	path := p.Asked
	if p.Upserted {
		path = p.Path
	}
	sent := p.sent()
	return &Progress{
		Host: p.Host, Asked: p.Asked, Path: path, There: p.Upserted, TooLong: p.TooLong,
		History: sent.History, Events: sent.Events, Console: sent.Console,
		Part: p.Part, Offset: p.Offset, Done: p.Done,
	}, nil
}
