package wandb

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-wandb/otel-wandb/internal/extjson"
	"github.com/otel-wandb/otel-wandb/internal/wandbtest"
)

// A whole run, as the protocol's recipe has it.
func TestARunFromItsStartToItsEnd(t *testing.T) {
	bubble(t, wandbtest.Options{Features: []string{FileStreamGzip}, UploadHeaders: []string{"x-ms-blob-type:BlockBlob"}}, Options{}, func(f *fixture) {
		ctx := f.Context()
		viewer, err := f.Viewer(ctx)
		require.NoError(f, err)
		assert.Equal(f, Viewer{ID: "User:standin", Username: "standin", Email: "standin@example.invalid", Entity: wandbtest.Entity, Teams: []string{wandbtest.Entity}}, viewer)
		features, err := f.Features(ctx)
		require.NoError(f, err)
		assert.True(f, features[FileStreamGzip])
		assert.False(f, features[LargeFilenames])

		run, err := f.UpsertRun(ctx, Upsert{
			Run:    Path{Project: "p", Run: "r"},
			Fields: &Fields{DisplayName: "näme", Group: "g", JobType: "j", Notes: "n", Tags: []string{"a", "b"}, Host: "h", Program: "main.go", Commit: "c", Repo: "u", Sweep: "s"},
			Config: `{"lr":{"value":NaN},"_wandb":{"value":{"t":{"5":"x"}}}}`,
		})
		require.NoError(f, err)
		assert.Equal(f, Path{wandbtest.Entity, "p", "r"}, run.Path)
		assert.True(f, run.Inserted)
		assert.NotEmpty(f, run.StorageID)

		stream := f.Stream(run.Path, features[FileStreamGzip])
		var first StreamRequest
		require.NoError(f, first.Add(History, 0, `{"_step":0,"loss":Infinity,"s":"<&\u2028>"}`))
		require.NoError(f, first.Add(History, 1, `{"_step":1,"loss":0.5}`))
		require.NoError(f, first.Add(Events, 0, `{"system.cpu":1}`))
		require.NoError(f, first.Add(Console, 0, "hello \xff"))
		require.NoError(f, first.SetSummary(`{"loss":1}`))
		require.NoError(f, first.SetSummary(`{"loss":0.5,"_step":1}`))
		answer, err := stream.Send(ctx, &first)
		require.NoError(f, err)
		assert.Equal(f, StreamAnswer{}, answer)
		assert.Equal(f, "running", f.held().State)

		require.NoError(f, f.Alert(ctx, run.Path, Alert{Title: "t", Text: "x", Level: "WARN", Wait: time.Minute}))
		require.NoError(f, f.UploadFile(ctx, run.Path, "media/a b.txt", bytesBody([]byte("text"))))
		require.NoError(f, f.UploadFile(ctx, run.Path, "empty", bytesBody(nil)))

		last := StreamRequest{Uploaded: []string{"media/a b.txt"}, Complete: true, ExitCode: 3}
		_, err = stream.Send(ctx, &last)
		require.NoError(f, err)

		r := f.held()
		assert.Equal(f, "failed", r.State)
		assert.Equal(f, 3, *r.ExitCode)
		assert.Equal(f, wandbtest.Line{Text: `{"_step":0,"loss":Infinity,"s":"<&\u2028>"}`}, r.History[0], "a line arrives as it is")
		assert.Equal(f, "hello \ufffd", r.Console[0].Text, "but for what no JSON can hold")
		assert.Equal(f, map[string]any{"loss": 0.5, "_step": int64(1)}, r.Summary())
		assert.Equal(f, []string{"näme", "g", "j", "n", "h", "main.go", "c", "u", "s"}, []string{r.DisplayName, r.Group, r.JobType, r.Notes, r.Host, r.Program, r.Commit, r.Repo, r.Sweep})
		assert.Equal(f, []wandbtest.Alert{{Title: "t", Text: "x", Severity: "WARN", WaitDuration: "60000"}}, r.Alerts)
		assert.Equal(f, "text", string(r.Files["media/a b.txt"]))
		assert.Contains(f, r.Files, "empty")
		state, err := f.State(ctx, run.Path)
		require.NoError(f, err)
		assert.Equal(f, "failed", state)
		assert.Empty(f, f.server.Violations())
	})
}

