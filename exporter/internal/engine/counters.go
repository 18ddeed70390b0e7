package engine

import (
	"maps"
	"sync"
	"time"

	"go.uber.org/zap"
)

// Counters count what the engine did since it started. They are safe for
// concurrent use.
type Counters struct {
	mu      sync.Mutex
	n       map[string]int64 // by name
	dropped map[string]int64 // by reason
	said    map[string]said

	logger *zap.Logger
	now    func() time.Time
}

// Names of counters.
const (
	CountRows       = "rows"
	CountLines      = "console_lines"
	CountRepeated   = "repeated"
	CountOpened     = "runs_opened"
	CountFinished   = "runs_finished"
	CountParts      = "parts_opened"
	CountNoRun      = "no_run"
	CountWaited     = "waited"
	CountLogBytes   = "log_bytes"
	CountAppends    = "log_appends"
	CountRequests   = "requests"
	CountBusy       = "requests_busy"
	CountFailed     = "requests_failed"
	CountDamaged    = "parts_damaged"
	CountLinksGone  = "links_evicted"
	CountRecovered  = "runs_recovered"
	CountCheckpoint = "checkpoints"
	CountPoints     = "metric_points"
)

// Reasons of drops that the engine itself gives.
const (
	DropNoTask        = "no_task"
	DropParentMissing = "parent_missing"
	DropCycle         = "span_cycle"
	DropNoSpan        = "no_span"
	DropRefused       = "refused_task"
	DropWaitingFull   = "waiting_full"
	DropLinksFull     = "links_full"
	DropJournal       = "journal_damaged"
)

type said struct {
	at     time.Time
	silent int64
}

func newCounters(logger *zap.Logger, now func() time.Time) *Counters {
	return &Counters{n: map[string]int64{}, dropped: map[string]int64{}, said: map[string]said{}, logger: logger, now: now}
}

func (c *Counters) add(name string, n int64) {
	if n == 0 {
		return
	}
	c.mu.Lock()
	c.n[name] += n
	c.mu.Unlock()
}

// drop counts what was kept out of every run, and says it.
func (c *Counters) drop(reason string, items int, text string) {
	c.mu.Lock()
	c.dropped[reason] += int64(items)
	c.mu.Unlock()
	c.say(reason, text)
}

// sayNotWritten is no reason of a drop: what cannot be written is kept.
const sayNotWritten = "log_not_written"

// say logs a text: at once, and then at most once a minute for each reason,
// with the number since.
func (c *Counters) say(reason, text string) {
	c.mu.Lock()
	s, now := c.said[reason], c.now()
	speak := text != "" && (s.at.IsZero() || now.Sub(s.at) >= time.Minute)
	silent := s.silent
	if speak {
		c.said[reason] = said{at: now}
	} else {
		s.silent++
		c.said[reason] = s
	}
	c.mu.Unlock()
	if speak {
		c.logger.Warn(text, zap.String("reason", reason), zap.Int64("since_last_said", silent))
	}
}

// tell logs a text once, as no warning.
func (c *Counters) tell(topic, text string) {
	c.mu.Lock()
	_, known := c.said[topic]
	c.said[topic] = said{at: c.now()}
	c.mu.Unlock()
	if !known {
		c.logger.Info(text)
	}
}

// Get is one counter's value.
func (c *Counters) Get(name string) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n[name]
}

// Dropped are the drops by reason.
func (c *Counters) Dropped() map[string]int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.dropped)
}
