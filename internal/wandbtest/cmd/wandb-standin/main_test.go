package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-wandb/otel-wandb/internal/wandbtest"
)

func TestRunsCanBeLookedAt(t *testing.T) {
	server := wandbtest.New(wandbtest.Options{})
	web := mux(server)
	ask := func(method, path, body string) string {
		r := httptest.NewRequest(method, path, strings.NewReader(body))
		r.SetBasicAuth("api", wandbtest.Key)
		w := httptest.NewRecorder()
		web.ServeHTTP(w, r)
		require.Equal(t, http.StatusOK, w.Code, w.Body)
		return w.Body.String()
	}
	ask(http.MethodPost, "/graphql", `{"operationName":"UpsertBucket","query":"mutation UpsertBucket{}","variables":{"name":"r","project":"p","config":"{\"x\":{\"value\":NaN}}"}}`)
	assert.Contains(t, ask(http.MethodGet, "/standin/runs", ""), `"ID": "r"`)
	assert.Contains(t, ask(http.MethodGet, "/standin/requests", ""), `"UpsertBucket"`)
	assert.Equal(t, "null\n", ask(http.MethodGet, "/standin/violations", ""))
	assert.NotContains(t, ask(http.MethodGet, "/standin/requests", ""), wandbtest.Key)
}

func TestFaultFlag(t *testing.T) {
	for text, want := range map[string]wandbtest.Fault{
		"file_stream:3:429":    {Nth: 3, Status: 429},
		"UpsertBucket:1:reset": {Nth: 1, Reset: true},
		"storage:1:lost":       {Nth: 1, Lost: true},
		"graphql:2:stall":      {Nth: 2, Stall: true},
		"graphql:2:malformed":  {Nth: 2, Malformed: true},
	} {
		var f faultFlags
		require.NoError(t, f.Set(text), text)
		assert.Equal(t, want, f[0].fault)
		endpoint, _, _ := strings.Cut(text, ":")
		assert.Equal(t, endpoint, f[0].endpoint)
	}
	for _, text := range []string{"", "x", "graphql:a:429", "graphql:1:broken"} {
		assert.Error(t, new(faultFlags).Set(text), text)
	}
}
