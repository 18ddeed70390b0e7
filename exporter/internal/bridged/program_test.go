package bridged

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.uber.org/goleak"

	"github.com/otel-wandb/otel-wandb/bridge"
)

// programArgs makes the test binary the program that logs.
const programArgs = "BRIDGED_TEST_PROGRAM"

// orders are what the program is to do.
type orders struct {
	Endpoint, Dir string
	Run           string
	Attempt       int           // of the task on the run; 0: not said
	First, Rows   int           // numbers of the rows
	Burst         int           // rows at once; default 10
	Pause         time.Duration // between bursts
	Tasks         int           // parents at once, each with Children of mode new
	Children      int
	NeverSample   bool
	Linger        time.Duration // between the last row and the end
}

// report is what it says when it has ended.
type report struct {
	HeapBase, HeapMost int64
	Took               time.Duration // for the rows
	Ended              time.Duration // for the end and Shutdown
}

// program is the program. It says "logged <n>" when all rows below n are logged,
// and its report at the end.
func program(text string) error {
	var o orders
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return err
	}
	sampler := sdktrace.AlwaysSample()
	if o.NeverSample {
		sampler = sdktrace.NeverSample()
	}
	tp := sdktrace.NewTracerProvider(sdktrace.WithSampler(sampler), sdktrace.WithSpanProcessor(bridge.NewSpanProcessor()))
	b, err := bridge.New(
		bridge.WithEndpoint(o.Endpoint), bridge.WithDir(o.Dir), bridge.WithTracerProvider(tp),
		bridge.WithProject("p"),
		bridge.WithErrorHandler(func(err error) { fmt.Fprintln(os.Stderr, "said:", err) }),
	)
	if err != nil {
		return err
	}
	ctx := b.Context(context.Background())
	var r report
	if o.Tasks > 0 {
		err = logTasks(ctx, &o)
	} else {
		err = logRows(ctx, &o, &r)
	}
	began := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err = errors.Join(err, b.Shutdown(ctx), tp.Shutdown(ctx))
	r.Ended = time.Since(began)
	if err == nil {
		err = goleak.Find() // nothing of the bridge's outlives it
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

func logRows(ctx context.Context, o *orders, r *report) (err error) {
	opts := []bridge.TaskOption{bridge.WithRunID(o.Run)}
	if o.Attempt > 0 {
		opts = append(opts, bridge.WithAttempt(o.Attempt))
	}
	_, run, err := bridge.StartTask(ctx, "train", opts...)
	if err != nil {
		return err
	}
	defer run.End(&err)
	burst := max(o.Burst, 1)
	r.HeapBase = heap()
	began := time.Now()
	next := began
	for i := 0; i < o.Rows; {
		for range min(burst, o.Rows-i) {
			n := int64(o.First + i)
			run.LogAttrs(bridge.Step(n), attribute.Int64("row", n), attribute.Int64("at", time.Now().UnixNano()),
				attribute.Float64("loss", 1/float64(i+1)), attribute.Float64("accuracy", 0.5), attribute.Int("epoch", i/1000))
			i++
		}
		fmt.Println("logged", o.First+i)
		if i%(max(o.Rows/20, burst)/burst*burst) == 0 {
			r.HeapMost = max(r.HeapMost, heap())
		}
		if next = next.Add(o.Pause); o.Pause > 0 {
			time.Sleep(time.Until(next))
		}
	}
	r.Took = time.Since(began)
	time.Sleep(o.Linger)
	return nil
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// logTasks has all tasks open at the same time. Rows are numbered from 0 in each
// run.
func logTasks(ctx context.Context, o *orders) error {
	var mu sync.Mutex
	var errs []error
	fails := func(err error) {
		mu.Lock()
		defer mu.Unlock()
		errs = append(errs, err)
	}
	var open, all sync.WaitGroup
	open.Add(o.Tasks * (1 + o.Children))
	child := func(ctx context.Context, parent *bridge.Run, name string) (err error) {
		inner, run, err := bridge.StartTask(ctx, "child", bridge.WithMode(bridge.ModeNew), bridge.WithRunID(name))
		if err != nil {
			return err
		}
		defer run.End(&err)
		open.Done()
		open.Wait()
		if got := bridge.RunFromContext(inner); got != run || got.ID() != name {
			return fmt.Errorf("inside the child: run %s, and not %s", got.ID(), name)
		}
		for i := range o.Rows {
			run.LogAttrs(attribute.Int("row", i), attribute.String("of", name))
		}
		if got := bridge.RunFromContext(ctx); got != parent {
			return fmt.Errorf("beside the child: run %s, and not the parent's", got.ID())
		}
		return nil
	}
	parent := func(name string) (err error) {
		in, run, err := bridge.StartTask(ctx, "parent", bridge.WithRunID(name))
		if err != nil {
			return err
		}
		defer run.End(&err)
		open.Done()
		var children sync.WaitGroup
		for c := range o.Children {
			children.Go(func() {
				if err := child(in, run, fmt.Sprintf("%s-%d", name, c)); err != nil {
					fails(err)
				}
			})
		}
		children.Wait()
		if bridge.RunFromContext(in) != run {
			return errors.New("after its children the parent's run is another")
		}
		for i := range o.Rows {
			bridge.RunFromContext(in).LogAttrs(attribute.Int("row", i), attribute.String("of", name))
		}
		return nil
	}
	for i := range o.Tasks {
		all.Go(func() {
			if err := parent(fmt.Sprintf("%s-%d", o.Run, i)); err != nil {
				fails(err)
			}
		})
	}
	all.Wait()
	if bridge.RunFromContext(ctx) != nil {
		fails(errors.New("a run is left behind"))
	}
	return errors.Join(errs...)
}

// life is one life of the program.
type life struct {
	cmd    *exec.Cmd
	stderr bytes.Buffer
	lines  *bufio.Scanner
	marks  []mark
	report *report
}

// mark says that all rows below n had been logged at a time.
type mark struct {
	n  int
	at time.Time
}

func run(t *testing.T, o orders) *life {
	t.Helper()
	text, err := json.Marshal(o)
	require.NoError(t, err)
	l := &life{cmd: exec.Command(os.Args[0])}
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "WANDB_") && !strings.HasPrefix(v, "OTEL_") {
			l.cmd.Env = append(l.cmd.Env, v)
		}
	}
	l.cmd.Env = append(l.cmd.Env, programArgs+"="+string(text))
	l.cmd.Stderr = &l.stderr
	out, err := l.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, l.cmd.Start())
	t.Cleanup(func() {
		if l.cmd.ProcessState == nil {
			_ = l.cmd.Process.Kill()
			_, _ = io.Copy(io.Discard, out)
			_ = l.cmd.Wait()
		}
		if t.Failed() && l.stderr.Len() > 0 {
			t.Logf("the program said:\n%s", &l.stderr)
		}
	})
	l.lines = bufio.NewScanner(out)
	return l
}

