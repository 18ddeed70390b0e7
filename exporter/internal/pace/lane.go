package pace

import (
	"fmt"
	"time"
)

const (
	// hear is how often W&B must hear of a run that is alive. It calls it crashed
	// after five minutes of silence.
	hear = 4 * time.Minute
	// aim is for how often the rate is made to suffice, so that openings and
	// retries have room besides.
	aim = 200 * time.Second
	// tick is how often one run is sent at most.
	tick = time.Second
	// fresh is how long a permit lies at a place.
	fresh = 15 * time.Second
	// forget is when a silent run has no place any more.
	forget = 5 * time.Minute
	// usual is the interval of W&B's own client. A longer one is worth a word.
	usual = 15 * time.Second
	// calm is how long nothing may be throttled until it is over.
	calm = time.Minute
)

// place is what a lane knows of a run.
type place struct {
	born    time.Time
	seen    time.Time // when it last asked or was answered
	granted time.Time // its last permit
	heard   time.Time // when W&B last heard of it
	opened  bool      // it did
	alive   bool
	last    class // of its last request
	ending  bool  // that was the run's end
	credit  time.Time
	waiting int
	flying  int
}

// hasCredit tells whether a permit lies here that is not stale: it was reckoned
// to the time when it was given.
func (p *place) hasCredit(now time.Time) bool {
	return !p.credit.IsZero() && now.Sub(p.credit) < fresh
}

// lane is all that W&B limits together. It is the scheduler's, under its lock.
type lane struct {
	s             *Scheduler
	host, project string // of file streams
	account       string // of GraphQL
	budget
	places map[string]*place
	alive  int // places

	later queue     // waiters that may not go yet
	first queue     // openings and ends
	rest  queue     // lines and heartbeats
	due   deadlines // of first and rest, what must be served in time
	turns uint64
	timer *time.Timer // nil: never set

	heartbeats    int // that wait
	sent, refused int64
	throttled     time.Time // since when; zero: it is not
	busy          time.Time // when something last held requests back
}

func newLane(s *Scheduler, host, project, account string, b budget) *lane {
	return &lane{
		s: s, host: host, project: project, account: account, budget: b,
		places: map[string]*place{},
		later:  queue{less: byTime}, first: queue{less: byClass}, rest: queue{less: byClass},
		due: deadlines{queue: queue{slot: 1, less: byDeadline}, counts: map[int64]int{}},
	}
}

// place gives a run's place.
func (l *lane) place(run string, now time.Time) *place {
	p := l.places[run]
	if p == nil {
		p = &place{born: now, heard: now, last: lines}
		l.places[run] = p
	}
	p.seen = now
	return p
}

func (l *lane) setAlive(p *place, alive bool) {
	if p.alive != alive {
		p.alive = alive
		if alive {
			l.alive++
		} else {
			l.alive--
		}
	}
}

func (l *lane) leave(run string) {
	if p := l.places[run]; p != nil && p.waiting == 0 {
		l.setAlive(p, false)
		delete(l.places, run)
	}
}

// need is how many requests a second it takes to hear every run in time.
func (l *lane) need(now time.Time) float64 {
	if l.project == "" {
		return 0
	}
	return max(float64(l.alive+l.first.Len())/aim.Seconds(), l.due.demand(now))
}

// join puts a request into the lane, of which place, class, credit and the key
// of openings are set.
func (l *lane) join(w *waiter, urgent bool, now time.Time) {
	p, c := w.place, w.class
	l.s.numbers++
	w.number, w.done = l.s.numbers, make(chan struct{})
	p.waiting++
	switch c {
	case lines:
		w.key = p.granted // who was served longest ago
		if !urgent && !p.granted.IsZero() && l.project != "" {
			w.at = p.granted.Add(tick)
		}
	case heartbeats:
		w.key = p.heard
		if !p.granted.IsZero() && l.project != "" {
			// Behind rows comes often a summary alone. Were it sent now, the next rows
			// would wait a tick for it; they come within two, if they come, and wake it.
			w.at = p.granted.Add(2 * tick)
		}
	}
	if p.alive && l.project != "" {
		w.deadline = p.heard.Add(hear)
	}
	if w.at.After(now) {
		w.in = &l.later
		l.later.add(w)
	} else {
		l.ready(w)
	}
	l.pump(now)
}

// ready makes a waiter one that may go.
func (l *lane) ready(w *waiter) {
	w.in = &l.rest
	if w.class < lines {
		w.in = &l.first
	}
	w.in.add(w)
	if w.class == heartbeats {
		l.heartbeats++
	}
	if !w.deadline.IsZero() {
		l.due.add(w)
	}
}

// drop takes a waiter out.
func (l *lane) drop(w *waiter) {
	w.place.waiting--
	w.in.remove(w)
	if w.in != &l.later {
		if w.class == heartbeats {
			l.heartbeats--
		}
		if !w.deadline.IsZero() {
			l.due.remove(w)
		}
	}
	w.in = nil
}

// cancel is a waiter's that waits no more. It tells whether it had its permit,
// which it gives back.
func (l *lane) cancel(w *waiter, now time.Time) {
	switch {
	case w.in != nil:
		l.drop(w)
	case w.credit && w.place.credit.IsZero(): // another took it
	case w.credit:
		w.place.credit = time.Time{}
		l.tokens++
	default:
		w.place.flying--
		l.flying--
		l.tokens++
	}
	l.pump(now)
}

