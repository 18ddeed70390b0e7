package uploadconformance

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-wandb/otel-wandb/internal/extjson"
)

// facts are what a client asked for, each by its path: what does not matter,
// such as which line came with which request, is in none.
type facts map[string]string

func (f facts) set(value any, path ...string) {
	f[strings.Join(path, "/")] = fmt.Sprintf("%#v", value)
}

func factsOf(t testing.TB, list []request) facts {
	f := facts{}
	merged := map[string]map[int]string{} // file → number → line
	next := map[string]int{}
	upserts, alerts := 0, 0
	completed := false
	artifacts := artifactsOf(t, list)
	artifacts.set(f)
	for i, r := range list {
		f.headers(r)
		f.refused(list, i)
		switch {
		case r.operation == "UpsertBucket":
			v := r.variables(t)
			for name, value := range v {
				switch name {
				case "config":
					f.config(t, value.(string))
				case "id", "entity": // what W&B answered, but for the first: see below
				default:
					f.set(value, "run", name)
				}
			}
			if upserts == 0 { // what the run is made with, and what is left to W&B
				for _, name := range []string{"id", "entity", "name", "project", "displayName", "tags"} {
					f.set(v[name] != nil, "run made with", name)
				}
			}
			upserts++
		case r.operation == "NotifyScriptableRunAlert":
			for name, value := range r.variables(t) {
				f.set(value, "alert", strconv.Itoa(alerts), name)
			}
			alerts++
		case r.operation != "":
			f.set(true, "asked", r.operation)
		case r.isStream():
			s := r.stream(t)
			f.set(upserts > 0, "stream", "after the first upsert")
			f.set(r.path, "stream", "path")
			if completed {
				f.set(true, "stream", "goes on after the end")
			}
			for name, lines := range s.Files {
				if r.status != http.StatusOK {
					continue
				}
				if merged[name] == nil {
					merged[name] = map[int]string{}
					f.set(lines.Offset, "first number", name)
				} else if name != "wandb-summary.json" && lines.Offset != next[name] {
					f.set(lines.Offset, "jump", name, strconv.Itoa(next[name]))
				}
				for k, line := range lines.Content {
					merged[name][lines.Offset+k] = line
				}
				next[name] = lines.Offset + len(lines.Content)
			}
			for _, name := range s.Uploaded {
				f.set(true, "file", name)
			}
			if s.Complete {
				completed = true
				f.set(*s.ExitCode, "end", "exit code")
				f.set(len(s.Files) == 0, "end", "alone")
			}
		}
	}
	for name, lines := range merged {
		for n, line := range lines {
			f.line(t, artifacts, name, n, line)
		}
	}
	return f
}

// line is a line's fact: of an object, its values'.
func (f facts) line(t testing.TB, artifacts artifacts, file string, n int, line string) {
	number := strconv.Itoa(n)
	if file == "output.log" {
		f.set(line, file, number)
		return
	}
	row, err := extjson.DecodeObject(line)
	require.NoError(t, err)
	for key, value := range row {
		if file == "wandb-events.jsonl" && key[0] == '_' {
			if second, ok := value.(float64); ok { // ours are to the microsecond
				value = math.Round(second*1e5) / 1e5
			}
		}
		if n, ok := value.(int64); ok && key[0] == '_' { // a time that happens to be whole
			value = float64(n)
		}
		media, _ := value.(map[string]any)
		if media["_type"] == nil {
			f.set(value, file, number, key)
			continue
		}
		for name, value := range media {
			if reference, ok := value.(string); ok && strings.HasSuffix(name, "artifact_path") {
				by, target := artifacts.target(reference)
				f.set(by, file, number, key, name, "by")
				value = target
			}
			f.set(value, file, number, key, name)
		}
	}
}

// artifacts are those that a client logged, in their order.
type artifacts []*artifact

type artifact struct {
	id, clientID, sequenceID string
	input                    map[string]any
	done                     []string          // what was asked for, one after another
	files                    map[string]string // their digests
	content                  map[string]any    // of the manifest
}

func artifactsOf(t testing.TB, list []request) (all artifacts) {
	last := func() *artifact { return all[len(all)-1] } // one is made after the other
	for _, r := range list {
		switch r.operation {
		case "CreateArtifact":
			input := r.variables(t)["input"].(map[string]any)
			a := &artifact{input: input, files: map[string]string{}}
			a.clientID, _ = input["clientID"].(string)
			a.sequenceID, _ = input["sequenceClientID"].(string)
			all = append(all, a)
		case "CreateArtifactManifest":
			v := r.variables(t)
			last().id = v["artifactID"].(string)
		case "CreateArtifactFiles":
			for _, f := range r.variables(t)["artifactFiles"].([]any) {
				file := f.(map[string]any)
				last().files[file["name"].(string)] = file["md5"].(string)
			}
		case "CommitArtifact":
		default:
			if strings.HasPrefix(r.path, "/storage/manifest/") && r.method == http.MethodPut {
				require.NoError(t, json.Unmarshal(r.body, &last().content))
				last().done = append(last().done, "its manifest")
			}
			continue
		}
		last().done = append(last().done, r.operation)
	}
	return all
}

