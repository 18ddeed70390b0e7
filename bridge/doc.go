// Package bridge makes Weights & Biases runs of a Go program's tasks: a task is
// an OpenTelemetry span, and what it logs is live in its run.
//
//	func main() {
//		b, err := bridge.Setup(ctx, bridge.WithProject("vision"))
//		if err != nil {
//			log.Print(err)
//		}
//		defer b.Shutdown(context.Background())
//		err = train(ctx, 10)
//	}
//
//	func train(ctx context.Context, epochs int) (err error) {
//		ctx, run, err := bridge.StartTask(ctx, "train") // take ctx: it puts what is called under the task
//		if err != nil {
//			return err
//		}
//		defer run.End(&err)
//		for epoch := range epochs {
//			run.Log(map[string]any{"epoch": epoch, "loss": step(ctx)})
//		}
//		return evaluate(ctx) // a task of its own: on this run, unless it asks for another
//	}
//
// Three ideas are all there is:
//
//   - A task ([StartTask], [Task]) is on a run. By default the outermost opens it,
//     and tasks under it share it; a run mode ([WithMode]) says otherwise.
//   - The context carries the run. [RunFromContext] gives it to whoever is called,
//     and is nil, and harmless, where there is none. Spans of any other
//     instrumentation are on the run of their task.
//   - Scopes ([WithConfig]) say what holds for the tasks under a context.
//
// Runs reach other processes by [Environ], [Inject], [Transport] and, over gRPC,
// [RunPropagator].
//
// A task's context is cancelled when somebody presses stop in W&B
// ([ErrStopped]). SIGTERM is the program's own affair, see [WithSIGTERM] and
// [Run.End].
//
// # What goes where
//
//	task's span ──────────► the program's TracerProvider ──► trace viewer, collector
//	start, rows, end ─────► a path of the bridge's own ────► collector ──► W&B
//
// The task's span is an ordinary one, with the run's link on it. What is logged
// does not wait for it: it is sent as it comes, waits on disk where there is no
// collector, and is neither sampled nor bound to a span's limits. Where nobody
// makes spans at all, or the sampler drops them, runs are the same.
//
// Telemetry never fails the program, and never holds it up: nothing here waits
// for a network. The only errors are of what a program asks for, and come before
// a task's body runs.
package bridge
