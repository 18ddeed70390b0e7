package lsview

import (
	"fmt"
	"path/filepath"

	"github.com/otel-wandb/otel-wandb/exporter/internal/runlog"
	"github.com/otel-wandb/otel-wandb/exporter/internal/runview"
	"github.com/otel-wandb/otel-wandb/exporter/internal/upload"
	"github.com/otel-wandb/otel-wandb/internal/runid"
	"github.com/otel-wandb/otel-wandb/internal/wandb"
)

// AtWandb is how far the upload of a run is, of which this module keeps account.
type AtWandb struct {
	URL     string `json:"url,omitempty"`      // of its page, once W&B has it
	Rows    int    `json:"rows"`               // that W&B has
	TooLong int    `json:"too_long,omitempty"` // lines that W&B does not take
	Behind  int64  `json:"behind_bytes"`       // of its logs that W&B has not, about
	Done    bool   `json:"done,omitempty"`
	Busy    bool   `json:"busy,omitempty"`    // some program is at it
	Stopped string `json:"stopped,omitempty"` // why it stopped
	Remedy  string `json:"remedy,omitempty"`
	Gone    bool   `json:"gone,omitempty"` // only another id helps
}

// uploads are those that a folder holds traces of, read once.
func (l *lister) uploads(folder string) []upload.Known {
	list, seen := l.known[folder]
	if !seen {
		var err error
		list, err = upload.List(folder)
		l.problem(err)
		l.known[folder] = list
	}
	return list
}

// upload looks for the upload of a run; nil where there is none.
func (l *lister) upload(read *runview.Run) *AtWandb {
	folder, run := filepath.Dir(read.Parts[0].Dir), read.Parts[0].Run
	if run == nil {
		return nil
	}
	log := wandb.Path{Entity: run.Entity, Project: run.Project, Run: read.Parts[0].RunID}
	target, err := upload.ReadTarget(folder, log)
	l.problem(err)
	asked, host := log, ""
	if target != nil {
		asked, host = target.Run, target.Host
	}
	at := &AtWandb{}
	key := runid.Coordinates{Entity: log.Entity, Project: log.Project, ID: log.Run}
	held, known := runlog.Held(folder, upload.LockKey(key.Key()))
	at.Busy = held && known
	var progress *upload.Progress
	found := target != nil || at.Busy
	for _, k := range l.uploads(folder) {
		if k.Asked != asked || host != "" && k.Host != host {
			continue
		}
		found, progress = true, k.Progress
		if k.Stop != nil {
			at.Stopped, at.Remedy, at.Gone = k.Stop.Error, k.Stop.Remedy, k.Stop.Gone
		}
	}
	if !found {
		return nil
	}
	at.measure(read, progress)
	return at
}

// measure says how much W&B has, and has not.
func (at *AtWandb) measure(read *runview.Run, p *upload.Progress) {
	reached := p == nil // the part that the upload is at
	for i := range read.Parts {
		part := &read.Parts[i]
		switch {
		case !reached && filepath.Base(part.Dir) == p.Part:
			reached = true
			at.Behind += max(0, part.Size-p.Offset)
			at.Done = p.Done && i == len(read.Parts)-1
		case reached:
			at.Behind += part.Size
		}
	}
	if p == nil {
		return
	}
	at.Rows, at.TooLong = p.History, p.TooLong
	if at.Done {
		at.Behind = 0
	}
	if p.There {
		at.URL = wandb.RunURL(wandb.AppURL(p.Host), p.Path)
	}
}

// carry says what to do about a run of which an upload is known: `wandb sync`
// would send again what W&B has.
func (l *lister) carry(out *Run, read *runview.Run) {
	at := l.upload(read)
	out.AtWandb = at
	if at == nil {
		return
	}
	out.Commands = nil
	again := "otel-wandb sync "
	if at.Gone {
		again += "--new-id "
	}
	again += quote(l.shown(read.Parts[len(read.Parts)-1].Dir))
	switch {
	case at.Done:
		out.Upload, out.Next = Uploaded, at.done()
	case at.Stopped != "" && !at.Busy:
		out.Upload, out.Next = Halted, "its upload stopped; "+at.Remedy+"; then"
		if at.Gone {
			out.Next = "its upload stopped; if the run was deleted at W&B, upload it under another id"
		}
		out.Commands = []string{again}
		out.Notes = append(out.Notes, at.Stopped)
	case at.Busy:
		out.Upload, out.Next = Wait, "it is being uploaded: wait"
	case out.State == Running:
		out.Upload = Wait
	case out.State == Left:
		out.Next += "; what there is of it goes to W&B with"
		out.Commands = []string{again}
	default:
		out.Upload, out.Next = Behind, "upload the rest"
		out.Commands = []string{again}
	}
}

// done is what is to be said of an upload that is over.
func (at *AtWandb) done() string {
	if at.TooLong > 0 {
		return "W&B has all that it takes"
	}
	return "W&B has all of it"
}

// said is the upload in a line.
func (at *AtWandb) said(rows int) string {
	text := fmt.Sprintf("at W&B: %d of %s", at.Rows, plural(rows, "row"))
	if at.TooLong > 0 {
		text += fmt.Sprintf(", without %s that it does not take: too long", plural(at.TooLong, "line"))
	}
	if at.Behind > 0 {
		text += fmt.Sprintf(", %d bytes behind", at.Behind)
	}
	if at.URL != "" {
		text += " · " + at.URL
	}
	return text
}
