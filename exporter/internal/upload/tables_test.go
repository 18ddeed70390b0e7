package upload

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-wandb/otel-wandb/internal/wandb"
	"github.com/otel-wandb/otel-wandb/internal/wandbtest"
)

// The entry of an artifact is byte for byte what W&B's own client makes of the
// same table: the digests in its requests are those of ours.
func TestTableEntryAsCaptured(t *testing.T) {
	captured, err := os.Open(filepath.Join("..", "..", "..", "internal", "wandbtest", "testdata", "media.jsonl"))
	require.NoError(t, err)
	defer captured.Close()
	files, digests := map[string]string{}, map[string]string{}
	lines := bufio.NewScanner(captured)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var r struct {
			Path string
			Body json.RawMessage
		}
		require.NoError(t, json.Unmarshal(lines.Bytes(), &r))
		name := strings.TrimSuffix(filepath.Base(r.Path), ".table.json")
		switch {
		case strings.Contains(r.Path, "/media/table/"):
			files[name[:strings.LastIndexAny(name[:strings.LastIndex(name, "_")], "_")]] = string(r.Body)
		case bytes.Contains(r.Body, []byte(`"CreateArtifact"`)):
			var body struct {
				Variables struct {
					Input struct{ ArtifactCollectionName, Digest string }
				}
			}
			require.NoError(t, json.Unmarshal(r.Body, &body))
			digests[body.Variables.Input.ArtifactCollectionName] = body.Variables.Input.Digest
		}
	}
	for _, key := range []string{"plain_table", "line_table"} {
		b, err := tableEntry(files[key])
		require.NoError(t, err)
		a := wandb.Artifact{Files: map[string][]byte{entry(key): b}}
		assert.Equal(t, digests["run-mediarun-"+key], a.Digest(), "%s", b)
	}
	// The third has images: its file says only that there were some.
	assert.Len(t, files, 3)
}

// References are those of W&B's own client: in this capture it synced a log that
// had them, and sent the ids of its artifacts again.
func TestReferencesAsCaptured(t *testing.T) {
	captured, err := os.ReadFile(filepath.Join("..", "..", "..", "internal", "wandbtest", "testdata", "resync_same_dir.jsonl"))
	require.NoError(t, err)
	text := strings.ReplaceAll(string(captured), `\"`, `"`)
	for _, key := range []string{"table", "plain_table", "line_table"} {
		_, input, ok := strings.Cut(text, `"artifactCollectionName":"run-mediaoff-`+key+`","artifactCollectionNames"`)
		require.True(t, ok)
		id := func(name string) string {
			_, rest, _ := strings.Cut(input, `"`+name+`":"`)
			id, _, _ := strings.Cut(rest, `"`)
			require.Len(t, id, 128)
			return id
		}
		assert.Contains(t, text, `"`+artifactPath+`":"`+wandb.ClientArtifact(id("clientID"), entry(key))+`"`)
		assert.Contains(t, text, `"`+latestArtifactPath+`":"`+wandb.ClientArtifact(id("sequenceClientID")+":latest", entry(key))+`"`)
	}
}

func TestTableEntry(t *testing.T) {
	got, err := tableEntry(`{"columns":["n","s","b","mixed","none","nan","a: \"b\", c"],"data":[[1,"x, y: z",true,1,null,NaN,"\\"],[2.5,null,false,"t",null,NaN,"\""]]}`)
	require.NoError(t, err)
	optional := func(a, b string) string {
		return `{"params": {"allowed_types": [{"wb_type": "` + a + `"}, {"wb_type": "` + b + `"}]}, "wb_type": "union"}`
	}
	assert.Equal(t, `{"_type": "table", "column_types": {"params": {"type_map": {"a: \"b\", c": `+optional("none", "string")+
		`, "b": `+optional("boolean", "none")+`, "mixed": `+optional("any", "none")+`, "n": `+optional("none", "number")+
		`, "nan": `+optional("none", "unknown")+`, "none": `+optional("none", "unknown")+`, "s": `+optional("none", "string")+
		`}}, "wb_type": "typedDict"}, "columns": ["n", "s", "b", "mixed", "none", "nan", "a: \"b\", c"], "data": `+
		`[[1, "x, y: z", true, 1, null, NaN, "\\"], [2.5, null, false, "t", null, NaN, "\""]], "log_mode": "IMMUTABLE", "ncols": 7, "nrows": 2}`, string(got))

	for name, bad := range map[string]string{
		"text": "garbage", "no data": `{"columns":["a"]}`, "no array": `{"columns":["a"],"data":{}}`,
		"no rows": `{"columns":["a"],"data":[1]}`, "a short row": `{"columns":["a","b"],"data":[[1]]}`,
	} {
		_, err := tableEntry(bad)
		assert.ErrorContains(t, err, "it is no table", name)
	}
}

