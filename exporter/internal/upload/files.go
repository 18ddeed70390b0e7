package upload

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/otel-wandb/otel-wandb/exporter/internal/dotwandb"
	"github.com/otel-wandb/otel-wandb/internal/extjson"
	"github.com/otel-wandb/otel-wandb/internal/wandb"
)

// Files that the uploader makes itself, as W&B's own client does: the first when
// the run begins, the others when it ends.
const (
	metadataFile = "wandb-metadata.json"
	configFile   = "config.yaml"
	summaryFile  = "wandb-summary.json"
	consoleFile  = "output.log"
)

// runFile is a file that is to go up. Rows never wait for it.
type runFile struct {
	Part  string // whose directory `files` it is in; "": the uploader makes it
	Path  string // below that, with forward slashes; its name at W&B
	AtEnd bool   // not before the run has ended

	Table string // the metric whose table it is: not the file goes up, but its artifact
	Step  int64  // of the row that has it, in the log
}

const (
	// filesAtOnce bounds the files that are asked for in one request, and that
	// one batch of lines names.
	filesAtOnce = 32
	// filesTime is how long files may take while rows may come: what takes longer
	// is sent when the run has ended, or tried again filesWait later.
	filesTime = 10 * time.Second
	filesWait = 2 * time.Minute
)

// patience is how long one file may take when nothing else waits: a connection
// that stands still must not keep a run from its end.
func patience(size int64) time.Duration {
	const slow = 64 << 10 // bytes a second
	return 5*time.Minute + time.Duration(size/slow)*time.Second
}

// files takes a files record in.
func (s *state) files(record *dotwandb.Files, b *batch) {
	for _, f := range record.Files {
		switch f.Path {
		case metadataFile, configFile, summaryFile, consoleFile:
			continue // made of the records, here
		}
		s.file(runFile{Part: s.Part, Path: f.Path, AtEnd: f.Policy != dotwandb.FileNow})
		b.named++
	}
}

func (s *state) file(f runFile) {
	if !slices.Contains(s.Files, f) {
		s.Files = append(s.Files, f)
	}
}

// due are some of the files that may go up: all, or those that need not wait for
// the run's end.
func (s *state) due(atEnd bool) (some []runFile) {
	for _, f := range s.Files {
		if (atEnd || !f.AtEnd) && len(some) < filesAtOnce {
			some = append(some, f)
		}
	}
	return some
}

// filesDue tells whether files may go up now, though rows may come.
func (u *Uploader) filesDue() bool {
	return u.state.Upserted && len(u.state.due(false)) > 0 && !time.Now().Before(u.filesAfter)
}

// sendFiles brings some files to W&B while rows may come: trouble means that it
// is tried later.
func (u *Uploader) sendFiles(ctx context.Context) error {
	if !u.filesDue() {
		return nil
	}
	if err := u.turn(ctx, Files, 0, true); err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, filesTime)
	defer cancel()
	err := u.put(limited, u.state.due(false))
	if err != nil && ctx.Err() == nil {
		u.filesAfter = time.Now().Add(filesWait)
		if limited.Err() == nil { // else it is no trouble yet: storage is slow, or other runs come first
			u.notify(Retrying, err)
		}
		return nil
	}
	return err
}

// allFiles brings files to W&B until none is due: no row waits for them.
func (u *Uploader) allFiles(ctx context.Context, atEnd bool) error {
	for {
		some := u.state.due(atEnd)
		if len(some) == 0 {
			return nil
		}
		if err := u.turn(ctx, Files, 0, true); err != nil {
			return err
		}
		if err := u.try(ctx, Files, func() error { return u.put(ctx, some) }); err != nil {
			return err
		}
	}
}

// lastFiles are all that are left, and those that say what became of the run.
func (u *Uploader) lastFiles(ctx context.Context) error {
	s := u.state
	for _, name := range []string{configFile, consoleFile, summaryFile} {
		if (name != consoleFile || s.sent().Console > 0) && !slices.Contains(s.Uploaded, name) {
			s.file(runFile{Path: name})
		}
	}
	return u.allFiles(ctx, true)
}

