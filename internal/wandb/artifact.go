package wandb

import (
	"context"
	"crypto/md5" //nolint:gosec // W&B's digests are MD5
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
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

	// ClientID is what rows call this version before W&B has one, and
	// SequenceID:latest the last of its name, in [ClientArtifact]. Both are of
	// 128 of a-z and 0-9, and no other version has them. "" is none.
	ClientID, SequenceID string
	Step                 int64 // of the row that it is from
	// Again says that W&B may have this version, and others behind it: it is asked.
	Again bool
}

// ClientArtifact is the reference to a file of an artifact by the id that its
// client gave it.
func ClientArtifact(id, file string) string { return "wandb-client-artifact://" + id + "/" + file }

// NameArtifact makes a name of an artifact that W&B takes, as its own client
// does of those it makes by itself. One that is too long is cut, and ends with
// its hash.
func NameArtifact(name string) string {
	const longest = 128
	clean := strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("_-.", c) {
			return c
		}
		return -1
	}, name)
	if clean != name {
		sum := binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE([]byte(name)))
		clean += "-" + base64.RawURLEncoding.EncodeToString(sum)
	}
	if len(clean) > longest {
		sum := sha256.Sum256([]byte(name))
		hash := "-" + hex.EncodeToString(sum[:10])
		clean = clean[:longest-len(hash)] + hash
	}
	return clean
}

// Digest is what W&B knows a content by: the same files are the same version.
func (a Artifact) Digest() string {
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

// stateCommitted is of a version that is whole.
const stateCommitted = "COMMITTED"

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
	if a.Again {
		if id, err := c.committed(ctx, run, a.ClientID); id != "" || err != nil {
			return id, err
		}
	}
	var step *int64
	if a.Step > 0 {
		step = &a.Step
	}
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
		"digest": a.Digest(), "digestAlgorithm": "MANIFEST_MD5", "enableDigestDeduplication": true,
		"aliases":  []map[string]string{{"artifactCollectionName": a.Name, "alias": "latest"}},
		"clientID": null(a.ClientID), "sequenceClientID": null(a.SequenceID), "historyStep": step,
	}}, &created)
	if err != nil {
		return "", err
	}
	if created.CreateArtifact == nil || created.CreateArtifact.Artifact.ID == "" {
		return "", c.malformed("CreateArtifact", run.String(), "no artifact in the answer")
	}
	art := created.CreateArtifact.Artifact
	if art.State == stateCommitted {
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

const clientIDDocument = `query ClientIDMapping($clientID:ID!){clientIDMapping(clientID:$clientID){serverID}}`

const artifactStateDocument = `query ArtifactByID($id:ID!){artifact(id:$id){id state}}`

// committed asks for the version that has a client's id; "" where there is none,
// or one that was never finished.
func (c *Client) committed(ctx context.Context, run Path, clientID string) (string, error) {
	var mapped struct {
		ClientIDMapping *struct{ ServerID string }
	}
	err := c.graphQL(ctx, graphQLPolicy, "ClientIDMapping", run.String(), clientIDDocument, map[string]any{"clientID": clientID}, &mapped)
	if errors.Is(err, ErrRefused) { // it may say so of an id that it does not know
		return "", nil
	}
	if err != nil || mapped.ClientIDMapping == nil || mapped.ClientIDMapping.ServerID == "" {
		return "", err
	}
	var out struct {
		Artifact *struct{ ID, State string }
	}
	id := mapped.ClientIDMapping.ServerID
	err = c.graphQL(ctx, graphQLPolicy, "ArtifactByID", run.String(), artifactStateDocument, map[string]any{"id": id}, &out)
	if err != nil || out.Artifact == nil || out.Artifact.State != stateCommitted {
		return "", err
	}
	return id, nil
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
