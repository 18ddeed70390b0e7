package wandb

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// Upload is where one run file goes: a signed URL, which holds for a while and
// is a secret.
type Upload struct {
	Name   string
	url    string
	header http.Header
}

// Wanted tells whether W&B wants the file at all.
func (u Upload) Wanted() bool { return u.url != "" }

func (u Upload) String() string { return "upload of " + u.Name }

// GoString keeps %#v from showing the URL.
func (u Upload) GoString() string { return u.String() }

const createFilesDocument = `mutation CreateRunFiles($entity:String!,$project:String!,$run:String!,$files:[String!]!){
createRunFiles(input:{entityName:$entity,projectName:$project,runName:$run,files:$files}){runID uploadHeaders files{name uploadUrl}}}`

// CreateFiles asks where run files go. Names are relative to the run's folder
// of files, with forward slashes. The answer is in the order of the names.
func (c *Client) CreateFiles(ctx context.Context, run Path, names ...string) ([]Upload, error) {
	const op = "CreateRunFiles"
	variables := map[string]any{"entity": run.Entity, "project": run.Project, "run": run.Run, "files": names}
	var out struct {
		CreateRunFiles *struct {
			UploadHeaders []string
			Files         []struct {
				Name      string
				UploadURL *string
			}
		}
	}
	if err := c.graphQL(ctx, graphQLPolicy, op, run.String(), createFilesDocument, variables, &out); err != nil {
		return nil, err
	}
	if out.CreateRunFiles == nil || len(out.CreateRunFiles.Files) != len(names) {
		return nil, c.malformed(op, run.String(), "another number of files in the answer than asked for")
	}
	header := http.Header{}
	for _, h := range out.CreateRunFiles.UploadHeaders {
		key, text, ok := strings.Cut(h, ":")
		if !ok {
			return nil, c.malformed(op, run.String(), "an upload header without a colon")
		}
		header.Set(strings.TrimSpace(key), text)
	}
	urls := map[string]string{}
	for _, f := range out.CreateRunFiles.Files {
		urls[f.Name] = value(f.UploadURL)
	}
	uploads := make([]Upload, len(names))
	for i, name := range names {
		u, ok := urls[name]
		if !ok {
			return nil, c.malformed(op, run.String(), fmt.Sprintf("no file %q in the answer", name))
		}
		uploads[i] = Upload{Name: name, url: u, header: header}
	}
	return uploads, nil
}

// Content opens a file's content, with its size. It is called for each try.
type Content func() (io.ReadCloser, int64, error)

// Put sends a file to its signed URL. Where that is refused the URL may have
// expired: CreateFiles gives a new one.
func (c *Client) Put(ctx context.Context, run Path, u Upload, content Content) error {
	if !u.Wanted() {
		return nil
	}
	_, err := c.do(ctx, request{
		op: u.String(), run: run.String(), method: http.MethodPut, url: u.url,
		header: u.header, body: content, policy: filePolicy, ok: any2xx,
		signed: true, anything: true,
	})
	return err
}

// UploadFile asks where a file goes and sends it there; if that fails for good,
// once more with a new URL. Its name then belongs in StreamRequest.Uploaded,
// where the run is under way.
func (c *Client) UploadFile(ctx context.Context, run Path, name string, content Content) error {
	var err error
	for range 2 {
		var uploads []Upload
		if uploads, err = c.CreateFiles(ctx, run, name); err != nil {
			return err
		}
		if err = c.Put(ctx, run, uploads[0], content); !urlRefused(err) {
			return err
		}
	}
	return err
}

// urlRefused tells whether storage said no, in one of the ways it says so of a
// URL that has expired.
func urlRefused(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Status >= 400 && e.Status < 500 && !e.transient
}

const markUploadedDocument = `mutation MarkRunFilesUploaded($entity:String!,$project:String!,$run:String!,$files:[String!]!){
markRunFilesUploaded(input:{entityName:$entity,projectName:$project,runName:$run,files:$files}){success}}`

// MarkUploaded says that files are uploaded of a run that is not under way. It
// asks for the server feature MARK_RUN_FILES_UPLOADED.
func (c *Client) MarkUploaded(ctx context.Context, run Path, names ...string) error {
	var out struct {
		MarkRunFilesUploaded struct{ Success bool }
	}
	variables := map[string]any{"entity": run.Entity, "project": run.Project, "run": run.Run, "files": names}
	const op = "MarkRunFilesUploaded"
	err := c.graphQL(ctx, graphQLPolicy, op, run.String(), markUploadedDocument, variables, &out)
	return c.success(err, op, run.String(), out.MarkRunFilesUploaded.Success)
}