func TestEntry(t *testing.T) {
	for key, want := range map[string]string{
		"t": "t.table.json", "val/t": "val/t.table.json", "/a//b": "a/b.table.json", "../x": "__/x.table.json",
		"t.table.json": "t.table.json", "a b": "a b.table.json",
	} {
		assert.Equal(t, want, entry(key))
	}
}

// Ids are the same for the same row of the same log, and for no other.
func TestClientIDs(t *testing.T) {
	s := newState(position{Asked: wandb.Path{Entity: "e", Project: "p", Run: "r"}}, nil)
	f := runFile{Part: "run-1-r", Path: "media/table/t.table.json", Table: "t", Step: 3}
	id := s.versionID(f)
	assert.Regexp(t, "^[a-z0-9]{128}$", id)
	assert.Equal(t, "3ctly8o6d27z", id[:12], "ids of rows that went out must not change: see the version of the position")
	assert.Equal(t, id, s.versionID(f))
	seen := map[string]bool{id: true}
	for _, other := range []string{
		s.sequenceID(f),
		s.versionID(runFile{Part: "run-2-r", Path: f.Path, Table: "t", Step: 3}),
		s.versionID(runFile{Part: f.Part, Path: "media/table/u.table.json", Table: "t", Step: 3}),
		s.versionID(runFile{Part: f.Part, Path: f.Path, Table: "u", Step: 3}),
		s.versionID(runFile{Part: f.Part, Path: f.Path, Table: "t", Step: 4}),
		newState(position{Asked: wandb.Path{Entity: "other", Project: "p", Run: "r"}}, nil).versionID(f),
		newState(position{Asked: wandb.Path{Entity: "e", Project: "p", Run: "s"}}, nil).versionID(f),
		newState(position{Asked: wandb.Path{Entity: "e", Project: "q", Run: "r"}}, nil).versionID(f),
	} {
		assert.False(t, seen[other])
		seen[other] = true
	}
}

// tableFile is a table in a file of its own, whose name follows from it.
func (f *fixture) tableFile(part int, key string, n int) (named rec, path string) {
	text := fmt.Sprintf(`{"columns":["n"],"data":[[%d]]}`, n)
	path = fmt.Sprintf("media/table/%s_%x.table.json", key, sha256.Sum256([]byte(text)))
	return f.file(part, path, text), path
}

