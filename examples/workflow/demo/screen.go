package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// screen says what happens: a line when a step begins and one when it is done,
// and on a terminal one in between that changes.
type screen struct {
	out      io.Writer
	terminal bool
	steps    int
	of       int
	began    time.Time
	start    time.Time
}

func newScreen(out io.Writer, online bool) *screen {
	s := &screen{out: out, start: time.Now(), of: 4}
	if online {
		s.of++
	}
	if f, ok := out.(*os.File); ok {
		if fi, err := f.Stat(); err == nil {
			s.terminal = fi.Mode()&os.ModeCharDevice != 0
		}
	}
	return s
}

func (s *screen) step(what, how string) {
	s.steps++
	s.began = time.Now()
	fmt.Fprintf(s.out, "[%d/%d] %s\n      %s\n", s.steps, s.of, what, how)
}

// live shows text until the next line replaces it.
func (s *screen) live(text string) {
	if s.terminal {
		fmt.Fprintf(s.out, "\r\033[K      %s", text)
	}
}

func (s *screen) done(format string, args ...any) {
	if s.terminal {
		fmt.Fprint(s.out, "\r\033[K")
	}
	fmt.Fprintf(s.out, "      %s (%.1f s)\n", fmt.Sprintf(format, args...), time.Since(s.began).Seconds())
}

// show prints what a command said, as a person would have seen it.
func (s *screen) show(command string, said []byte) {
	fmt.Fprintf(s.out, "\n$ %s\n%s\n", command, bytes.TrimRight(said, "\n"))
}

func (s *screen) next(o *options, dir string) {
	fmt.Fprintf(s.out, `
Everything is as it must be, after %.0f s. The failed run was meant to fail.

What to do next
  see the curves, in a terminal  wandb leet %s
  look again                     %s ls %s
  read what was sent and said    %s, %s
  send your own                  %s --config %s
  clean up                       rm -r %s
`, time.Since(s.start).Seconds(), filepath.Join(dir, "wandb"), o.tool, dir,
		filepath.Join(dir, "otlp.jsonl"), filepath.Join(dir, "collector.log"), o.collector, o.config, o.dir)
}
