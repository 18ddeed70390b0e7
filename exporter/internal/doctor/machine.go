package doctor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/otel-wandb/otel-wandb/exporter/internal/syncing"
	"github.com/otel-wandb/otel-wandb/internal/sink"
)

// leastFree is too little for a run to be written in peace.
const leastFree = 1 << 30

// directory looks at where runs are written: may they be, is there room, what
// waits there.
func (r *Report) directory(ctx context.Context, opts *Options) {
	file, err := os.CreateTemp(opts.Dir, ".otel-wandb-doctor-*")
	if err != nil {
		r.add(Fix, "directory", err.Error(), "make it, or name another with DIR or WANDB_DIR")
		return
	}
	if err := errors.Join(file.Close(), os.Remove(file.Name())); err != nil {
		r.add(Fix, "directory", err.Error(), "check the owner and the mode of the directory")
		return
	}
	r.ok("directory", "%s can be written to", opts.Dir)
	switch n, known := opts.Free(opts.Dir); {
	case !known:
		r.add(NotTried, "disk", "how much is free is not known on this system", "")
	case n < leastFree:
		r.add(Fix, "disk", fmt.Sprintf("%d MiB are free", n>>20), "free some space, or name a directory on another disk: without space senders are told to keep what they have")
	default:
		r.ok("disk", "%.1f GiB are free", float64(n)/(1<<30))
	}
	r.spool(ctx, opts)
}

// spool says what of the directory's runs is not at W&B.
func (r *Report) spool(ctx context.Context, opts *Options) {
	left, err := syncing.Sync(ctx, syncing.Options{Dir: opts.Dir, DryRun: true, SkipSynced: true, Getenv: opts.Getenv, Home: opts.Home})
	if err != nil {
		r.add(Fix, "runs", err.Error(), "otel-wandb ls says more")
		return
	}
	send, rows, stopped := 0, 0, ""
	for _, x := range left.Runs {
		if x.Outcome == syncing.ToSend {
			send, rows = send+1, rows+x.Sent
			if x.Remedy != "" && stopped == "" {
				stopped = x.Run + ": " + x.Remedy
			}
		}
	}
	said := fmt.Sprintf("to upload: %d of %d, rows: %d", send, len(left.Runs), rows)
	if bytes := syncing.OutboxBytes(opts.Dir); bytes > 0 {
		said += fmt.Sprintf("; %d bytes of programs wait in the outbox", bytes)
	}
	switch {
	case stopped != "":
		r.add(Fix, "runs", said+"; an upload stopped", stopped)
	case len(left.Problems) > 0:
		r.add(Fix, "runs", said+"; "+left.Problems[0], "otel-wandb ls says more")
	default:
		r.ok("runs", "%s", said)
	}
}

// The ports that OpenTelemetry's SDKs send to.
const (
	defaultGRPC = "http://localhost:4317"
	defaultHTTP = "http://localhost:4318/v1/traces"
)

// collector sends an empty request to where programs send theirs.
func (r *Report) collector(ctx context.Context, opts *Options) {
	const name = "collector"
	if opts.Endpoint == "none" {
		r.add(NotTried, name, "asked not to", "")
		return
	}
	var tries []sink.Options
	protocol := opts.Getenv("OTEL_EXPORTER_OTLP_PROTOCOL")
	named := opts.Endpoint != "" || opts.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "" || opts.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != ""
	grpc, web := sink.Options{Protocol: sink.ProtocolGRPC, Endpoint: opts.Endpoint}, sink.Options{Protocol: sink.ProtocolHTTP, Endpoint: opts.Endpoint}
	if opts.Endpoint != "" {
		if !strings.Contains(opts.Endpoint, "://") {
			grpc.Insecure = true
			web.Endpoint = "http://" + web.Endpoint
		}
		if !strings.HasSuffix(web.Endpoint, "/v1/traces") {
			web.Endpoint = strings.TrimRight(web.Endpoint, "/") + "/v1/traces"
		}
	}
	switch {
	case !named:
		grpc.Endpoint, web.Endpoint = defaultGRPC, defaultHTTP
		tries = []sink.Options{grpc, web}
	case opts.Endpoint != "": // which of the two it speaks is to be found out
		tries = []sink.Options{grpc, web}
	case protocol == sink.ProtocolHTTP:
		tries = []sink.Options{web}
	default:
		tries = []sink.Options{grpc}
	}
	var errs []string
	for _, o := range tries {
		err := knock(ctx, o, opts.Timeout/2)
		where := o.Endpoint
		if where == "" {
			where = "the endpoint of the environment"
		}
		if err == nil {
			r.ok(name, "%s takes OTLP (%s)", where, o.Protocol)
			return
		}
		what := err.Error()
		if !strings.HasPrefix(what, where) {
			what = where + ": " + what
		}
		errs = append(errs, fmt.Sprintf("by %s: %s", o.Protocol, what))
	}
	r.add(Fix, name, strings.Join(errs, "; "),
		"start the collector, or say where it is with --endpoint or OTEL_EXPORTER_OTLP_ENDPOINT; 4317 is gRPC, 4318 HTTP; --endpoint none where programs write their runs themselves")
}

// knock sends a request without spans.
func knock(ctx context.Context, o sink.Options, timeout time.Duration) (err error) {
	o.Timeout = timeout
	s, err := sink.New(o)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	defer func() { err = errors.Join(err, s.Shutdown(context.WithoutCancel(ctx))) }()
	return s.Export(ctx, nil)
}
