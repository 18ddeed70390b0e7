package uploadconformance

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/otel-wandb/otel-wandb/exporter/internal/upload"
	"github.com/otel-wandb/otel-wandb/internal/wandb"
	"github.com/otel-wandb/otel-wandb/internal/wandbtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// scenarios are the captures that our client does again.
var scenarios = map[string]struct {
	features []string
	before   string        // the capture of what W&B holds of the run
	stop     time.Duration // when somebody presses the stop button
	refused  error         // what the upload stops with
}{
	"a_sync_offline": {},
	"b_online":       {},
	"fail_exc":       {},
	"fail_exit3":     {},
	"fail_finish7":   {},
	"fail_kill9":     {},
	"media":          {},
	"resume_1_first": {},
	"resume_2_allow": {before: "resume_1_first"},

	"online_gzip_filestream": {features: []string{"FILESTREAM_GZIP"}},
	"online_server_features_console_globs": {
		features: []string{"STRUCTURED_CONSOLE_LOGS", "LARGE_FILENAMES", "EXPAND_DEFINED_METRIC_GLOBS"},
	},

	"server_sets_stopped":          {stop: 4 * time.Second},
	"server_file_stream_429_twice": {},
	"server_file_stream_503_twice": {},
	"server_graphql_500_twice":     {},
	"server_file_stream_404_once":  {refused: wandb.ErrNotFound},
	"server_file_stream_409_twice": {refused: wandb.ErrConflict},
}

// others are the captures of what our client does not do.
var others = map[string]string{
	"resync_same_dir":                      "a second sync of ours sends nothing; W&B's doubles the rows",
	"shared_late_second_writer":            "a run has one writer, the exporter, whatever number of processes it is of",
	"shared_two_procs_default":             "as above",
	"shared_two_procs_update_finish_state": "as above",
}

// difference is a group of facts in which the clients differ, and why that is
// right. docs/wandb-client.md has the same list for people.
type difference struct {
	facts     string // the path, where * is any text
	scenarios string // words in their names; "" is all
	why       string
}

