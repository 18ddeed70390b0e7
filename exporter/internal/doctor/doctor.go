// Package doctor is `otel-wandb doctor`: it asks everything that a run passes on
// its way to W&B whether it works, and says of what does not how to mend it.
//
//	collector ◄── an empty request      DIR ◄── written to, measured, looked through
//	W&B       ◄── viewer, features ──► Date and RateLimit headers of the answers
//
// The one idea: a check says ok, or what to do. What it cannot find out without
// leaving something behind it says it did not try; [Options.Write] lets it.
package doctor

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
	"unicode"
)

// Options of Look. Dir is required.
type Options struct {
	Dir                      string
	BaseURL, Entity, Project string // "" is as the environment says
	// Endpoint of the collector: a URL, or host:port for gRPC; "" is that of the
	// environment, else OpenTelemetry's default ports; "none" asks no collector.
	Endpoint string
	Write    bool          // make a run and end it: the one way to know that it works
	Timeout  time.Duration // of all questions about one thing; 10 s

	Getenv    func(string) string // os.Getenv
	Home      string              // of netrc; the user's
	Transport http.RoundTripper   // to W&B; nil is one of its own
	Now       func() time.Time
	Free      func(dir string) (bytes int64, known bool) // of the disk
}

// Status of a check.
type Status string

// The statuses.
const (
	OK       Status = "ok"
	Fix      Status = "fix"
	NotTried Status = "not tried"
)

// Check is one thing that was looked at.
type Check struct {
	Name   string `json:"name"`
	Status Status `json:"status"`
	Said   string `json:"said"`
	Fix    string `json:"fix,omitempty"`
}

// Report is all that was looked at.
type Report struct {
	OK     bool     `json:"ok"` // nothing is to be fixed
	Checks []*Check `json:"checks"`
}

func (r *Report) add(status Status, name, said, fix string) {
	r.Checks = append(r.Checks, &Check{name, status, said, fix})
}

func (r *Report) ok(name, format string, args ...any) {
	r.add(OK, name, fmt.Sprintf(format, args...), "")
}

// Look looks at everything.
func Look(ctx context.Context, opts Options) *Report {
	if opts.Getenv == nil {
		opts.Getenv = os.Getenv
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Free == nil {
		opts.Free = free
	}
	if opts.Timeout == 0 {
		opts.Timeout = 10 * time.Second
	}
	r := &Report{OK: true}
	r.wandb(ctx, &opts)
	r.directory(ctx, &opts)
	r.collector(ctx, &opts)
	for _, c := range r.Checks {
		r.OK = r.OK && c.Status != Fix
	}
	return r
}

// Text writes the report for people.
func (r *Report) Text(w io.Writer) {
	fixes := 0
	for _, c := range r.Checks {
		fmt.Fprintf(w, "%-9s  %-9s  %s\n", c.Status, c.Name, clean(c.Said))
		if c.Fix != "" {
			fmt.Fprintf(w, "%22s→ %s\n", "", clean(c.Fix))
		}
		if c.Status == Fix {
			fixes++
		}
	}
	switch fixes {
	case 0:
		fmt.Fprintln(w, "Nothing to fix.")
	case 1:
		fmt.Fprintln(w, "1 thing to fix: see → above.")
	default:
		fmt.Fprintf(w, "%d things to fix: see → above.\n", fixes)
	}
}

// clean keeps answers from steering the terminal.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return '·'
		}
		return r
	}, strings.ToValidUTF8(text, "\uFFFD"))
}
