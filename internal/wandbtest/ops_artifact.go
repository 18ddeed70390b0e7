package wandbtest

import (
	"net/http"
	"net/url"
	"strings"
)

// artifact is one version of an artifact, from its creation to its commit.
type artifact struct {
	id, state       string
	project         *project
	typeName, name  string
	digest          string
	aliases         []string
	files           map[string][]byte
	manifest        *manifest
	sequenceVersion int
}

type manifest struct {
	id      string
	owner   *artifact
	content []byte
}

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

type createArtifactVariables struct {
	Input struct {
		EntityName, ProjectName                  string
		ArtifactTypeName, ArtifactCollectionName string
		Digest                                   string
		Aliases                                  []struct{ Alias string }
	}
}

func (s *Server) createArtifact(_ *call, v createArtifactVariables) (map[string]any, *fail) {
	in := v.Input
	p := s.projectOf(in.EntityName, in.ProjectName, true)
	if p == nil {
		return nil, failf(http.StatusNotFound, "entity %q not found", in.EntityName)
	}
	last := s.latest(p, in.ArtifactCollectionName)
	var lastID any
	if last != nil {
		lastID = obj{"id": last.id}
	}
	a := last
	if last == nil || last.digest != in.Digest {
		a = &artifact{
			id: s.newID("Artifact"), state: "PENDING", project: p, digest: in.Digest,
			typeName: in.ArtifactTypeName, name: in.ArtifactCollectionName, files: map[string][]byte{},
		}
		if last != nil {
			a.sequenceVersion = last.sequenceVersion + 1
		}
		s.artifacts[a.id] = a
	}
	for _, alias := range in.Aliases {
		a.aliases = append(a.aliases, alias.Alias)
	}
	return obj{"createArtifact": obj{"artifact": obj{
		"id": a.id, "state": a.state, "artifactSequence": obj{"latestArtifact": lastID},
	}}}, nil
}

func (s *Server) createArtifactManifest(c *call, v struct {
	ArtifactID    string
	IncludeUpload bool
},
) (map[string]any, *fail) {
	a := s.artifacts[v.ArtifactID]
	if a == nil {
		return nil, failf(http.StatusNotFound, "no artifact has the id %q", v.ArtifactID)
	}
	m := &manifest{id: s.newID("ArtifactManifest"), owner: a}
	s.manifests[m.id] = m
	file := obj{"id": s.newID("File")}
	if v.IncludeUpload {
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
	if a.manifest == nil || a.manifest.content == nil {
		s.violation("artifact %s: committed without a manifest", a.name)
	}
	a.state = "COMMITTED"
	return obj{"commitArtifact": obj{"artifact": obj{"id": a.id, "digest": a.digest}}}, nil
}

// artifactByID answers the two questions the Python client has of an artifact
// after it logged it: what it is, and where its manifest can be read.
func (s *Server) artifactByID(c *call, v struct{ ID string }) (map[string]any, *fail) {
	a := s.artifacts[v.ID]
	if a == nil {
		return obj{"artifact": nil}, nil
	}
	collection := obj{
		"__typename": "ArtifactSequence", "name": a.name,
		"project": obj{
			"id": a.project.id, "internalId": a.project.id, "name": a.project.name,
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
	created := s.opts.Now().UTC().Format("2006-01-02T15:04:05Z")
	return obj{"artifact": obj{
		"__typename": "Artifact", "id": a.id, "artifactSequence": collection, "versionIndex": a.sequenceVersion,
		"artifactType": obj{"name": a.typeName}, "description": nil, "metadata": "{}",
		"ttlDurationSeconds": -2, "ttlIsInherited": true, "tags": []any{}, "historyStep": nil,
		"state": a.state, "size": 0, "digest": a.digest, "commitHash": a.digest, "fileCount": len(a.files),
		"createdAt": created, "updatedAt": created, "aliases": aliases, "currentManifest": current,
	}}, nil
}
