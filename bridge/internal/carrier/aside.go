package carrier

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
)

// aside keeps requests that the collector never takes, for a person to look at:
// they must not hold up the others, and not be lost without a word.
//
// ConcurrentSafe: a lock.
type aside struct {
	dir, writer string // dir "": they are dropped
	room        int64  // bytes

	mu            sync.Mutex // guards everything below, and room
	number        int
	kept, dropped int // events that unsaid has not told of
	last          error
}

func (a *aside) keep(report *reporter, request []byte, events int, cause error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.last = cause
	name, err := a.write(request)
	if err != nil {
		a.dropped += events
		report.once(troubleRefused, "the collector refuses a request of %d events for good: %w; it could not be kept (%w) and is lost: see the collector's log for the reason", events, cause, err)
		return
	}
	a.kept += events
	report.once(troubleRefused, "the collector refuses a request of %d events for good: %w; it is kept as %s: see the collector's log for the reason, then post the file to its /v1/traces", events, cause, name)
}

var (
	errNoFolder = errors.New("no folder")
	errNoRoom   = errors.New("the bound is reached")
)

func (a *aside) write(request []byte) (name string, err error) {
	switch {
	case a.dir == "":
		return "", errNoFolder
	case a.room < int64(len(request)):
		return "", errNoRoom
	}
	a.number++
	name = filepath.Join(a.dir, fmt.Sprintf("refused-%s-%06d.otlp", a.writer, a.number))
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return "", err
	}
	_, err = f.Write(request)
	if err = errors.Join(err, f.Close()); err != nil {
		return "", errors.Join(err, os.Remove(name))
	}
	a.room -= int64(len(request))
	return name, nil
}

// unsaid tells of what was refused since the last call; nil: nothing.
func (a *aside) unsaid() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.kept+a.dropped == 0 {
		return nil
	}
	err := fmt.Errorf("the collector refused %d events for good: %w; %d are kept in %s/refused-%s-*.otlp, %d are lost: see the collector's log",
		a.kept+a.dropped, a.last, a.kept, a.dir, a.writer, a.dropped)
	a.kept, a.dropped = 0, 0
	return err
}
