package upload

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/otel-wandb/otel-wandb/exporter/internal/dotwandb"
	"github.com/otel-wandb/otel-wandb/internal/wandb"
)

// pending is how many bytes of the log are to be looked at.
func (u *Uploader) pending() (int64, error) {
	s := u.state
	if s.Done || s.Exit != nil || u.damaged {
		return 0, nil
	}
	log := u.log(s.Part)
	if log == "" {
		return 0, fmt.Errorf("part %s: %w", s.Part, fs.ErrNotExist)
	}
	fi, err := os.Stat(log)
	if err != nil {
		return 0, err
	}
	u.setStatus(func(st *Status) { st.Behind = max(0, fi.Size()-s.Offset) })
	if fi.Size() <= max(s.Offset, u.seen) {
		return 0, nil
	}
	return fi.Size() - s.Offset, nil
}

// read fills a batch from the log.
func (u *Uploader) read() (*batch, error) {
	s, b := u.state, &batch{}
	if u.damaged {
		return b, nil
	}
	file, err := os.Open(u.log(s.Part))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	fi, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if _, err := file.Seek(s.Offset, io.SeekStart); err != nil {
		return nil, err
	}
	defer func() {
		if b, err := tail(file, s.Offset); err == nil {
			s.Tail = b
		}
	}()
	r := dotwandb.NewReaderAt(file, s.Offset, dotwandb.Strict)
	for s.Exit == nil && b.alert == nil && b.named < filesAtOnce && (s.Upserted || b.Size() < firstBatch) {
		body, err := r.Next()
		var rec dotwandb.Record
		if err == nil {
			if rec, err = dotwandb.Decode(body); err != nil {
				err = fmt.Errorf("before offset %d: %w", r.Offset(), err)
				u.damage(err)
				return b, nil
			}
		}
		var corrupt *dotwandb.CorruptError
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			u.seen = fi.Size() // no more now; a torn tail is a record being written
			return b, nil
		case errors.As(err, &corrupt):
			u.damage(err)
			return b, nil
		case err != nil:
			return nil, err
		}
		if err := s.apply(&rec, b); errors.Is(err, wandb.ErrFull) {
			return b, nil
		} else if err != nil {
			return nil, err
		}
		s.Offset = r.Offset()
	}
	return b, nil
}

func (u *Uploader) damage(err error) {
	u.damaged = true
	u.notify(LogDamaged, fmt.Errorf("%s: %w", u.log(u.state.Part), err))
}

// maxPeek is how much of a log is looked at to see what it is: what brings only
// a summary is short.
const maxPeek = 16 << 10

// onlySummary tells whether nothing waits but a summary, which each run changes
// now and then, all at once in a fleet: by heartbeats, and a second after rows; or
// the names of files that are there.
func (u *Uploader) onlySummary(pending int64) bool {
	s := u.state
	if pending > maxPeek || s.dirty() {
		return false
	}
	if pending == 0 {
		return true
	}
	file, err := os.Open(u.log(s.Part))
	if err != nil {
		return false
	}
	defer file.Close()
	if _, err := file.Seek(s.Offset, io.SeekStart); err != nil {
		return false
	}
	for r := dotwandb.NewReaderAt(file, s.Offset, dotwandb.Strict); ; {
		body, err := r.Next()
		if err != nil {
			return errors.Is(err, io.EOF)
		}
		if rec, err := dotwandb.Decode(body); err != nil || rec.Summary == nil {
			return false
		}
	}
}

// tailSize is how much of the log a position remembers: a record's number and
// note are in it.
const tailSize = 64

// tail reads the last bytes before an offset.
func tail(file io.ReaderAt, offset int64) ([]byte, error) {
	b := make([]byte, min(tailSize, offset))
	_, err := file.ReadAt(b, offset-int64(len(b)))
	return b, err
}

// holds tells whether a part's log still has what the position says of it. One
// that is gone says nothing against it.
func (u *Uploader) holds(p *position) bool {
	file, err := os.Open(u.log(p.Part))
	if err != nil {
		return true
	}
	defer file.Close()
	b, err := tail(file, p.Offset)
	return err == nil && (p.Tail == nil || bytes.Equal(b, p.Tail))
}