// What one writer of a run does not set must stay as another set it.
func TestAnUpsertLeavesWhatItDoesNotSet(t *testing.T) {
	full := &Fields{DisplayName: "d", Group: "g", Notes: "n", Tags: []string{"a"}}
	for _, tc := range []struct {
		name     string
		upsert   Upsert
		survivor func(t *testing.T, r wandbtest.Run)
	}{
		{"config only: the fields survive", Upsert{Config: `{"b":{"value":2}}`}, func(t *testing.T, r wandbtest.Run) {
			assert.Equal(t, []string{"a"}, r.Tags)
			assert.Equal(t, "n", r.Notes)
			assert.Equal(t, map[string]any{"b": int64(2)}, r.Config(), "config is whole each time")
		}},
		{"fields only: the config survives", Upsert{Fields: &Fields{Notes: "new"}}, func(t *testing.T, r wandbtest.Run) {
			assert.Equal(t, map[string]any{"a": int64(1)}, r.Config())
			assert.Equal(t, "new", r.Notes)
			assert.Equal(t, "d", r.DisplayName)
		}},
		{"empty tags clear nothing", Upsert{Fields: &Fields{Tags: []string{}}}, func(t *testing.T, r wandbtest.Run) {
			assert.Equal(t, []string{"a"}, r.Tags)
		}},
		{"tags are replaced", Upsert{Fields: &Fields{Tags: []string{"b", "c"}}}, func(t *testing.T, r wandbtest.Run) {
			assert.Equal(t, []string{"b", "c"}, r.Tags)
		}},
		{"nothing", Upsert{}, func(t *testing.T, r wandbtest.Run) { assert.Equal(t, "d", r.DisplayName) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, wandbtest.Options{}, Options{}, func(f *fixture) {
				path := Path{Project: "p", Run: "r"}
				run, err := f.UpsertRun(f.Context(), Upsert{Run: path, Fields: full, Config: `{"a":{"value":1}}`})
				require.NoError(f, err)
				tc.upsert.Run = path
				if tc.upsert.Fields != nil {
					tc.upsert.Fields.StorageID = run.StorageID
				}
				again, err := f.UpsertRun(f.Context(), tc.upsert)
				require.NoError(f, err)
				assert.False(f, again.Inserted)
				assert.Equal(f, run.StorageID, again.StorageID)
				tc.survivor(f.T, f.held())

				requests := f.server.Requests()
				var sent struct{ Variables map[string]any }
				require.NoError(f, json.Unmarshal(requests[len(requests)-1].Body, &sent))
				assert.Len(f, sent.Variables, 16, "what is not set is sent as null")
				for key, v := range sent.Variables {
					if text, ok := v.(string); ok {
						assert.NotEmpty(f, text, "%s: an empty text is null", key)
					}
				}
			})
		})
	}
}

func TestResume(t *testing.T) {
	path := Path{Project: "p", Run: "r"}
	t.Run("no run", func(t *testing.T) {
		bubble(t, wandbtest.Options{}, Options{}, func(f *fixture) {
			r, err := f.ResumeStatus(f.Context(), path)
			require.NoError(f, err)
			assert.Nil(f, r)
		})
	})
	t.Run("a run without telemetry never began", func(t *testing.T) {
		bubble(t, wandbtest.Options{}, Options{}, func(f *fixture) {
			_, err := f.UpsertRun(f.Context(), Upsert{Run: path, Config: `{"a":{"value":1}}`})
			require.NoError(f, err)
			r, err := f.ResumeStatus(f.Context(), path)
			require.NoError(f, err)
			assert.Nil(f, r)
		})
	})
	t.Run("a run that ended", func(t *testing.T) {
		bubble(t, wandbtest.Options{}, Options{}, func(f *fixture) {
			run, err := f.UpsertRun(f.Context(), Upsert{
				Run: path, Fields: &Fields{Tags: []string{"a"}, Notes: "n", DisplayName: "d"},
				Config: `{"big":{"value":9007199254740993,"desc":null},"none":{},"_wandb":{"value":{"t":1}}}`,
			})
			require.NoError(f, err)
			r := StreamRequest{Complete: true}
			require.NoError(f, r.Add(History, 0, `{"_step":4,"_runtime":1.5}`))
			require.NoError(f, r.Add(History, 1, `{"_step":7,"_runtime":2.5}`))
			require.NoError(f, r.Add(Events, 0, `{"_runtime":31.9}`))
			require.NoError(f, r.Add(Console, 0, "a"))
			require.NoError(f, r.SetSummary(`{"_step":6,"_wandb":{"runtime":12},"x":NaN}`))
			_, err = f.Stream(run.Path, false).Send(f.Context(), &r)
			require.NoError(f, err)

			got, err := f.ResumeStatus(f.Context(), path)
			require.NoError(f, err)
			got.ConfigJSON = ""
			assert.Equal(f, &Resume{
				Run:         Run{Path: run.Path, StorageID: run.StorageID, DisplayName: "d", HistoryLines: 2},
				EventsLines: 1, ConsoleLines: 1,
				Config:   []extjson.Member{{Key: "big", Raw: "9007199254740993"}, {Key: "_wandb", Raw: `{"t":1}`}},
				Summary:  []extjson.Member{{Key: "_step", Raw: "6"}, {Key: "_wandb", Raw: `{"runtime":12}`}, {Key: "x", Raw: "NaN"}},
				Tags:     []string{"a"},
				Notes:    "n",
				NextStep: 8, LastStep: 7, Runtime: 31,
			}, got)
			again, err := f.UpsertRun(f.Context(), Upsert{Run: path, Fields: &Fields{StorageID: got.StorageID}})
			require.NoError(f, err)
			assert.Equal(f, 2, again.HistoryLines)
			assert.Equal(f, "running", f.held().State)
		})
	})
}

