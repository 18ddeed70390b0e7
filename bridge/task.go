package bridge

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/codes"
)

// Task makes a task of a function: each call is a span of the program's tracer,
// on a W&B run that the run mode decides, and which [RunFromContext] gives to
// the function and everything it calls. What the function returns ends the
// task: an error, or a panic, as failed.
//
//	var train = bridge.Task("train", func(ctx context.Context, in Params) (Model, error) {
//		run := bridge.RunFromContext(ctx)
//		run.Log(map[string]any{"loss": 0.5})
//		…
//	}, bridge.WithProject("vision"))
//
//	model, err := train(ctx, params)
//
// The options hold for every call. Where a task is refused (see [StartTask])
// the function is not called, and the reason is the error.
func Task[In, Out any](name string, fn func(context.Context, In) (Out, error), opts ...TaskOption) func(context.Context, In) (Out, error) {
	return func(ctx context.Context, in In) (out Out, err error) {
		ctx, run, err := StartTask(ctx, name, opts...)
		if err != nil {
			return out, err
		}
		defer run.End(&err)
		err = errNotReturned
		out, err = fn(ctx, in)
		return out, err
	}
}

// errNotReturned is the end of a task whose goroutine ended inside it.
var errNotReturned = errors.New("the task's function did not return: runtime.Goexit ended its goroutine")

// Trace makes a span of each call of a helper. A helper opens no run: what it
// logs, through [RunFromContext], is its task's, and outside a task it logs
// nothing. Spans of any other instrumentation are the same; Trace only saves
// writing them.
func Trace[In, Out any](name string, fn func(context.Context, In) (Out, error)) func(context.Context, In) (Out, error) {
	return func(ctx context.Context, in In) (out Out, err error) {
		st := stateOf(ctx)
		ctx, span := st.use().tracer().Start(ctx, name)
		defer func() {
			if p := recover(); p != nil {
				addException(span, panicException(p))
				span.SetStatus(codes.Error, panicText(p))
				span.End()
				panic(p)
			}
			if err != nil {
				span.RecordError(err)
				span.SetStatus(codes.Error, err.Error())
			}
			span.End()
		}()
		return fn(ctx, in)
	}
}

// StartTask starts a task: a span of the program's tracer, and, by its run
// mode, a run of its own or the hold on its parent's. The run is known, and on
// its way to W&B, when StartTask returns. Everything that happens with the
// returned context is under the task. End it with a deferred [Run.End]:
//
//	func train(ctx context.Context) (err error) {
//		ctx, run, err := bridge.StartTask(ctx, "train")
//		if err != nil {
//			return err
//		}
//		defer run.End(&err)
//		…
//	}
//
// The error is not one of telemetry, which never fails a program. It says that
// what the program asks for cannot be: a [*RefusedError] that wraps
// [ErrNoParentRun], [ErrElsewhere], [ErrUnknownMode] or [ErrBadName], or a
// [*ValueError]. Nothing has started then, and the context is the one given.
//
// The run is never nil without an error, but may be one that records nothing:
// where there is no [Setup], where W&B is disabled, and on ranks of a
// distributed training that leave logging to another (mode auto, all but the
// first).
func StartTask(ctx context.Context, name string, opts ...TaskOption) (context.Context, *Run, error) {
	c := &taskConfig{}
	for _, o := range opts {
		if o != nil {
			o.applyTask(c)
		}
	}
	st := stateOf(ctx)
	b := st.use()
	if !b.enabled() {
		b.missing(name)
		st.run, st.remote = nil, nil
		ctx, run := b.plain(withState(ctx, st), name, c)
		return ctx, run, nil
	}
	inner := b.arrive(ctx)
	st = stateOf(inner)
	p, err := b.plan(&st, name, c)
	if err != nil {
		return ctx, nil, err
	}
	if p.skip {
		st.local, st.skipped, st.run = true, true, nil
		inner, run := b.plain(withState(inner, st), name, c)
		return inner, run, nil
	}
	inner, run := b.begin(inner, st, name, c, p)
	return inner, run, nil
}
