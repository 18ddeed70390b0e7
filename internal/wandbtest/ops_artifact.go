package wandbtest

import (
	"bytes"
	"crypto/md5" //nolint:gosec // W&B's digests are MD5
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// artifact is one version of an artifact, from its creation to its commit.
type artifact struct {
	id, state       string
	project         *project
	typeName, name  string
	run             string // that logged it; "" is none
	clientID        string // as its maker called it; "" is none
	sequenceID      string
	step            *int64 // of the row that it is from
	digest          string
	aliases         []string
	declared        map[string]string // the digests of its files
	files           map[string][]byte
	manifest        *manifest
	sequenceVersion int
}

type manifest struct {
	id, digest string
	owner      *artifact
	content    []byte
}

func md5Of(b []byte) []byte {
	sum := md5.Sum(b) //nolint:gosec // likewise
	return sum[:]
}

// clientIDForm is what W&B's own client calls an artifact.
var clientIDForm = regexp.MustCompile(`^[a-z0-9]{128}$`)

// escape escapes a slash-separated name for a URL's path.
func escape(name string) string {
	parts := strings.Split(name, "/")
	for i, part := range parts {
		parts[i] = url.PathEscape(part)
	}
	return strings.Join(parts, "/")
}

// latest is the last committed version of a name in a project, or nil.
func (s *Server) latest(p *project, name string) *artifact {
	var last *artifact
	for _, a := range s.artifacts {
		if a.project == p && a.name == name && a.state == "COMMITTED" &&
			(last == nil || a.sequenceVersion > last.sequenceVersion) {
			last = a
		}
	}
	return last
}

func (s *Server) artifactType(_ *call, v runVariables) (map[string]any, *fail) {
	p := s.projectOf(v.Entity, v.Project, false)
	if p == nil {
		return obj{"project": nil}, nil
	}
	name, _, _ := strings.Cut(v.Name, ":")
	if a := s.latest(p, name); a != nil {
		return obj{"project": obj{"artifact": obj{"artifactType": obj{"name": a.typeName}}}}, nil
	}
	return obj{"project": obj{"artifact": nil}}, nil
}

type createArtifactVariables struct{ Input artifactInput }

type artifactInput struct {
	EntityName, ProjectName                  string
	RunName                                  *string
	ArtifactTypeName, ArtifactCollectionName string
	Digest, DigestAlgorithm                  string
	ClientID, SequenceClientID               *string
	HistoryStep                              *int64
	Aliases                                  []struct{ Alias string }
}

// createArtifact makes a version, unless the last one that is whole has the same
// content. What W&B makes of the content of an older one, or of a client's id
// that comes again, is not known: here that is a new version, the worst for who
// wants none.
func (s *Server) createArtifact(_ *call, v createArtifactVariables) (map[string]any, *fail) {
	in := v.Input
	p := s.projectOf(in.EntityName, in.ProjectName, true)
	if p == nil {
		return nil, failf(http.StatusNotFound, "entity %q not found", in.EntityName)
	}
	if in.RunName != nil && p.run(*in.RunName) == nil {
		return nil, failf(http.StatusNotFound, "run %s/%s/%s not found", in.EntityName, in.ProjectName, *in.RunName)
	}
	last := s.latest(p, in.ArtifactCollectionName)
	var lastID any
	if last != nil {
		lastID = obj{"id": last.id}
		if last.typeName != in.ArtifactTypeName {
			return nil, failf(http.StatusConflict, "artifact %s is of type %s", last.name, last.typeName)
		}
	}
	a := last
	if last == nil || last.digest != in.Digest {
		a = &artifact{
			id: s.newID("Artifact"), state: "PENDING", project: p, digest: in.Digest,
			typeName: in.ArtifactTypeName, name: in.ArtifactCollectionName,
			declared: map[string]string{}, files: map[string][]byte{},
			run: text(in.RunName), clientID: text(in.ClientID), sequenceID: text(in.SequenceClientID),
		}
		a.step = in.HistoryStep
		s.artifacts[a.id] = a
	}
	s.calledBy(a, in)
	for _, alias := range in.Aliases {
		if !slices.Contains(a.aliases, alias.Alias) {
			a.aliases = append(a.aliases, alias.Alias)
		}
	}
	return obj{"createArtifact": obj{"artifact": obj{
		"id": a.id, "state": a.state, "artifactSequence": obj{"latestArtifact": lastID},
	}}}, nil
}

// calledBy notes what a client calls a version: no two are called the same.
func (s *Server) calledBy(a *artifact, in artifactInput) {
	if in.DigestAlgorithm != "MANIFEST_MD5" {
		s.violation("artifact %s: a digest by %q", a.name, in.DigestAlgorithm)
	}
	if in.ClientID == nil || in.SequenceClientID == nil {
		return // of another kind of client
	}
	id, sequence := *in.ClientID, *in.SequenceClientID
	if !clientIDForm.MatchString(id) || !clientIDForm.MatchString(sequence) || id == sequence {
		s.violation("artifact %s: called %q of %q", a.name, id, sequence)
	}
	if other := s.clientIDs[id]; other != nil && (other.name != a.name || other.project != a.project || other.digest != a.digest) {
		s.violation("artifact %s: called as a version of %s with another content", a.name, other.name)
	}
	name := a.project.entity + "/" + a.project.name + "/" + a.name
	if other, there := s.sequences[sequence]; there && other != name {
		s.violation("artifact %s: its sequence is called as %s is", name, other)
	}
	s.clientIDs[id], s.sequences[sequence] = a, name
}

func (s *Server) clientIDMapping(_ *call, v struct{ ClientID string }) (map[string]any, *fail) {
	if a := s.clientIDs[v.ClientID]; a != nil {
		return obj{"clientIDMapping": obj{"serverID": a.id}}, nil
	}
	return obj{"clientIDMapping": nil}, nil
}

func (s *Server) createArtifactManifest(c *call, v struct {
	ArtifactID    string
	Digest        string
	IncludeUpload bool
},
) (map[string]any, *fail) {
	a := s.artifacts[v.ArtifactID]
	if a == nil {
		return nil, failf(http.StatusNotFound, "no artifact has the id %q", v.ArtifactID)
	}
	m := &manifest{id: s.newID("ArtifactManifest"), digest: v.Digest, owner: a}
	s.manifests[m.id] = m
	file := obj{"id": s.newID("File")}
	if v.IncludeUpload {
		if a.state == "COMMITTED" {
			return nil, failf(http.StatusConflict, "artifact %q is committed", v.ArtifactID)
		}
		a.manifest = m
		file["uploadHeaders"] = append([]string{}, s.opts.UploadHeaders...)
		file["uploadUrl"] = s.sign(c, "manifest/"+m.id, stored{put: func(body []byte) { m.content = body }})
	} else {
		file["uploadHeaders"], file["uploadUrl"] = nil, nil
	}
	return obj{"createArtifactManifest": obj{"artifactManifest": obj{"id": m.id, "file": file}}}, nil
}

func (s *Server) createArtifactFiles(c *call, v struct {
	ArtifactFiles []struct{ ArtifactID, Name, MD5, ArtifactManifestID string }
},
) (map[string]any, *fail) {
	edges := []any{}
	for _, f := range v.ArtifactFiles {
		a := s.artifacts[f.ArtifactID]
		if a == nil || s.manifests[f.ArtifactManifestID] == nil {
			return nil, failf(http.StatusNotFound, "no artifact %q, or no manifest %q", f.ArtifactID, f.ArtifactManifestID)
		}
		a.declared[f.Name] = f.MD5
		edges = append(edges, obj{"node": obj{
			"storagePath":         "wandb_artifacts/" + a.id + "/" + f.Name,
			"uploadUrl":           s.sign(c, "artifact/"+a.id+"/"+escape(f.Name), stored{put: func(body []byte) { a.files[f.Name] = body }}),
			"uploadHeaders":       append([]string{}, s.opts.UploadHeaders...),
			"uploadMultipartUrls": nil,
			"artifact":            obj{"id": a.id},
		}})
	}
	return obj{"createArtifactFiles": obj{"files": obj{"edges": edges}}}, nil
}

func (s *Server) commitArtifact(_ *call, v struct{ ArtifactID string }) (map[string]any, *fail) {
	a := s.artifacts[v.ArtifactID]
	if a == nil {
		return nil, failf(http.StatusNotFound, "no artifact has the id %q", v.ArtifactID)
	}
	if a.state != "COMMITTED" {
		s.checkContent(a)
		last := s.latest(a.project, a.name)
		if last != nil {
			a.sequenceVersion = last.sequenceVersion + 1
			if slices.Contains(a.aliases, "latest") { // it moves on
				last.aliases = slices.DeleteFunc(last.aliases, func(alias string) bool { return alias == "latest" })
			}
		}
		a.state = "COMMITTED"
	}
	return obj{"commitArtifact": obj{"artifact": obj{"id": a.id, "digest": a.digest}}}, nil
}

// checkContent holds what was uploaded against what was said of it.
func (s *Server) checkContent(a *artifact) {
	if a.manifest == nil || a.manifest.content == nil {
		s.violation("artifact %s: committed without a manifest", a.name)
		return
	}
	if got := base64.StdEncoding.EncodeToString(md5Of(a.manifest.content)); got != a.manifest.digest {
		s.violation("artifact %s: the manifest's digest is %s, not %s", a.name, got, a.manifest.digest)
	}
	var m struct {
		Version       int
		StoragePolicy string
		Contents      map[string]struct {
			Digest string
			Size   int
		}
	}
	if err := json.Unmarshal(a.manifest.content, &m); err != nil || m.Version != 1 || m.StoragePolicy != "wandb-storage-policy-v1" {
		s.violation("artifact %s: no manifest as W&B's: %v", a.name, err)
	}
	text := bytes.NewBufferString("wandb-artifact-manifest-v1\n")
	for _, name := range slices.Sorted(maps.Keys(m.Contents)) {
		entry := m.Contents[name]
		text.WriteString(name + ":" + entry.Digest + "\n")
		body, there := a.files[name]
		got := base64.StdEncoding.EncodeToString(md5Of(body))
		if !there || got != entry.Digest || got != a.declared[name] || len(body) != entry.Size {
			s.violation("artifact %s: file %s has %d bytes of digest %s; the manifest says %d and %s, and %s was declared",
				a.name, name, len(body), got, entry.Size, entry.Digest, a.declared[name])
		}
	}
	if len(m.Contents) != len(a.files) {
		s.violation("artifact %s: %d files in the manifest, %d were uploaded", a.name, len(m.Contents), len(a.files))
	}
	if got := hex.EncodeToString(md5Of(text.Bytes())); got != a.digest {
		s.violation("artifact %s: its digest is %s, not %s", a.name, got, a.digest)
	}
}

// artifactByID answers the two questions the Python client has of an artifact
// after it logged it: what it is, and where its manifest can be read.
func (s *Server) artifactByID(c *call, v struct{ ID string }) (map[string]any, *fail) {
	if a := s.artifacts[v.ID]; a != nil {
		return obj{"artifact": s.artifactFields(c, a)}, nil
	}
	return obj{"artifact": nil}, nil
}

// artifactFields are a version as answers have it.
func (s *Server) artifactFields(c *call, a *artifact) obj {
	collection := obj{
		"__typename": "ArtifactSequence", "name": a.name,
		"project": obj{
			"id": a.project.id, "internalId": number(a.project.id), "name": a.project.name,
			"entity": obj{"name": a.project.entity},
		},
	}
	aliases := []any{}
	for i, alias := range a.aliases {
		aliases = append(aliases, obj{
			"__typename": "ArtifactAlias", "id": escape(a.id + "/" + a.aliases[i]), "alias": alias,
			"artifactCollection": collection,
		})
	}
	var current any
	if m := a.manifest; m != nil {
		url := s.sign(c, "manifest/"+m.id, stored{get: func() []byte { return m.content }})
		current = obj{"file": obj{"directUrl": url}}
	}
	created := s.opts.Now().UTC().Format(timeForm)
	size := 0
	for _, content := range a.files {
		size += len(content)
	}
	return obj{
		"__typename": "Artifact", "id": a.id, "artifactSequence": collection, "versionIndex": a.sequenceVersion,
		"artifactType": obj{"name": a.typeName}, "description": nil, "metadata": "{}",
		"ttlDurationSeconds": -2, "ttlIsInherited": true, "tags": []any{}, "historyStep": a.step,
		"state": a.state, "size": size, "digest": a.digest, "commitHash": a.digest, "fileCount": len(a.files),
		"createdAt": created, "updatedAt": created, "aliases": aliases, "currentManifest": current,
	}
}
