package runlog

import (
	"container/list"
	"errors"
	"os"
	"sync"

	"github.com/otel-wandb/otel-wandb/exporter/internal/disk"
)

// openFile opens for writing what is there. It never creates: a log whose
// directory was removed must not come back as a file without its header.
func openFile(path string) (disk.File, error) { return disk.OpenFile(path, os.O_WRONLY, 0) }

// handles keeps the files of the most recently written parts open.
//
//	take ──► in use by one part ──► give ──► idle, newest first ──► closed when too many
//
// A file in use is in no list, so it cannot be closed under its writer. When
// more than max are in use at once they are all open; that many goroutines write.
type handles struct {
	max  int
	open func(path string) (disk.File, error)

	mu    sync.Mutex
	idle  list.List // of *handle
	where map[*Part]*list.Element
	inUse int
	shut  bool
}

type handle struct {
	part *Part
	file disk.File
}

// take gives the part its file; fresh when it was opened just now.
func (h *handles) take(p *Part) (f disk.File, fresh bool, err error) {
	h.mu.Lock()
	if h.shut {
		h.mu.Unlock()
		return nil, false, ErrClosed
	}
	h.inUse++
	if el := h.where[p]; el != nil {
		delete(h.where, p)
		f = h.idle.Remove(el).(*handle).file
		h.mu.Unlock()
		return f, false, nil
	}
	surplus := h.surplus()
	h.mu.Unlock()
	closeSurplus(surplus)

	if f, err = h.open(p.path); err != nil {
		h.mu.Lock()
		h.inUse--
		h.mu.Unlock()
		return nil, false, err
	}
	return f, true, nil
}

// give takes the file back.
func (h *handles) give(p *Part, f disk.File) {
	h.mu.Lock()
	h.inUse--
	if h.where == nil {
		h.where = make(map[*Part]*list.Element)
	}
	h.where[p] = h.idle.PushFront(&handle{p, f})
	surplus := h.surplus()
	h.mu.Unlock()
	closeSurplus(surplus)
}

// discard closes the file of a part that was taken.
func (h *handles) discard(f disk.File) error {
	h.mu.Lock()
	h.inUse--
	h.mu.Unlock()
	return f.Close()
}

// surplus removes from the list what is too many.
func (h *handles) surplus() []*handle {
	var surplus []*handle
	for h.idle.Len() > 0 && (h.shut || h.idle.Len()+h.inUse > h.max) {
		x := h.idle.Remove(h.idle.Back()).(*handle)
		delete(h.where, x.part)
		surplus = append(surplus, x)
	}
	return surplus
}

// closeSurplus closes outside of the lock: on a network file system closing
// waits for the server, and may say only then that a write failed.
func closeSurplus(surplus []*handle) {
	for _, x := range surplus {
		if err := x.file.Close(); err != nil {
			x.part.lost.Store(&err)
		}
	}
}

// drop closes the part's file when it is idle.
func (h *handles) drop(p *Part) error {
	h.mu.Lock()
	el := h.where[p]
	if el == nil {
		h.mu.Unlock()
		return nil
	}
	delete(h.where, p)
	f := h.idle.Remove(el).(*handle).file
	h.mu.Unlock()
	return f.Close()
}

// closeAll closes what is idle now, and what is in use when it is given back.
func (h *handles) closeAll() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.shut = true
	var errs []error
	for h.idle.Len() > 0 {
		errs = append(errs, h.idle.Remove(h.idle.Front()).(*handle).file.Close())
	}
	clear(h.where)
	return errors.Join(errs...)
}
