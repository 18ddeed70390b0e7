package syncing

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// Screen shows what happens while it happens: a line for each run that is over,
// and on a terminal, below these, a line for each run under way that is drawn
// again and again. Elsewhere a run under way is mentioned now and then.
//
// ConcurrentSafe: a lock guards all of it.
type Screen struct {
	out  io.Writer
	live bool // a terminal
	quit chan struct{}
	done chan struct{}

	mu      sync.Mutex // guards everything below
	running []*line
	drawn   int       // lines that are to be drawn over
	trouble string    // of a server, until something goes well
	said    time.Time // when trouble was said last
}

type line struct {
	r    *Result
	rows func() int
	said int // rows
}

const (
	drawEvery  = 200 * time.Millisecond
	plainEvery = 10 * time.Second
	width      = 79 // a longer line would wrap, and could not be drawn over
)

// NewScreen shows on out until Close; live says that it is a terminal.
func NewScreen(out io.Writer, live bool) *Screen {
	s := &Screen{out: out, live: live, quit: make(chan struct{}), done: make(chan struct{})}
	every := plainEvery
	if live {
		every = drawEvery
	}
	go func() {
		defer close(s.done)
		t := time.NewTicker(every)
		defer t.Stop()
		for {
			select {
			case <-t.C:
				s.mu.Lock()
				s.draw()
				s.mu.Unlock()
			case <-s.quit:
				return
			}
		}
	}()
	return s
}

// Close ends the showing.
func (s *Screen) Close() {
	close(s.quit)
	<-s.done
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wipe()
}

// Began is of [Watcher].
func (s *Screen) Began(r *Result, rows func() int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(r)
	s.running = append(s.running, &line{r: r, rows: rows, said: rows()})
}

// Trouble is of [Watcher].
func (s *Screen) Trouble(_ *Result, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trouble = text
	if !s.live && time.Since(s.said) > plainEvery {
		s.said = time.Now()
		fmt.Fprintln(s.out, "W&B: "+clean(text))
	}
}

// Ended is of [Watcher].
func (s *Screen) Ended(r *Result) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(r)
	s.wipe()
	if r.Outcome != There && r.Outcome != Synced {
		r.Lines(s.out)
	}
	if s.live {
		s.draw()
	}
}

func (s *Screen) remove(r *Result) {
	for i, l := range s.running {
		if l.r == r {
			s.running = append(s.running[:i], s.running[i+1:]...)
			return
		}
	}
}

// wipe takes away what is to be drawn again.
func (s *Screen) wipe() {
	if s.drawn > 0 {
		fmt.Fprintf(s.out, "\x1b[%dA\x1b[J", s.drawn)
		s.drawn = 0
	}
}

func (s *Screen) draw() {
	s.wipe()
	for _, l := range s.running {
		n := l.rows()
		if n != l.said {
			s.trouble = ""
		}
		if !s.live && n == l.said {
			continue // nothing new to say of it
		}
		l.said = n
		s.show(fmt.Sprintf("%s: %d of %s", clean(l.r.Run), n, plural(l.r.Rows, "row")))
	}
	if s.live && s.trouble != "" {
		s.show("W&B: " + clean(s.trouble))
	}
}

func (s *Screen) show(text string) {
	if s.live {
		if r := []rune(text); len(r) > width {
			text = string(r[:width-1]) + "…"
		}
		s.drawn++
	}
	fmt.Fprintln(s.out, text)
}
