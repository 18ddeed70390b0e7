// Command two-processes is a training that calls a service in another process,
// over HTTP. What the service logs is on the training's run, unless it asks for
// a project of its own.
//
//	process 1                       process 2
//	train         opens run 1
//	├─ POST /evaluate ───────────►  evaluate   joins run 1
//	└─ POST /report ─────────────►  report     another project: opens run 2 there
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"

	"github.com/otel-wandb/otel-wandb/bridge"
	"github.com/otel-wandb/otel-wandb/examples/internal/laptop"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "serve" {
		if err := serve(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, "service:", err)
			os.Exit(1)
		}
		return
	}
	laptop.Main(program)
}

// ---- Process 1: the training

func program(ctx context.Context) (err error) {
	address, stop, err := startService(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()

	b, err := bridge.Setup(ctx, bridge.WithProject("otel-wandb-examples"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Shutdown(context.Background())) }()
	return train(ctx, address)
}

func train(ctx context.Context, service string) (err error) {
	ctx, run, err := bridge.StartTask(ctx, "train", bridge.WithTags("two-processes"),
		bridge.WithConfigValues(map[string]any{"lr": 0.1}))
	if err != nil {
		return err
	}
	defer run.End(&err)
	for epoch := range 10 {
		run.Log(map[string]any{"epoch": epoch, "loss": 1 / float64(epoch+1)})
	}

	// Only the hosts that are named here are told of the run. (otelhttp's
	// transport around this one would make a span of each call besides.)
	client := &http.Client{Transport: bridge.Transport(nil, "127.0.0.1")}
	for _, path := range []string{"/evaluate", "/report"} {
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+service+path, http.NoBody)
		if err != nil {
			return err
		}
		response, err := client.Do(request)
		if err != nil {
			return err
		}
		said, err := io.ReadAll(response.Body)
		if err := errors.Join(err, response.Body.Close()); err != nil {
			return err
		}
		fmt.Printf("POST %-10s %s: on run %s\n", path, response.Status, said)
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %s", path, response.Status)
		}
	}
	fmt.Printf("train%17s on run %s/%s\n", "", run.Project(), run.ID())
	return nil
}

// ---- Process 2: the service

func serve(ctx context.Context) (err error) {
	// Every caller of this service is one of ours: it may name the run.
	b, err := bridge.Setup(ctx, bridge.WithProject("otel-wandb-examples"), bridge.TrustCallers())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Shutdown(context.Background())) }()

	mux := http.NewServeMux()
	mux.Handle("POST /evaluate", handler(evaluate))
	mux.Handle("POST /report", handler(report))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // until process 1 closes it, or ends
		_ = server.Shutdown(ctx)
	}()
	fmt.Println(listener.Addr())
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// handler is what otelhttp.NewHandler does, less its span: the request's
// context is under the caller's task.
func handler(task func(context.Context, string) (string, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := otel.GetTextMapPropagator().Extract(r.Context(), propagation.HeaderCarrier(r.Header))
		answer, err := task(ctx, "model.pt")
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_, _ = io.WriteString(w, answer)
	})
}

// evaluate says nothing of runs: it joins its caller's. Its config goes under
// its name, for it is the caller's run.
var evaluate = bridge.Task("evaluate", func(ctx context.Context, _ string) (string, error) {
	run := bridge.RunFromContext(ctx)
	run.Log(map[string]any{"test/accuracy": 0.93})
	return run.Project() + "/" + run.ID(), nil
}, bridge.WithConfigValues(map[string]any{"batch_size": 256}))

// report is of another project, and a run cannot be in two.
var report = bridge.Task("report", func(ctx context.Context, _ string) (string, error) {
	run := bridge.RunFromContext(ctx)
	for page := range 3 {
		run.Log(map[string]any{"page": page})
	}
	return run.Project() + "/" + run.ID(), nil
}, bridge.WithProject("otel-wandb-reports"))

func startService(ctx context.Context) (address string, stop func() error, err error) {
	self, err := os.Executable()
	if err != nil {
		return "", nil, err
	}
	cmd := exec.CommandContext(ctx, self, "serve")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return "", nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", nil, err
	}
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	stop = func() error { return errors.Join(in.Close(), cmd.Wait()) }
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		return "", nil, errors.Join(errors.New("the service did not start"), stop())
	}
	return lines.Text(), stop, nil
}