// Going on from a number that is not there would overwrite lines.
func TestAResumeFromNothingIsAnError(t *testing.T) {
	whole := `{"id":"i","name":"r","summaryMetrics":"{}","displayName":"d","logLineCount":0,"historyLineCount":0,"eventsLineCount":0,"historyTail":"[]","eventsTail":"[]","config":"{}","tags":null,"notes":null,"wandbConfig":"{\"t\":1}"}`
	ask := func(t *testing.T, bucket string) (*Resume, error) {
		var r *Resume
		var err error
		h := roundTripper(func(req *http.Request) (*http.Response, error) {
			w := &http.Response{StatusCode: http.StatusOK, Request: req, Header: http.Header{}}
			w.Body = body(`{"data":{"model":{"name":"p","entity":{"name":"e"},"bucket":` + bucket + `}}}`)
			return w, nil
		})
		bubble(t, wandbtest.Options{}, Options{HTTP: &http.Client{Transport: h}}, func(f *fixture) {
			r, err = f.ResumeStatus(f.Context(), Path{"e", "p", "r"})
		})
		return r, err
	}
	r, err := ask(t, whole)
	require.NoError(t, err)
	assert.Equal(t, int64(0), r.NextStep)
	assert.Equal(t, int64(-1), r.LastStep)
	for _, key := range []string{"summaryMetrics", "logLineCount", "historyLineCount", "eventsLineCount", "historyTail", "eventsTail", "config"} {
		var m map[string]any
		require.NoError(t, json.Unmarshal([]byte(whole), &m))
		m[key] = nil
		b, err := json.Marshal(m)
		require.NoError(t, err)
		_, err = ask(t, string(b))
		require.ErrorIs(t, err, ErrMalformed, key)
		assert.ErrorContains(t, err, key+" is null")
	}
	_, err = ask(t, strings.Replace(whole, `"config":"{}"`, `"config":"{\"a\":1}"`, 1))
	assert.ErrorContains(t, err, `config: "a"`, "an entry that is no object")
}

func TestStop(t *testing.T) {
	bubble(t, wandbtest.Options{}, Options{}, func(f *fixture) {
		run := f.newRun()
		stream := f.Stream(run.Path, false)
		answer, err := stream.Send(f.Context(), &StreamRequest{})
		require.NoError(f, err)
		assert.False(f, answer.Stopped)
		require.NoError(f, f.StopRun(f.Context(), run))
		stopped, err := f.Stopped(f.Context(), run.Path)
		require.NoError(f, err)
		assert.True(f, stopped)
		answer, err = stream.Send(f.Context(), &StreamRequest{})
		require.NoError(f, err)
		assert.True(f, answer.Stopped)

		_, err = f.State(f.Context(), Path{wandbtest.Entity, "p", "nobody"})
		assert.ErrorIs(f, err, ErrNotFound)
		assert.Empty(f, f.server.Violations())
	})
}
