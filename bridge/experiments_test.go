package bridge_test

import (
	"cmp"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"go.opentelemetry.io/otel"

	"github.com/otel-wandb/otel-wandb/bridge"
)

// Examples cannot be handed an environment, and that of whoever runs them must
// not matter: it may be a rank itself, or have W&B switched off.
func init() {
	launcher := regexp.MustCompile(`^(WANDB_|OTEL_|SLURM_|OMPI_|TRACE(PARENT|STATE)=|BAGGAGE=|JOB_COMPLETION_INDEX=|((LOCAL_)?(RANK|WORLD_SIZE)|GROUP_RANK)=)`)
	for _, kv := range os.Environ() {
		if key, _, _ := strings.Cut(kv, "="); launcher.MatchString(kv) {
			_ = os.Unsetenv(key)
		}
	}
}

// board stands in for the collector. It keeps what the tasks of a program send
// and shows it by run, without what differs from one time to the next: ids and
// times.
type board struct {
	mu    sync.Mutex
	runs  map[string]*shownRun
	close func()
	press func(host, entity, project, run string) // stop, on the run's page
}

// OnStop implements [bridge.Stops].
func (b *board) OnStop(stopped func(host, entity, project, run string)) { b.press = stopped }

type shownRun struct {
	title string // whose it is, and where
	since int64
	end   string // how it ended
	lines []shownLine
}

type shownLine struct {
	seq  int64
	text string
}

// Export implements [bridge.Sink].
func (b *board) Export(_ context.Context, request []byte) error {
	r := ptraceotlp.NewExportRequest()
	if err := r.UnmarshalProto(request); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, rs := range r.Traces().ResourceSpans().All() {
		for _, ss := range rs.ScopeSpans().All() {
			for _, span := range ss.Spans().All() {
				of := span.Attributes()
				if attr(of, "wandb.carrier") == "" {
					continue
				}
				run := b.run(of)
				for _, e := range span.Events().All() {
					run.take(of, e.Name(), e.Attributes())
				}
			}
		}
	}
	return nil
}

// Shutdown implements [bridge.Sink].
func (*board) Shutdown(context.Context) error { return nil }

