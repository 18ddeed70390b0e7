package uploadconformance

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-wandb/otel-wandb/internal/wandbtest"
)

const captures = "../../../internal/wandbtest/testdata"

// request is one request of a client, with the status of its answer.
type request struct {
	time         time.Time
	method, path string
	operation    string // of GraphQL
	header       http.Header
	body         []byte
	status       int
}

// runFile is the name of the file of the run that a request brings; "" if it
// brings none.
func (r request) runFile() string {
	_, name, _ := strings.Cut(r.path, "/storage/runfiles/")
	parts := strings.SplitN(name, "/", 4) // behind entity, project and run
	return parts[len(parts)-1]
}

func (r request) isStream() bool { return strings.HasSuffix(r.path, "/file_stream") }

// variables of GraphQL that are not null.
func (r request) variables(t testing.TB) map[string]any {
	var body struct{ Variables map[string]any }
	d := json.NewDecoder(bytes.NewReader(r.body))
	d.UseNumber()
	require.NoError(t, d.Decode(&body), "%s", r.operation)
	for name, v := range body.Variables {
		if v == nil {
			delete(body.Variables, name)
		}
	}
	return body.Variables
}

// operationConfig is the config of an upsert that has one.
func (r request) operationConfig(t testing.TB) (config string, ok bool) {
	if r.operation != "UpsertBucket" {
		return "", false
	}
	config, ok = r.variables(t)["config"].(string)
	return config, ok
}

// stream is the body of a file stream request.
type stream struct {
	Files map[string]struct {
		Offset  int
		Content []string
	}
	Uploaded []string
	Complete bool
	ExitCode *int
}

func (r request) stream(t testing.TB) (s stream) {
	require.NoError(t, json.Unmarshal(r.body, &s), "%s", r.path)
	return s
}

// capture reads a capture, in the order the requests arrived.
func capture(t testing.TB, name string) []request {
	text, err := os.ReadFile(filepath.Join(captures, name+".jsonl"))
	require.NoError(t, err)
	var numbers []int
	var list []request
	for d := json.NewDecoder(bytes.NewReader(text)); ; {
		var c struct {
			N              int
			T              time.Time
			Method, Path   string
			Headers        map[string]string
			Body           json.RawMessage
			BodyText       *string `json:"body_text"`
			BodyBase64     []byte  `json:"body_base64_head"`
			ResponseStatus int     `json:"response_status"`
		}
		err := d.Decode(&c)
		if errors.Is(err, io.EOF) {
			return list
		}
		require.NoError(t, err)
		r := request{time: c.T, method: c.Method, path: c.Path, header: http.Header{}, body: c.Body, status: c.ResponseStatus}
		for key, value := range c.Headers {
			r.header.Set(key, value)
		}
		switch {
		case c.BodyText != nil:
			r.body = []byte(*c.BodyText)
		case len(c.BodyBase64) > 0:
			r.body = c.BodyBase64
		}
		if c.Path == "/graphql" {
			var op struct{ OperationName, Query string }
			require.NoError(t, json.Unmarshal(c.Body, &op))
			r.operation = op.OperationName
			if r.operation == "" { // Python's half of the client leaves it out
				_, rest, _ := strings.Cut(op.Query, "query ")
				r.operation = rest[:strings.IndexAny(rest, "( {")]
			}
		}
		at, _ := slices.BinarySearch(numbers, c.N)
		numbers = slices.Insert(numbers, at, c.N)
		list = slices.Insert(list, at, r)
	}
}

// seen gives a server's requests from the nth on.
func seen(server *wandbtest.Server, from int) (list []request) {
	for _, r := range server.Requests()[from:] {
		list = append(list, request{r.Time, r.Method, r.Path, r.Operation, r.Header, r.Body, r.Status})
	}
	return list
}

// replay has a server hold the run of a capture as W&B's client wrote it. Its
// files are left out.
func replay(t testing.TB, server *wandbtest.Server, list []request) {
	for _, r := range list {
		switch {
		case r.operation == "UpsertBucket":
			var body map[string]any
			require.NoError(t, json.Unmarshal(r.body, &body))
			body["variables"].(map[string]any)["id"] = nil // is another server's
			var err error
			r.body, err = json.Marshal(body)
			require.NoError(t, err)
		case r.isStream():
			var body map[string]any
			require.NoError(t, json.Unmarshal(r.body, &body))
			delete(body, "uploaded")
			var err error
			r.body, err = json.Marshal(body)
			require.NoError(t, err)
		default:
			continue
		}
		q := httptest.NewRequest(r.method, r.path, bytes.NewReader(r.body))
		q.SetBasicAuth("api", wandbtest.Key)
		w := httptest.NewRecorder()
		server.ServeHTTP(w, q)
		require.Equal(t, http.StatusOK, w.Code, "%s", w.Body)
	}
}
