//go:build unix

package bridge_test

import (
	"context"
	"fmt"
	"log"
	"os/signal"
	"syscall"

	"github.com/otel-wandb/otel-wandb/bridge"
)

// A program that ends its tasks when it is told to end.
func Example_preemption() {
	collector := serving()
	defer collector.show()

	program := func() {
		ctx, restore := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer restore()
		b, err := bridge.Setup(ctx, bridge.WithSIGTERM())
		if err != nil {
			log.Print(err)
		}
		defer b.Shutdown(context.Background()) // not ctx: that has ended by then

		_, err = trainOn(ctx, func(n int) {
			if n == 1 {
				_ = syscall.Kill(syscall.Getpid(), syscall.SIGTERM) // what a spot machine does
				<-ctx.Done()
			}
		})
		fmt.Println("told to end:", err != nil)
	}
	program()
	// Output:
	// told to end: true
	// run of train-on in team/vision: failed, exit code 1
	//   train-on logs step=1
	//   train-on logs step=2
}
