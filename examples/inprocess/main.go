// Command inprocess writes a W&B run from inside the program: no collector, and
// without WANDB_API_KEY no network and no account. With it the run is at W&B too.
package main

import (
	"cmp"
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/otel-wandb/otel-wandb/bridge"
	"github.com/otel-wandb/otel-wandb/exporter/inprocess"
)

func main() {
	if err := run(context.Background()); err != nil {
		log.Fatal(err)
	}
	dir := cmp.Or(os.Getenv("WANDB_DIR"), ".")
	fmt.Printf("It is in %s. To see it:\n\n  bin/otel-wandb ls %s\n", filepath.Join(dir, "wandb"), dir)
}

func run(ctx context.Context) error {
	exporter, err := inprocess.New(ctx)
	if err != nil {
		return err
	}
	b, err := bridge.Setup(ctx, bridge.WithProject("otel-wandb-examples"), bridge.WithSink(exporter.Sink()))
	if err != nil {
		return err
	}
	err = train(ctx)
	for _, shutdown := range []func(context.Context) error{b.Shutdown, exporter.Shutdown} { // in this order
		if e := shutdown(ctx); err == nil {
			err = e
		}
	}
	return err
}

func train(ctx context.Context) (err error) {
	_, run, err := bridge.StartTask(ctx, "train", bridge.WithConfigValues(map[string]any{"lr": 0.1}))
	if err != nil {
		return err
	}
	defer run.End(&err)
	fmt.Printf("run %s/%s\n", run.Project(), run.ID())
	for epoch := range 10 {
		run.Log(map[string]any{"epoch": epoch, "loss": 1 / float64(epoch+1)})
	}
	return nil
}
