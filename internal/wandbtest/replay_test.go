package wandbtest

import (
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The official client's requests, replayed: the run that the server then holds
// is the run that was logged.
func TestCaptures(t *testing.T) {
	type M = map[string]any
	for _, tc := range []struct {
		captures  []string
		opts      Options
		run       string // project/id
		rows      int
		events    int
		console   int
		exit      int // -1: never completed
		state     string
		later     string // the state an hour after the last request
		summary   M      // some of it
		config    M
		uploaded  []string // at least
		alerts    []Alert
		artifacts []string
		pending   bool // the artifacts: their files were gone
		stopped   bool
		wrong     []string // what even the official client does wrong
	}{
		{
			captures: []string{"a_sync_offline"}, run: "proof/6jm91dzl",
			rows: 100, console: 11, state: "finished", later: "finished",
			summary:  M{"_step": int64(99), "best": 0.99, "nested": M{"a": int64(99), "b": 49.5}},
			config:   M{"lr": 0.001, "big": int64(1152921504606846976), "none": nil, "layers": []any{int64(1), int64(2), int64(3)}, "nested": M{"x": int64(1), "y": "z"}},
			uploaded: []string{"config.yaml", "wandb-summary.json", "output.log", "requirements.txt", "wandb-metadata.json"},
		},
		{
			captures: []string{"b_online"}, run: "online/js9shot2",
			rows: 51, events: 3, console: 52, state: "finished", later: "finished",
			summary:  M{"_step": int64(500), "manual": int64(3), "deep": M{"x": int64(1)}, "val/loss": M{"min": 0.02}, "inf": math.Inf(1), "big": int64(9007199254740993)},
			config:   M{"lr": 0.5, "late": true, "sub": M{"a": []any{int64(1), int64(2)}}},
			uploaded: []string{"config.yaml", "output.log"},
			alerts:   []Alert{{Title: "alert title", Text: "alert text", Severity: "WARN", WaitDuration: "60000"}},
		},
		{
			captures: []string{"online_gzip_filestream"}, opts: Options{Features: []string{"FILESTREAM_GZIP"}},
			run: "online/h171xbbd", rows: 21, console: 22, state: "finished", later: "finished",
			summary: M{"_step": int64(500)}, config: M{"lr": 0.5, "late": true},
			alerts: []Alert{{Title: "alert title", Text: "alert text", Severity: "WARN", WaitDuration: "60000"}},
		},
		{
			captures: []string{"online_server_features_console_globs"},
			opts:     Options{Features: []string{"STRUCTURED_CONSOLE_LOGS", "LARGE_FILENAMES", "EXPAND_DEFINED_METRIC_GLOBS"}},
			run:      "online/go0v3vzb", rows: 6, console: 7, state: "finished", later: "finished",
			summary: M{"_step": int64(500)}, config: M{"lr": 0.5, "late": true, "sub": M{"a": []any{int64(1), int64(2)}}},
			alerts: []Alert{{Title: "alert title", Text: "alert text", Severity: "WARN", WaitDuration: "60000"}},
		},
		{
			captures: []string{"fail_exit3"}, run: "failproj/failrunexit3",
			rows: 5, exit: 3, state: "failed", later: "failed", summary: M{"loss": int64(4)}, config: M{},
		},
		{
			captures: []string{"fail_exc"}, run: "failproj/failrunexc",
			rows: 5, console: 5, exit: 1, state: "failed", later: "failed", summary: M{"loss": int64(4)}, config: M{},
		},
		{
			captures: []string{"fail_finish7"}, run: "failproj/failrunfinish7",
			rows: 5, exit: 7, state: "failed", later: "failed", summary: M{"loss": int64(4)}, config: M{},
		},
		{
			captures: []string{"fail_kill9"}, run: "failproj/failrunkill",
			exit: -1, state: "running", later: "crashed", config: M{},
		},
		{
			captures: []string{"resume_1_first"}, run: "resumeproj/resumeid1",
			rows: 10, console: 11, state: "finished", later: "finished",
			summary: M{"_step": int64(9)}, config: M{"first": int64(1)},
		},
		{
			captures: []string{"resume_1_first", "resume_2_allow"}, run: "resumeproj/resumeid1",
			rows: 20, console: 22, state: "finished", later: "finished",
			summary: M{"_step": int64(19)}, config: M{"first": int64(1), "second": int64(1)},
		},
		{
			captures: []string{"media"}, run: "mediaproj/mediarun",
			rows: 7, console: 2, state: "finished", later: "finished", summary: M{"_step": int64(6)}, config: M{},
			uploaded:  []string{"somefile.txt", "media/images/imgs_4_1.png", "media/html/html_2_e6b39dc156ffb15138b2.html"},
			artifacts: []string{"myart", "run-mediarun-line_table", "run-mediarun-plain_table", "run-mediarun-table"},
		},
		{
			captures: []string{"resync_same_dir"}, run: "mediaproj/mediaoff",
			rows: 14, console: 1, state: "finished", later: "finished", summary: M{"_step": int64(6)}, config: M{},
			artifacts: []string{"myart", "run-mediaoff-line_table", "run-mediaoff-plain_table", "run-mediaoff-table"},
			pending:   true,
			wrong:     []string{"mediaoff: line 7: _step goes from 6 to 0"},
		},
		{
			captures: []string{"server_file_stream_429_twice"}, run: "errproj/err429",
			rows: 5, state: "finished", later: "finished", config: M{},
		},
		{
			captures: []string{"server_file_stream_503_twice"}, run: "errproj/err503",
			rows: 5, state: "finished", later: "finished", config: M{},
		},
		{
			captures: []string{"server_file_stream_404_once"}, run: "errproj/err404",
			exit: -1, state: "running", later: "crashed", config: M{},
		},
		{
			captures: []string{"server_file_stream_409_twice"}, run: "errproj/err409",
			exit: -1, state: "running", later: "crashed", config: M{},
		},
		{
			captures: []string{"server_graphql_500_twice"}, run: "errproj/errg5",
			rows: 5, state: "finished", later: "finished", config: M{},
		},
		{
			captures: []string{"server_sets_stopped"}, run: "errproj/stoprun",
			rows: 5, events: 2, console: 4, exit: 255, state: "killed", later: "killed", config: M{}, stopped: true,
		},
		{
			captures: []string{"shared_two_procs_default"}, run: "sharedproj/shared2",
			rows: 20, console: 20, state: "finished", later: "finished",
			summary: M{"who_w0": int64(9), "who_w1": int64(9)}, config: M{},
			uploaded: []string{"output_w0.log", "output_w1.log"},
		},
		{
			captures: []string{"shared_two_procs_update_finish_state"}, run: "sharedproj/shared1",
			rows: 80, events: 2, console: 80, state: "finished", later: "finished",
			summary: M{"who_w0": int64(39), "who_w1": int64(39)}, config: M{"cfg_w1": int64(1), "common": "w1"},
		},
		{
			captures: []string{"shared_late_second_writer"}, run: "sharedproj/sharedlate",
			rows: 24, events: 1, console: 16, state: "finished", later: "finished",
			summary: M{"who_w0": int64(103)}, config: M{},
		},
	} {
		t.Run(strings.Join(tc.captures, "+"), func(t *testing.T) {
			p := newReplay(t, tc.opts)
			project, id, _ := strings.Cut(tc.run, "/")
			switch tc.captures[0] {
			case "resync_same_dir":
				p.seedRows(t, project, id, capture(t, "resync_same_dir"))
			case "server_sets_stopped":
				p.before = func(c captured) {
					if dig(c.Response, "stopped") == true {
						p.server.Stop("", project, id)
					}
				}
			}
			for _, name := range tc.captures {
				p.play(capture(t, name))
			}

			r, ok := p.server.Run("", project, id)
			require.True(t, ok)
			assert.Len(t, r.History, tc.rows, "rows")
			assert.Len(t, r.Events, tc.events, "system metrics")
			assert.Len(t, r.Console, tc.console, "console lines")
			assert.Equal(t, tc.state, r.State)
			assert.Equal(t, tc.stopped, r.Stopped)
			if tc.exit < 0 {
				assert.Nil(t, r.ExitCode)
			} else if assert.NotNil(t, r.ExitCode) {
				assert.Equal(t, tc.exit, *r.ExitCode)
			}
			for key, want := range tc.summary {
				assert.Equal(t, want, r.Summary()[key], "summary %s", key)
			}
			assert.Equal(t, tc.config, r.Config())
			for _, name := range tc.uploaded {
				assert.Contains(t, r.Uploaded, name)
				assert.NotEmpty(t, r.Files[name], name)
			}
			assert.Equal(t, tc.alerts, r.Alerts)
			var artifacts []string
			for _, a := range p.server.Artifacts() {
				artifacts = append(artifacts, a.Name)
				assert.Equal(t, !tc.pending, a.State == "COMMITTED", a.Name)
				assert.Equal(t, !tc.pending, len(a.Files) > 0, a.Name)
			}
			assert.Equal(t, tc.artifacts, artifacts)
			checkRows(t, tc.captures[0], r)
			assert.Equal(t, tc.wrong, p.server.Violations(), "the official client is the measure")

			p.now = p.now.Add(time.Hour)
			r, _ = p.server.Run("", project, id)
			assert.Equal(t, tc.later, r.State, "an hour later")
		})
	}
}

// checkRows looks at the rows of some captures: what the program logged.
func checkRows(t *testing.T, name string, r Run) {
	t.Helper()
	rows := r.Rows()
	if strings.HasPrefix(name, "shared") {
		for _, row := range rows {
			assert.NotContains(t, row, "_step", "W&B gives the steps in shared mode")
		}
		return
	}
	last := int64(-1)
	for i, row := range rows {
		step := row["_step"].(int64)
		if name != "resync_same_dir" { // which doubles all rows
			assert.Greater(t, step, last, "row %d", i)
		}
		last = step
	}
	if name == "b_online" {
		assert.Equal(t, int64(9007199254740993), rows[0]["big"])
		assert.True(t, math.IsNaN(rows[0]["nan"].(float64)))
		assert.True(t, math.IsInf(rows[0]["ninf"].(float64), -1))
		assert.Equal(t, int64(500), rows[50]["_step"])
	}
}

// seedRows makes the run as a sync before the capture left it: its rows are
// there already.
func (p *replay) seedRows(t *testing.T, project, id string, list []captured) {
	t.Helper()
	for _, c := range list {
		p.now = c.T.Add(-time.Minute)
		if strings.HasSuffix(c.Path, "file_stream") {
			body := strings.Replace(string(c.Body), `"offset":7`, `"offset":0`, 1)
			body = strings.NewReplacer(`"complete":true,"exitcode":0,`, "", `"uploaded":`, `"ignored":`).Replace(body)
			r := httptest.NewRequest(http.MethodPost, "/files/fakeentity/"+project+"/"+id+"/file_stream", strings.NewReader(body))
			r.SetBasicAuth("api", Key)
			w := httptest.NewRecorder()
			p.server.ServeHTTP(w, r)
			require.Equal(t, 200, w.Code, w.Body)
		} else if strings.Contains(string(c.Body), `"operationName":"UpsertBucket"`) {
			w := p.send(c)
			require.Equal(t, 200, w.Code, w.Body)
		}
	}
	r, _ := p.server.Run("", project, id)
	require.Len(t, r.History, 7)
}