// ServeHTTP takes what [bridge.Setup] sends where the environment says OTLP
// over HTTP.
func (b *board) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body io.Reader = r.Body
	if r.Header.Get("Content-Encoding") == "gzip" {
		plain, err := gzip.NewReader(body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		body = plain
	}
	request, err := io.ReadAll(body)
	if err == nil {
		err = b.Export(r.Context(), request)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
}

func (b *board) run(of pcommon.Map) *shownRun {
	where := attr(of, "wandb.entity") + "/" + attr(of, "wandb.project")
	key := where + "/" + attr(of, "wandb.run.id")
	run := b.runs[key]
	if run == nil {
		run = &shownRun{title: where, end: "running"}
		if b.runs == nil {
			b.runs = map[string]*shownRun{}
		}
		b.runs[key] = run
	}
	return run
}

func (r *shownRun) take(of pcommon.Map, event string, attrs pcommon.Map) {
	owner := attr(of, "wandb.task") == attr(of, "wandb.run.owner")
	task := attr(of, "wandb.span.name")
	say := func(verb, what string) {
		if what != "" {
			seq, _ := attrs.Get("wandb.seq")
			r.lines = append(r.lines, shownLine{seq.Int(), "  " + task + verb + what})
		}
	}
	switch event {
	case "wandb.run.start":
		if owner {
			since, _ := of.Get("wandb.run.start_time")
			r.since, r.title = since.Int(), task+" in "+r.title
		}
		if tags, ok := attrs.Get("wandb.run.tags"); ok {
			say(" has tags ", strings.Trim(fmt.Sprint(tags.Slice().AsRaw()), "[]"))
		}
		say(" has config ", pairs(attrs, "wandb.config."))
	case "wandb.log":
		say(" logs ", pairs(attrs, ""))
	case "wandb.table":
		say(" logs table ", attr(attrs, "key"))
	case "wandb.media":
		say(" logs "+attr(attrs, "type")+" ", attr(attrs, "key"))
	case "wandb.config":
		say(" sets config ", pairs(attrs, ""))
	case "wandb.run.end":
		if code := attr(attrs, "wandb.exit_code"); owner && code == "0" {
			r.end = "finished"
		} else if owner {
			r.end = "failed, exit code " + code
		}
	}
}

// pairs are attributes with a prefix, or those of the program where it is none.
func pairs(attrs pcommon.Map, prefix string) string {
	var out []string
	for key, v := range attrs.All() {
		name, ok := strings.CutPrefix(key, prefix)
		if ok && (prefix != "" || !strings.HasPrefix(key, "wandb.")) {
			out = append(out, name+"="+v.AsString())
		}
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func attr(m pcommon.Map, key string) string {
	v, ok := m.Get(key)
	if !ok {
		return ""
	}
	return v.AsString()
}

// show prints what came, run by run.
func (b *board) show() {
	if b.close != nil {
		b.close()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, key := range slices.SortedFunc(maps.Keys(b.runs), func(x, y string) int {
		return cmp.Compare(b.runs[x].since, b.runs[y].since)
	}) {
		run := b.runs[key]
		fmt.Printf("run of %s: %s\n", run.title, run.end)
		slices.SortFunc(run.lines, func(x, y shownLine) int { return cmp.Compare(x.seq, y.seq) })
		for _, line := range run.lines {
			fmt.Println(line.text)
		}
	}
}

// connected is a context of a program that is set up, and where its runs go.
func connected(opts ...bridge.SetupOption) (context.Context, *board) {
	to := &board{}
	opts = append([]bridge.SetupOption{
		bridge.WithSink(to), bridge.WithDir(""), bridge.WithEntity("team"), bridge.WithProject("vision"),
	}, opts...)
	b, err := bridge.New(opts...)
	if err != nil {
		panic(err)
	}
	to.close = func() {
		if err := b.Shutdown(context.Background()); err != nil {
			panic(err)
		}
	}
	return b.Context(context.Background()), to
}

// serving is a collector of the environment, for programs that call Setup.
func serving() *board {
	to := &board{}
	server := httptest.NewServer(to)
	dir, err := os.MkdirTemp("", "bridge")
	if err != nil {
		panic(err)
	}
	restore := []func(){server.Close, func() { _ = os.RemoveAll(dir) }}
	for key, value := range map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": server.URL,
		"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
		"WANDB_ENTITY":                "team",
		"WANDB_PROJECT":               "vision",
		"WANDB_DIR":                   dir,
	} {
		if old, was := os.LookupEnv(key); was {
			restore = append(restore, func() { _ = os.Setenv(key, old) })
		} else {
			restore = append(restore, func() { _ = os.Unsetenv(key) })
		}
		if err := os.Setenv(key, value); err != nil {
			panic(err)
		}
	}
	provider, propagator := otel.GetTracerProvider(), otel.GetTextMapPropagator()
	to.close = func() {
		for _, f := range restore {
			f()
		}
		otel.SetTracerProvider(provider)
		otel.SetTextMapPropagator(propagator)
	}
	return to
}

// What the page shows is in an example, and so compiles and does what it says.
func TestThePageOfExperimentsShowsTheExamples(t *testing.T) {
	files, err := filepath.Glob("example_experiments_*_test.go")
	require.NoError(t, err)
	var code, output []string
	for _, file := range files {
		text := read(t, file)
		code = append(code, flat(text))
		for _, example := range strings.Split(text, "\t// Output:\n")[1:] {
			example, _, _ = strings.Cut(example, "\n}")
			output = append(output, flat(strings.ReplaceAll("\n"+example, "\n\t// ", "\n"))+"\n")
		}
	}
	blocks := regexp.MustCompile("(?s)\n```(\\w*)(\n.*?\n)```\n").FindAllStringSubmatch(read(t, "../docs/experiments.md"), -1)
	require.Greater(t, len(blocks), 2*(len(files)-1), "each file but the last is shown, code and output")
	for _, m := range blocks {
		in := code
		if m[1] == "text" {
			in = output
		} else {
			assert.Equal(t, "go", m[1], "a block of the page is go, or text where it is what an example puts out")
		}
		assert.True(t, slices.ContainsFunc(in, func(text string) bool { return strings.Contains(text, flat(m[2])) }),
			"no example has this:%s", m[2])
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	return strings.ReplaceAll(string(text), "\r\n", "\n")
}

// flat is text without indentation.
func flat(text string) string {
	return regexp.MustCompile(`\n[ \t]+`).ReplaceAllString(text, "\n")
}
