package bridge

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
)

// A collector over HTTP gets the headers and what the program says of itself.
func TestSetup_OverHTTP(t *testing.T) {
	type request struct {
		path, key string
		body      []byte
	}
	got := make(chan request, 100)
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		assert.NoError(t, err)
		got <- request{r.URL.Path, r.Header.Get("X-Team"), body}
	}))
	defer collector.Close()
	b, err := New(WithEndpoint(collector.URL+"/v1/traces"), WithHTTP(), WithHeaders(map[string]string{"X-Team": "vision"}),
		WithResource(attribute.String("team.floor", "third")), WithDir(""), WithTracerProvider(noTracing()), WithProject("p"),
		WithErrorHandler(func(err error) { assert.NoError(t, err) }))
	require.NoError(t, err)
	_, run, err := StartTask(b.Context(context.Background()), "train", WithRunID("r"))
	require.NoError(t, err)
	run.Log(map[string]any{"loss": 0.5})
	run.End(nil)
	require.NoError(t, b.Shutdown(t.Context()))
	first := <-got
	assert.Equal(t, "/v1/traces", first.path)
	assert.Equal(t, "vision", first.key)
	assert.Contains(t, string(first.body), "third")
}