var differences = []difference{
	{"asked/Viewer", "", "Whose key it is, is asked by `otel-wandb doctor`, not for each run: an exporter has thousands. W&B names the run's entity in the answer to the upsert"},
	{"asked/OrganizationCoreWeaveOrganizationID", "", "Nothing depends on the answer but a link that W&B's client prints"},
	{"asked/RunResumeStatus", "", "Asked once for each log whose position is not known, and when a run goes on after its end, which another client may have resumed: an id may be in use, and rows of a lost position must not be doubled"},

	{"file/requirements.txt", "", "A program's Python packages are not in its telemetry"},
	{"asked/CreateRunFiles", "kill9", "The metadata go up behind the first lines. W&B's client collects names of files for seconds, and was killed before"},
	{"file/wandb-metadata.json", "kill9 404 409", "As above, or was refused before"},

	{"config/_wandb/otel_wandb", "", "The mark by which an upload finds its own numbers again when its position is lost: [ADR 0012](adr/0012-an-upload-is-a-fold-with-a-mark-at-wandb.md)"},
	{"config/_wandb/m", "", "A run without metric definitions has no list, instead of an empty one"},
	{"config/_wandb/e/unknown/*", "kill9", "A log has the environment from its beginning. W&B's client sends it seconds later, and was killed before"},
	{"config/_wandb/e/*/disk", "", "The sizes of disks are not in the log"},
	{"config/_wandb/e/*/startedAt", "", "The same time, without zeros at its end"},
	{"config/_wandb/e/*/under its own id", "a_sync_offline", "W&B's sync puts the program's environment under its own writer's id; here it stays under that of the program"},
	{"run/program", "a_sync_offline", "W&B's sync names itself as the program; here it is the one that made the run"},
	{"config/_wandb/e/*", "resume_2_allow", "What wrote the run before stays in its config. W&B's client drops it"},
	{"config/_wandb/t", "404 409", "After a refusal nothing more of the run is sent. W&B's client goes on with its config, and has noted that the run was finished"},
	{"end/alone", "", "The end goes when W&B has acknowledged all else, so that it is the same bytes however often it is sent"},
	{"jump/output.log/*", "resume_1_first", "W&B's client sends a line before its newline came, and then again. Here a line is sent once, whole"},
	{"refused/GraphQL/500/1", "graphql_500", "The wait is doubled each time, as W&B's client does in all requests but `Viewer`, the one that was refused there"},

	{"asked/Artifact*", "media", "W&B's client asks whether the name is of another type of artifact, and reads back what it logged. Nothing here depends on it"},
	{"asked/FetchArtifactManifest", "media", "As above"},
	{"header/GraphQL/Use-Admin-Privileges", "media", "The Python half of W&B's client sends it with these questions"},
	{"header/storage/Accept", "media", "As above, where it reads a manifest back"},
	{"header/storage/Connection", "media", "As above"},
	{"artifact/myart/*", "media", "An artifact that the program logged itself. Telemetry has none"},
	{"artifact/run-mediarun-table/*", "media", "Its table holds images, and the artifact their files. Tables in telemetry hold numbers, bools and text"},
	{"artifact/*/local_path", "media", "Where the file was on the program's machine: not in the log, and nothing for W&B"},
	{"wandb-history.jsonl/*artifact_path/by", "media", "The server of the capture did not say its version. W&B's client took it for one of before 2021, waited for each artifact and named W&B's id of it. To a newer one it names its own id, as is done here"},
	{"wandb-summary.json/*artifact_path/by", "media", "As above"},

	{"header/GraphQL/User-Agent", "", "It says what it is"},
	{"header/stream/User-Agent", "", "As above"},
	{"header/storage/User-Agent", "", "As above"},
	{"header/GraphQL/X-Wandb-User-Email", "", "With it a service account's runs are attributed to that user. A collector has no user; set it with the exporter's HTTP headers"},
	{"header/stream/Content-Encoding", "gzip", "Compression is off, as it is in W&B's client where nobody turns it on"},
}

func (d *difference) covers(scenario, path string) bool {
	before, after, open := strings.Cut(d.facts, "*")
	if path != d.facts && (!open || len(path) < len(before)+len(after) || !strings.HasPrefix(path, before) || !strings.HasSuffix(path, after)) {
		return false
	}
	return d.scenarios == "" || slices.ContainsFunc(strings.Fields(d.scenarios), func(word string) bool { return strings.Contains(scenario, word) })
}

// Our client asks W&B for what W&B's own client asked for, but for the listed
// differences, each of which occurs.
func TestCaptures(t *testing.T) {
	occurred := make([]int, len(differences))
	for _, name := range slices.Sorted(maps.Keys(scenarios)) {
		t.Run(name, func(t *testing.T) {
			theirs := capture(t, name)
			ours := drive(t, name, slices.Clone(theirs))
			a, b := factsOf(t, theirs), factsOf(t, ours)
			paths := maps.Clone(a)
			maps.Copy(paths, b)
			for _, path := range slices.Sorted(maps.Keys(paths)) {
				if a[path] == b[path] {
					continue
				}
				i := slices.IndexFunc(differences, func(d difference) bool { return d.covers(name, path) })
				if i < 0 {
					t.Errorf("a difference that is not listed: %s\n\tW&B's client: %s\n\tours:         %s", path, a[path], b[path])
					continue
				}
				occurred[i]++
			}
			t.Logf("%d facts", len(paths))
		})
	}
	for i, d := range differences {
		assert.Positive(t, occurred[i], "listed, but there is no such difference: %s (%s)", d.facts, d.scenarios)
	}
}

