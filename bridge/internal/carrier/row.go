package carrier

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"

	"github.com/otel-wandb/otel-wandb/internal/otlpwire"
	"github.com/otel-wandb/otel-wandb/internal/semconv"
)

// Row logs one row of history, as of t; zero: now. histograms names keys whose
// arrays are shown as histograms. It only encodes: it waits for no disk and no
// network, and keeps nothing of row.
func (s *Stream) Row(t time.Time, step int64, hasStep bool, row []attribute.KeyValue, histograms []string) error {
	if firstMetric(row) < 0 {
		return fmt.Errorf("%s: %w: name one that is not empty and begins with neither _ nor %s", s.name, ErrEmptyRow, semconv.Prefix)
	}

	s.run.mu.Lock()
	defer s.run.mu.Unlock()
	seg, err := s.begin(rows)
	if err != nil {
		return err
	}
	var at int64
	if t.IsZero() {
		at = seg.now()
	} else {
		at = t.UnixNano()
	}
	b := seg.b
	if len(row) > maxAttributes {
		b, err = s.pieces(b, at, step, hasStep, row, histograms)
	} else {
		b, err = s.piece(b, at, 0, 1, step, hasStep, row, histograms)
	}
	if err == nil && len(b)-len(seg.b) > MaxRow {
		err = fmt.Errorf("%s: the row has %d bytes, more than %d: %w: log fewer or smaller values", s.name, len(b)-len(seg.b), MaxRow, ErrRowTooLarge)
	}
	if err != nil {
		seg.b = b[:len(seg.b)] // keep the room, drop the content
		s.run.refused++
		return err
	}
	s.commit(seg, b, at)
	return nil
}

// pieces splits a wide row over events of one number, which stay together.
func (s *Stream) pieces(b []byte, at, step int64, hasStep bool, row []attribute.KeyValue, histograms []string) ([]byte, error) {
	if m := firstMetric(row); m >= maxAttributes {
		// The row is where its first piece is: one without a metric is none.
		row = slices.Clone(row)
		row[0], row[m] = row[m], row[0]
	}
	n := (len(row) + maxAttributes - 1) / maxAttributes
	from := len(b)
	for i := range n {
		// Not slices.Chunk, which would move every caller's row to the heap.
		part := row[i*maxAttributes : min((i+1)*maxAttributes, len(row))]
		var err error
		if b, err = s.piece(b, at, i, n, step, hasStep && i == 0, part, histogramsIn(part, histograms)); err != nil {
			return b, err
		}
		if len(b)-from > MaxRow {
			return b, fmt.Errorf("%s: with key %q the row has more than %d bytes: %w: log fewer or smaller values", s.name, clip(string(part[len(part)-1].Key)), MaxRow, ErrRowTooLarge)
		}
	}
	return b, nil
}

func (s *Stream) piece(b []byte, at int64, i, n int, step int64, hasStep bool, row []attribute.KeyValue, histograms []string) ([]byte, error) {
	b, mark := s.rowHeader(b, at)
	if n > 1 {
		b = otlpwire.Int(b, otlpwire.OfEvent, semconv.Piece, int64(i))
		b = otlpwire.Int(b, otlpwire.OfEvent, semconv.Pieces, int64(n))
	}
	if hasStep {
		b = otlpwire.Int(b, otlpwire.OfEvent, semconv.Step, step)
	}
	if len(histograms) > 0 {
		b = otlpwire.Strings(b, otlpwire.OfEvent, semconv.Histogram, histograms)
	}
	b, err := s.attributes(b, row)
	if err != nil {
		return b, err
	}
	return otlpwire.EndEvent(b, mark), nil
}

func histogramsIn(row []attribute.KeyValue, histograms []string) (in []string) {
	for _, h := range histograms {
		if slices.ContainsFunc(row, func(kv attribute.KeyValue) bool { return string(kv.Key) == h }) {
			in = append(in, h)
		}
	}
	return in
}

// firstMetric is the first attribute that the exporter takes into the row; -1:
// there is none, and the row is none to it.
func firstMetric(row []attribute.KeyValue) int {
	for i := range row {
		kv := &row[i] // large to copy
		key := string(kv.Key)
		if key != "" && key[0] != '_' && kv.Value.Type() != attribute.EMPTY && !about(key) {
			return i
		}
	}
	return -1
}

// about tells whether a key says something of the event, not of a metric in it.
func about(key string) bool {
	for _, prefix := range [...]string{semconv.Prefix, "event.", "code.", "thread.", "log.", "exception.", "telemetry."} {
		if strings.HasPrefix(key, prefix) {
			return true
		}
	}
	return false
}
