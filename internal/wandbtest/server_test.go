package wandbtest

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// asker sends hand-written requests to a server in memory.
type asker struct {
	*testing.T
	server *Server
	client *http.Client
	header http.Header // of each request
}

// inBubble runs test against a server whose clock is the bubble's.
func inBubble(t *testing.T, opts Options, test func(t *testing.T, a *asker)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := New(opts)
		client, stop := s.InMemory()
		defer stop()
		test(t, &asker{T: t, server: s, client: client, header: http.Header{}})
	})
}

// answered is an answer whose body was read.
type answered struct {
	StatusCode int
	Header     http.Header
}

func (a *asker) do(method, target, body string) (answered, string, error) {
	if strings.HasPrefix(target, "/") {
		target = URL + target
	}
	r, err := http.NewRequestWithContext(a.Context(), method, target, strings.NewReader(body))
	require.NoError(a, err)
	if !strings.Contains(target, "/storage/") && !strings.HasSuffix(target, "/oidc/token") {
		r.SetBasicAuth("api", Key)
	}
	for key, values := range a.header {
		r.Header[key] = values
	}
	resp, err := a.client.Do(r)
	if err != nil {
		return answered{}, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return answered{resp.StatusCode, resp.Header}, string(text), err
}

// graphql asks, expects an answer, and gives its data. The document selects
// nothing: the server goes by its name.
func (a *asker) graphql(operation, variables string) map[string]any {
	a.Helper()
	resp, text, err := a.do(http.MethodPost, "/graphql", `{"operationName":"`+operation+`","query":"query `+operation+`{}","variables":`+variables+`}`)
	require.NoError(a, err)
	require.Equal(a, http.StatusOK, resp.StatusCode, text)
	var answer struct{ Data map[string]any }
	require.NoError(a, json.Unmarshal([]byte(text), &answer))
	return answer.Data
}

func (a *asker) stream(body string) (answered, string, error) {
	return a.do(http.MethodPost, "/files/"+Entity+"/p/r/file_stream", body)
}

func (a *asker) mustStream(body string) string {
	a.Helper()
	resp, text, err := a.stream(body)
	require.NoError(a, err)
	require.Equal(a, http.StatusOK, resp.StatusCode, text)
	return text
}

func (a *asker) run() Run {
	r, ok := a.server.Run("", "p", "r")
	require.True(a, ok)
	return r
}

const upsert = `{"name":"r","project":"p"}`

func TestStates(t *testing.T) {
	inBubble(t, Options{}, func(t *testing.T, a *asker) {
		id := dig(a.graphql("UpsertBucket", upsert), "upsertBucket.bucket.id").(string)
		assert.Equal(t, "running", a.run().State)

		time.Sleep(5 * time.Minute)
		assert.Equal(t, "running", a.run().State, "five minutes of silence are allowed")
		time.Sleep(time.Second)
		assert.Equal(t, "crashed", a.run().State)

		a.mustStream(`{}`)
		assert.Equal(t, "running", a.run().State, "a heartbeat brings it back")
		assert.Equal(t, 1, a.run().Crashes)

		a.mustStream(`{"preempting":true}`)
		time.Sleep(time.Hour)
		assert.Equal(t, "preempting", a.run().State, "it said that it would be silent")

		assert.Contains(t, a.mustStream(`{}`), `"stopped":false`)
		a.graphql("StopRun", `{"id":"`+id+`"}`)
		assert.Equal(t, true, dig(a.graphql("RunStoppedStatus", `{"projectName":"p","runId":"r"}`), "project.run.stopped"))
		assert.Contains(t, a.mustStream(`{}`), `"stopped":true`)
		assert.Equal(t, "running", a.run().State, "stopping is the client's work")
		a.mustStream(`{"complete":true,"exitcode":255}`)
		assert.Equal(t, "killed", dig(a.graphql("RunState", `{"project":"p","name":"r"}`), "project.run.state"))

		a.graphql("UpsertBucket", upsert)
		assert.Equal(t, "running", a.run().State, "resumed")
		a.mustStream(`{"complete":true,"exitcode":0}`)
		assert.Equal(t, "finished", a.run().State)
		assert.Empty(t, a.server.Violations())
	})
}

func TestLinesAreReplacedByNumber(t *testing.T) {
	inBubble(t, Options{}, func(t *testing.T, a *asker) {
		a.graphql("UpsertBucket", upsert)
		row := `{"files":{"wandb-history.jsonl":{"offset":0,"content":["{\"_step\":0,\"x\":1}","{\"_step\":1,\"x\":NaN}"]}}}`
		a.mustStream(row)
		a.mustStream(row)
		a.mustStream(`{"files":{"output.log":{"offset":0,"content":["10%","b"]}}}`)
		a.mustStream(`{"files":{"output.log":{"offset":0,"content":["100%"]}}}`)
		assert.Len(t, a.run().Rows(), 2, "the same lines at the same numbers change nothing")
		assert.Equal(t, []Line{{Offset: 0, Text: "100%"}, {Offset: 1, Text: "b"}}, a.run().Console)
		assert.Empty(t, a.server.Violations())
	})
}

func TestWhatTheOfficialClientNeverDoes(t *testing.T) {
	history := func(offset, lines string) string {
		return `{"files":{"wandb-history.jsonl":{"offset":` + offset + `,"content":[` + lines + `]}}}`
	}
	zero := `"{\"_step\":0,\"x\":1}"`
	for _, tc := range []struct {
		name, violation string
		do              func(a *asker)
	}{
		{"a gap", "leaves 2 lines out", func(a *asker) { a.mustStream(history("2", zero)) }},
		{"another row at a number", "say something else", func(a *asker) {
			a.mustStream(history("0", zero))
			a.mustStream(history("0", `"{\"_step\":0,\"x\":2}"`))
		}},
		{"a step back", "_step goes from 0 to 0", func(a *asker) {
			a.mustStream(history("0", zero))
			a.mustStream(history("1", zero))
		}},
		{"no step", "has no _step", func(a *asker) { a.mustStream(history("0", `"{}"`)) }},
		{"after the end", "after the one that completed", func(a *asker) {
			a.mustStream(`{"complete":true,"exitcode":0}`)
			a.mustStream(`{}`)
		}},
		{"an upload that was none", "reported as uploaded", func(a *asker) { a.mustStream(`{"uploaded":["x"]}`) }},
		{"credentials to a signed URL", "credentials sent to a signed URL", func(a *asker) {
			a.header.Set("Authorization", "Basic eA==")
			_, _, err := a.do(http.MethodPut, "/storage/x?signature=y", "")
			require.NoError(a, err)
		}},
		{"a client that never upserted", "never upserted", func(a *asker) {
			a.header.Set(headerAsync, "true")
			a.header.Set(headerStreamClient, "me")
			a.mustStream(`{}`)
		}},
		{"an operation nobody knows", `no operation "Nope"`, func(a *asker) {
			resp, _, err := a.do(http.MethodPost, "/graphql", `{"operationName":"Nope","query":"query Nope{x}"}`)
			require.NoError(a, err)
			assert.Equal(a, http.StatusBadRequest, resp.StatusCode)
		}},
		{"a field that is not there", "selects what the answer has not: [viewer.nope]", func(a *asker) {
			_, _, err := a.do(http.MethodPost, "/graphql", `{"operationName":"Viewer","query":"query Viewer{viewer{id nope}}"}`)
			require.NoError(a, err)
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inBubble(t, Options{}, func(t *testing.T, a *asker) {
				a.graphql("UpsertBucket", upsert)
				tc.do(a)
				require.Len(t, a.server.Violations(), 1)
				assert.Contains(t, a.server.Violations()[0], tc.violation)
			})
		})
	}
}

func TestFaults(t *testing.T) {
	line := `{"files":{"output.log":{"offset":0,"content":["a"]}}}`
	for _, tc := range []struct {
		name    string
		fault   Fault
		applied bool
		check   func(t *testing.T, resp answered, text string, err error)
	}{
		{"status", Fault{Status: 429, RetryAfter: "1.5"}, false, func(t *testing.T, resp answered, _ string, err error) {
			require.NoError(t, err)
			assert.Equal(t, 429, resp.StatusCode)
			assert.Equal(t, "1.5", resp.Header.Get("Retry-After"))
		}},
		{"reset", Fault{Reset: true}, false, func(t *testing.T, _ answered, _ string, err error) { assert.Error(t, err) }},
		{"lost", Fault{Lost: true}, true, func(t *testing.T, _ answered, _ string, err error) { assert.Error(t, err) }},
		{"malformed", Fault{Malformed: true}, true, func(t *testing.T, _ answered, text string, err error) {
			require.NoError(t, err)
			assert.False(t, json.Valid([]byte(text)))
		}},
		{"errors", Fault{Errors: []string{"no"}}, false, func(t *testing.T, resp answered, text string, err error) {
			require.NoError(t, err)
			assert.Equal(t, 200, resp.StatusCode)
			assert.JSONEq(t, `{"data":null,"errors":[{"message":"no"}]}`, text)
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inBubble(t, Options{}, func(t *testing.T, a *asker) {
				a.graphql("UpsertBucket", upsert)
				tc.fault.Nth = 2
				a.server.Script(FileStream, tc.fault)
				a.mustStream(`{}`)
				resp, text, err := a.stream(line)
				tc.check(t, resp, text, err)
				assert.Equal(t, tc.applied, len(a.run().Console) == 1, "applied")
				a.mustStream(line)
				assert.Len(t, a.run().Console, 1)
			})
		})
	}
}

func TestAStalledAnswerEndsWithItsClient(t *testing.T) {
	inBubble(t, Options{}, func(t *testing.T, a *asker) {
		a.graphql("UpsertBucket", upsert)
		a.server.Script(FileStream, Fault{Stall: true})
		a.client.Timeout = 10 * time.Second
		_, _, err := a.stream(`{}`)
		require.Error(t, err)
		a.mustStream(`{}`)
		assert.Empty(t, a.server.Violations(), "the second request came after the first was given up")
	})
}

func TestRateLimit(t *testing.T) {
	inBubble(t, Options{StreamLimit: Limit{Requests: 2, Window: time.Minute}}, func(t *testing.T, a *asker) {
		a.graphql("UpsertBucket", upsert)
		a.mustStream(`{}`)
		time.Sleep(20 * time.Second)
		resp, _, _ := a.stream(`{}`)
		assert.Equal(t, "0", resp.Header.Get("RateLimit-Remaining"))
		assert.Equal(t, "40", resp.Header.Get("RateLimit-Reset"))
		resp, _, _ = a.stream(`{}`)
		assert.Equal(t, 429, resp.StatusCode)
		assert.Equal(t, "40", resp.Header.Get("Retry-After"))
		time.Sleep(40 * time.Second)
		a.mustStream(`{}`)
	})
}

func TestCredentials(t *testing.T) {
	inBubble(t, Options{IdentityTokens: []string{"a.b.c"}, TokenLife: time.Minute}, func(t *testing.T, a *asker) {
		ask := func() int {
			resp, _, err := a.do(http.MethodPost, "/graphql", `{"operationName":"Viewer","query":"query Viewer{viewer{id}}"}`)
			require.NoError(t, err)
			return resp.StatusCode
		}
		a.header.Set("Authorization", "Basic eDp5")
		assert.Equal(t, 401, ask())

		a.header = http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
		resp, text, err := a.do(http.MethodPost, "/oidc/token", "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=a.b.c")
		require.NoError(t, err)
		require.Equal(t, 200, resp.StatusCode, text)
		var token struct {
			AccessToken string `json:"access_token"`
		}
		require.NoError(t, json.Unmarshal([]byte(text), &token))
		a.header = http.Header{"Authorization": {"Bearer " + token.AccessToken}}
		assert.Equal(t, 200, ask())
		time.Sleep(time.Minute)
		assert.Equal(t, 401, ask(), "the token has expired")
	})
}

func TestSignedURLs(t *testing.T) {
	inBubble(t, Options{URLLife: time.Minute, UploadHeaders: []string{"X-Blob:Block:1"}}, func(t *testing.T, a *asker) {
		a.graphql("UpsertBucket", upsert)
		answer := a.graphql("CreateRunFiles", `{"entity":"`+Entity+`","project":"p","run":"r","files":["a","media/b c.txt"]}`)
		files := dig(answer, "createRunFiles.files").([]any)
		assert.Equal(t, "media/b c.txt", dig(files[0], "name"), "in another order than asked")
		target := dig(files[0], "uploadUrl").(string)
		put := func() int {
			resp, _, err := a.do(http.MethodPut, target, "content")
			require.NoError(t, err)
			return resp.StatusCode
		}
		assert.Equal(t, 400, put(), "without the header asked for")
		a.header.Set("X-Blob", "Block:1")
		assert.Equal(t, 200, put())
		assert.Equal(t, "content", string(a.run().Files["media/b c.txt"]))
		time.Sleep(time.Minute)
		assert.Equal(t, 403, put(), "expired")
	})
}

func TestMissing(t *testing.T) {
	doc := `query A ($x: String = "}") { a(in: {b: [1]}) { b c: d(x: $x) @include(if: $y) { e } ...F ... on T { g } } }
		fragment F on T { f { h } }`
	data := map[string]any{"a": []any{
		map[string]any{"b": 1, "c": nil, "f": map[string]any{"h": 1}, "g": 1},
		map[string]any{"b": 1, "c": map[string]any{}, "f": 3},
	}}
	assert.Equal(t, []string{"a.c.e", "a.f is no object", "a.g"}, Missing(doc, data))
	assert.Equal(t, []string{"a", "a.b", "a.c", "a.c.e", "a.f", "a.f.h", "a.g"}, Selection(doc))
}

// Over a port, as the command serves it, a fault is a reset of TCP.
func TestFaultsOverAPort(t *testing.T) {
	s := New(Options{})
	web := httptest.NewServer(s)
	defer web.Close()
	defer s.Close()
	s.Script(GraphQL, Fault{Reset: true})
	client := web.Client()
	defer client.CloseIdleConnections()
	ask := func() error {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, web.URL+"/graphql", strings.NewReader(`{"operationName":"Viewer","query":"query Viewer{}"}`))
		require.NoError(t, err)
		resp, err := client.Do(r)
		if err == nil {
			err = resp.Body.Close()
		}
		return err
	}
	assert.ErrorIs(t, ask(), syscall.ECONNRESET)
	assert.NoError(t, ask())
}
