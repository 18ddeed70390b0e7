package bridge

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/otel-wandb/otel-wandb/bridge/internal/carrier"
	"github.com/otel-wandb/otel-wandb/internal/outbox"
	"github.com/otel-wandb/otel-wandb/internal/sink"
	"github.com/otel-wandb/otel-wandb/internal/wandb"
)

// Setup connects a program to W&B. Call it once, when the program starts, and
// shut the bridge down when it ends:
//
//	b, err := bridge.Setup(ctx, bridge.WithProject("vision"))
//	if err != nil {
//		log.Print(err) // the program works without
//	}
//	defer b.Shutdown(context.Background())
//
// Without options it does what the environment says:
//
//	OTEL_EXPORTER_OTLP_*     the collector: endpoint, protocol, headers, TLS; default localhost:4317, gRPC
//	OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES   of this program
//	WANDB_PROJECT, WANDB_ENTITY, WANDB_BASE_URL   where runs are
//	WANDB_RUN_ID, WANDB_NAME, WANDB_RUN_GROUP, WANDB_JOB_TYPE, WANDB_NOTES, WANDB_TAGS (a,b)
//	WANDB_DIR                the folder beside whose runs rows wait for the collector
//	WANDB_API_KEY, netrc     for [Run.URL] and [Run.Stopped] alone: uploads are the collector's
//	WANDB_MODE=disabled      no runs: tasks cost a span, and nothing of the bridge's
//	OTEL_SDK_DISABLED=true   likewise
//	TRACEPARENT, TRACESTATE, BAGGAGE   the task this program was started under; see [Environ]
//	RANK, WORLD_SIZE, …      see [Distributed]
//
// Tasks' own spans are of the program's TracerProvider. Where it has none, Setup
// makes one that sends to the same collector, with [NewSpanProcessor], and
// registers it and W3C propagation with otel; one that is there is not changed.
// [New] changes nothing of the process at all.
//
// The error names what to mend in code or environment; a collector that does not
// answer is no error. The bridge is nil then, and can be used as such.
func Setup(ctx context.Context, opts ...SetupOption) (*Bridge, error) {
	c, err := newSetup(os.Getenv, opts)
	if err != nil {
		return nil, err
	}
	b, err := c.build()
	if err != nil {
		return nil, err
	}
	if b.enabled() && b.provider == nil && noProvider(otel.GetTracerProvider()) {
		if err := b.makeProvider(ctx, c.sink); err != nil {
			return nil, errors.Join(err, b.Shutdown(ctx))
		}
	}
	if b.enabled() && c.sigterm {
		b.endSignals = b.watchSIGTERM()
	}
	current.Store(b)
	return b, nil
}

// New makes a bridge as [Setup] does, and leaves the process as it is: no
// TracerProvider is made or registered, and tasks use the bridge only under its
// [Bridge.Context].
func New(opts ...SetupOption) (*Bridge, error) {
	c, err := newSetup(os.Getenv, opts)
	if err != nil {
		return nil, err
	}
	return c.build()
}

// SetupOption changes what [Setup] does.
type SetupOption interface{ applySetup(*setupConfig) }

type setupConfig struct {
	scope    scope
	endpoint carrier.SinkOptions
	sink     Sink
	ownSink  bool
	provider trace.TracerProvider
	dir      *string
	maxBytes int64
	trust    bool
	disabled bool

	sigterm  bool
	handler  func(error)
	resource []attribute.KeyValue
	env      func(string) string
}

type setupOption func(*setupConfig)

func (o setupOption) applySetup(c *setupConfig) { o(c) }

// Sink takes what the bridge sends: OTLP's ExportTraceServiceRequest, as
// protobuf. Export returns nil when that is safe, or an error when it must be
// sent again, which is said, and done until it is taken; or a [Permanent] one.
// It must not keep the bytes. Where [Setup] makes the TracerProvider, spans go the
// same way as rows: Export is called by two goroutines at a time then.
type Sink interface {
	Export(ctx context.Context, request []byte) error
	Shutdown(ctx context.Context) error
}

