package carrier

import (
	"fmt"
	"os"
	"time"

	"go.opentelemetry.io/otel/attribute"

	"github.com/otel-wandb/otel-wandb/internal/outbox"
	"github.com/otel-wandb/otel-wandb/internal/sink"
	"github.com/otel-wandb/otel-wandb/internal/spool"
)

// ScopeName is the scope of all carriers, so that pipelines of trace viewers can
// drop or fold them.
const ScopeName = outbox.ScopeName

// Sink sends requests; see [sink.Sink].
type Sink = sink.Sink

// SinkOptions say where to send and how; see [sink.Options].
type SinkOptions = sink.Options

// GRPC sends over OTLP/gRPC.
func GRPC(o SinkOptions) (Sink, error) { return sink.GRPC(o) }

// HTTP sends over OTLP/HTTP with protobuf bodies.
func HTTP(o SinkOptions) (Sink, error) { return sink.HTTP(o) }

// NewSink sends by the protocol that the options or the environment say.
func NewSink(o SinkOptions) (Sink, error) { return sink.New(o) }

// Config of a [Pipeline]. Zero values have defaults, but for Sink.
type Config struct {
	Resource  []attribute.KeyValue // of the process
	Sink      Sink
	Dir       string        // for the process's own files, and what others left there; "": memory only
	MaxBytes  int64         // bound of files or memory; default 256 MiB or 32 MiB
	Flush     time.Duration // from a row to the file, at most; default 200 ms
	Send      time.Duration // between requests; default 1 s, and up to 15 s while little happens
	Heartbeat time.Duration // default 60 s
	Report    func(error)   // takes what goes wrong, once for each kind of trouble; default: stderr
}

// Limits of what is logged, as the conventions have them.
const (
	MaxValue = 1 << 20 // bytes of one value
	MaxRow   = 2 << 20 // bytes of one row
)

const (
	defaultFlush     = 200 * time.Millisecond
	defaultSend      = time.Second
	defaultHeartbeat = time.Minute

	// segmentSize is when a segment is full: small enough that a request is
	// well filled, large enough that its head does not count.
	segmentSize = 256 << 10
	// fullRequest is how much is sent at once and not at the next second.
	fullRequest = 1 << 20
	// maxUnwritten bounds the memory of what is on its way to the spool.
	maxUnwritten = 32 << 20
	// maxAttributes is how many attributes of a row one event has: pipelines
	// with OpenTelemetry's default limit of 128 take it whole.
	maxAttributes = 100
)

func (c *Config) defaults() error {
	if c.Sink == nil {
		return fmt.Errorf("carrier: no sink: make one with GRPC or HTTP")
	}
	if c.MaxBytes < 0 || c.Flush < 0 || c.Send < 0 || c.Heartbeat < 0 {
		return fmt.Errorf("carrier: MaxBytes %d, Flush %v, Send %v, Heartbeat %v: none may be negative; 0 is the default", c.MaxBytes, c.Flush, c.Send, c.Heartbeat)
	}
	set := func(d *time.Duration, to time.Duration) {
		if *d == 0 {
			*d = to
		}
	}
	set(&c.Flush, defaultFlush)
	set(&c.Send, defaultSend)
	set(&c.Heartbeat, defaultHeartbeat)
	if c.MaxBytes == 0 {
		c.MaxBytes = spool.DefaultFileBytes
		if c.Dir == "" {
			c.MaxBytes = spool.DefaultMemoryBytes
		}
	}
	if c.Report == nil {
		c.Report = func(err error) { fmt.Fprintln(os.Stderr, "otel-wandb:", err) }
	}
	return nil
}
