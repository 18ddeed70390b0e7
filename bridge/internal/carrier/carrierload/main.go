// Command carrierload is a program that logs rows by the carriers of the bridge,
// for tests that kill it: what it prints is what it has logged.
//
// Rows have their number as the metric "row"; every 50th is so wide that it is
// split, with a histogram in its last piece. A number on a line of its own says that all rows below it were logged;
// "done" that all are acknowledged.
package main

import (
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"os"
	"time"

	"go.opentelemetry.io/otel/attribute"

	"github.com/otel-wandb/otel-wandb/bridge/internal/carrier"
	"github.com/otel-wandb/otel-wandb/internal/runid"
	"github.com/otel-wandb/otel-wandb/internal/semconv"
)

var (
	endpoint = flag.String("endpoint", "http://localhost:4317", "of an OTLP/gRPC receiver")
	dir      = flag.String("dir", "", "for the process's own files")
	runID    = flag.String("run", "carried", "id of the run")
	attempt  = flag.Int64("attempt", 0, "of the task on the run")
	first    = flag.Int64("first", 0, "number of the first row")
	rows     = flag.Int64("rows", 1000, "how many")
	every    = flag.Duration("every", 0, "pause after each ten rows")
	send     = flag.Duration("send", time.Second, "between requests")
	code     = flag.Int64("code", 0, "exit code of the run")
)

// patience is how long acknowledgements are waited for at the end.
const patience = 2 * time.Minute

func main() {
	flag.Parse()
	if err := load(); err != nil {
		fmt.Fprintln(os.Stderr, "carrierload:", err)
		os.Exit(1)
	}
	fmt.Println("done")
}

func load() error {
	out, err := carrier.GRPC(carrier.SinkOptions{Endpoint: *endpoint})
	if err != nil {
		return err
	}
	p, err := carrier.Start(carrier.Config{
		Sink: out, Dir: *dir, Send: *send,
		Resource: []attribute.KeyValue{attribute.String("service.name", "carrierload")},
	})
	if err != nil {
		return err
	}
	s := p.Open(task())
	err = s.Start([]attribute.KeyValue{
		attribute.String(semconv.RunMode, semconv.ModeAuto), attribute.Int64(semconv.RunAttempt, *attempt),
	})
	if err == nil {
		err = logRows(s)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err == nil {
		err = s.End(time.Now(), code, nil)
	}
	return errors.Join(err, p.Shutdown(ctx))
}

// task is an owner of the run: another one with each attempt.
func task() carrier.Task {
	h := fnv.New64a()
	_, _ = fmt.Fprint(h, *runID, *attempt)
	t := carrier.Task{
		Name: "load", OwnerStart: time.Now(),
		Run: runid.Coordinates{Entity: "carried", Project: "carried", ID: *runID},
	}
	binary.BigEndian.PutUint64(t.Trace[:], h.Sum64())
	binary.BigEndian.PutUint64(t.Span[:], h.Sum64())
	t.Owner = t.Span
	return t
}

func logRows(s *carrier.Stream) error {
	var wide []attribute.KeyValue
	for i := range 250 {
		wide = append(wide, attribute.Int(fmt.Sprintf("wide/%d", i), i))
	}
	wide = append(wide, attribute.Float64Slice("weights", []float64{1, 2, 2, 3}))
	for i := int64(0); i < *rows; {
		row := []attribute.KeyValue{attribute.Int64("row", *first+i), attribute.Float64("loss", 1/float64(i+1))}
		if i%50 == 0 {
			row = append(row, wide...)
		}
		switch err := s.Row(time.Now(), i, true, row, []string{"weights"}); {
		case errors.Is(err, carrier.ErrFull):
			time.Sleep(10 * time.Millisecond) // a test wants all of them
			continue
		case err != nil:
			return err
		}
		if i++; i%10 == 0 {
			fmt.Println(*first + i)
			time.Sleep(*every)
		}
	}
	return nil
}