// Permanent makes an error of [Sink.Export] final: the same request would be
// refused again. It holds up nothing then. It is kept as a file in the bridge's
// folder ([WithDir]), lost where there is none, and said once. nil stays nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &sink.Error{Kind: sink.Refused, Err: err}
}

// WithSink sends to s instead of a collector. Use it to write runs from inside
// the program, and in tests. The bridge shuts it down.
func WithSink(s Sink) SetupOption {
	return setupOption(func(c *setupConfig) { c.sink, c.ownSink = s, s != nil })
}

// WithEndpoint sends to a collector at this URL: http://host:4317 for gRPC;
// with [WithHTTP] the whole URL, as in http://host:4318/v1/traces. Default: the
// environment's, else this machine.
func WithEndpoint(url string) SetupOption {
	return setupOption(func(c *setupConfig) { c.endpoint.Endpoint = url })
}

// WithHTTP sends over HTTP instead of gRPC: for networks that let nothing else
// through. Default: what OTEL_EXPORTER_OTLP_PROTOCOL says.
func WithHTTP() SetupOption {
	return setupOption(func(c *setupConfig) { c.endpoint.Protocol = "http/protobuf" })
}

// WithHeaders adds headers to what is sent, for a collector that wants to know
// who sends. They are in no log and no error.
func WithHeaders(headers map[string]string) SetupOption {
	return setupOption(func(c *setupConfig) { c.endpoint.Headers = headers })
}

// WithTracerProvider makes tasks' spans with tp. Default: otel's global one, as
// it is when a task starts. tp itself is not changed: give it
// [NewSpanProcessor] where it is made.
func WithTracerProvider(tp trace.TracerProvider) SetupOption {
	return setupOption(func(c *setupConfig) { c.provider = tp })
}

// WithDir keeps what the collector has not taken yet in a folder, from which the
// next program to use it sends what a killed one left, to its own collector.
// Default: a folder for each endpoint under $WANDB_DIR/wandb/outbox, or in the
// user's cache; with [WithSink] none. "" is memory only. What was meant for an
// endpoint that no program uses any more, `otel-wandb sync --outbox` puts on its
// runs.
func WithDir(dir string) SetupOption { return setupOption(func(c *setupConfig) { c.dir = &dir }) }

// WithMaxBytes bounds what waits for the collector, in the folder of [WithDir] or
// in memory. When it is full, new rows are refused and counted. Default (and 0):
// 256 MiB, in memory 32 MiB.
func WithMaxBytes(n int64) SetupOption { return setupOption(func(c *setupConfig) { c.maxBytes = n }) }

// TrustCallers puts tasks of this program on the runs of remote callers, which
// their baggage names. Set it only where every caller is the program's own:
// whoever can call it can write to any run of the same W&B server. Default:
// callers' runs are left out; see [Extract] for what always counts.
func TrustCallers() SetupOption { return setupOption(func(c *setupConfig) { c.trust = true }) }

// WithErrorHandler takes what the bridge has to say: each trouble once, with
// what to do about it. Default: [otel.Handle].
func WithErrorHandler(h func(error)) SetupOption {
	return setupOption(func(c *setupConfig) { c.handler = h })
}

// WithResource adds attributes of this program to those that are found out:
// name, arguments, revision, host.
func WithResource(attrs ...attribute.KeyValue) SetupOption {
	return setupOption(func(c *setupConfig) { c.resource = append(c.resource, attrs...) })
}

// Disabled makes no runs, as WANDB_MODE=disabled does.
func Disabled() SetupOption { return setupOption(func(c *setupConfig) { c.disabled = true }) }

const (
	envHost    = "WANDB_BASE_URL"
	envMode    = "WANDB_MODE"
	envNoSDK   = "OTEL_SDK_DISABLED"
	envEntity  = "WANDB_ENTITY"
	envProject = "WANDB_PROJECT"
)

