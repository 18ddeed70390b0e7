package carrier

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/otel-wandb/otel-wandb/internal/otlpwire"
	"github.com/otel-wandb/otel-wandb/internal/runid"
	"github.com/otel-wandb/otel-wandb/internal/semconv"
	"github.com/otel-wandb/otel-wandb/internal/spool"
)

// Pipeline is the path of one process to the collector. Make it with [Start].
// ConcurrentSafe: each lock says what it guards.
type Pipeline struct {
	cfg        Config
	writer     string
	writerAttr []byte // wandb.writer, encoded
	rowHead    []byte // likewise the name of a row's event, and the writer
	spool      *spool.Spool
	report     *reporter
	wake       wakers
	progress   progress

	rowLimit, eventLimit int64
	unwritten            atomic.Int64  // bytes in segments that are not in the spool
	inherited            atomic.Int64  // bytes that killed processes left, and that are not sent yet
	refusedRows          atomic.Uint64 // by ErrFull
	closed               atomic.Bool
	urgent               atomic.Bool  // send as soon as it is written
	failing              atomic.Bool  // the last attempt to send failed
	missedBeat           atomic.Bool  // heartbeats were left out while it did
	awaited              atomic.Int64 // how many wait in flush
	aside                aside

	mu       sync.Mutex // guards these four
	runs     map[string]*run
	lastSeqs map[[16]byte]uint64 // of runs that no stream is open on
	beating  map[*Stream]struct{}
	streams  uint64

	dirtyMu sync.Mutex // guards dirty; taken under a run's lock
	dirty   []*Stream  // streams with something that is not in the spool

	writeMu sync.Mutex // held while segments are brought to the spool
	backlog []spool.Chunk
	sealed  []*segment // whose bytes backlog holds

	stop     context.CancelFunc
	running  sync.WaitGroup
	shutdown sync.Once
	ended    error // of Shutdown
}

// run is what all streams on one run share.
type run struct {
	key string
	mu  sync.Mutex // guards all but streams, and the segments of the run's streams
	seq uint64     // the last number given

	refused, told uint64 // rows that were refused, and how many of these the run knows of

	streams int // open ones; guarded by the pipeline's lock
}

// barrier returns when whoever holds the lock has let go.
func (r *run) barrier() {
	r.mu.Lock()
	r.mu.Unlock() //nolint:gocritic,staticcheck // an empty critical section is the point
}

// wakers tell goroutines that there is something to do. A full channel says it
// already.
type wakers struct {
	write chan struct{} // a segment has something
	flush chan struct{} // do not wait for more
	send  chan struct{} // the spool has something
	hurry chan struct{} // do not wait for more
	kick  chan struct{} // do not even wait out a failure
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Start opens the path. It fails for a configuration that cannot work; a folder
// that cannot be used only makes it live in memory, which is reported.
func Start(cfg Config) (*Pipeline, error) {
	if err := cfg.defaults(); err != nil {
		return nil, err
	}
	var id [8]byte
	if _, err := rand.Read(id[:]); err != nil {
		return nil, fmt.Errorf("carrier: %w", err)
	}
	p := &Pipeline{
		cfg: cfg, writer: hex.EncodeToString(id[:]), report: newReporter(cfg.Report),
		runs: map[string]*run{}, lastSeqs: map[[16]byte]uint64{}, beating: map[*Stream]struct{}{},
	}
	for _, c := range []*chan struct{}{&p.wake.write, &p.wake.flush, &p.wake.send, &p.wake.hurry, &p.wake.kick} {
		*c = make(chan struct{}, 1)
	}
	p.writerAttr = otlpwire.String(nil, otlpwire.OfEvent, semconv.Writer, p.writer)
	p.rowHead = append(otlpwire.EventName(nil, semconv.EventLog), p.writerAttr...)
	p.openSpool()
	p.aside = aside{dir: cfg.Dir, writer: p.writer, room: cfg.MaxBytes}
	p.progress.init()

	ctx, stop := context.WithCancel(context.Background())
	p.stop = stop
	p.running.Go(func() { p.writeLoop(ctx) })
	p.running.Go(func() { newSender(p).loop(ctx) })
	return p, nil
}

func (p *Pipeline) openSpool() {
	resource := otlpwire.Resource(p.cfg.Resource)
	most := p.cfg.MaxBytes
	if p.cfg.Dir != "" {
		var err error
		if p.spool, err = spool.Create(p.cfg.Dir, p.writer, resource, most); err != nil {
			p.report.once(troubleFolder, "no files in %s: %w: rows that the collector has not taken are in memory only, and lost when the program is killed; name a folder that can be written to", p.cfg.Dir, err)
			most, p.cfg.Dir = min(most, spool.DefaultMemoryBytes), ""
		}
	}
	if p.spool == nil {
		p.spool = spool.Memory(p.writer, resource, most)
	}
	// Rows leave room for what matters more: configuration and alerts, and after
	// these the ends of runs.
	p.rowLimit, p.eventLimit = most-most/8, most-most/16
}

// Writer is the random id of this process.
func (p *Pipeline) Writer() string { return p.writer }

// RefusedRows is how many rows were refused because the buffer was full.
func (p *Pipeline) RefusedRows() uint64 { return p.refusedRows.Load() }

// joinRun finds what the streams of a run share.
func (p *Pipeline) joinRun(c runid.Coordinates) *run {
	key := c.Key()
	r := p.runs[key]
	if r == nil {
		h := keyHash(key)
		r = &run{key: key, seq: p.lastSeqs[h]}
		delete(p.lastSeqs, h)
		p.runs[key] = r
	}
	r.streams++
	return r
}

// leaveRun forgets a run that no stream is open on, but for its last number:
// should it be opened again, the exporter would take low numbers for repeats.
// Called with the run's lock held, which is taken before the pipeline's.
func (p *Pipeline) leaveRun(s *Stream) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.beating, s)
	if s.run.streams--; s.run.streams == 0 {
		delete(p.runs, s.run.key)
		p.lastSeqs[keyHash(s.run.key)] = s.run.seq
	}
}

