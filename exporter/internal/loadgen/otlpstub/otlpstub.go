// Package otlpstub is an OTLP/gRPC receiver for tests of the load tools.
package otlpstub

import (
	"context"

	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"google.golang.org/grpc"
)

// Receiver is called for each request; its error is the answer.
type Receiver interface {
	Traces(context.Context, ptrace.Traces) error
	Logs(context.Context, plog.Logs) error
}

// NewServer serves to r.
func NewServer(r Receiver, options ...grpc.ServerOption) *grpc.Server {
	s := grpc.NewServer(append(options, grpc.MaxRecvMsgSize(64<<20))...)
	ptraceotlp.RegisterGRPCServer(s, &traces{to: r})
	plogotlp.RegisterGRPCServer(s, &logs{to: r})
	return s
}

type traces struct {
	ptraceotlp.UnimplementedGRPCServer
	to Receiver
}

func (t *traces) Export(ctx context.Context, r ptraceotlp.ExportRequest) (ptraceotlp.ExportResponse, error) {
	return ptraceotlp.NewExportResponse(), t.to.Traces(ctx, r.Traces())
}

type logs struct {
	plogotlp.UnimplementedGRPCServer
	to Receiver
}

func (l *logs) Export(ctx context.Context, r plogotlp.ExportRequest) (plogotlp.ExportResponse, error) {
	return plogotlp.NewExportResponse(), l.to.Logs(ctx, r.Logs())
}
