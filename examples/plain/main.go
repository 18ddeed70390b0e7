// Command plain is a small training workflow, instrumented with nothing but the
// OpenTelemetry Go API: no bridge, no W&B client. Attributes say which spans
// are tasks and how they use runs; events say what to log. Any language with an
// OpenTelemetry SDK can send the same.
//
//	train-workflow         auto      opens run 1
//	├─ prepare-data        auto      joins run 1
//	├─ probe-lr            new       opens run 2
//	├─ train               auto      joins run 1
//	│  └─ validate-batch   no mode   a helper, once an epoch: logs to run 1
//	├─ evaluate            shared    joins run 1, its config goes under "evaluate"
//	└─ probe-large-batch   new       opens run 3, and fails
//
// One trace with 12 spans; three runs come of it:
//
//	run  opened by           ends as   spans  rows
//	1    train-workflow      finished  10     313 = 2 train-workflow + 4 prepare-data
//	                                                + 300 train (times -scale)
//	                                                + 6 validate-batch + 1 evaluate
//	2    probe-lr            finished   1      20, at the explicit steps 0, 10, … 190
//	3    probe-large-batch   failed     1       5, exit code 1, and the error in its summary
//
// A run's id is {trace id}-{span id} of the span that opened it. The numbers
// logged are the same each time.
//
// The attribute names come from a package of constants; docs/conventions.md
// lists them. A program elsewhere writes them as strings, such as
// attribute.String("wandb.run.mode", "auto").
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/trace"

	"github.com/otel-wandb/otel-wandb/internal/semconv"
)

const (
	epochs        = 6
	rowsPerEpoch  = 50 // times -scale
	shards        = 4
	probeRows     = 20
	failAfterRows = 5
)

func main() {
	if err := run(context.Background(), os.Args[1:], os.Stdout); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "plain:", err)
		}
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("plain", flag.ContinueOnError)
	endpoint := flags.String("endpoint", defaultEndpoint(), "OTLP/gRPC endpoint, or none: send nothing (use with -otlp-json)")
	file := flags.String("otlp-json", "", "also write what is sent to this `file`, as OTLP JSON, one request a line")
	scale := flags.Int("scale", 1, "so many times the rows of the training loop")
	fast := flags.Bool("fast", false, "do not pace the work: by default it takes 2-3 seconds, to be watched live")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *scale < 1 {
		return fmt.Errorf("-scale is %d: it must be at least 1", *scale)
	}

	otlp, err := connect(*endpoint, *file, epochs*rowsPerEpoch**scale)
	if err != nil {
		return err
	}
	w := workflow{tracer: otlp.tracer, logger: otlp.logger, scale: *scale, fast: *fast}
	trainID, lrID, largeID := w.train(ctx)
	if err := otlp.close(ctx); err != nil {
		return fmt.Errorf("not everything reached %s: %w", *endpoint, err)
	}

	sent := "sent to " + *endpoint
	if *endpoint == sendNothing {
		sent = "not sent"
	}
	fmt.Fprintf(out, "trace %s, %s. It makes three runs:\n\n", trainID.TraceID(), sent)
	show := func(sc trace.SpanContext, name, state string, rows int, spans string) {
		fmt.Fprintf(out, "  %-18s %-9s %4d rows  run id %s-%s\n  %-18s spans: %s\n",
			name, state, rows, sc.TraceID(), sc.SpanID(), "", spans)
	}
	show(trainID, "train-workflow", "finished", 2+shards+epochs*rowsPerEpoch**scale+epochs+1,
		fmt.Sprintf("train-workflow, prepare-data, train, %d validate-batch, evaluate", epochs))
	show(lrID, "probe-lr", "finished", probeRows, "probe-lr")
	show(largeID, "probe-large-batch", "FAILED", failAfterRows, "probe-large-batch (meant to fail: out of memory)")
	return nil
}

// workflow holds what an instrumented program has anyway, a tracer and a logger.
type workflow struct {
	tracer trace.Tracer
	logger log.Logger
	scale  int
	fast   bool
}

