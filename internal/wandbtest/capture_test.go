package wandbtest

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// captured is one request of the official client, and what a fake answered it.
type captured struct {
	N              int
	T              time.Time
	Method, Path   string
	Headers        map[string]string
	Body           json.RawMessage
	BodyText       *string `json:"body_text"`
	BodyBase64     *string `json:"body_base64_head"`
	ResponseStatus int     `json:"response_status"`
	Response       any
}

// capture reads a capture file, in the order the requests arrived.
func capture(t *testing.T, name string) []captured {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name+".jsonl"))
	require.NoError(t, err)
	var list []captured
	for d := json.NewDecoder(bytes.NewReader(text)); ; {
		var c captured
		err := d.Decode(&c)
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		list = append(list, c)
	}
	slices.SortStableFunc(list, func(a, b captured) int { return a.N - b.N })
	return list
}

// replay sends captures to a server, as if their client had talked to it: the
// ids and URLs that the fake made up are replaced by those of our answers.
type replay struct {
	*testing.T
	server *Server
	now    time.Time
	ours   map[string]string // what the fake called it → what we call it
	// before is called with each request before it is sent.
	before func(captured)
}

func newReplay(t *testing.T, opts Options) *replay {
	p := &replay{T: t, ours: map[string]string{}, before: func(captured) {}}
	opts.Now = func() time.Time { return p.now }
	opts.Entity, opts.Username, opts.Email = "fakeentity", "fakeuser", "fake@example.invalid"
	p.server = New(opts)
	return p
}

const fakeOrigin = "http://127.0.0.1:8899"

func (p *replay) play(list []captured) {
	p.learnManifests(list)
	for _, c := range list {
		p.now = c.T
		p.before(c)
		if c.ResponseStatus != http.StatusOK {
			p.server.Script(c.endpoint(), Fault{Status: c.ResponseStatus})
		}
		answer := p.send(c)
		assert.Equal(p, c.ResponseStatus, answer.Code, "request %d: %s", c.N, answer.Body)
		if c.ResponseStatus != http.StatusOK || c.Method == http.MethodPut {
			continue
		}
		if c.Method == http.MethodGet { // a manifest, which was uploaded before
			assert.Contains(p, answer.Body.String(), `"storagePolicy"`, "request %d", c.N)
			continue
		}
		var got any
		require.NoError(p, json.Unmarshal(answer.Body.Bytes(), &got), "request %d", c.N)
		p.checkAnswer(c, got)
		p.learn(c.Response, got)
	}
}

func (c captured) endpoint() string {
	if c.Path == "/graphql" {
		return GraphQL
	}
	return FileStream
}

// plain is the body as it was sent, but for gzip.
func (c captured) plain(t *testing.T) []byte {
	switch {
	case c.BodyText != nil:
		return []byte(*c.BodyText)
	case c.BodyBase64 != nil:
		b, err := base64.StdEncoding.DecodeString(*c.BodyBase64)
		require.NoError(t, err)
		return b
	case strings.HasPrefix(c.Path, "/storage/artifact/") && c.Headers["Content-Length"] != strconv.Itoa(len(c.Body)):
		return spaced(c.Body)
	default:
		return c.Body
	}
}

// spaced is JSON as Python writes it, which the captures do not keep: with a
// space behind each colon and comma.
func spaced(compact []byte) (b []byte) {
	quoted := false
	for _, c := range compact { // in no capture is there a quote within a text
		b = append(b, c)
		if c == '"' {
			quoted = !quoted
		}
		if !quoted && (c == ':' || c == ',') {
			b = append(b, ' ')
		}
	}
	return b
}

// learnManifests notes the digests of manifests, whose bytes the captures do not
// keep: paths in them are replaced, and their keys are in another order.
func (p *replay) learnManifests(list []captured) {
	digests := map[string]string{} // by the address that the fake gave for the manifest
	for _, c := range list {
		var body struct{ Variables struct{ Digest string } }
		url, _ := dig(c.Response, "data.createArtifactManifest.artifactManifest.file.uploadUrl").(string)
		switch {
		case url != "" && json.Unmarshal(c.Body, &body) == nil:
			digests[url] = body.Variables.Digest
		case c.Method == http.MethodPut && digests[fakeOrigin+c.Path] != "":
			p.ours[digests[fakeOrigin+c.Path]] = base64.StdEncoding.EncodeToString(md5Of(c.plain(p.T)))
		}
	}
}

func (p *replay) send(c captured) *httptest.ResponseRecorder {
	body := c.plain(p.T)
	var olds []string
	for theirs, ours := range p.ours {
		olds = append(olds, theirs, ours)
	}
	if c.Path == "/graphql" {
		body = []byte(strings.NewReplacer(olds...).Replace(string(body)))
	}
	if c.Headers["Content-Encoding"] == "gzip" {
		var packed bytes.Buffer
		z := gzip.NewWriter(&packed)
		_, err := z.Write(body)
		require.NoError(p, err)
		require.NoError(p, z.Close())
		body = packed.Bytes()
	}
	target := "http://standin" + c.Path
	if strings.HasPrefix(c.Path, "/storage/") {
		target = p.ours[fakeOrigin+c.Path]
		require.NotEmpty(p, target, "request %d: no answer of ours gave out %s", c.N, c.Path)
	}
	r := httptest.NewRequest(c.Method, target, bytes.NewReader(body))
	for key, value := range c.Headers {
		if key != "Host" && key != "Content-Length" {
			r.Header.Set(key, value)
		}
	}
	if c.Headers["Authorization"] != "" {
		r.SetBasicAuth("api", Key)
	}
	w := httptest.NewRecorder()
	p.server.ServeHTTP(w, r)
	return w
}