// put sends files, and then makes the artifacts of tables in their order. Those
// that are done, one way or the other, are none of the state's any more. The
// error is transient: no file's own.
func (u *Uploader) put(ctx context.Context, files []runFile) error {
	isTable := func(f runFile) bool { return f.Table != "" }
	if err := u.putFiles(ctx, slices.DeleteFunc(slices.Clone(files), isTable)); err != nil {
		return err
	}
	for _, f := range files {
		if isTable(f) {
			if err := u.putTable(ctx, f); err != nil {
				return err
			}
		}
	}
	return nil
}

func (u *Uploader) putFiles(ctx context.Context, files []runFile) error {
	s := u.state
	var names []string
	contents := map[string]wandb.Content{}
	left := files[:0:0]
	for _, f := range files {
		if !slices.Contains(s.Files, f) {
			continue // an earlier try sent it
		}
		content, err := u.content(f)
		if err != nil {
			u.fileFailed(f, err)
			continue
		}
		left = append(left, f)
		if contents[f.Path] == nil {
			names = append(names, f.Path)
		}
		contents[f.Path] = content // of two parts' files of one name, the later
	}
	if len(names) == 0 {
		return nil
	}
	uploads, refused := u.opts.Client.CreateFiles(ctx, s.Path, names...)
	if errors.Is(refused, wandb.ErrRefused) && len(left) > 1 {
		for _, f := range left { // one that W&B does not take must not keep the others
			if err := u.putFiles(ctx, []runFile{f}); err != nil {
				return err
			}
		}
		return nil
	}
	for _, f := range left {
		err := refused
		if err == nil {
			err = u.putOne(ctx, uploads[slices.Index(names, f.Path)], contents[f.Path])
		}
		switch {
		case err == nil:
			u.fileDone(f)
			if !slices.Contains(s.Uploaded, f.Path) {
				s.Uploaded = append(s.Uploaded, f.Path)
			}
			u.save()
		case wandb.IsTransient(err), ctx.Err() != nil:
			return err
		default:
			u.fileFailed(f, err)
		}
	}
	return nil
}

func (u *Uploader) putOne(ctx context.Context, to wandb.Upload, content wandb.Content) error {
	body, size, err := content()
	if err != nil {
		return err
	}
	_ = body.Close()
	ctx, cancel := context.WithTimeout(ctx, patience(size))
	defer cancel()
	err = u.opts.Client.Put(ctx, u.state.Path, to, content)
	if err != nil && !wandb.IsTransient(err) {
		err = u.opts.Client.UploadFile(ctx, u.state.Path, to.Name, content) // the URL may have expired
	}
	return err
}

func (u *Uploader) fileDone(f runFile) {
	s := u.state
	s.Files = slices.DeleteFunc(s.Files, func(other runFile) bool { return other == f })
}

// fileFailed gives a file up: the run goes on without it.
func (u *Uploader) fileFailed(f runFile, err error) {
	u.fileDone(f)
	u.state.FilesFailed++
	from := f.Path
	if f.Part != "" {
		from = filepath.Join(filepath.Dir(u.log(f.Part)), "files", filepath.FromSlash(f.Path))
	}
	if f.Table != "" {
		u.notify(FileFailed, fmt.Errorf("%s: the table %q of step %d has no artifact, to which its row refers: file %s: %w", u.state.path(), f.Table, f.Step+u.state.Step, from, err))
		return
	}
	u.notify(FileFailed, fmt.Errorf("%s: file %s is not uploaded: %w", u.state.path(), from, err))
}

// content says how a file is read, for each try anew.
func (u *Uploader) content(f runFile) (wandb.Content, error) {
	s := u.state
	switch {
	case f.Part != "":
		log := u.log(f.Part)
		if log == "" {
			return nil, fmt.Errorf("part %s: %w", f.Part, fs.ErrNotExist)
		}
		return localFile(filepath.Join(filepath.Dir(log), "files"), f.Path)
	case f.Path == metadataFile:
		return text(environmentText(&s.environments[len(s.environments)-1])), nil
	case f.Path == summaryFile:
		return text(s.summary.text()), nil
	case f.Path == configFile:
		b, err := configYAML(s.configText())
		return text(string(b)), err
	}
	return u.console()
}

func text(s string) wandb.Content {
	return func() (io.ReadCloser, int64, error) { return io.NopCloser(strings.NewReader(s)), int64(len(s)), nil }
}

