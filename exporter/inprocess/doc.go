// Package inprocess writes a program's spans, log records and metrics as Weights &
// Biases runs from inside the program: what the Collector component "wandb"
// does, without a collector.
//
// An [Exporter] is one engine with three faces for OpenTelemetry's SDK. The
// program owns it: it makes it with [New], hands out the faces, and shuts it
// down after its providers.
//
//	TracerProvider ──► batcher ──► Spans()   ─┐              ┌─► engine ──► <dir>/wandb/…
//	LoggerProvider ──► batcher ──► Logs()    ─┼─► Exporter ──┤      ▲
//	MeterProvider  ──► reader  ──► Metrics() ─┘              └─► park (memory, bounded)
//
// Metrics find the program's runs by its resource: give all providers one that
// has a `service.instance.id` or a `host.name`. They are in a run from its start
// to its end, and a run starts with its task's announcement, `wandb.run.start`,
// which the bridge sends; without it the task is known when its span ends.
//
// A fourth face, [Sink], is for the bridge, which batches and waits itself.
//
// Telemetry never breaks the program. What cannot be written now, because the
// disk is full or another program has the run, waits in the park and is tried
// again; to the SDK, whose batchers drop what fails, it is taken. When the park
// is full, new data are refused, with an error and counted in [Stats]. ForceFlush
// and Shutdown wait for the park, as long as they are let, and say what is left.
//
// Several Exporters may write into one directory, from one program or many: a
// run has one writer at a time, and the others wait for it in their parks.
//
// A task whose parent is in another program has to wait for it, and the parent
// does not come here: it becomes a run of its own at Shutdown, or a day later. A
// server that takes traces from others does better with a collector.
//
// With a key, runs go to W&B while they run ([WithUpload]), from their logs on
// disk: nothing waits for the network, and what W&B did not get before the
// program ended is uploaded by the next one here, or by `otel-wandb sync`.
// Shutdown gives uploads the time that its context has, and at most
// [WithPatience].
//
// Two limits of the SDK lie in front of this package, and it cannot lift them: a
// span keeps its last 128 events, and a batcher that is full drops. For tasks
// that log more rows, raise the limits (sdktrace.WithRawSpanLimits) and let the
// batcher wait (sdktrace.WithBlocking); or log rows as log records.
package inprocess
