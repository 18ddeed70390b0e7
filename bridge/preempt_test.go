package bridge

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
)

// preemptedAs makes the test binary a program with a task that gets SIGTERM.
const preemptedAs = "BRIDGE_TEST_PREEMPTED"

// printing says what arrives.
type printing struct{}

func (printing) Export(_ context.Context, request []byte) error {
	r := ptraceotlp.NewExportRequest()
	if err := r.UnmarshalProto(request); err != nil {
		return err
	}
	for _, rs := range r.Traces().ResourceSpans().All() {
		for _, ss := range rs.ScopeSpans().All() {
			for _, s := range ss.Spans().All() {
				for _, e := range s.Events().All() {
					said := e.Name()
					if v, ok := e.Attributes().Get("wandb.preempting"); ok {
						said += " " + v.AsString()
					}
					fmt.Println(said)
				}
			}
		}
	}
	return nil
}
func (printing) Shutdown(context.Context) error { return nil }

func preemptedProgram(as string) {
	ctx := context.Background()
	got := make(chan os.Signal, 9)
	var opts []SetupOption
	switch as {
	case "handles":
		signal.Notify(got, syscall.SIGTERM)
	case "handles all":
		signal.Notify(got)
	case "handles once":
		var stop func()
		ctx, stop = signal.NotifyContext(ctx, syscall.SIGTERM)
		context.AfterFunc(ctx, stop)
	}
	if as != "does nothing" {
		opts = append(opts, WithSIGTERM())
	}
	b, err := Setup(ctx, append(opts, WithSink(printing{}), WithTracerProvider(noTracing()), WithProject("p"))...)
	if err != nil {
		fmt.Println(err)
		os.Exit(9)
	}
	_, run, _ := StartTask(ctx, "train")
	_ = b.ForceFlush(ctx)
	fmt.Println("ready")
	lines := bufio.NewScanner(os.Stdin)
	if as == "handles once" {
		<-ctx.Done()
	} else {
		for lines.Scan() && lines.Text() != "on" {
		}
	}
	terms := 0
	if as != "handles once" { // the bridge may have heard of it first
		for <-got != syscall.SIGTERM {
		}
		terms++
	}
	err = context.Canceled
	run.End(&err)
	_ = b.Shutdown(context.Background())
	for len(got) > 0 {
		if <-got == syscall.SIGTERM {
			terms++
		}
	}
	fmt.Println("handled", terms)
}

func TestSIGTERM(t *testing.T) {
	for _, tt := range []struct {
		as    string
		dies  bool
		waits bool // for a word, which a program that does not may be too late for
		says  []string
	}{
		{"does nothing", true, false, nil},
		{"handles", false, true, []string{"wandb.run.heartbeat true", "wandb.run.end", "handled 1"}},
		{"handles all", false, true, []string{"wandb.run.heartbeat true", "wandb.run.end", "handled 1"}},
		{"handles once", false, false, []string{"wandb.run.end", "handled 0"}},
	} {
		t.Run(tt.as, func(t *testing.T) {
			cmd := exec.Command(os.Args[0], "-test.run=^$")
			cmd.Env = append(os.Environ(), preemptedAs+"="+tt.as)
			cmd.Stderr = os.Stderr
			in, err := cmd.StdinPipe()
			require.NoError(t, err)
			out, err := cmd.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, cmd.Start())
			var said []string
			ready := false
			for lines := bufio.NewScanner(out); lines.Scan(); {
				switch line := lines.Text(); {
				case line == "ready":
					ready = true
					require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
				case ready:
					said = append(said, line)
					if line == "wandb.run.heartbeat true" && tt.waits {
						_, err := fmt.Fprintln(in, "on")
						require.NoError(t, err)
					}
				}
			}
			err = cmd.Wait()
			if tt.dies {
				var exit *exec.ExitError
				require.ErrorAs(t, err, &exit, "%v, after %v", err, said)
				status := exit.Sys().(syscall.WaitStatus)
				assert.True(t, status.Signaled() && status.Signal() == syscall.SIGTERM, "it dies as without the bridge: %v", exit)
			} else {
				require.NoError(t, err, "it handles the signal: %v", said)
			}
			for _, want := range tt.says {
				assert.Contains(t, said, want)
			}
			if tt.says == nil {
				assert.Empty(t, said)
			}
		})
	}
}