// localFile is a file below dir. A log is data: what it names outside, by .. or
// by a link, is not read.
func localFile(dir, path string) (wandb.Content, error) {
	open := func() (*os.File, int64, error) {
		root, err := os.OpenRoot(dir)
		if err != nil {
			return nil, 0, err
		}
		defer root.Close()
		fi, err := root.Stat(filepath.FromSlash(path)) // before it is opened: a pipe would wait for a writer
		if err == nil && !fi.Mode().IsRegular() {
			err = fmt.Errorf("%s is no regular file", path)
		}
		if err != nil {
			return nil, 0, err
		}
		file, err := root.Open(filepath.FromSlash(path))
		if err != nil {
			return nil, 0, err
		}
		if fi, err = file.Stat(); err != nil {
			return nil, 0, errors.Join(err, file.Close())
		}
		return file, fi.Size(), nil
	}
	file, _, err := open()
	if err != nil {
		return nil, fmt.Errorf("%w: put it back below %s, a regular file, and upload the run again", err, dir)
	}
	return func() (io.ReadCloser, int64, error) {
		file, size, err := open()
		if err != nil {
			return nil, 0, err
		}
		return only{io.LimitReader(file, size), file}, size, nil // it may grow
	}, file.Close()
}

// only is what is read of a file.
type only struct {
	io.Reader
	io.Closer
}

// configYAML is a run's config as W&B's file has it.
func configYAML(config string) ([]byte, error) {
	all, err := extjson.DecodeObject(config)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	e := yaml.NewEncoder(&b) // indents by 4, as W&B's own client does
	if err := errors.Join(e.Encode(all), e.Close()); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// console is all console lines of the run. They are read from the logs each
// time, so that there need be no memory for them: once for the size, once to go.
func (u *Uploader) console() (wandb.Content, error) {
	var logs []string
	u.mu.Lock()
	for _, log := range u.parts {
		logs = append(logs, log)
		if partOf(log) == u.state.Part {
			break // later ones are not sent yet
		}
	}
	u.mu.Unlock()
	first := &consoleReader{logs: logs}
	size, err := io.Copy(io.Discard, first)
	if err := errors.Join(err, first.Close()); err != nil {
		return nil, err
	}
	return func() (io.ReadCloser, int64, error) {
		r := &consoleReader{logs: slices.Clone(logs)}
		return only{io.LimitReader(r, size), r}, size, nil
	}, nil
}

// consoleReader reads the console lines in logs, one log open at a time. net/http
// may close it while it reads, where storage answers before it has all.
type consoleReader struct {
	mu     sync.Mutex
	closed bool
	logs   []string // that come
	file   *os.File
	r      *dotwandb.Reader
	halves [2]half
	text   []byte // that is not read yet
}

func (c *consoleReader) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return 0, fs.ErrClosed
	}
	for len(c.text) == 0 {
		if err := c.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, c.text)
	c.text = c.text[n:]
	return n, nil
}

// next takes the next record.
func (c *consoleReader) next() error {
	if c.r == nil {
		if len(c.logs) == 0 {
			return io.EOF
		}
		var err error
		if c.file, err = os.Open(c.logs[0]); err != nil {
			return err
		}
		c.logs = c.logs[1:]
		if c.r, err = dotwandb.NewReader(c.file, dotwandb.Strict); err != nil {
			return err
		}
	}
	c.text = c.text[:0]
	body, err := c.r.Next()
	var rec dotwandb.Record
	if err == nil {
		rec, err = dotwandb.Decode(body)
	}
	var list []console
	if err != nil || rec.Exit != nil { // the end of what is uploaded of a log, as of its lines
		list = halfLines(&c.halves)
		c.r, err = nil, c.shut()
	} else if o := rec.Output; o != nil {
		list, c.halves[index(o.Stderr)] = split(c.halves[index(o.Stderr)], o)
	}
	for _, line := range list {
		c.text = append(append(c.text, strings.TrimSuffix(line.Text, "\r")...), '\n')
	}
	return err
}

func (c *consoleReader) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	return c.shut()
}

// shut closes the log that is open.
func (c *consoleReader) shut() error {
	if c.file == nil {
		return nil
	}
	err := c.file.Close()
	c.file = nil
	return err
}
