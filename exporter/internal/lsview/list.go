package lsview

import (
	"cmp"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/otel-wandb/otel-wandb/exporter/internal/engine"
	"github.com/otel-wandb/otel-wandb/exporter/internal/run"
	"github.com/otel-wandb/otel-wandb/exporter/internal/runview"
	"github.com/otel-wandb/otel-wandb/exporter/internal/upload"
)

// Options of List.
type Options struct {
	Now time.Time
	// Shown gives a path as commands should name it; nil leaves it absolute.
	Shown func(path string) string
}

// silent is after how long without a byte a log that no lock speaks for counts
// as left by its program. W&B's own viewer presumes the same.
const silent = 10 * time.Minute

// List looks into dir: a root with a folder `wandb`, such a folder, or one run's
// directory. An error says that nothing could be listed at all.
func List(dir string, opts Options) (*Listing, error) {
	parts, err := runview.List(dir)
	if err != nil && len(parts) == 0 {
		return nil, err
	}
	l := lister{opts: opts, open: map[string][]engine.OpenRun{}, known: map[string][]upload.Known{}, out: Listing{Dir: dir, Runs: []*Run{}}}
	l.problem(err)
	l.inspect(dir, parts)
	for _, group := range runview.Group(parts) {
		l.run(group)
	}
	slices.SortFunc(l.out.Runs, func(a, b *Run) int {
		return cmp.Or(a.Start.Compare(b.Start), cmp.Compare(a.Path, b.Path))
	})
	return &l.out, nil
}

type lister struct {
	opts  Options
	open  map[string][]engine.OpenRun // by folder
	known map[string][]upload.Known   // likewise
	out   Listing
}

func (l *lister) problem(err error) {
	if err == nil {
		return
	}
	for line := range strings.Lines(err.Error()) {
		l.out.Problems = append(l.out.Problems, strings.TrimSpace(line))
	}
}

func (l *lister) shown(path string) string {
	if l.opts.Shown == nil {
		return path
	}
	return l.opts.Shown(path)
}

// inspect asks each wandb folder who has what open, and what waits.
func (l *lister) inspect(dir string, parts []runview.PartInfo) {
	folders := map[string]bool{}
	if abs, err := filepath.Abs(dir); err == nil {
		folders[abs], folders[filepath.Join(abs, "wandb")] = true, true
	}
	for _, p := range parts {
		folders[filepath.Dir(p.Dir)] = true
	}
	for folder := range folders {
		in, err := engine.Inspect(folder)
		l.problem(err)
		l.open[folder] = in.Open
		for _, w := range in.Waiting {
			l.out.Waiting = append(l.out.Waiting, &Waiting{
				Trace: w.Trace.String(), For: w.For.String(), Items: w.Items, Tasks: w.Tasks, Names: w.Names, Since: w.Since,
			})
		}
	}
	slices.SortFunc(l.out.Waiting, func(a, b *Waiting) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.Trace, b.Trace), cmp.Compare(a.For, b.For))
	})
}

func (l *lister) run(parts []runview.PartInfo) {
	m := metrics{by: map[string]*Series{}}
	out := &Run{Start: parts[0].Start}
	read, err := runview.Read(parts, runview.Options{
		OnRow: func(row runview.Row) error {
			m.row("", row.Values)
			if s, ok := number(row.Values["_runtime"]); ok {
				out.Seconds = max(out.Seconds, s)
			}
			return nil
		},
		OnLine:   func(runview.Line) error { out.Lines++; return nil },
		OnSample: func(runview.Sample) error { return nil },
	})
	if err != nil {
		l.problem(err) // removed meanwhile, most likely
		return
	}
	if s, ok := number(read.Summary["_runtime"]); ok {
		out.Seconds = max(out.Seconds, s)
	}
	out.Path, out.Name = path(read.Key), read.Name
	out.Rows, out.Exit, out.Damaged = read.RowCount, read.Exit, read.Damaged
	out.Metrics = m.sorted()
	for i := range read.Parts {
		p := &read.Parts[i]
		out.Parts = append(out.Parts, Part{Dir: l.shown(p.Dir), Rows: p.Rows, Exit: p.Exit, Synced: p.Synced})
		if p.ModTime.After(out.Written) {
			out.Written = p.ModTime
		}
	}
	l.judge(out, read)
	l.carry(out, read)
	l.note(out, read, &m)
	l.out.Runs = append(l.out.Runs, out)
}

// path is as explain and the exporter say it.
func path(k runview.Key) string {
	var parts []string
	for _, s := range []string{k.Host, k.Entity, k.Project, k.ID} {
		if s != "" {
			parts = append(parts, s)
		}
	}
	return strings.Join(parts, "/")
}

func number(v any) (float64, bool) {
	switch v := v.(type) {
	case int64:
		return float64(v), true
	case float64:
		return v, true
	}
	return 0, false
}

// held finds out whether an exporter has the run open. ours tells that one
// began it and has not ended it.
func (l *lister) held(last *runview.Part, key runview.Key) (ours, held bool) {
	for _, o := range l.open[filepath.Dir(last.Dir)] {
		if o.Key.ID == key.ID && o.Key.Project == key.Project && o.Key.Entity == key.Entity {
			return true, o.Held || !o.Known && l.fresh(last)
		}
	}
	return false, l.fresh(last)
}

func (l *lister) fresh(p *runview.Part) bool { return l.opts.Now.Sub(p.ModTime) < silent }

func stateOf(exit int32) State {
	switch exit {
	case 0:
		return Finished
	case run.ExitCrashed:
		return Crashed
	default:
		return Failed
	}
}