func newSetup(env func(string) string, opts []SetupOption) (*setupConfig, error) {
	c := &setupConfig{env: env}
	c.disabled = env(envMode) == "disabled" || strings.EqualFold(env(envNoSDK), "true")
	fromEnv := []ConfigOption{
		WithProject(env(envProject)), WithEntity(env(envEntity)), WithHost(env(envHost)),
		WithRunID(env("WANDB_RUN_ID")), WithRunName(env("WANDB_NAME")), WithGroup(env("WANDB_RUN_GROUP")),
		WithJobType(env("WANDB_JOB_TYPE")), WithNotes(env("WANDB_NOTES")),
	}
	for tag := range strings.SplitSeq(env("WANDB_TAGS"), ",") {
		if tag = strings.TrimSpace(tag); tag != "" {
			fromEnv = append(fromEnv, WithTags(tag))
		}
	}
	c.scope = *newScope(fromEnv)
	if c.scope.coords.Host == wandb.DefaultBaseURL {
		c.scope.coords.Host = "" // the collector's own, wherever that is
	}
	for _, o := range opts {
		if o != nil {
			o.applySetup(c)
		}
	}
	if err := c.validate(); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *setupConfig) validate() error {
	if c.disabled {
		return nil
	}
	if c.scope.err != nil {
		return c.scope.err
	}
	if _, ok := c.scope.mode.parse(); !ok {
		return fmt.Errorf("wandb bridge: %w %q: use ModeAuto, ModeNew or ModeShared", ErrUnknownMode, c.scope.mode)
	}
	if detail, remedy := badName(c.scope.coords); detail != "" {
		return fmt.Errorf("wandb bridge: %w: %s: %s", ErrBadName, detail, remedy)
	}
	return nil
}

func (c *setupConfig) build() (*Bridge, error) {
	b := &Bridge{scope: &c.scope, provider: c.provider, trust: c.trust, handler: c.handler}
	b.client = func(host string) (*wandb.Client, error) { return newClient(c.env, host) }
	b.whose.client = b.client
	b.keyHere = c.env("WANDB_API_KEY") != ""
	if c.disabled {
		return b, nil
	}
	var err error
	if b.ranks, err = ranksOf(c.env); err != nil {
		b.report(err)
	}
	b.environ = environCarrier(c.env)
	b.resource = slices.Concat(c.resource, processResource(c.env))
	if c.sink == nil {
		if c.sink, err = carrier.NewSink(c.endpoint); err != nil {
			return nil, fmt.Errorf("wandb bridge: %w", err)
		}
	}
	p, err := carrier.Start(carrier.Config{
		Resource: b.resource, Sink: c.sink, Dir: c.outbox(), MaxBytes: c.maxBytes, Report: b.report,
	})
	if err != nil {
		return nil, fmt.Errorf("wandb bridge: %w", err)
	}
	b.pipeline = carriers{p}
	if hears, ok := c.sink.(Stops); ok {
		b.stops = true
		hears.OnStop(b.heard)
	}
	return b, nil
}

// outbox is where rows wait for the collector.
func (c *setupConfig) outbox() string {
	switch {
	case c.dir != nil:
		return *c.dir
	case c.ownSink:
		return ""
	}
	root := outbox.Root(c.env)
	if root == "" {
		return ""
	}
	to := cmp.Or(c.endpoint.Endpoint, c.env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"), c.env("OTEL_EXPORTER_OTLP_ENDPOINT"))
	return filepath.Join(root, outbox.Name(to))
}

// noProvider tells whether nobody has registered a TracerProvider: otel's own
// forwards to one that may come, and is not exported.
func noProvider(tp trace.TracerProvider) bool {
	return fmt.Sprintf("%T", tp) == "*global.tracerProvider"
}

// propagator is W3C's, without the bridge's members of baggage.
func propagator() propagation.TextMapPropagator {
	return Propagator(propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{}))
}
