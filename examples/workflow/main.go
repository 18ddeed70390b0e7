// Command workflow is a small training workflow on the bridge: the three run
// modes, a helper, a failing child, a long loop.
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
// examples/plain is the same on the OpenTelemetry API alone.
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
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/log"

	"github.com/otel-wandb/otel-wandb/bridge"
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
			fmt.Fprintln(os.Stderr, "workflow:", err)
		}
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("workflow", flag.ContinueOnError)
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

	otlp, err := connect(ctx, *endpoint, *file)
	if err != nil {
		return err
	}
	w := &workflow{logger: otlp.logger, scale: *scale, fast: *fast}
	err = w.train(ctx)
	if err := otlp.close(ctx); err != nil {
		return fmt.Errorf("not everything reached %s: %w", *endpoint, err)
	}
	if err != nil {
		return err
	}

	sent := "sent to " + *endpoint
	if *endpoint == sendNothing {
		sent = "not sent"
	}
	fmt.Fprintf(out, "trace %s, %s. It makes three runs:\n\n", w.trace, sent)
	show := func(id, name, state string, rows int, spans string) {
		fmt.Fprintf(out, "  %-18s %-9s %4d rows  run id %s\n  %-18s spans: %s\n", name, state, rows, id, "", spans)
	}
	show(w.runs[0], "train-workflow", "finished", 2+shards+epochs*rowsPerEpoch**scale+epochs+1,
		fmt.Sprintf("train-workflow, prepare-data, train, %d validate-batch, evaluate", epochs))
	show(w.runs[1], "probe-lr", "finished", probeRows, "probe-lr")
	show(w.runs[2], "probe-large-batch", "FAILED", failAfterRows, "probe-large-batch (meant to fail: out of memory)")
	return nil
}

// workflow is what the tasks take. A real one would be hyperparameters and data.
type workflow struct {
	logger log.Logger
	scale  int
	fast   bool

	trace string
	runs  [3]string // ids
}

type nothing = struct{}

// train is the workflow. StartTask is for functions of any shape; the others
// below are made tasks by Task.
func (w *workflow) train(ctx context.Context) (err error) {
	ctx, run, err := bridge.StartTask(ctx, "train-workflow",
		bridge.WithTags("example", "workflow"),
		bridge.WithJobType("training"),
		bridge.WithConfigValues(map[string]any{
			"model": "resnet50", "batch_size": 64,
			"optimizer": map[string]any{"lr": 0.01},
		}))
	if err != nil {
		return err
	}
	defer run.End(&err)
	w.trace, w.runs[0] = run.Span().SpanContext().TraceID().String(), run.ID()

	if _, err := prepareData(ctx, w); err != nil {
		return err
	}
	run.Log(map[string]any{"stage": 1})
	if _, err := probeLR(ctx, w); err != nil {
		return err
	}
	if _, err := trainModel(ctx, w); err != nil {
		return err
	}
	run.Log(map[string]any{"stage": 2})
	if _, err := evaluate(ctx, w); err != nil {
		return err
	}
	if _, err := probeLargeBatch(ctx, w); err != nil {
		// The failed probe fails its own run, not this one.
		w.print(ctx, log.SeverityWarn, "went on without the large batch: %v", err)
	}
	return nil
}

// prepareData asks for nothing (auto) and has a parent with a run: it joins it.
var prepareData = bridge.Task("prepare-data", func(ctx context.Context, w *workflow) (nothing, error) {
	run := bridge.RunFromContext(ctx)
	for shard := range shards {
		w.pace(shards, 300*time.Millisecond)
		run.Log(map[string]any{"shard": shard, "examples": 1000 + 10*shard})
		w.print(ctx, log.SeverityInfo, "shard %d of %d is ready", shard+1, shards)
	}
	return nothing{}, nil
})

// probeLR has a run of its own (new). The tasks after it are on the parent's
// run again.
var probeLR = bridge.Task("probe-lr", func(ctx context.Context, w *workflow) (nothing, error) {
	run := bridge.RunFromContext(ctx)
	w.runs[1] = run.ID()
	noise := rand.New(rand.NewPCG(1, 2))
	for i := range probeRows {
		w.pace(probeRows, 200*time.Millisecond)
		run.LogStep(int64(10*i), map[string]any{"loss": 2*math.Exp(-float64(i)/5) + noise.Float64()/10})
	}
	return nothing{}, nil
}, bridge.WithMode(bridge.ModeNew), bridge.WithJobType("probe"),
	bridge.WithConfigValues(map[string]any{"optimizer.lr": 0.1})) // a dot nests

