package pace

import (
	"math"
	"net/http"
	"time"

	"github.com/otel-wandb/otel-wandb/internal/wandb"
)

// How much of an allowance is used.
const (
	leastShare = 0.5 // the other half is for others
	mostShare  = 0.9 // where runs would not be heard of otherwise
)

// How a budget learns.
const (
	costFrom    = 5    // pairs of answers that a request's cost is seen from
	costForget  = 0.02 // towards a higher cost: others' requests look like ours
	windowKeep  = 0.98 // of the longest window
	firstPause  = 2 * time.Second
	longPause   = time.Minute
	recoverStep = 1.25 // a minute, after refusals
	leastRate   = 1e-3 // requests a second, so that nothing is divided by 0
)

// budget is how fast a lane may go: a bucket of permits which fills at a share
// of what W&B allows. It is its lane's, under the scheduler's lock.
type budget struct {
	guess float64 // requests a second that W&B allows, until it says so
	first float64 // permits that may go at once until then
	deep  float64 // and at most

	tokens float64   // permits that may go at once
	filled time.Time // when that was right
	flying int       // permits that nothing was learned of yet

	slow     float64   // at most 1: less than that after refusals
	slowed   time.Time // when that changed
	until    time.Time // nothing goes before
	refusals int       // in a row
	reason   string    // of the last

	// What headers say. Units are W&B's: it is not known how many a request takes.
	known  bool
	left   float64   // units, at the last answer
	ends   time.Time // of the window, by the last answer
	rolls  time.Time // of the window, by its first answer
	window float64   // its length in seconds, of the longest seen lately
	mine   int       // answers in this window
	rest   float64   // units of this window that others leave
	before float64   // of the one before
	cost   float64   // units of a request, the least seen lately; 0: not known
	drop   float64   // units that went with pairs of answers
	pairs  int
}

func newBudget(guess, first, deep float64, now time.Time) budget {
	return budget{guess: guess, first: first, deep: deep, tokens: first, filled: now, slow: 1, before: math.Inf(1)}
}

// unit is the cost of a request as far as it is known.
func (b *budget) unit() float64 {
	if b.cost == 0 {
		return 1
	}
	return b.cost
}

// remaining is what is left, by the last answer and what is under way since.
func (b *budget) remaining() float64 { return max(0, b.left-b.unit()*float64(b.flying)) }

// allowed is how many requests a second W&B allows, to all.
func (b *budget) allowed(now time.Time) float64 {
	for b.slow < 1 && now.Sub(b.slowed) >= time.Minute {
		b.slow, b.slowed = min(1, b.slow*recoverStep), b.slowed.Add(time.Minute)
	}
	if !b.known {
		return b.guess * b.slow
	}
	cost := b.unit()
	a := min(b.rest, b.before) / (b.window * cost)
	if d := b.ends.Sub(now).Seconds(); d > 0 {
		// What is left must last. The request whose answer said so is counted in: a
		// window that begins has not less than one that ends.
		a = min(a, (b.remaining()+cost)/(cost*d))
	}
	if b.cost == 0 {
		a = min(a, b.guess)
	}
	return a * b.slow
}

// rate is how many go a second, where need are needed.
func (b *budget) rate(now time.Time, need float64) float64 {
	a := b.allowed(now)
	return max(leastRate, leastShare*a, min(mostShare*a, need))
}

// fill lets permits come in at a rate.
func (b *budget) fill(now time.Time, rate float64) {
	if from := later(b.filled, b.until); now.After(from) { // a pause fills nothing
		b.tokens += rate * now.Sub(from).Seconds()
	}
	b.filled = now
	b.tokens = min(b.tokens, b.depth(rate))
}

// depth is how many permits may go at once at most.
func (b *budget) depth(rate float64) float64 {
	if b.known { // a tenth of a window's share at once: with the rest no more than 99 % of it
		return min(b.deep, max(1, rate*b.window/10))
	}
	return b.first
}

// next is when a permit may go at a rate, at the earliest now: when the bucket
// holds so many.
func (b *budget) next(now time.Time, rate, holds float64) time.Time {
	at := later(now, b.until)
	if b.tokens < holds-1e-9 {
		at = at.Add(seconds((holds-b.tokens)/rate) + 1)
	}
	if b.known && b.remaining() < b.unit() {
		at = later(at, b.ends)
	}
	return at
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func seconds(s float64) time.Duration {
	return time.Duration(min(s, 1e9) * float64(time.Second))
}

// take takes a permit out.
func (b *budget) take() { b.tokens-- }

// learn takes in what came of a permit. It tells whether W&B asks for less.
func (b *budget) learn(now time.Time, o wandb.Outcome) (refused bool) {
	b.flying = max(0, b.flying-1)
	refused = o.Status == http.StatusTooManyRequests
	switch {
	case refused || o.Status >= 400 && o.RetryAfter >= 0:
		b.pause(now, o)
	case o.Status > 0:
		b.refusals = 0
	}
	if o.Limit != nil && o.Limit.Reset > 0 {
		b.read(now, *o.Limit, refused)
	}
	return refused
}

// pause holds everything back for as long as W&B asks for.
func (b *budget) pause(now time.Time, o wandb.Outcome) {
	d := o.RetryAfter
	if d < 0 {
		d = min(firstPause<<min(b.refusals, 10), longPause)
	}
	if !b.until.After(now) { // else it is another answer to the same haste
		b.refusals++
		if o.Status == http.StatusTooManyRequests && (o.Limit == nil || o.Limit.Remaining > 0) {
			// No header would have told us: the guess is too high.
			b.slow, b.slowed = max(b.slow/2, 1e-3), now
		}
	}
	b.tokens = min(b.tokens, 0) // what waits does not come at once after it
	if until := now.Add(d); until.After(b.until) {
		b.until = until
		b.reason = "W&B answered " + statusText(o.Status) + " and is left alone for " + d.Round(time.Second).String()
	}
}

// read takes in headers.
func (b *budget) read(now time.Time, l wandb.RateLimit, refused bool) {
	ends := now.Add(l.Reset)
	slack := max(time.Second, seconds(b.window/4))
	if !b.known || !now.Before(b.rolls) || ends.After(b.rolls.Add(slack)) {
		if b.known {
			b.before = b.rest
		}
		b.known, b.rolls, b.mine = true, ends, 0
		b.window = max(l.Reset.Seconds(), windowKeep*b.window)
	} else if b.left > 0 && !refused {
		b.drop += b.left - l.Remaining
		if b.pairs++; b.pairs == costFrom {
			// Others' requests are in it too, so the least that was seen is nearest
			// to ours, and a higher one is believed slowly.
			seen := max(b.drop, 0.5) / float64(b.pairs)
			if b.cost == 0 || seen < b.cost {
				b.cost = seen
			} else {
				b.cost += costForget * (seen - b.cost)
			}
			b.drop, b.pairs = 0, 0
		}
	}
	if !refused {
		b.mine++
	}
	b.left, b.ends = l.Remaining, ends
	b.rest = b.left + b.unit()*float64(b.mine)
}

func statusText(status int) string {
	if text := http.StatusText(status); text != "" {
		return text
	}
	return "an error"
}