// startTask starts a span that is a task: it has a run mode.
//
// A span reaches the collector when it ends, which for training may be days
// later. The log record wandb.run.start says the same at once, so the run is
// there while the span is still open. Without it all would still be logged, and
// be seen when the task's span ends.
func (w workflow) startTask(ctx context.Context, name, mode string, attrs ...attribute.KeyValue) (context.Context, trace.Span) {
	parent := trace.SpanContextFromContext(ctx)
	now := time.Now()
	attrs = append(attrs, attribute.String(semconv.RunMode, mode))
	ctx, span := w.tracer.Start(ctx, name, trace.WithTimestamp(now), trace.WithAttributes(attrs...))

	// Whose start this is: the parent decides which run a child joins.
	attrs = append(attrs,
		attribute.String(semconv.Task, span.SpanContext().SpanID().String()),
		attribute.String(semconv.SpanName, name))
	if parent.IsValid() {
		attrs = append(attrs, attribute.String(semconv.ParentSpanID, parent.SpanID().String()))
	}
	w.event(ctx, semconv.EventRunStart, now, attrs...)
	return ctx, span
}

// event sends an event as a log record. The SDK adds the ids of ctx's span.
func (w workflow) event(ctx context.Context, name string, at time.Time, attrs ...attribute.KeyValue) {
	var r log.Record
	r.SetEventName(name)
	r.SetTimestamp(at)
	r.AddAttributes(attrs...)
	w.logger.Emit(ctx, r)
}

// print sends an ordinary log record: a line of the run's console.
func (w workflow) print(ctx context.Context, severity log.Severity, format string, args ...any) {
	var r log.Record
	r.SetTimestamp(time.Now())
	r.SetSeverity(severity)
	r.SetBody(attribute.StringValue(fmt.Sprintf(format, args...)))
	w.logger.Emit(ctx, r)
}

// logRow logs one row as a span event. It is the shortest way, and right for a
// few rows: a span keeps its last 128 events and sends them when it ends.
func logRow(span trace.Span, row ...attribute.KeyValue) {
	span.AddEvent(semconv.EventLog, trace.WithAttributes(row...))
}

// logLoopRow logs one row of a long loop, as a log record of the task's span:
// sent while the loop runs, and not subject to the limit of 128 events a span,
// by which the SDK would keep only the last 128 rows.
func (w workflow) logLoopRow(ctx context.Context, uid string, row ...attribute.KeyValue) {
	var r log.Record
	r.SetEventName(semconv.EventLog)
	r.SetTimestamp(time.Now())
	// The body is the row. Attributes would do as well, but an SDK keeps 128.
	r.SetBody(attribute.MapValue(row...))
	// A request that is sent again must not log its rows again: the uid tells
	// a repeated row from an equal one.
	r.AddAttributes(attribute.String(semconv.LogRecordUID, uid))
	w.logger.Emit(ctx, r)
}

// train is the workflow. It returns the spans that opened a run.
func (w workflow) train(ctx context.Context) (parent, probeLR, probeLarge trace.SpanContext) {
	ctx, span := w.startTask(ctx, "train-workflow", semconv.ModeAuto,
		attribute.StringSlice(semconv.RunTags, []string{"example", "workflow"}),
		attribute.String(semconv.RunJobType, "training"),
		attribute.String(semconv.ConfigPrefix+"model", "resnet50"),
		attribute.Int(semconv.ConfigPrefix+"batch_size", 64),
		attribute.Float64(semconv.ConfigPrefix+"optimizer.lr", 0.01), // nests: {"optimizer": {"lr": 0.01}}
	)
	defer span.End()

	w.prepareData(ctx)
	logRow(span, attribute.Int("stage", 1))
	probeLR = w.probeLR(ctx)
	w.trainModel(ctx)
	logRow(span, attribute.Int("stage", 2))
	w.evaluate(ctx)
	probeLarge, err := w.probeLargeBatch(ctx)
	if err != nil {
		// The failed probe fails its own run, not this one.
		w.print(ctx, log.SeverityWarn, "went on without the large batch: %v", err)
	}
	return span.SpanContext(), probeLR, probeLarge
}

// prepareData asks for nothing (auto) and has a parent with a run: it joins it.
func (w workflow) prepareData(ctx context.Context) {
	ctx, span := w.startTask(ctx, "prepare-data", semconv.ModeAuto)
	defer span.End()
	for shard := range shards {
		w.pace(shards, 300*time.Millisecond)
		logRow(span, attribute.Int("shard", shard), attribute.Int("examples", 1000+10*shard))
		w.print(ctx, log.SeverityInfo, "shard %d of %d is ready", shard+1, shards)
	}
}

