package syncing

import (
	"cmp"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/otel-wandb/otel-wandb/exporter/internal/dotwandb"
	"github.com/otel-wandb/otel-wandb/exporter/internal/engine"
	"github.com/otel-wandb/otel-wandb/exporter/internal/run"
	"github.com/otel-wandb/otel-wandb/exporter/internal/runlog"
	"github.com/otel-wandb/otel-wandb/exporter/internal/runview"
	"github.com/otel-wandb/otel-wandb/exporter/internal/upload"
	"github.com/otel-wandb/otel-wandb/internal/runid"
	"github.com/otel-wandb/otel-wandb/internal/wandb"
)

// found is one run of a folder.
type found struct {
	folder string     // the `wandb` directory
	log    wandb.Path // as its logs call it
	start  time.Time
	parts  []part // that this module wrote, oldest first
	others []part // that W&B's own client wrote
	err    error  // its logs cannot be read, or what is known of its upload

	host     string     // the server's base URL
	to       wandb.Path // where it goes
	position string
	target   *upload.Target   // nil: none was written
	progress *upload.Progress // nil: the upload has not begun
	stop     *upload.Stop     // why it stopped

	held bool   // an exporter has it open
	twin *found // another run that goes to the same place, and is the one to do so

	Result
}

// part is one log.
type part struct {
	runview.PartInfo
	rows int
	exit bool // an exit record is in it
}

// coordinates are what an exporter calls the run, but for its host.
func (f *found) coordinates() runid.Coordinates {
	return runid.Coordinates{Entity: f.log.Entity, Project: f.log.Project, ID: f.log.Run}
}

// name is what messages call the run.
func (f *found) name() string { return f.coordinates().String() }

// done tells whether W&B has all of the run's parts to their end.
func (f *found) done() bool {
	return f.progress != nil && f.progress.Done && len(f.parts) > 0 &&
		f.progress.Part == filepath.Base(f.parts[len(f.parts)-1].Dir)
}

// foreign tells whether somebody else brought the run to W&B: it has an end, the
// marker stands, and nothing here knows of an upload. Without an upload the
// marker is put by `wandb sync`; with one, of an exporter or of sync, there is a
// target, or the directory is no offline one.
func (f *found) foreign() bool {
	if f.progress != nil || f.target != nil || f.stop != nil {
		return false
	}
	return !slices.ContainsFunc(f.parts, func(p part) bool { return !p.syncedElsewhere() })
}

func (p *part) syncedElsewhere() bool { return p.Offline && p.Synced && p.exit }

// before names the parts that somebody else brought to W&B before this upload
// knew of the run; none where that is all of them, and they are asked for.
func (f *found) before() (dirs []string) {
	switch {
	case f.target != nil:
		return f.target.Synced
	case f.progress != nil:
		return nil
	}
	for _, p := range f.parts {
		if p.syncedElsewhere() {
			dirs = append(dirs, filepath.Base(p.Dir))
		}
	}
	if len(dirs) == len(f.parts) {
		return nil
	}
	return dirs
}

// finder looks through folders.
type finder struct {
	opts  *Options
	runs  []*found
	errs  []error
	waits []Waiting
}

// find lists the runs of a directory, oldest first. An error is about some of it,
// unless there are no runs.
func find(opts *Options) (*finder, error) {
	l := &finder{opts: opts}
	parts, err := listed(opts.Dir)
	if err != nil && len(parts) == 0 {
		return nil, err
	}
	l.problem(err)
	folders := map[string][]runview.PartInfo{}
	if abs, err := filepath.Abs(opts.Dir); err == nil { // what waits may be all there is
		for _, folder := range []string{abs, filepath.Join(abs, "wandb")} {
			folders[folder] = nil
		}
	}
	for _, p := range parts {
		folder := filepath.Dir(p.Dir)
		folders[folder] = append(folders[folder], p)
	}
	for folder, parts := range folders {
		l.folder(folder, parts)
	}
	slices.SortFunc(l.runs, func(a, b *found) int {
		return cmp.Or(a.start.Compare(b.start), cmp.Compare(a.name(), b.name()), cmp.Compare(a.folder, b.folder))
	})
	return l, nil
}

func (l *finder) problem(err error) {
	if err != nil {
		l.errs = append(l.errs, err)
	}
}

// listed are the parts below dir. Where that is one part of a run, all parts of
// that run: they only make sense together.
func listed(dir string) ([]runview.PartInfo, error) {
	parts, err := runview.List(dir)
	if err != nil || len(parts) != 1 || filepath.Base(parts[0].Dir) != filepath.Base(filepath.Clean(dir)) {
		return parts, err
	}
	one := parts[0].Key()
	all, err := runview.List(filepath.Dir(parts[0].Dir))
	return slices.DeleteFunc(all, func(p runview.PartInfo) bool { return p.Key() != one }), err
}

