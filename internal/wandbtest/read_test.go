package wandbtest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// written is a server with a run of ten rows, and what else runs have.
func written(t *testing.T, test func(a *asker)) {
	inBubble(t, Options{}, func(t *testing.T, a *asker) {
		a.graphql("UpsertBucket", `{"name":"r","project":"p","displayName":"first","tags":["x"],"config":"{\"lr\":{\"value\":0.1}}"}`)
		a.mustStream(`{"files":{
			"wandb-history.jsonl":{"offset":0,"content":["{\"_step\":0,\"loss\":3,\"val\":{\"acc\":1}}","{\"_step\":1,\"loss\":NaN}","{\"_step\":5,\"other\":1}","{\"_step\":9,\"loss\":1,\"val\":{\"acc\":2}}"]},
			"wandb-events.jsonl":{"offset":0,"content":["{\"system.cpu\":4}"]},
			"wandb-summary.json":{"offset":0,"content":["{\"loss\":{\"min\":1}}"]},
			"output.log":{"offset":0,"content":["2026-01-02T03:04:05.000001 hello","ERROR 2026-01-02T03:04:06.000001 oh no","{\"level\":\"error\",\"ts\":\"2026-01-02T03:04:07.000001\",\"content\":\"in JSON\"}"]}}}`)
		urls := a.graphql("CreateRunFiles", `{"project":"p","run":"r","files":["a dir/b.txt"]}`)
		resp, _, err := a.do(http.MethodPut, dig(urls, "createRunFiles.files").([]any)[0].(map[string]any)["uploadUrl"].(string), "content")
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, resp.StatusCode)
		test(a)
		assert.Empty(t, a.server.Violations())
	})
}

const theRun = `"entity":"` + Entity + `","project":"p","name":"r"`

func TestReadRun(t *testing.T) {
	written(t, func(a *asker) {
		run := dig(a.graphql("Run", `{`+theRun+`}`), "project.run").(map[string]any)
		for key, want := range map[string]any{
			"name": "r", "displayName": "first", "tags": []any{"x"}, "state": "running", "config": `{"lr":{"value":0.1}}`,
			"summaryMetrics": `{"loss":{"min":1}}`, "systemMetrics": `{"system.cpu":4}`, "historyLineCount": 4.0,
		} {
			assert.Equal(a, want, run[key], key)
		}
		assert.EqualValues(a, 9, dig(a.graphql("RunHistoryKeys", `{`+theRun+`}`), "project.run.historyKeys.lastStep"))
		runs := dig(a.graphql("Runs", `{"entity":"`+Entity+`","project":"p","filters":"{}"}`), "project.runs.edges").([]any)
		assert.Len(a, runs, 1)
		assert.Nil(a, dig(a.graphql("Run", `{"project":"p","name":"none"}`), "project.run"))
		assert.Nil(a, dig(a.graphql("Run", `{"project":"none","name":"r"}`), "project"))
	})
}

func TestReadHistory(t *testing.T) {
	written(t, func(a *asker) {
		for _, tt := range []struct{ name, operation, variables, field, want string }{
			{"all", "RunFullHistory", `"samples":500`, "history", `[0 1 5 9]`},
			{"two of four", "RunFullHistory", `"samples":2`, "history", `[0 5]`},
			{"from a step to before another", "HistoryPage", `"minStep":1,"maxStep":9,"pageSize":8`, "history", `[1 5]`},
		} {
			rows := dig(a.graphql(tt.operation, `{`+theRun+`,`+tt.variables+`}`), "project.run."+tt.field).([]any)
			steps := []float64{}
			for _, row := range rows {
				step, _ := stepOf(row.(string))
				steps = append(steps, step)
			}
			assert.Equal(a, tt.want, fmt.Sprint(steps), tt.name)
		}
		assert.Equal(a, []any{`{"system.cpu":4}`}, dig(a.graphql("RunFullHistory", `{`+theRun+`}`), "project.run.events"))
		for spec, want := range map[string][]any{
			`{"keys":["_step","loss"],"samples":500}`:                      {map[string]any{"_step": 0.0, "loss": 3.0}, map[string]any{"_step": 1.0, "loss": "NaN"}, map[string]any{"_step": 9.0, "loss": 1.0}},
			`{"keys":["_step","val.acc","_step"],"minStep":1,"maxStep":9}`: {map[string]any{"_step": 9.0, "val.acc": 2.0}},
		} {
			variables := `{` + theRun + `,"specs":[` + quote(spec) + `]}`
			assert.Equal(a, []any{want}, dig(a.graphql("RunSampledHistory", variables), "project.run.sampledHistory"))
		}
	})
}

