package uploadconformance

import (
	"bytes"
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
			f.line(t, name, n, line)
		}
	}
	return f
}

// line is a line's fact: of an object, its values'.
func (f facts) line(t testing.TB, file string, n int, line string) {
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
		f.set(value, file, number, key)
	}
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
