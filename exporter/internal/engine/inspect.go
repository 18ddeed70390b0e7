package engine

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/otel-wandb/otel-wandb/exporter/internal/journal"
	"github.com/otel-wandb/otel-wandb/exporter/internal/placement"
	"github.com/otel-wandb/otel-wandb/exporter/internal/run"
	"github.com/otel-wandb/otel-wandb/exporter/internal/runlog"
	"github.com/otel-wandb/otel-wandb/internal/runid"
)

// Inspection is what an exporter keeps in a wandb folder besides the runs.
type Inspection struct {
	Open    []OpenRun
	Waiting []Waiting // the longest first
}

// OpenRun is a run that an exporter has not ended.
type OpenRun struct {
	Key runid.Coordinates
	// Held: a program has it open. Known: that could be found out.
	Held, Known bool
}

// Waiting is what waits for one span.
type Waiting struct {
	Trace   placement.TraceID
	For     placement.SpanID
	Items   int
	Tasks   int       // of these
	Names   []string  // of spans that wait, a few
	Since   time.Time // the longest
	Journal string
}

// Inspect looks into a wandb folder. It changes nothing, and may do so while
// exporters write there. Where something cannot be read, the error says so and
// the rest is there.
func Inspect(folder string) (Inspection, error) {
	var in Inspection
	open, err := openRuns(folder)
	errs := []error{err}
	in.Open = open
	journals, err := listed(filepath.Join(folder, ".otel-wandb"), "journal-", "")
	errs = append(errs, err)
	for _, dir := range journals {
		waiting, err := waitingIn(dir)
		errs = append(errs, err)
		in.Waiting = append(in.Waiting, waiting...)
	}
	slices.SortFunc(in.Waiting, func(a, b Waiting) int {
		return cmp.Or(a.Since.Compare(b.Since), slices.Compare(a.Trace[:], b.Trace[:]), slices.Compare(a.For[:], b.For[:]))
	})
	return in, errors.Join(errs...)
}

// listed are the files in dir with names of that form; none where it is not there.
func listed(dir, prefix, suffix string) (paths []string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), prefix) && strings.HasSuffix(e.Name(), suffix) {
			paths = append(paths, filepath.Join(dir, e.Name()))
		}
	}
	return paths, nil
}

func openRuns(folder string) ([]OpenRun, error) {
	states, err := listed(filepath.Join(folder, ".otel-wandb", "open"), "", ".state")
	var open []OpenRun
	for _, path := range states {
		b, _, err := runlog.ReadStateFile(path)
		if err != nil {
			continue // ended meanwhile
		}
		key, err := run.CheckpointKey(b)
		if err != nil {
			continue // the run is shown all the same, as one nobody is known to write
		}
		o := OpenRun{Key: key}
		o.Held, o.Known = runlog.Held(folder, key.Key())
		open = append(open, o)
	}
	return open, err
}

// waitingIn replays a journal as a start would, and sees what is left waiting.
func waitingIn(dir string) ([]Waiting, error) {
	var p *placer
	var restore *placement.Restorer
	reset := func() {
		p = &placer{table: placement.NewTable(placement.Config{}), waits: map[journal.Ref]*waitRecord{}}
		restore = p.table.Restore()
	}
	reset()
	if err := journal.Read(dir, reset, func(ref journal.Ref, b []byte) error { return p.replay(restore, 1, ref, b) }); err != nil {
		return nil, fmt.Errorf("what waits: %w", err)
	}
	var waiters []*placement.Waiter
	for _, rec := range p.waits {
		for _, w := range rec.waiting {
			if w != nil {
				waiters = append(waiters, w)
			}
		}
	}
	restore.Waiters(1, waiters)

	type key struct {
		trace placement.TraceID
		span  placement.SpanID
	}
	by := map[key]*Waiting{}
	for w, missing := range p.table.Waits {
		s := &w.Subject
		k := key{s.Trace, missing}
		at := by[k]
		if at == nil {
			at = &Waiting{Trace: s.Trace, For: missing, Since: time.Unix(0, w.Arrived), Journal: dir}
			by[k] = at
		}
		at.add(w)
	}
	var all []Waiting
	for _, w := range by {
		slices.Sort(w.Names)
		all = append(all, *w)
	}
	return all, nil
}

func (at *Waiting) add(w *placement.Waiter) {
	const someNames = 3
	at.Items++
	if w.Subject.Task != nil {
		at.Tasks++
	}
	if t := time.Unix(0, w.Arrived); t.Before(at.Since) {
		at.Since = t
	}
	if name := w.Subject.Name; name != "" && len(at.Names) < someNames && !slices.Contains(at.Names, name) {
		at.Names = append(at.Names, name)
	}
}
