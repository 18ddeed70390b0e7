package lsview

import (
	"errors"
	"fmt"
	"strings"

	"github.com/otel-wandb/otel-wandb/exporter/internal/dotwandb"
	"github.com/otel-wandb/otel-wandb/exporter/internal/run"
	"github.com/otel-wandb/otel-wandb/exporter/internal/runview"
)

// judge says how the run is doing and what to do next. `wandb sync` is for runs
// that are over and were never uploaded: a log that is still written it uploads
// as failed, and one that was uploaded already it uploads twice. Of several parts
// of a run it counts console lines from 0 each time, so that the last part's
// replace those before.
func (l *lister) judge(out *Run, read *runview.Run) {
	last := &read.Parts[len(read.Parts)-1]
	switch {
	case last.Run == nil && last.Exit == nil:
		out.State = Unreadable
		if errors.Is(last.Err, dotwandb.ErrNotWandb) {
			out.Upload, out.Next = Inspect, "it cannot be read, for it is no log: move "+l.shown(last.Dir)+" away"
			return
		}
		if l.fresh(last) {
			out.Upload, out.Next = Wait, "it has just begun: look again in a moment"
			return
		}
		out.Upload, out.Next = Inspect, "no run can be read in it: if no program writes it any more, move "+l.shown(last.Dir)+" away"
	case last.Exit != nil:
		out.State = stateOf(*last.Exit)
		l.over(out, read)
	default:
		l.unended(out, read, last)
	}
}

func (l *lister) unended(out *Run, read *runview.Run, last *runview.Part) {
	ours, held := l.held(last, read.Key)
	switch {
	case held:
		out.State, out.Upload, out.Next = Running, Wait, "running: wait"
	case ours:
		out.State, out.Upload = Left, Recover
		out.Next = "its exporter is not running: start it again on this directory, and it continues the run or ends it"
	default:
		out.State = Left
		l.over(out, read)
		if out.Upload == Sync {
			out.Next = "it has no end: if no program writes it any more, W&B will show it as failed after"
		}
	}
}

// over is for runs to which nothing will be added.
func (l *lister) over(out *Run, read *runview.Run) {
	synced, online, ours := 0, 0, 0
	for i := range read.Parts {
		p := &read.Parts[i]
		if run.IsNote(p.Note) {
			ours++
		}
		switch {
		case !p.Offline:
			online++ // sent as it ran
		case p.Synced:
			synced++
		default:
			out.Commands = append(out.Commands, "wandb sync "+quote(l.shown(p.Dir)))
		}
	}
	if len(out.Commands) > 0 && len(read.Parts) > 1 && ours == len(read.Parts) {
		out.Commands = []string{"otel-wandb sync " + quote(l.shown(read.Parts[len(read.Parts)-1].Dir))}
		out.Upload, out.Next = Sync, "upload its parts"
		if synced+online > 0 {
			out.Next = "upload the rest"
		}
		return
	}
	switch {
	case len(out.Commands) == 0 && online > 0:
		out.Upload, out.Next = Uploaded, "sent to W&B as it ran"
	case len(out.Commands) == 0:
		out.Upload, out.Next = Uploaded, "uploaded"
	case len(out.Commands) > 1:
		out.Upload, out.Next = Sync, "upload its parts, in this order"
	case synced+online > 0:
		out.Upload, out.Next = Sync, "upload the part that is not uploaded yet"
	default:
		out.Upload, out.Next = Sync, "upload it"
	}
}

// quote makes one word of a path for a shell.
func quote(path string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_-./+,:@%", r)
	}
	if path != "" && !strings.HasPrefix(path, "-") && strings.IndexFunc(path, func(r rune) bool { return !plain(r) }) < 0 {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}

// note says what is odd about the run.
func (l *lister) note(out *Run, read *runview.Run, m *metrics) {
	add := func(format string, args ...any) { out.Notes = append(out.Notes, fmt.Sprintf(format, args...)) }
	for i := range read.Parts {
		p := &read.Parts[i]
		switch {
		case p.Err == nil || p.Run == nil:
		case out.State == Running && i == len(read.Parts)-1 && !read.Damaged:
			// A record that is being written: nothing unusual.
		default:
			add("%s: %v; W&B gets the %d records before it", l.shown(p.Path), p.Err, p.Records)
		}
		if p.Exit == nil && i < len(read.Parts)-1 {
			add("part %d has no end: its program died, and the run went on in the next", i+1)
		}
	}
	if read.AfterExit > 0 {
		add("%d records lie behind an end, where W&B does not see them", read.AfterExit)
	}
	if read.BadValues > 0 {
		add("%d values are not JSON", read.BadValues)
	}
	if m.more > 0 {
		add("only the first %d metrics are followed", maxMetrics)
	}
}
