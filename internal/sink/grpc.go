package sink

import (
	"context"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/encoding/gzip" // registers the compressor
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
)

const (
	traceMethod = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
	userAgent   = "otel-wandb-bridge"
)

// grpcSink sends prebuilt bytes over one connection.
type grpcSink struct {
	settings
	where   string
	conn    *grpc.ClientConn
	headers metadata.MD
	call    []grpc.CallOption
}

// GRPC sends over OTLP/gRPC. It connects with the first request.
func GRPC(o Options) (Sink, error) {
	s, err := o.settings("http://localhost:4317", "")
	if err != nil {
		return nil, err
	}
	security := insecure.NewCredentials()
	if s.tls != nil {
		security = credentials.NewTLS(s.tls)
	}
	conn, err := grpc.NewClient(s.endpoint.Host,
		grpc.WithTransportCredentials(security),
		grpc.WithUserAgent(userAgent),
		grpc.WithConnectParams(grpc.ConnectParams{
			// Who calls waits between attempts, so the connection need not: be
			// back soon after the collector is.
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 2 * time.Second},
			MinConnectTimeout: 5 * time.Second,
		}))
	if err != nil {
		return nil, fmt.Errorf("OTLP endpoint %s: %w", s.endpoint.Redacted(), err)
	}
	g := &grpcSink{settings: s, where: s.endpoint.Redacted(), conn: conn, headers: metadata.New(s.headers)}
	g.call = []grpc.CallOption{grpc.ForceCodecV2(rawCodec{})}
	if s.gzip {
		g.call = append(g.call, grpc.UseCompressor("gzip"))
	}
	return g, nil
}

func (g *grpcSink) Export(ctx context.Context, request []byte) error {
	ctx, cancel := context.WithTimeout(metadata.NewOutgoingContext(ctx, g.headers), g.timeout)
	defer cancel()
	var reply []byte
	if err := g.conn.Invoke(ctx, traceMethod, request, &reply, g.call...); err != nil {
		return grpcError(g.where, err)
	}
	return partial(g.where, reply)
}

func (g *grpcSink) Shutdown(context.Context) error { return g.conn.Close() }

func grpcError(where string, err error) error {
	st := status.Convert(err)
	e := &Error{Err: fmt.Errorf("%s answers %s: %s", where, st.Code(), clip(st.Message())), After: retryDelay(st)}
	switch st.Code() {
	case codes.InvalidArgument:
		e.Kind = Refused
	case codes.Unauthenticated, codes.PermissionDenied, codes.Unimplemented, codes.NotFound, codes.FailedPrecondition:
		e.Kind = Misconfigured
	case codes.Internal, codes.Unknown, codes.AlreadyExists:
		e.Kind = Doubtful
	case codes.ResourceExhausted:
		if strings.Contains(st.Message(), "larger than max") { // gRPC's own limit, not a receiver that is busy
			e.Kind = TooLarge
		}
	}
	return e
}

// retryDelay is google.rpc.RetryInfo, which a receiver under load sends along.
func retryDelay(st *status.Status) (after time.Duration) {
	for _, detail := range st.Proto().GetDetails() {
		if !strings.HasSuffix(detail.GetTypeUrl(), "google.rpc.RetryInfo") {
			continue
		}
		each(detail.GetValue(), func(n protowire.Number, _ uint64, v []byte) {
			if n != 1 {
				return
			}
			each(v, func(n protowire.Number, i uint64, _ []byte) {
				switch n {
				case 1:
					after += time.Duration(min(i, 3600)) * time.Second
				case 2:
					after += time.Duration(min(i, uint64(time.Second)))
				}
			})
		})
	}
	return after
}

// rawCodec hands bytes through: requests are encoded already.
type rawCodec struct{}

func (rawCodec) Name() string { return "proto" }

func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.([]byte))}, nil
}

func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}
