package wandbtest

import (
	"io/fs"
	"net/http"
	"strings"
	"time"
)

// stored is what a signed URL stands for.
type stored struct {
	put     func(body []byte) // nil: the URL is for reading
	get     func() []byte
	expires time.Time
}

// sign makes a signed URL. Its path ends with name, for people to read.
func (s *Server) sign(c *call, name string, o stored) string {
	signature := s.newID("object")
	o.expires = s.opts.Now().Add(s.opts.URLLife)
	s.objects[signature] = &o
	return origin(c.Request) + "/storage/" + name + "?signature=" + signature
}

// storage answers signed URLs, which carry their permission with them.
func (s *Server) storage(c *call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.Header.Get("Authorization") != "" {
		s.violation("%s: credentials sent to a signed URL", c.path)
		c.refuse(http.StatusBadRequest, "a signed URL takes no credentials")
		return
	}
	o := s.objects[c.URL.Query().Get("signature")]
	if o == nil || !s.opts.Now().Before(o.expires) {
		c.refuse(http.StatusForbidden, "no such signature, or it has expired")
		return
	}
	switch {
	case c.Method == http.MethodPut && o.put != nil:
		for _, h := range s.opts.UploadHeaders {
			if key, value, _ := strings.Cut(h, ":"); c.Header.Get(key) != value {
				c.refuse(http.StatusBadRequest, "header %q is missing", h)
				return
			}
		}
		if c.ContentLength < 0 {
			s.violation("%s: uploaded without a Content-Length", c.path)
		}
		o.put(c.body)
	case c.Method == http.MethodGet && o.get != nil:
		c.answer = o.get()
	default:
		c.refuse(http.StatusMethodNotAllowed, "not with this URL")
	}
}

type filesVariables struct {
	Entity, Project, Run string
	Files                []string
}

// createRunFiles gives a URL for each file, in another order than asked: W&B
// promises none.
func (s *Server) createRunFiles(c *call, v filesVariables) (map[string]any, *fail) {
	r := s.runOf(v.Entity, v.Project, v.Run)
	if r == nil {
		return nil, failf(http.StatusNotFound, "run %s/%s/%s not found", v.Entity, v.Project, v.Run)
	}
	files := []any{}
	for _, name := range v.Files {
		if !fs.ValidPath(name) {
			return nil, failf(http.StatusBadRequest, "bad file name %q", name)
		}
		url := s.sign(c, "run/"+r.id+"/"+escape(name), stored{put: func(body []byte) { r.files[name] = body }})
		files = append([]any{obj{"name": name, "uploadUrl": url}}, files...)
	}
	headers := append([]string{}, s.opts.UploadHeaders...)
	return obj{"createRunFiles": obj{"runID": r.storageID, "uploadHeaders": headers, "files": files}}, nil
}

func (s *Server) markRunFilesUploaded(_ *call, v filesVariables) (map[string]any, *fail) {
	r := s.runOf(v.Entity, v.Project, v.Run)
	if r == nil {
		return nil, failf(http.StatusNotFound, "run %s/%s/%s not found", v.Entity, v.Project, v.Run)
	}
	if !s.hasFeature("MARK_RUN_FILES_UPLOADED") {
		s.violation("%s: MarkRunFilesUploaded without the server feature of that name", r.id)
	}
	r.uploaded = append(r.uploaded, v.Files...)
	return obj{"markRunFilesUploaded": obj{"success": true}}, nil
}