func keyHash(key string) (h [16]byte) {
	sum := sha256.Sum256([]byte(key))
	copy(h[:], sum[:])
	return h
}

// Write brings all that was logged before to the file, if there is one.
func (p *Pipeline) Write() { p.write() }

// Flush returns when all that was logged before is acknowledged; else its error
// says how much is not, and where it lies.
func (p *Pipeline) Flush(ctx context.Context) error {
	if p.closed.Load() {
		return fmt.Errorf("carrier: %w", ErrClosed)
	}
	return p.flush(ctx)
}

func (p *Pipeline) flush(ctx context.Context) error {
	p.awaited.Add(1)
	defer p.awaited.Add(-1)
	target := p.write()
	wake(p.wake.kick)
	wake(p.wake.hurry)
	acked, err := p.progress.wait(ctx, target)
	if err != nil {
		err = fmt.Errorf("%d of %d events are not acknowledged by the collector: %w; they are in %s%s", target-acked, target, err, p.spool.Where(), p.fate())
	}
	return errors.Join(err, p.aside.unsaid())
}

func (p *Pipeline) fate() string {
	if p.cfg.Dir == "" {
		return " and lost when the program ends: give Flush and Shutdown more time, or the pipeline a folder"
	}
	return " and sent by the next program that uses that folder, or by `otel-wandb sync --outbox " + p.cfg.Dir + "`"
}

// Shutdown flushes, as long as ctx lets it, and ends the pipeline. What is not
// acknowledged stays on disk for the next process; the error says how much.
func (p *Pipeline) Shutdown(ctx context.Context) error {
	p.shutdown.Do(func() {
		p.closed.Store(true)
		p.mu.Lock()
		clear(p.beating)
		runs := make([]*run, 0, len(p.runs))
		for _, r := range p.runs {
			runs = append(runs, r)
		}
		p.mu.Unlock()
		for _, r := range runs {
			r.barrier() // who saw the pipeline open has logged now
		}
		err := p.flush(ctx)
		p.stop()
		p.running.Wait()
		p.write()
		if n := p.unroomed(); n > 0 {
			err = errors.Join(err, fmt.Errorf("%d of these found no room in %s and are lost: raise the bound", n, p.spool.Where()))
		}
		if n := p.refusedRows.Load(); n > 0 {
			err = errors.Join(err, fmt.Errorf("%d rows were refused: %w", n, ErrFull))
		}
		p.ended = errors.Join(err, p.spool.Close(), p.cfg.Sink.Shutdown(ctx))
		p.report.close(ctx)
	})
	return p.ended
}
