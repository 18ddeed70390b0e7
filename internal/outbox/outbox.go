package outbox

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/otel-wandb/otel-wandb/internal/otlpwire"
	"github.com/otel-wandb/otel-wandb/internal/spool"
)

// ScopeName is the scope of all carriers, so that pipelines of trace viewers can
// drop or fold them.
const ScopeName = "github.com/otel-wandb/otel-wandb/bridge"

// MaxRequest is how large a request may be: receivers take 4 MiB by default, and
// there is room for the largest segment.
const MaxRequest = 3<<20 - 64<<10

// Root is the folder of outboxes where a program names none; "" where the system
// has no place for it.
func Root(getenv func(string) string) string {
	if dir := getenv("WANDB_DIR"); dir != "" {
		return filepath.Join(dir, "wandb", "outbox")
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(cache, "otel-wandb", "outbox")
}

// Name is the folder below the root of what goes to one endpoint: what was meant
// for one collector is not sent to another.
func Name(endpoint string) string {
	sum := sha256.Sum256([]byte(endpoint))
	return hex.EncodeToString(sum[:4])
}

// Requests makes requests of batches, in memory that it uses again.
type Requests struct {
	request []byte
	spans   []otlpwire.Span
	at      map[uint64]int // by stream, in spans
}

// Of makes an ExportTraceServiceRequest of a batch: one carrier for each stream
// in it. It is valid until the next call.
func (r *Requests) Of(batch *spool.Batch) []byte {
	if r.at == nil {
		r.at = map[uint64]int{}
	}
	clear(r.at)
	r.spans = r.spans[:0]
	for i := range batch.Chunks {
		c := &batch.Chunks[i]
		at, ok := r.at[c.Stream]
		if !ok {
			at = len(r.spans)
			r.at[c.Stream] = at
			carrier := otlpwire.Span{Head: c.Head, Start: c.First, End: c.Last}
			for carrier.ID == ([8]byte{}) { // zero is no id
				binary.BigEndian.PutUint64(carrier.ID[:], rand.Uint64())
			}
			r.spans = append(r.spans, carrier)
		}
		span := &r.spans[at]
		span.Start, span.End = min(span.Start, c.First), max(span.End, c.Last)
		span.Events = append(span.Events, c.Events)
	}
	r.request = otlpwire.Request(r.request[:0], batch.Resource, ScopeName, "", r.spans)
	return r.request
}

// Forget gives up the memory of the last request: somebody may still hold it.
func (r *Requests) Forget() { r.request = nil }
