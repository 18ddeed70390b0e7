// Package sink sends encoded trace requests to a collector: OTLP over gRPC or
// over HTTP, with what the usual environment variables say.
//
//	request (bytes) ──► Sink.Export ──► nil: it has arrived, and is on disk there
//	                                └─► *Error: what kind of trouble, and the remedy
//
// One attempt a call. Who calls decides from the kind of trouble whether the
// same request is worth another one; here is only known what an answer means.
package sink

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// Sink takes serialised ExportTraceServiceRequests.
type Sink interface {
	// Export returns nil when the request was acknowledged. It does not keep
	// the bytes.
	Export(ctx context.Context, request []byte) error
	Shutdown(ctx context.Context) error
}

// Kind is what an answer means for the request.
type Kind int

const (
	// Transient trouble passes: the same request will be taken later.
	Transient Kind = iota
	// Misconfigured trouble is about sender or receiver, whatever the request:
	// it passes when somebody mends the configuration.
	Misconfigured
	// Doubtful is an answer that may mean either; a receiver says so of its own
	// failures too.
	Doubtful
	// Refused is the request itself: it is never taken.
	Refused
	// TooLarge is the request's size: smaller ones are taken.
	TooLarge
)

// Error is an export that was not acknowledged.
type Error struct {
	Kind  Kind
	After time.Duration // the receiver asks to be left alone for so long
	Err   error
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// Of tells what an error of [Sink.Export] means. Unknown errors pass.
func Of(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Kind: Transient, Err: err}
}

// partial reads an ExportTraceServiceResponse. A receiver that rejects a part
// does not say which, so no part can be called acknowledged.
func partial(where string, response []byte) error {
	rejected, message := int64(0), ""
	each(response, func(n protowire.Number, _ uint64, v []byte) {
		if n != 1 {
			return
		}
		each(v, func(n protowire.Number, i uint64, v []byte) {
			switch n {
			case 1:
				rejected = int64(i)
			case 2:
				message = string(v)
			}
		})
	})
	if rejected == 0 {
		return nil
	}
	return &Error{Kind: Refused, Err: fmt.Errorf("%s rejected %d carriers: %s", where, rejected, clip(message))}
}

// each calls f for the fields of a message, as far as it is one.
func each(b []byte, f func(n protowire.Number, i uint64, v []byte)) {
	for len(b) > 0 {
		n, typ, size := protowire.ConsumeTag(b)
		if size < 0 {
			return
		}
		b = b[size:]
		var i uint64
		var v []byte
		switch typ {
		case protowire.VarintType:
			i, size = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			v, size = protowire.ConsumeBytes(b)
		default:
			size = protowire.ConsumeFieldValue(n, typ, b)
		}
		if size < 0 {
			return
		}
		f(n, i, v)
		b = b[size:]
	}
}

func clip(s string) string {
	if len(s) > 300 {
		return s[:300] + "…"
	}
	return s
}