// set makes facts of artifacts.
func (all artifacts) set(f facts) {
	for _, a := range all {
		name := a.input["artifactCollectionName"].(string)
		set := func(value any, path ...string) { f.set(value, append([]string{"artifact", name}, path...)...) }
		for key, value := range a.input {
			switch key {
			case "clientID", "sequenceClientID":
				value = len(value.(string))
			}
			if value != nil {
				set(value, key)
			}
		}
		set(strings.Join(a.done, ", "), "done")
		for file, digest := range a.files {
			set(digest, "files", file)
		}
		for key, value := range a.content {
			if key != "contents" {
				set(value, "manifest", key)
				continue
			}
			for file, entry := range value.(map[string]any) {
				for key, value := range entry.(map[string]any) {
					if key == "birthArtifactID" {
						value = value == a.id
					}
					set(value, "manifest", file, key)
				}
			}
		}
	}
}

// target is what a reference to an artifact's file means, and how it says so.
func (all artifacts) target(reference string) (by, target string) {
	scheme, rest, _ := strings.Cut(reference, "://")
	id, file, _ := strings.Cut(rest, "/")
	for _, a := range all {
		name := a.input["artifactCollectionName"].(string)
		plain, _ := base64.StdEncoding.DecodeString(a.id)
		switch {
		case scheme == "wandb-artifact" && id == hex.EncodeToString(plain):
			return "W&B's id", name + " " + file
		case scheme == "wandb-client-artifact" && id == a.clientID:
			return "its client's id", name + " " + file
		case scheme == "wandb-client-artifact" && id == a.sequenceID+":latest":
			return "its client's id, the latest", name + " " + file
		}
	}
	return reference, ""
}

// config's facts replace those of an earlier one: it is sent whole.
func (f facts) config(t testing.TB, text string) {
	for path := range f {
		if strings.HasPrefix(path, "config/") {
			delete(f, path)
		}
	}
	all, err := extjson.DecodeObject(text)
	require.NoError(t, err)
	for key, entry := range all {
		value := entry.(map[string]any)["value"]
		if key != "_wandb" {
			f.set(value, "config", key)
			continue
		}
		for key, value := range value.(map[string]any) {
			if key != "e" {
				f.set(value, "config", "_wandb", key)
				continue
			}
			for key, e := range value.(map[string]any) {
				fields := e.(map[string]any)
				writer, _ := fields["writerId"].(string)
				f.set(key == writer, "config", "_wandb", "e", writer, "under its own id")
				for name, value := range fields {
					f.set(value, "config", "_wandb", "e", writer, name)
				}
			}
		}
	}
}

// headers that say something; the others are the transport's.
func (f facts) headers(r request) {
	kind := "GraphQL"
	switch {
	case r.isStream():
		kind = "stream"
	case r.operation == "":
		kind = "storage"
	}
	for name := range r.header {
		value := r.header.Get(name)
		switch name {
		case "Host", "Content-Length", "Accept-Encoding":
			continue
		case "Authorization":
			value, _, _ = strings.Cut(value, " ")
		}
		if value != "" {
			f.set(value, "header", kind, name)
		}
	}
}

// refused is what a client did after the request at i was not answered well.
func (f facts) refused(list []request, i int) {
	r := list[i]
	if r.status == http.StatusOK {
		return
	}
	kind := "GraphQL"
	if r.isStream() {
		kind = "stream"
	}
	what, again := "never again", list[i+1:]
	at := slices.IndexFunc(again, func(q request) bool {
		return q.isStream() == r.isStream() && (r.isStream() || q.operation == r.operation)
	})
	if at >= 0 {
		what = "with something else"
		if sameBody(r.body, again[at].body) {
			wait := again[at].time.Sub(r.time)
			// Waits are 2 s, doubled each time, with up to a quarter more, and a bit
			// for the way.
			what = fmt.Sprintf("the same after %v or a bit more", time.Duration(math.Exp2(math.Floor(math.Log2(wait.Seconds()+0.01))))*time.Second)
		}
	}
	before := 0
	for _, q := range list[:i] {
		if q.status != http.StatusOK {
			before++
		}
	}
	f.set(what, "refused", kind, strconv.Itoa(r.status), strconv.Itoa(before))
}

func sameBody(a, b []byte) bool {
	var compactA, compactB bytes.Buffer
	return json.Compact(&compactA, a) == nil && json.Compact(&compactB, b) == nil && bytes.Equal(compactA.Bytes(), compactB.Bytes())
}