// trainModel is the long loop. Its rows are on their way while it runs.
var trainModel = bridge.Task("train", func(ctx context.Context, w *workflow) (nothing, error) {
	run := bridge.RunFromContext(ctx)
	// Charts of val/… have the epoch as their axis; the best loss is kept.
	run.DefineMetric("val/*", bridge.WithStepMetric("epoch"))
	run.DefineMetric("loss", bridge.WithSummary("min"))

	noise := rand.New(rand.NewPCG(3, 4))
	rows := rowsPerEpoch * w.scale
	for epoch := range epochs {
		for i := range rows {
			w.pace(epochs*rows, 1500*time.Millisecond)
			progress := float64(epoch*rows+i) / float64(epochs*rows)
			run.LogAttrs( // as Log, without a map: for hot loops
				attribute.Int("epoch", epoch),
				attribute.Float64("loss", 2*math.Exp(-4*progress)+noise.Float64()/10),
				attribute.Float64("accuracy", 1-math.Exp(-3*progress)))
		}
		if _, err := validateBatch(ctx, epoch); err != nil {
			return nothing{}, err
		}
		w.print(ctx, log.SeverityInfo, "epoch %d of %d is done", epoch+1, epochs)
	}
	return nothing{}, nil
})

// validateBatch is a helper: a span, and what it logs goes to the run of its
// nearest task. It never opens a run, also when it is called outside of any.
var validateBatch = bridge.Trace("validate-batch", func(ctx context.Context, epoch int) (nothing, error) {
	bridge.RunFromContext(ctx).Log(map[string]any{"epoch": epoch, "val/accuracy": 0.5 + 0.08*float64(epoch)})
	return nothing{}, nil
})

// evaluate insists on its parent's run (shared): called on its own, it would be
// refused. A child does not change the run's config: what it carries goes under
// its name, here {"evaluate": {"batch_size": 256}}. Tags are joined.
var evaluate = bridge.Task("evaluate", func(ctx context.Context, w *workflow) (nothing, error) {
	run := bridge.RunFromContext(ctx)
	w.pace(1, 100*time.Millisecond)
	run.Log(map[string]any{"test/accuracy": 0.93})
	run.Summary().Set("best_accuracy", 0.93)
	w.print(ctx, log.SeverityInfo, "test accuracy 0.93")
	return nothing{}, nil
}, bridge.WithMode(bridge.ModeShared), bridge.WithTags("evaluated"),
	bridge.WithConfigValues(map[string]any{"batch_size": 256}))

type outOfMemory struct{ batch int }

func (e outOfMemory) Error() string { return fmt.Sprintf("out of memory at batch size %d", e.batch) }

// probeLargeBatch fails: its error makes its run a failed one, and is the reason
// in the run's summary.
var probeLargeBatch = bridge.Task("probe-large-batch", func(ctx context.Context, w *workflow) (nothing, error) {
	run := bridge.RunFromContext(ctx)
	w.runs[2] = run.ID()
	for i := range failAfterRows {
		w.pace(failAfterRows, 200*time.Millisecond)
		run.Log(map[string]any{"memory_gib": 16 * float64(i+1)})
	}
	err := outOfMemory{batch: 4096}
	w.print(ctx, log.SeverityError, "%v", err)
	return nothing{}, err
}, bridge.WithMode(bridge.ModeNew), bridge.WithJobType("probe"),
	bridge.WithConfigValues(map[string]any{"batch_size": 4096}))

// print sends an ordinary log record of OpenTelemetry: a line of the console of
// the run that ctx's span is on. The bridge has no part in it.
func (w *workflow) print(ctx context.Context, severity log.Severity, format string, args ...any) {
	var r log.Record
	r.SetTimestamp(time.Now())
	r.SetSeverity(severity)
	r.SetBody(attribute.StringValue(fmt.Sprintf(format, args...)))
	w.logger.Emit(ctx, r)
}

// pace sleeps for one of n parts of total.
func (w *workflow) pace(n int, total time.Duration) {
	if !w.fast {
		time.Sleep(total / time.Duration(n))
	}
}