// next reads a line; false at the end.
func (l *life) next(t *testing.T) bool {
	t.Helper()
	if !l.lines.Scan() {
		return false
	}
	if text, ok := strings.CutPrefix(l.lines.Text(), "logged "); ok {
		var n int
		_, err := fmt.Sscan(text, &n)
		require.NoError(t, err, text)
		l.marks = append(l.marks, mark{n, time.Now()})
		return true
	}
	l.report = &report{}
	require.NoError(t, json.Unmarshal(l.lines.Bytes(), l.report), l.lines.Text())
	return true
}

// until reads on until all rows below n are logged.
func (l *life) until(t *testing.T, n int) {
	t.Helper()
	for len(l.marks) == 0 || l.marks[len(l.marks)-1].n < n {
		require.True(t, l.next(t), "the program ended early: %s", &l.stderr)
	}
}

// kill ends the program as it likes least. All rows below promised had been
// logged for 200 ms.
func (l *life) kill(t *testing.T) (promised int) {
	t.Helper()
	at := time.Now()
	require.NoError(t, l.cmd.Process.Kill())
	for l.next(t) {
	}
	_ = l.cmd.Wait() // "signal: killed"
	for _, m := range l.marks {
		if at.Sub(m.at) > 200*time.Millisecond {
			promised = m.n
		}
	}
	return promised
}

// end waits until the program has ended well.
func (l *life) end(t *testing.T) report {
	t.Helper()
	for l.next(t) {
	}
	require.NoError(t, l.cmd.Wait(), "%s", &l.stderr)
	require.NotNil(t, l.report, "%s", &l.stderr)
	return *l.report
}

func TestMain(m *testing.M) {
	if text := os.Getenv(programArgs); text != "" {
		if err := program(text); err != nil {
			fmt.Fprintln(os.Stderr, "program:", err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}
