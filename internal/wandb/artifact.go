package wandb

import (
	"context"
	"crypto/md5" //nolint:gosec // W&B's digests are MD5
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// Artifact is files under a name that W&B keeps in versions. They are small: a
// table's.
type Artifact struct {
	Type, Name string            // "run_table", "run-<id>-<key>"
	Files      map[string][]byte // by name within it
}

// digest is what W&B knows a content by: the same files are the same version.
func (a Artifact) digest() string {
	digests := map[string]string{}
	for name, b := range a.Files {
		digests[name] = contentMD5(b)
	}
	return manifestDigest(digests)
}

func manifestDigest(files map[string]string) string {
	text := "wandb-artifact-manifest-v1\n"
	for _, name := range slices.Sorted(maps.Keys(files)) {
		text += name + ":" + files[name] + "\n"
	}
	sum := md5.Sum([]byte(text)) //nolint:gosec // likewise
	return hex.EncodeToString(sum[:])
}

func contentMD5(b []byte) string {
	sum := md5.Sum(b) //nolint:gosec // likewise
	return base64.StdEncoding.EncodeToString(sum[:])
}

const createArtifactDocument = `mutation CreateArtifact($input:CreateArtifactInput!){
createArtifact(input:$input){artifact{id state artifactSequence{latestArtifact{id}}}}}`

const createManifestDocument = `mutation CreateArtifactManifest($artifactID:ID!,$baseArtifactID:ID,$name:String!,$digest:String!,$entityName:String!,$projectName:String!,$runName:String!,$manifestType:ArtifactManifestType!,$includeUpload:Boolean!){
createArtifactManifest(input:{artifactID:$artifactID,baseArtifactID:$baseArtifactID,name:$name,digest:$digest,entityName:$entityName,projectName:$projectName,runName:$runName,type:$manifestType}){
artifactManifest{id file{id uploadUrl @include(if:$includeUpload) uploadHeaders @include(if:$includeUpload)}}}}`

const createArtifactFilesDocument = `mutation CreateArtifactFiles($artifactFiles:[CreateArtifactFileSpecInput!]!,$storageLayout:ArtifactStorageLayout!){
createArtifactFiles(input:{artifactFiles:$artifactFiles,storageLayout:$storageLayout}){files{edges{node{uploadUrl uploadHeaders}}}}}`

const commitArtifactDocument = `mutation CommitArtifact($artifactID:ID!){
commitArtifact(input:{artifactID:$artifactID}){artifact{id digest}}}`

// LogArtifact brings a version of an artifact to W&B, as its latest, and returns
// its id. Content that W&B has as the latest version already is not sent again,
// so that a repeated call makes no second one.
func (c *Client) LogArtifact(ctx context.Context, run Path, a Artifact) (string, error) {
	var created struct {
		CreateArtifact *struct {
			Artifact struct {
				ID, State        string
				ArtifactSequence struct{ LatestArtifact *struct{ ID string } }
			}
		}
	}
	err := c.graphQL(ctx, graphQLPolicy, "CreateArtifact", run.String(), createArtifactDocument, map[string]any{"input": map[string]any{
		"entityName": run.Entity, "projectName": run.Project, "runName": run.Run,
		"artifactTypeName": a.Type, "artifactCollectionName": a.Name,
		"digest": a.digest(), "digestAlgorithm": "MANIFEST_MD5", "enableDigestDeduplication": true,
		"aliases": []map[string]string{{"artifactCollectionName": a.Name, "alias": "latest"}},
	}}, &created)
	if err != nil {
		return "", err
	}
	if created.CreateArtifact == nil || created.CreateArtifact.Artifact.ID == "" {
		return "", c.malformed("CreateArtifact", run.String(), "no artifact in the answer")
	}
	art := created.CreateArtifact.Artifact
	if art.State == "COMMITTED" {
		return art.ID, nil
	}
	base := ""
	if latest := art.ArtifactSequence.LatestArtifact; latest != nil {
		base = latest.ID
	}
	manifest, _, err := c.manifest(ctx, run, art.ID, base, "")
	if err != nil {
		return "", err
	}
	if err := c.artifactFiles(ctx, run, a, art.ID, manifest); err != nil {
		return "", err
	}
	text, err := json.Marshal(a.manifest(art.ID))
	if err != nil {
		return "", err
	}
	_, upload, err := c.manifest(ctx, run, art.ID, base, contentMD5(text))
	if err != nil {
		return "", err
	}
	if err := c.Put(ctx, run, upload, bytesBody(text)); err != nil {
		return "", err
	}
	var committed struct {
		CommitArtifact struct{ Artifact struct{ ID string } }
	}
	err = c.graphQL(ctx, graphQLPolicy, "CommitArtifact", run.String(), commitArtifactDocument, map[string]any{"artifactID": art.ID}, &committed)
	return art.ID, err
}

// manifest asks for a manifest; with a digest, for where it goes too.
func (c *Client) manifest(ctx context.Context, run Path, artifact, base, digest string) (id string, u Upload, err error) {
	const op = "CreateArtifactManifest"
	var out struct {
		CreateArtifactManifest struct {
			ArtifactManifest struct {
				ID   string
				File signedFile
			}
		}
	}
	err = c.graphQL(ctx, graphQLPolicy, op, run.String(), createManifestDocument, map[string]any{
		"artifactID": artifact, "baseArtifactID": null(base), "name": "wandb_manifest.json", "digest": digest,
		"entityName": run.Entity, "projectName": run.Project, "runName": run.Run,
		"manifestType": "FULL", "includeUpload": digest != "",
	}, &out)
	m := out.CreateArtifactManifest.ArtifactManifest
	if err == nil && m.ID == "" {
		err = c.malformed(op, run.String(), "no manifest in the answer")
	}
	return m.ID, m.File.upload("wandb_manifest.json"), err
}

// signedFile is where a file of an artifact goes; without a URL W&B has it.
type signedFile struct {
	UploadURL     *string
	UploadHeaders []string
}

func (f signedFile) upload(name string) Upload {
	header := http.Header{}
	for _, h := range f.UploadHeaders {
		if key, text, ok := strings.Cut(h, ":"); ok {
			header.Set(strings.TrimSpace(key), text)
		}
	}
	return Upload{Name: name, url: value(f.UploadURL), header: header}
}

func (c *Client) artifactFiles(ctx context.Context, run Path, a Artifact, id, manifest string) error {
	const op = "CreateArtifactFiles"
	names := slices.Sorted(maps.Keys(a.Files))
	var files []map[string]any
	for _, name := range names {
		files = append(files, map[string]any{
			"artifactID": id, "artifactManifestID": manifest, "name": name, "md5": contentMD5(a.Files[name]),
		})
	}
	var out struct {
		CreateArtifactFiles struct {
			Files struct{ Edges []struct{ Node signedFile } }
		}
	}
	err := c.graphQL(ctx, graphQLPolicy, op, run.String(), createArtifactFilesDocument, map[string]any{"artifactFiles": files, "storageLayout": "V2"}, &out)
	if err != nil {
		return err
	}
	edges := out.CreateArtifactFiles.Files.Edges // in the order of the request
	if len(edges) != len(names) {
		return c.malformed(op, run.String(), fmt.Sprintf("%d files in the answer, not %d", len(edges), len(names)))
	}
	for i, name := range names {
		if err := c.Put(ctx, run, edges[i].Node.upload(name), bytesBody(a.Files[name])); err != nil {
			return err
		}
	}
	return nil
}

func (a Artifact) manifest(id string) map[string]any {
	contents := map[string]any{}
	for name, b := range a.Files {
		contents[name] = map[string]any{"digest": contentMD5(b), "size": len(b), "birthArtifactID": id, "skip_cache": false}
	}
	return map[string]any{
		"version": 1, "storagePolicy": "wandb-storage-policy-v1",
		"storagePolicyConfig": map[string]string{"storageLayout": "V2"}, "contents": contents,
	}
}
