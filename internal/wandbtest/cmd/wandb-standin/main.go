// Command wandb-standin serves the W&B server of package wandbtest, for
// programs that are tested from outside.
//
//	wandb-standin -listen 127.0.0.1:8080 -key "$WANDB_API_KEY" &
//	WANDB_BASE_URL=http://127.0.0.1:8080 program
//	curl 127.0.0.1:8080/standin/runs
//
// It keeps everything in memory. Its first line of output is its address.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/otel-wandb/otel-wandb/internal/wandbtest"
)

func main() {
	if err := serve(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "wandb-standin:", err)
		os.Exit(1)
	}
}

func serve(args []string) error {
	flags := flag.NewFlagSet("wandb-standin", flag.ExitOnError)
	listen := flags.String("listen", "127.0.0.1:0", "`address` to listen on")
	key := flags.String("key", wandbtest.Key, "API key to accept")
	features := flags.String("features", "", "server features that are on, with commas between")
	var faults faultFlags
	flags.Var(&faults, "fault", "`endpoint:nth:what` fails, what being a status, reset, lost, stall or malformed; may be repeated")
	if err := flags.Parse(args); err != nil {
		return err
	}

	opts := wandbtest.Options{APIKeys: []string{*key}}
	if *features != "" {
		opts.Features = strings.Split(*features, ",")
	}
	server := wandbtest.New(opts)
	for _, f := range faults {
		server.Script(f.endpoint, f.fault)
	}
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		return fmt.Errorf("%w: give another address with -listen", err)
	}
	fmt.Printf("http://%s\n", listener.Addr())

	web := &http.Server{Handler: mux(server), ReadHeaderTimeout: time.Minute}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		server.Close()
		_ = web.Close()
	}()
	if err := web.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// mux adds what can be looked at from outside.
func mux(server *wandbtest.Server) http.Handler {
	m := http.NewServeMux()
	m.Handle("/", server)
	show := func(path string, get func() any) {
		m.HandleFunc("GET /standin/"+path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			e := json.NewEncoder(w)
			e.SetIndent("", "  ")
			_ = e.Encode(get()) // the client may have left
		})
	}
	show("runs", func() any { return server.Runs() })
	show("artifacts", func() any { return server.Artifacts() })
	show("requests", func() any { return server.Requests() })
	show("violations", func() any { return server.Violations() })
	return m
}

type faultFlags []struct {
	endpoint string
	fault    wandbtest.Fault
}

func (f *faultFlags) String() string { return "" }

// Set adds one fault: endpoint:nth:what.
func (f *faultFlags) Set(text string) error {
	parts := strings.Split(text, ":")
	if len(parts) != 3 {
		return errors.New("write endpoint:nth:what, for example file_stream:3:429")
	}
	nth, err := strconv.Atoi(parts[1])
	if err != nil {
		return err
	}
	fault := wandbtest.Fault{Nth: nth}
	switch what := parts[2]; what {
	case "reset":
		fault.Reset = true
	case "lost":
		fault.Lost = true
	case "stall":
		fault.Stall = true
	case "malformed":
		fault.Malformed = true
	default:
		if fault.Status, err = strconv.Atoi(what); err != nil {
			return fmt.Errorf("%q is no status, reset, lost, stall or malformed", what)
		}
	}
	*f = append(*f, struct {
		endpoint string
		fault    wandbtest.Fault
	}{parts[0], fault})
	return nil
}