// probeLR has a run of its own (new). The tasks after it are on the parent's
// run again.
func (w workflow) probeLR(ctx context.Context) trace.SpanContext {
	_, span := w.startTask(ctx, "probe-lr", semconv.ModeNew,
		attribute.String(semconv.RunJobType, "probe"),
		attribute.Float64(semconv.ConfigPrefix+"optimizer.lr", 0.1))
	defer span.End()
	noise := rand.New(rand.NewPCG(1, 2))
	for i := range probeRows {
		w.pace(probeRows, 200*time.Millisecond)
		logRow(span,
			attribute.Int(semconv.Step, 10*i), // an explicit step
			attribute.Float64("loss", 2*math.Exp(-float64(i)/5)+noise.Float64()/10))
	}
	return span.SpanContext()
}

// trainModel is the long loop.
func (w workflow) trainModel(ctx context.Context) {
	ctx, span := w.startTask(ctx, "train", semconv.ModeAuto)
	defer span.End()

	// Charts of val/… have the epoch as their axis; the best loss is kept.
	w.event(ctx, semconv.EventDefineMetric, time.Now(),
		attribute.String(semconv.MetricName, "val/*"), attribute.String(semconv.MetricStepMetric, "epoch"))
	w.event(ctx, semconv.EventDefineMetric, time.Now(),
		attribute.String(semconv.MetricName, "loss"), attribute.StringSlice(semconv.MetricSummary, []string{"min"}))

	noise := rand.New(rand.NewPCG(3, 4))
	rows := rowsPerEpoch * w.scale
	for epoch := range epochs {
		for i := range rows {
			w.pace(epochs*rows, 1500*time.Millisecond)
			n := epoch*rows + i
			progress := float64(n) / float64(epochs*rows)
			w.logLoopRow(ctx, span.SpanContext().SpanID().String()+"-"+strconv.Itoa(n),
				attribute.Int("epoch", epoch),
				attribute.Float64("loss", 2*math.Exp(-4*progress)+noise.Float64()/10),
				attribute.Float64("accuracy", 1-math.Exp(-3*progress)))
		}
		w.validateBatch(ctx, epoch)
		w.print(ctx, log.SeverityInfo, "epoch %d of %d is done", epoch+1, epochs)
	}
}

// validateBatch is an ordinary span without a mode, as helpers and third-party
// libraries make them. What it logs goes to the run of its nearest task.
func (w workflow) validateBatch(ctx context.Context, epoch int) {
	_, span := w.tracer.Start(ctx, "validate-batch")
	defer span.End()
	logRow(span, attribute.Int("epoch", epoch), attribute.Float64("val/accuracy", 0.5+0.08*float64(epoch)))
}

// evaluate insists on its parent's run (shared): started on its own, it would be
// refused. A child does not change the run's config: what it carries goes under
// its name, here {"evaluate": {"batch_size": 256}}. Tags are joined.
func (w workflow) evaluate(ctx context.Context) {
	ctx, span := w.startTask(ctx, "evaluate", semconv.ModeShared,
		attribute.StringSlice(semconv.RunTags, []string{"evaluated"}),
		attribute.Int(semconv.ConfigPrefix+"batch_size", 256))
	defer span.End()
	w.pace(1, 100*time.Millisecond)
	logRow(span, attribute.Float64("test/accuracy", 0.93))
	span.SetAttributes(attribute.Float64(semconv.SummaryPrefix+"best_accuracy", 0.93))
	w.print(ctx, log.SeverityInfo, "test accuracy 0.93")
}

type outOfMemory struct{ batch int }

func (e outOfMemory) Error() string { return fmt.Sprintf("out of memory at batch size %d", e.batch) }

// probeLargeBatch fails: the span's status ERROR makes its run a failed one,
// and the recorded exception is the reason in the run's summary.
func (w workflow) probeLargeBatch(ctx context.Context) (trace.SpanContext, error) {
	ctx, span := w.startTask(ctx, "probe-large-batch", semconv.ModeNew,
		attribute.String(semconv.RunJobType, "probe"),
		attribute.Int(semconv.ConfigPrefix+"batch_size", 4096))
	defer span.End()
	for i := range failAfterRows {
		w.pace(failAfterRows, 200*time.Millisecond)
		logRow(span, attribute.Float64("memory_gib", 16*float64(i+1)))
	}
	err := outOfMemory{batch: 4096}
	w.print(ctx, log.SeverityError, "%v", err)
	span.RecordError(err)
	span.SetStatus(codes.Error, err.Error())
	return span.SpanContext(), err
}

// pace sleeps for one of n parts of total.
func (w workflow) pace(n int, total time.Duration) {
	if !w.fast {
		time.Sleep(total / time.Duration(n))
	}
}