// A table that is logged again under its key is a further version of its
// artifact, and the last logged is the latest, though its content was there
// before; also where the position is lost and all goes out again.
func TestVersionsOfATable(t *testing.T) {
	for name, entity := range map[string]string{"the key's own entity": "", "an entity": "team"} {
		t.Run(name, func(t *testing.T) {
			bubble(t, wandbtest.Options{}, func(f *fixture) {
				t := f.T
				f.write(1, opening(start)...)
				for step, n := range []int{1, 2, 1} {
					file, path := f.tableFile(1, "val_t", n)
					f.write(1, file, tableRow(int64(step), "val/t", path), summary("val/t", tableText(path), "_step", fmt.Sprint(step)))
				}
				f.write(1, exit(0))
				of := func(o *Options) { o.Run.Entity = entity }
				var before []wandbtest.Artifact
				var lines []wandbtest.Line
				for lost := range 3 {
					require.NoError(t, f.uploader(of).Run(t.Context()))
					var versions []wandbtest.Artifact
					for _, a := range f.server.Artifacts() {
						require.Equal(t, "COMMITTED", a.State)
						versions = append(versions, a)
					}
					require.Len(t, versions, 3, "lost %d times", lost)
					for i, a := range versions {
						assert.Equal(t, "run_table", a.Type)
						assert.Equal(t, wandb.NameArtifact("run-r-val/t"), a.Name)
						assert.Equal(t, "r", a.Run)
						assert.Equal(t, int64(i), a.Step)
						assert.Equal(t, i, a.Version)
						assert.Equal(t, i == 2, len(a.Aliases) == 1, "latest")
						assert.Contains(t, string(a.Manifest), `"val/t.table.json":{"birthArtifactID"`)
					}
					assert.Equal(t, versions[0].Digest, versions[2].Digest)
					got, ok := f.server.Run(entity, "p", "r")
					require.True(t, ok)
					if lost > 0 {
						assert.Equal(t, before, versions)
						assert.Equal(t, lines, got.History, "the same lines")
					}
					before, lines = versions, got.History
					f.wholeTables(true, got.Rows(), got.Summary())
					last := got.Summary()["val/t"].(map[string]any)
					assert.Contains(t, last[artifactPath], versions[2].ClientID)
					require.NoError(t, os.Remove(f.position()))
				}
				assert.Empty(t, f.notices)
				assert.Empty(t, f.server.Violations())
			})
		})
	}
}

// The summary refers to the artifact of the table that it shows, whichever row
// came last, and to none where that is not known.
func TestSummaryRefersToWhatItShows(t *testing.T) {
	bubble(t, wandbtest.Options{}, func(f *fixture) {
		t := f.T
		f.write(1, opening(start)...)
		fileA, a := f.tableFile(1, "t", 1)
		fileB, b := f.tableFile(1, "t", 2)
		f.write(1, fileA, tableRow(0, "t", a), summary("t", tableText(a)))
		f.write(1, fileB, tableRow(1, "t", b), summary("loss", "1")) // an older row: the summary stays
		f.write(1, summary("t", tableText(a), "u", tableText(b)))
		f.write(1, exit(0))
		require.NoError(t, f.uploader().Run(t.Context()))
		got := f.held()
		shown := got.Summary()["t"].(map[string]any)
		assert.Equal(t, got.Rows()[0]["t"].(map[string]any)[artifactPath], shown[artifactPath])
		assert.NotContains(t, got.Summary()["u"], artifactPath)

		s := newState(position{Artifacts: true, Summary: got.SummaryJSON, LastTables: map[string]runFile{"t": {Path: b, Table: "t"}}}, nil)
		s.changeSummary([]item{{Key: "t", JSON: tableText("media/table/unknown")}}, nil)
		text, _ := s.summary.get("t")
		assert.Equal(t, tableText("media/table/unknown"), text)
		for _, leaf := range []item{{Key: "t", Rest: []string{"path"}, JSON: quoted(b)}, {Key: "t", Rest: []string{"path"}, JSON: `"elsewhere"`}} {
			s.changeSummary([]item{leaf}, nil)
			text, _ := s.summary.get("t")
			assert.Equal(t, leaf.JSON == quoted(b), strings.Contains(text, artifactPath), text)
		}
	})
}

// What W&B's own client wrote keeps its references, and what is no table that
// could be an artifact has none.
func TestTablesThatStayAsTheyAre(t *testing.T) {
	for name, value := range map[string]string{
		"its own reference": `{"_type":"table-file","size":30,"path":"media/table/t","artifact_path":"wandb-client-artifact://x/t.table.json"}`,
		"too large":         `{"_type":"table-file","size":99999999,"path":"media/table/t"}`,
		"no size":           `{"_type":"table-file","path":"media/table/t"}`,
		"a path outside":    `{"_type":"table-file","size":30,"path":"../t"}`,
		"another type":      `{"_type":"image-file","size":30,"path":"media/t","note":"table-file"}`,
		"text":              `"table-file"`,
		"nested":            `{"deep":{"_type":"table-file","size":30,"path":"media/table/t"}}`,
		"no object":         `["table-file"]`,
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, wandbtest.Options{}, func(f *fixture) {
				t := f.T
				f.write(1, opening(start)...)
				f.write(1, row(0, "t", value), exit(0))
				require.NoError(t, f.uploader().Run(t.Context()))
				assert.Contains(t, f.held().History[0].Text, `"t":`+value)
				assert.Empty(t, f.server.Artifacts())
			})
		})
	}
}