// folder finds the runs of one `wandb` directory.
func (l *finder) folder(folder string, parts []runview.PartInfo) {
	in, err := engine.Inspect(folder)
	l.problem(err)
	for _, w := range in.Waiting {
		l.waits = append(l.waits, Waiting{Trace: w.Trace.String(), For: w.For.String(), Items: w.Items})
	}
	if len(parts) == 0 {
		return
	}
	uploads, err := upload.List(folder)
	l.problem(err)
	groups := map[wandb.Path]*found{}
	for _, p := range parts {
		log := wandb.Path{Run: p.RunID}
		if p.Run != nil {
			log = wandb.Path{Entity: p.Run.Entity, Project: p.Run.Project, Run: p.RunID}
		}
		f := groups[log]
		if f == nil {
			f = &found{folder: folder, log: log, start: p.Start, err: p.Err}
			groups[log] = f
			l.runs = append(l.runs, f)
		}
		f.parts = append(f.parts, part{PartInfo: p})
	}
	for _, f := range groups {
		for _, o := range in.Open {
			f.held = f.held || sameRun(o.Key, f) && (o.Held || !o.Known)
		}
		l.where(f, uploads)
		if f.err == nil && !f.done() {
			f.err = f.scan()
		}
		if f.err == nil && l.elsewhere(f, uploads) {
			f.err = f.scan()
		}
	}
}

func sameRun(key runid.Coordinates, f *found) bool {
	key.Host = ""
	return key == f.coordinates()
}

// where decides to which server the run goes, and what is known of its upload.
func (l *finder) where(f *found, uploads []upload.Known) {
	var err error
	if f.target, err = upload.ReadTarget(f.folder, f.log); err != nil {
		f.err = errors.Join(f.err, err)
		return
	}
	f.to = f.log
	if f.target != nil {
		f.to = f.target.Run
	}
	f.host = l.host(f, uploads)
	l.known(f, uploads)
}

// elsewhere sends the run to where the options say. Where it went already, whoever
// brought it there, it stays, unless it is asked for again; and where its upload
// began before it has ended: what uploads it there would go on, and it be in two
// places. The logs are scanned, unless all of them are at W&B; moved says that they
// are to be uploaded now.
func (l *finder) elsewhere(f *found, uploads []upload.Known) (moved bool) {
	to, host := f.to, f.host
	to.Entity = cmp.Or(l.opts.Entity, to.Entity)
	to.Project = cmp.Or(l.opts.Project, to.Project)
	host = cmp.Or(l.opts.BaseURL, host)
	done := f.done()
	switch {
	case to == f.to && host == f.host, done && l.opts.SkipSynced:
		return false
	case !done && f.progress != nil && (len(f.parts) == 0 || !f.parts[len(f.parts)-1].exit):
		f.Notes = append(f.Notes, "its upload began, and it has no end yet: it stays where it is. When it has ended, sync sends it to another place too")
		return false
	}
	f.to, f.host = to, host
	l.known(f, uploads)
	return done && !f.done()
}

// known finds the position of the run's upload to where it goes.
func (l *finder) known(f *found, uploads []upload.Known) {
	f.position, f.progress, f.stop = upload.PositionFile(f.folder, f.host, f.to), nil, nil
	for _, k := range uploads {
		if k.Host == f.host && k.Asked == f.to {
			f.position, f.progress, f.stop = k.Position, k.Progress, k.Stop
		}
	}
}

// host is the server that a run belongs to: its folder names it, or an upload
// that began, or its log. W&B's own service is in logs of everybody who said
// nothing, and so is no answer against WANDB_BASE_URL.
func (l *finder) host(f *found, uploads []upload.Known) string {
	if f.target != nil {
		return f.target.Host
	}
	if host := folderHost(f.folder); host != "" {
		return host
	}
	for _, k := range uploads {
		if k.Asked == f.log && k.Progress != nil {
			return k.Host
		}
	}
	for _, p := range f.parts {
		if p.Run != nil && p.Run.BaseURL != "" && p.Run.BaseURL != wandb.DefaultBaseURL {
			return p.Run.BaseURL
		}
	}
	return DefaultHost(l.opts.Getenv)
}

// DefaultHost is the server of who says nothing else.
func DefaultHost(getenv func(string) string) string {
	return cmp.Or(runid.Host(getenv("WANDB_BASE_URL")), wandb.DefaultBaseURL)
}

// folderHost is the server that a folder's path names: <host>/<entity>/wandb; ""
// for that of the exporter's own.
func folderHost(folder string) string {
	host, _ := runlog.Unescape(filepath.Base(filepath.Dir(filepath.Dir(folder))))
	if strings.HasPrefix(host, "https://") || strings.HasPrefix(host, "http://") {
		return strings.TrimRight(host, "/")
	}
	return ""
}

// scan reads the run's logs for what uploading them needs to know: who wrote
// them, how much is in them, whether they end.
func (f *found) scan() error {
	parts := f.parts
	f.parts = nil
	for _, p := range parts {
		ours, err := p.scan()
		if err != nil {
			return err
		}
		if ours {
			f.parts = append(f.parts, p)
		} else {
			f.others = append(f.others, p)
		}
	}
	return nil
}

// scan reads one log up to its exit, its end, or damage: what W&B would get.
func (p *part) scan() (ours bool, err error) {
	file, err := os.Open(p.Path)
	if err != nil {
		return false, err
	}
	defer file.Close()
	r, err := dotwandb.NewReader(file, dotwandb.Strict)
	for noted := false; err == nil && !p.exit; {
		var b []byte
		if b, err = r.Next(); err != nil {
			break
		}
		rec, bad := dotwandb.Decode(b)
		if bad != nil {
			return ours, nil // damage: the uploader says more of it
		}
		if rec.UUID != "" && !noted {
			noted, ours = true, run.IsNote(rec.UUID)
		}
		switch {
		case rec.History != nil:
			p.rows++
		case rec.Exit != nil:
			p.exit = true
		}
	}
	var damage *dotwandb.CorruptError
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &damage) {
		return ours, nil
	}
	return ours, err
}
