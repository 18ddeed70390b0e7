package bridge

import (
	"errors"
	"fmt"
	"reflect"
	"runtime/debug"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/otel-wandb/otel-wandb/internal/semconv"
)

// End ends the task, and with it the run, where the task opened it. Defer it,
// with the address of the function's error:
//
//	defer run.End(&err)
//
// A nil error, or a nil address, is success. An error ends the task as failed:
// exit code 1, or the error's own where it has a method ExitCode() int that
// gives one above zero, as that of a command has. A panic ends it as failed too,
// with its stack, and goes on. Only the first End counts.
//
// SIGTERM ends a Go program without a deferred call: its runs are not ended, and
// the next program sends what it logged up to 200 ms before. A program that may be preempted
// turns the signal into a cancelled context (signal.NotifyContext), so that its
// tasks return and end here; with [WithSIGTERM] their runs say so at once.
func (r *Run) End(err *error) {
	if r == nil {
		return
	}
	if p := recover(); p != nil {
		r.end(1, panicText(p), panicException(p))
		panic(p)
	}
	if err == nil || *err == nil {
		r.end(0, "", nil)
		return
	}
	r.end(exitCode(*err), (*err).Error(), errorException(*err))
}

func (r *Run) end(code int64, why string, exception []attribute.KeyValue) {
	if !r.ended.CompareAndSwap(false, true) {
		return
	}
	now := r.now()
	if r.stream != nil {
		r.bridge.closed(r)
		if exception != nil {
			r.said(r.stream.Event(semconv.EventException, now, exception))
		}
		r.said(r.stream.End(now, &code, nil))
		r.span.SetAttributes(attribute.Int64(semconv.ExitCode, code))
	} else if exception != nil {
		addException(r.span, exception)
	}
	if exception != nil {
		// With a run, the exception itself goes by the run's own path: on the
		// span as well it would be on the run's console twice.
		r.span.SetAttributes(attribute.String(semconv.ErrorType, exception[0].Value.AsString()))
		r.span.SetStatus(codes.Error, why)
	}
	r.span.End(trace.WithTimestamp(now))
}

func exitCode(err error) int64 {
	var coded interface{ ExitCode() int }
	if errors.As(err, &coded) {
		if code := coded.ExitCode(); code > 0 {
			return int64(code)
		}
	}
	return 1
}

func addException(span trace.Span, attrs []attribute.KeyValue) {
	span.AddEvent(semconv.EventException, trace.WithAttributes(attrs...))
}

func errorException(err error) []attribute.KeyValue {
	return []attribute.KeyValue{
		attribute.String(semconv.ExceptionType, typeName(err)),
		attribute.String(semconv.ExceptionMessage, err.Error()),
	}
}

func panicException(p any) []attribute.KeyValue {
	return []attribute.KeyValue{
		attribute.String(semconv.ExceptionType, typeName(p)),
		attribute.String(semconv.ExceptionMessage, panicText(p)),
		attribute.String(semconv.ExceptionStacktrace, string(debug.Stack())),
	}
}

func panicText(p any) string { return "panic: " + fmt.Sprint(p) }

// typeName is a type as OpenTelemetry's SDK names it: "*net/url.Error".
func typeName(v any) string {
	t := reflect.TypeOf(v)
	star := ""
	if t.Kind() == reflect.Pointer && t.Name() == "" {
		t, star = t.Elem(), "*"
	}
	if t.PkgPath() == "" || t.Name() == "" {
		return star + t.String()
	}
	return star + t.PkgPath() + "." + t.Name()
}