// Without a server that knows what clients call artifacts, and in a run that was
// begun so, also by a version of this module that made none, tables are files.
func TestTablesWithoutArtifacts(t *testing.T) {
	bubble(t, wandbtest.Options{NewestClient: "0.10.0"}, func(f *fixture) {
		t := f.T
		f.sample()
		require.NoError(t, f.uploader().Run(t.Context()))
		assert.NotContains(t, f.whole(1).ConfigJSON, `"artifacts"`)
		assert.Empty(t, f.server.Artifacts())
		lines := f.held().History

		require.NoError(t, os.Remove(f.position()))
		f.intercept = func(_ *http.Request, send func() (*http.Response, error)) (*http.Response, error) {
			resp, err := send()
			if err != nil {
				return nil, err
			}
			b, err := io.ReadAll(resp.Body)
			require.NoError(t, errors.Join(err, resp.Body.Close()))
			resp.Body = io.NopCloser(strings.NewReader(strings.ReplaceAll(string(b), "0.10.0", "0.99.0"))) // it is a new one by now
			return resp, nil
		}
		require.NoError(t, f.uploader().Run(t.Context()))
		f.whole(1)
		assert.Equal(t, lines, f.held().History, "the mark says how it was begun")
		assert.Empty(t, f.server.Artifacts())
	})
}

// A table whose file is gone, or is none, has no artifact: it is named and
// counted, and the rest goes on.
func TestTablesThatCannotBeArtifacts(t *testing.T) {
	for name, content := range map[string]string{"gone": "", "no table": "garbage", "far larger than its row says": strings.Repeat("x", maxTable+1)} {
		t.Run(name, func(t *testing.T) {
			bubble(t, wandbtest.Options{}, func(f *fixture) {
				t := f.T
				f.write(1, opening(start)...)
				file, path := f.tableFile(1, "good", 1)
				f.write(1, file, tableRow(0, "bad", "media/table/bad"), tableRow(1, "good", path))
				if content != "" {
					f.write(1, f.file(1, "media/table/bad", content))
				}
				f.write(1, exit(0))
				u := f.uploader()
				require.NoError(t, u.Run(t.Context()))
				require.Len(t, f.notices, 1)
				assert.Equal(t, FileFailed, f.notices[0].Kind)
				assert.ErrorContains(t, f.notices[0].Err, `p/r: the table "bad" of step 0 has no artifact`)
				assert.Equal(t, 1, u.Status().FilesFailed)
				require.Len(t, f.server.Artifacts(), 1)
				assert.Equal(t, "run-r-good", f.server.Artifacts()[0].Name)
				f.whole(0)
			})
		})
	}
}

// While artifacts cannot be made rows go on as ever, and the artifacts follow in
// the order of their rows.
func TestRowsDoNotWaitForArtifacts(t *testing.T) {
	bubble(t, wandbtest.Options{}, func(f *fixture) {
		t := f.T
		f.write(1, opening(start)...)
		u := f.uploader(following)
		done := make(chan error)
		go func() { done <- u.Run(t.Context()) }()
		synctest.Wait()
		f.server.Script("CreateArtifact", fault{Status: 503, Times: 60})
		for step := range 60 {
			file, path := f.tableFile(1, "t", step)
			f.write(1, file, tableRow(int64(step), "t", path))
			u.Wake()
			time.Sleep(15 * time.Second)
			assert.GreaterOrEqual(t, len(f.held().History), step-1)
		}
		assert.Zero(t, f.held().Crashes)
		f.write(1, exit(0))
		u.Wake()
		require.NoError(t, <-done)
		f.whole(0)
		require.Len(t, f.server.Artifacts(), 60)
		for step, a := range f.server.Artifacts() {
			assert.Equal(t, int64(step), a.Step)
		}
	})
}
