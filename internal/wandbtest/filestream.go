package wandbtest

import (
	"encoding/json"
	"net/http"
	"slices"

	"github.com/otel-wandb/otel-wandb/internal/extjson"
)

// What W&B takes of a line, and what its client puts into a request.
const (
	maxLine    = 10<<20 - 100<<10
	maxRequest = 10 << 20
)

type streamRequest struct {
	Files map[string]struct {
		Offset  int
		Content []string
	}
	Uploaded   []string
	Preempting bool
	Complete   bool
	ExitCode   *int
}

func (s *Server) fileStream(c *call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	entity, project, id := c.PathValue("entity"), c.PathValue("project"), c.PathValue("run")
	if !s.allowed(c, FileStream+" "+entity+"/"+project, s.opts.StreamLimit) || !s.authorized(c) {
		return
	}
	if c.Header.Get("Content-Encoding") == "gzip" && !s.hasFeature("FILESTREAM_GZIP") {
		s.violation("%s: gzip without the server feature FILESTREAM_GZIP", id)
	}
	r := s.runOf(entity, project, id)
	if r == nil {
		c.refuse(http.StatusNotFound, "run %s/%s/%s not found", entity, project, id)
		return
	}
	var req streamRequest
	if err := json.Unmarshal(c.body, &req); err != nil {
		c.refuse(http.StatusBadRequest, "no file stream request: %v", err)
		return
	}
	writer := c.Header.Get(headerStreamClient)
	if (writer != "") != (c.Header.Get(headerAsync) == "true") {
		s.violation("%s: shared mode takes both headers, %s and %s", id, headerAsync, headerStreamClient)
	}
	if !r.writers[writer] {
		s.violation("%s: a file stream of client %q, which never upserted the run", id, writer)
	}
	if !s.checkLines(c, id, req) {
		return
	}
	s.take(r, writer, req, string(c.body))
	c.reply(http.StatusOK, obj{"exitcode": nil, "limits": obj{}, "stopped": r.stopped})
}

// checkLines refuses what W&B's back end cannot store.
func (s *Server) checkLines(c *call, id string, req streamRequest) bool {
	total, count := 0, 0
	for name, file := range req.Files {
		for _, line := range file.Content {
			total, count = total+len(line), count+1
			if len(line) > maxLine {
				s.violation("%s: a line of %d bytes in %s", id, len(line), name)
				c.refuse(http.StatusRequestEntityTooLarge, "%s: a line of %d bytes", name, len(line))
				return false
			}
			if name == "output.log" {
				continue
			}
			if _, err := extjson.DecodeObject(line); err != nil {
				s.violation("%s: %s: %v: %.100s", id, name, err, line)
				c.refuse(http.StatusBadRequest, "%s: %v", name, err)
				return false
			}
		}
		if file.Offset < 0 {
			c.refuse(http.StatusBadRequest, "%s: offset %d", name, file.Offset)
			return false
		}
	}
	if total > maxRequest && count > 1 {
		s.violation("%s: %d bytes of lines in one request", id, total)
	}
	return true
}

// take applies a request to its run.
func (s *Server) take(r *run, writer string, req streamRequest, body string) {
	now := s.opts.Now()
	if r.state(now) == "crashed" {
		r.crashes++
	}
	r.lastStream = now
	if r.exit != nil && writer == "" && body != r.ending { // whose answer may be lost
		s.violation("%s: a file stream request after the one that completed the run", r.id)
	}
	r.preempting = req.Preempting
	for name, file := range req.Files {
		switch name {
		case "wandb-history.jsonl":
			s.checkSteps(r, writer, file.Offset, file.Content)
			s.append(r, &r.history, name, writer, file.Offset, file.Content, true)
		case "wandb-events.jsonl":
			s.append(r, &r.events, name, writer, file.Offset, file.Content, true)
		case "output.log":
			s.append(r, &r.console, name, writer, file.Offset, file.Content, false)
		case "wandb-summary.json":
			if file.Offset != 0 {
				s.violation("%s: a summary at offset %d", r.id, file.Offset)
			}
			if n := len(file.Content); n > 0 {
				r.setSummary(writer, file.Content[n-1])
			}
		default:
			s.violation("%s: file %q in the file stream", r.id, name)
		}
	}
	for _, name := range req.Uploaded {
		if _, ok := r.files[name]; !ok {
			s.violation("%s: %q reported as uploaded, which it is not", r.id, name)
		}
		if !slices.Contains(r.uploaded, name) {
			r.uploaded = append(r.uploaded, name)
		}
	}
	if req.Complete {
		if req.ExitCode == nil {
			s.violation("%s: complete without an exit code", r.id)
			req.ExitCode = new(int)
		}
		r.exit, r.ending = req.ExitCode, body
	}
}

// append puts lines into a file. In files that only grow, lines that are sent
// again say the same again.
func (s *Server) append(r *run, l *lines, name, writer string, offset int, content []string, grows bool) {
	gap, changed := l.put(writer, offset, content)
	if gap > 0 && grows {
		s.violation("%s: %s: offset %d leaves %d lines out", r.id, name, offset, gap)
	}
	if changed > 0 && grows {
		s.violation("%s: %s: %d lines from offset %d on are sent again and say something else", r.id, name, changed, offset)
	}
}

// checkSteps notes steps that do not grow, and any step in shared mode, where
// W&B gives them.
func (s *Server) checkSteps(r *run, writer string, offset int, content []string) {
	last, known := 0.0, false
	if at, ok := r.history.at[writerOffset{writer, offset - 1}]; ok {
		last, known = stepOf(r.history.all[at].Text)
	}
	for i, line := range content {
		step, ok := stepOf(line)
		switch {
		case ok && writer != "":
			s.violation("%s: line %d has a _step, in shared mode", r.id, offset+i)
			return
		case !ok && writer == "":
			s.violation("%s: line %d has no _step", r.id, offset+i)
			return
		case ok && known && step <= last:
			s.violation("%s: line %d: _step goes from %v to %v", r.id, offset+i, last, step)
			return
		}
		last, known = step, ok
	}
}