// pick is who is next. Nobody is kept out for good: what must be served in time
// leaves every other turn to openings and ends, until it is late itself, and every
// eighth to lines; openings and ends leave every fourth to lines.
func (l *lane) pick(now time.Time, rate float64) *waiter {
	l.turns++
	first, rest := l.first.head(), l.rest.head()
	pressing := l.due.pressing(now, rate)
	row := rest != nil && rest.class == lines
	switch {
	case pressing != nil && row && l.turns%8 == 0:
		return rest
	case pressing != nil && first != nil && l.turns%2 == 0 && pressing.deadline.After(now):
		return first
	case pressing != nil:
		return pressing
	case first != nil && !(row && l.turns%4 == 0):
		return first
	}
	return rest
}

// threshold is how many permits there must be for the next to go: one. Heartbeats
// that have time wait for a full bucket, because a permit that one took would be
// missing to rows a moment later.
func (l *lane) threshold(now time.Time, rate float64) float64 {
	if l.first.Len() == 0 && l.rest.Len() == l.heartbeats && l.due.pressing(now, rate) == nil {
		return l.depth(rate)
	}
	return 1
}

// pump lets go what may, and sets the timer for what may later.
func (l *lane) pump(now time.Time) {
	for w := l.later.head(); w != nil && !w.at.After(now); w = l.later.head() {
		l.later.remove(w)
		l.ready(w)
	}
	var at time.Time
	for {
		rate := l.rate(now, l.need(now))
		l.fill(now, rate)
		at = l.next(now, rate, l.threshold(now, rate))
		if at.After(now) || l.first.Len()+l.rest.Len() == 0 {
			break
		}
		w := l.pick(now, rate)
		l.drop(w)
		l.grant(w, now)
	}
	l.report(now)
	if l.first.Len()+l.rest.Len() == 0 {
		w := l.later.head()
		switch {
		case w == nil && l.throttled.IsZero():
			if l.timer != nil {
				l.timer.Stop()
			}
			return
		case w == nil:
			at = l.busy.Add(calm)
		case w.at.After(at):
			at = w.at
		}
	}
	d := max(at.Sub(now), 1)
	if l.timer == nil {
		l.timer = time.AfterFunc(d, func() {
			l.s.mu.Lock()
			l.pump(time.Now())
			l.s.unlock()
		})
	} else {
		l.timer.Reset(d)
	}
}

func (l *lane) grant(w *waiter, now time.Time) {
	l.take()
	l.sent++
	w.place.granted, w.place.seen = now, now
	if w.credit {
		w.place.credit = now
	} else {
		l.fly(w.place)
	}
	close(w.done)
}

// fly is when a permit is used.
func (l *lane) fly(p *place) {
	l.flying++
	p.flying++
}

// interval is between requests of a run, of those that wait.
func (l *lane) interval(rate float64) time.Duration {
	return max(tick, seconds(float64(l.first.Len()+l.rest.Len()-l.heartbeats)/rate))
}

// why says what holds requests back longer than usual.
func (l *lane) why(now time.Time) string {
	waiting := l.first.Len() + l.rest.Len() - l.heartbeats
	rate := l.rate(now, l.need(now))
	interval := l.interval(rate)
	switch {
	case l.until.After(now):
		return l.reason
	case waiting == 0:
		return ""
	case l.known && l.remaining() < l.unit() && l.ends.Sub(now) > usual:
		return fmt.Sprintf("W&B's allowance is used up for %s", l.ends.Sub(now).Round(time.Second))
	case interval > usual && l.known:
		return fmt.Sprintf("%d requests wait, %.2g a second may go of the %.2g that W&B allows to all: one of each run every %s",
			waiting, rate, l.allowed(now), interval.Round(time.Second))
	case interval > usual:
		return fmt.Sprintf("%d requests wait, %.2g a second may go while W&B does not say what it allows: one of each run every %s",
			waiting, rate, interval.Round(time.Second))
	}
	return ""
}

// report says it when throttling begins, and when it is over.
func (l *lane) report(now time.Time) {
	why := l.why(now)
	if why != "" {
		l.busy = now
		if l.until.After(now) {
			l.busy = l.until
		}
	}
	switch {
	case why != "" && l.throttled.IsZero():
		l.throttled = now
		l.s.notify(l, now, fmt.Sprintf("%s is throttled: %s: it goes on by itself; log less often, or fewer runs at once, to go faster", l, why), false)
	case why == "" && !l.throttled.IsZero() && now.Sub(l.busy) >= calm:
		text := fmt.Sprintf("%s is throttled no more, after %s", l, l.busy.Sub(l.throttled).Round(time.Second))
		l.throttled = time.Time{}
		l.s.notify(l, now, text, true)
	}
}

// String is the lane's coordinates.
func (l *lane) String() string {
	if l.project == "" {
		return fmt.Sprintf("GraphQL of %s at %s", l.account, l.host)
	}
	return fmt.Sprintf("project %s at %s", l.project, l.host)
}

// sweep forgets runs that are silent. It tells whether any is left.
func (l *lane) sweep(now time.Time) bool {
	if l.until.After(now) {
		return true // they are asked to be silent
	}
	for run, p := range l.places {
		if p.flying == 0 && now.Sub(p.seen) > forget {
			l.leave(run)
		}
	}
	return len(l.places) > 0
}