// What people read is what is tested.
func TestTheDocumentationHasTheSameList(t *testing.T) {
	text, err := os.ReadFile("../../../docs/wandb-client.md")
	require.NoError(t, err)
	for _, d := range differences {
		where := "all"
		if d.scenarios != "" {
			where = d.scenarios
		}
		row := fmt.Sprintf("| %#q | %s | %s |\n", d.facts, where, d.why)
		assert.Contains(t, string(text), row)
	}
	assert.Equal(t, len(differences), strings.Count(string(text), "\n| `"), "rows of the table")
}

// Each capture that there is is a scenario, or it is said why it is none.
func TestEveryCaptureHasItsPlace(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(captures, "*.jsonl"))
	require.NoError(t, err)
	assert.Len(t, files, len(scenarios)+len(others))
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".jsonl")
		_, driven := scenarios[name]
		assert.NotEqual(t, driven, others[name] != "", "%s", name)
	}
}

// drive has our client do what a capture shows, and gives its requests.
func drive(t *testing.T, name string, theirs []request) (ours []request) {
	sc := scenarios[name]
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		server := wandbtest.New(wandbtest.Options{Entity: "fakeentity", Features: sc.features})
		httpClient, stop := server.InMemory()
		defer stop()
		creds, err := wandb.APIKey(wandbtest.Key, "the test")
		require.NoError(t, err)
		client, err := wandb.New(wandb.Options{BaseURL: wandbtest.URL, HTTP: httpClient, Credentials: creds})
		require.NoError(t, err)

		var held wandbtest.Run
		if sc.before != "" {
			replay(t, server, capture(t, sc.before))
			held = server.Runs()[0]
		}
		from := len(server.Requests())
		for _, r := range theirs {
			if r.status != http.StatusOK {
				endpoint := wandbtest.GraphQL
				if r.isStream() {
					endpoint = wandbtest.FileStream
				}
				refuse(server, endpoint, r.status, theirs)
				break
			}
		}

		s := newScribe(t, theirs, held)
		var first []rec
		for len(first) == 0 {
			first = s.records(theirs[0])
			begun := theirs[0].time
			theirs = theirs[1:]
			for i := range theirs {
				theirs[i].time = time.Now().Add(theirs[i].time.Sub(begun))
			}
		}
		id, project := s.run.ID, s.run.Project
		log := newLog(t, dir, id)
		s.files = log.media(theirs)
		log.write(first)
		u := upload.New(upload.Options{
			Client: client, Parts: []string{log.path}, Follow: true, Alive: true,
			Position: upload.PositionFile(filepath.Join(dir, "wandb"), wandbtest.URL, wandb.Path{Project: project, Run: id}),
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- u.Run(ctx) }()
		if sc.stop > 0 {
			time.AfterFunc(sc.stop, func() { server.Stop("", project, id) })
		}
		ends := false
		for _, r := range theirs {
			time.Sleep(time.Until(r.time))
			if records := s.records(r); len(records) > 0 {
				ends = ends || records[len(records)-1].Exit != nil
				if records[0].Exit != nil && sc.stop > 0 {
					assert.True(t, u.Status().StopAsked)
				}
				log.write(records)
				u.Wake()
			}
		}
		switch {
		case ends:
			require.NoError(t, <-done)
		case sc.refused != nil:
			require.ErrorIs(t, <-done, sc.refused)
			time.Sleep(time.Hour) // nothing more comes
		default: // killed: the log says no more, nor does the upload
			time.Sleep(20 * time.Second)
		}
		cancel()
		synctest.Wait()
		if sc.stop > 0 {
			assert.True(t, u.Status().StopAsked)
		}
		assert.Empty(t, server.Violations())
		ours = seen(server, from)
	})
	return ours
}

// refuse has the server refuse as many requests as the capture shows.
func refuse(server *wandbtest.Server, endpoint string, status int, theirs []request) {
	times := 0
	for _, r := range theirs {
		if r.status == status {
			times++
		}
	}
	server.Script(endpoint, wandbtest.Fault{Status: status, Times: times})
}