// learn walks two answers to the same request and notes what each calls the
// ids and URLs. Files are matched by their names.
func (p *replay) learn(theirs, ours any) {
	switch t := theirs.(type) {
	case map[string]any:
		o, ok := ours.(map[string]any)
		if !ok {
			return
		}
		for key, v := range t {
			switch text, isText := v.(string); {
			case isText && (key == "id" || key == "uploadUrl" || key == "directUrl"):
				if mine, ok := o[key].(string); ok {
					p.ours[text] = mine
				}
			case key == "files" && o["uploadHeaders"] != nil:
				p.learn(byName(v), byName(o[key]))
			default:
				p.learn(v, o[key])
			}
		}
	case []any:
		o, _ := ours.([]any)
		for i := range min(len(t), len(o)) {
			p.learn(t[i], o[i])
		}
	}
}

func byName(list any) any {
	m := map[string]any{}
	for _, f := range list.([]any) {
		m[f.(map[string]any)["name"].(string)] = f
	}
	return m
}

// clientReads are the fields of each answer that the official client needs a
// value in, by the protocol reference; all it selects is checked besides.
var clientReads = map[string][]string{
	"Viewer":                              {"viewer.entity", "viewer.username", "viewer.email", "viewer.flags", "viewer.teams.edges"},
	"ServerFeaturesQuery":                 {"serverInfo.features"},
	"OrganizationCoreWeaveOrganizationID": {"entity.organization"},
	"UpsertBucket": {
		"upsertBucket.bucket.id", "upsertBucket.bucket.name", "upsertBucket.bucket.displayName",
		"upsertBucket.bucket.historyLineCount", "upsertBucket.bucket.project.name",
		"upsertBucket.bucket.project.entity.name", "upsertBucket.inserted",
	},
	"RunResumeStatus":          {}, // null anywhere down to the bucket: there is no such run
	"NotifyScriptableRunAlert": {"notifyScriptableRunAlert.success"},
	"CreateRunFiles":           {"createRunFiles.runID", "createRunFiles.uploadHeaders", "createRunFiles.files"},
	"CreateArtifact":           {"createArtifact.artifact.id", "createArtifact.artifact.state", "createArtifact.artifact.artifactSequence"},
	"CreateArtifactManifest":   {"createArtifactManifest.artifactManifest.id", "createArtifactManifest.artifactManifest.file"},
	"CreateArtifactFiles":      {"createArtifactFiles.files.edges"},
	"CommitArtifact":           {"commitArtifact.artifact.id", "commitArtifact.artifact.digest"},
	"ArtifactByID":             {"artifact.id", "artifact.artifactSequence.name", "artifact.artifactType.name", "artifact.state", "artifact.digest", "artifact.createdAt"},
	"FetchArtifactManifest":    {"artifact.currentManifest.file.directUrl"},
	"ArtifactType":             {"project"},
	"file_stream":              {"stopped"},
}

// resumeReads are null-sensitive in a bucket that is there.
var resumeReads = []string{"config", "historyLineCount", "eventsLineCount", "logLineCount", "eventsTail", "summaryMetrics", "historyTail", "wandbConfig"}

func (p *replay) checkAnswer(c captured, got any) {
	op, data := "file_stream", got
	if c.Path == "/graphql" {
		var body struct{ OperationName, Query string }
		require.NoError(p, json.Unmarshal(c.Body, &body))
		op = body.OperationName
		if op == "" {
			_, rest, _ := strings.Cut(body.Query, "query ")
			op = wordOf(rest)
		}
		data = got.(map[string]any)["data"]
		assert.Empty(p, Missing(body.Query, data), "request %d: %s selects fields that are not in the answer", c.N, op)
	}
	reads, known := clientReads[op]
	require.True(p, known, "request %d: say in clientReads what the client reads of %s", c.N, op)
	for _, path := range reads {
		assert.NotNil(p, dig(data, path), "request %d: %s: %s is null", c.N, op, path)
	}
	if bucket := dig(data, "model.bucket"); bucket != nil {
		for _, path := range resumeReads {
			assert.NotNil(p, dig(bucket, path), "request %d: %s is null, which the client takes for an error", c.N, path)
		}
	}
	if op == "file_stream" {
		assert.Equal(p, dig(c.Response, "stopped"), dig(data, "stopped"), "request %d", c.N)
	}
	if lines := dig(data, "upsertBucket.bucket.historyLineCount"); lines != nil && c.Headers[headerGraphQLClient] == "" {
		// (In shared mode it is not known what W&B counts; the fake counted otherwise.)
		assert.Equal(p, dig(c.Response, "data.upsertBucket.bucket.historyLineCount"), lines, "request %d: the client's next offset", c.N)
	}
	if op == "CreateRunFiles" {
		files := dig(data, "createRunFiles.files").([]any)
		assert.Len(p, files, len(dig(c.Response, "data.createRunFiles.files").([]any)), "request %d", c.N)
		for _, f := range files {
			_, err := url.Parse(dig(f, "uploadUrl").(string))
			assert.NoError(p, err)
		}
	}
}

// dig finds a value by a dotted path, or nil.
func dig(v any, path string) any {
	for key := range strings.SplitSeq(path, ".") {
		m, _ := v.(map[string]any)
		v = m[key]
	}
	return v
}
