package outbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"go.uber.org/goleak"

	"github.com/otel-wandb/otel-wandb/internal/otlpwire"
	"github.com/otel-wandb/otel-wandb/internal/spool"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// events are n encoded events, named after their writer and number.
func events(writer string, from, n int) (b []byte) {
	for i := range n {
		var mark int
		b, mark = otlpwire.BeginEvent(b, int64(from+i))
		b = otlpwire.EndEvent(otlpwire.EventName(b, fmt.Sprint(writer, " ", from+i)), mark)
	}
	return b
}

// leave is a process that was killed with n events of each of two tasks unsent,
// or, with alive, one that lives.
func leave(t *testing.T, dir, writer string, n int, alive bool) {
	t.Helper()
	s, err := spool.Create(dir, writer, nil, 0)
	require.NoError(t, err)
	for i := range n {
		for stream := range uint64(2) {
			_, err := s.Append([]spool.Chunk{{
				Stream: stream, Head: otlpwire.SpanHead(nil, [16]byte{1}, [8]byte{byte(stream) + 1}, "wandb.log"),
				Events: events(writer, i, 1), Count: 1, First: int64(i), Last: int64(i),
			}})
			require.NoError(t, err)
		}
	}
	if alive {
		t.Cleanup(func() { assert.NoError(t, s.Close()) })
		return
	}
	require.NoError(t, s.Close()) // what is unsent stays, the lock goes
}

// taker takes requests, and fails from one on.
type taker struct {
	t      *testing.T
	fails  int // requests before it does; <0: never
	names  map[string]int
	number int
}

func (k *taker) send(_ context.Context, request []byte) error {
	if k.number++; k.fails >= 0 && k.number > k.fails {
		return errors.New("the disk is full")
	}
	r := ptraceotlp.NewExportRequest()
	require.NoError(k.t, r.UnmarshalProto(request))
	scope := r.Traces().ResourceSpans().At(0).ScopeSpans().At(0)
	assert.Equal(k.t, ScopeName, scope.Scope().Name())
	assert.Equal(k.t, 2, scope.Spans().Len(), "one carrier a task")
	for _, span := range scope.Spans().All() {
		for _, e := range span.Events().All() {
			k.names[e.Name()]++
		}
	}
	return nil
}

func TestAdopt(t *testing.T) {
	root := t.TempDir()
	leave(t, filepath.Join(root, Name("http://a:4317")), "one", 3, false)
	leave(t, filepath.Join(root, Name("http://b:4317")), "two", 2, false)
	leave(t, filepath.Join(root, Name("http://b:4317")), "living", 2, true)
	leave(t, root, "direct", 1, false) // a folder that a program named
	k := &taker{t: t, fails: -1, names: map[string]int{}}
	got, err := Adopt(t.Context(), root, k.send)
	require.NoError(t, err)
	assert.Equal(t, Adopted{Processes: 3, Events: 12}, got)
	assert.Equal(t, map[string]int{"one 0": 2, "one 1": 2, "one 2": 2, "two 0": 2, "two 1": 2, "direct 0": 2}, k.names)

	got, err = Adopt(t.Context(), root, k.send)
	require.NoError(t, err)
	assert.Zero(t, got, "all of it is gone, and a living process is left alone")
	_, err = os.Stat(filepath.Join(root, Name("http://b:4317"), "living"))
	assert.NoError(t, err)
}

func TestAdopt_KeepsWhatIsNotTaken(t *testing.T) {
	root := t.TempDir()
	leave(t, root, "one", 2, false)
	k := &taker{t: t, fails: 0, names: map[string]int{}}
	got, err := Adopt(t.Context(), root, k.send)
	require.ErrorContains(t, err, "the disk is full")
	assert.ErrorContains(t, err, filepath.Join(root, "one"))
	assert.Zero(t, got.Events)
	assert.Positive(t, got.Bytes)

	gone, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = Adopt(gone, root, k.send)
	require.ErrorIs(t, err, context.Canceled)

	k.fails = -1
	got, err = Adopt(t.Context(), root, k.send)
	require.NoError(t, err)
	assert.Equal(t, Adopted{Processes: 1, Events: 4}, got, "a later call goes on")
	left, err := os.ReadDir(root)
	require.NoError(t, err)
	assert.Empty(t, left)
}

func TestAdopt_NothingThere(t *testing.T) {
	got, err := Adopt(t.Context(), filepath.Join(t.TempDir(), "never made"), nil)
	require.NoError(t, err)
	assert.Zero(t, got)
}

func TestRoot(t *testing.T) {
	env := map[string]string{"WANDB_DIR": "/d"}
	assert.Equal(t, filepath.FromSlash("/d/wandb/outbox"), Root(func(k string) string { return env[k] }))
	t.Setenv("HOME", filepath.FromSlash("/h"))
	t.Setenv("XDG_CACHE_HOME", filepath.FromSlash("/h/.cache"))
	cached := Root(func(string) string { return "" })
	assert.Equal(t, filepath.Join("otel-wandb", "outbox"), filepath.Join(filepath.Base(filepath.Dir(cached)), filepath.Base(cached)))
}