func TestReadConsole(t *testing.T) {
	written(t, func(a *asker) {
		lines := func(operation, variables string) (texts []string, next any) {
			log := dig(a.graphql(operation, `{`+theRun+`,`+variables+`}`), "project.run.logLines").(map[string]any)
			for _, edge := range log["edges"].([]any) {
				node := edge.(map[string]any)["node"].(map[string]any)
				texts = append(texts, fmt.Sprintf("%v %v %v %v", node["number"], node["timestamp"], node["level"], node["line"]))
			}
			return texts, log["pageInfo"].(map[string]any)["hasNextPage"]
		}
		texts, next := lines("RunConsoleLogPage", `"first":2`)
		assert.Equal(a, []string{"0 2026-01-02T03:04:05.000001  hello", "1 2026-01-02T03:04:06.000001 error oh no"}, texts)
		assert.Equal(a, true, next)
		texts, next = lines("RunConsoleLogPage", `"first":2,"after":"1"`)
		assert.Equal(a, []string{"2 2026-01-02T03:04:07.000001 error in JSON"}, texts)
		assert.Equal(a, false, next)
		texts, _ = lines("RunConsoleLogTail", `"last":1`)
		assert.Len(a, texts, 1)
	})
}

func TestReadFiles(t *testing.T) {
	written(t, func(a *asker) {
		files := dig(a.graphql("RunFiles", `{`+theRun+`,"fileNames":["a dir/b.txt"]}`), "project.run.files.edges").([]any)
		require.Len(a, files, 1)
		file := files[0].(map[string]any)["node"].(map[string]any)
		assert.EqualValues(a, 7, file["sizeBytes"])
		for _, key := range []string{"url", "directUrl"} {
			at, err := url.Parse(file[key].(string))
			require.NoError(a, err)
			_, text, err := a.do(http.MethodGet, at.String(), "")
			require.NoError(a, err)
			assert.Equal(a, "content", text, key)
		}
		resp, _, err := a.do(http.MethodGet, "/files/"+Entity+"/p/r/none", "")
		require.NoError(a, err)
		assert.Equal(a, http.StatusNotFound, resp.StatusCode)
		assert.Empty(a, dig(a.graphql("RunOutputArtifacts", `{`+theRun+`}`), "project.run.artifacts.edges"))
	})
}

// The artifacts of a capture can be read back: what they are, and their files.
func TestReadArtifacts(t *testing.T) {
	p := newReplay(t, Options{})
	p.play(capture(t, "media"))
	ask := func(operation, variables string) map[string]any {
		r := httptest.NewRequest(http.MethodPost, "/graphql", strings.NewReader(`{"operationName":"`+operation+`","query":"query `+operation+`{}","variables":`+variables+`}`))
		r.SetBasicAuth("api", Key)
		w := httptest.NewRecorder()
		p.server.ServeHTTP(w, r)
		var answer struct{ Data map[string]any }
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &answer))
		return answer.Data
	}
	of := func(name string) string { return `{"entity":"fakeentity","project":"mediaproj","name":"` + name + `"}` }
	logged := dig(ask("RunOutputArtifacts", of("mediarun")), "project.run.artifacts.edges").([]any)
	require.Len(t, logged, 4)
	for _, edge := range logged {
		a := edge.(map[string]any)["node"].(map[string]any)
		name := dig(a, "artifactSequence.name").(string)
		for _, alias := range []string{"", ":latest", ":v0"} {
			member := dig(ask("ArtifactMembershipByName", of(name+alias)), "project.artifactCollectionMembership")
			assert.Equal(t, a["digest"], dig(member, "artifact.digest"), name+alias)
		}
		assert.Nil(t, dig(ask("ArtifactMembershipByName", of(name+":v1")), "project.artifactCollectionMembership"))

		variables := `{"entity":"fakeentity","project":"mediaproj","collection":"` + name + `","alias":"v0"}`
		files := dig(ask("GetArtifactMembershipFileUrls", variables), "project.artifactCollection.artifactMembership.files.edges").([]any)
		assert.Len(t, files, int(a["fileCount"].(float64)))
		size := 0
		for _, f := range files {
			size += int(dig(f, "node.sizeBytes").(float64))
			w := httptest.NewRecorder()
			p.server.ServeHTTP(w, httptest.NewRequest(http.MethodGet, dig(f, "node.directUrl").(string), nil))
			assert.Equal(t, http.StatusOK, w.Code)
			assert.Len(t, w.Body.Bytes(), int(dig(f, "node.sizeBytes").(float64)))
		}
		assert.EqualValues(t, a["size"], size)
		used := ask("UseArtifact", `{"entityName":"fakeentity","projectName":"mediaproj","runName":"mediarun","artifactID":"`+a["id"].(string)+`"}`)
		assert.Equal(t, a["id"], dig(used, "useArtifact.artifact.id"))
	}
	assert.Empty(t, p.server.Violations())
}
