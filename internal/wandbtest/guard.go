package wandbtest

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxBody bounds what is read of a request: a full file stream request whose
// every byte had to be escaped.
const maxBody = 128 << 20

// Request is what the server saw of one request.
type Request struct {
	Time      time.Time
	Method    string
	Path      string
	Operation string      // of GraphQL
	Header    http.Header // of Authorization the scheme only
	Body      []byte      // unpacked
	Status    int         // of the answer; 0 where there was none
}

// call is one request on its way: what was asked, and what will be answered.
type call struct {
	*http.Request
	path      string // as it was sent, escapes and all
	operation string
	body      []byte

	status int
	header http.Header
	answer []byte
}

// reply sets the answer, in JSON.
func (c *call) reply(status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // answers are made of strings, numbers and maps
	}
	c.status, c.answer = status, b
	c.header.Set("Content-Type", "application/json")
}

// refuse answers with an error in the form of the REST endpoints.
func (c *call) refuse(status int, format string, args ...any) {
	c.reply(status, map[string]any{"error": fmt.Sprintf(format, args...)})
}

// guarded reads the request, looks whether it is to fail, and otherwise lets
// handle answer it. The lock is not held while anything is read or written.
func (s *Server) guarded(handle func(*call)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := &call{Request: r, path: r.URL.EscapedPath(), status: http.StatusOK, header: http.Header{}}
		leave := s.enter(c)
		if err := c.read(); err != nil {
			leave()
			c.refuse(http.StatusBadRequest, "unreadable body: %v", err)
			s.note(c)
			c.write(w)
			return
		}
		fault := s.nextFault(c)
		if fault.applies() {
			handle(c)
		}
		leave()
		fault.spoil(c)
		s.note(c)
		fault.send(s, c, w)
	})
}

// enter notes that a file stream request of a run is under way; the function it
// gives says that it is over. A run's requests come one after the other.
func (s *Server) enter(c *call) (leave func()) {
	run := strings.TrimSuffix(c.path, "/file_stream")
	if run == c.path {
		return func() {}
	}
	run += " " + c.Header.Get(headerStreamClient)
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.Contains(s.streaming, run) {
		s.violation("%s: a second file stream request while the first is under way", run)
	}
	s.streaming = append(s.streaming, run)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		i := slices.Index(s.streaming, run)
		s.streaming = slices.Delete(s.streaming, i, i+1)
	}
}

// read takes the body off the wire, and finds the operation of GraphQL.
func (c *call) read() error {
	body, err := io.ReadAll(io.LimitReader(c.Body, maxBody))
	if err != nil {
		return err
	}
	if c.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(bytes.NewReader(body))
		if err != nil {
			return err
		}
		if body, err = io.ReadAll(io.LimitReader(z, maxBody)); err != nil {
			return err
		}
	}
	c.body = body
	if c.path == "/graphql" {
		var op struct{ OperationName, Query string }
		if err := json.Unmarshal(body, &op); err != nil {
			return err
		}
		c.operation = op.OperationName
		if c.operation == "" { // the Python client sends none
			for _, kind := range []string{"query ", "mutation "} {
				if _, rest, ok := strings.Cut(op.Query, kind); ok {
					c.operation = wordOf(rest)
					break
				}
			}
		}
	}
	return nil
}

// note keeps the request for Requests.
func (s *Server) note(c *call) {
	header := maps.Clone(c.Header)
	if auth := header.Get("Authorization"); auth != "" {
		header.Set("Authorization", wordOf(auth))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, Request{
		Time: s.opts.Now(), Method: c.Method, Path: c.path, Operation: c.operation,
		Header: header, Body: c.body, Status: c.status,
	})
}

// write sends the answer.
func (c *call) write(w http.ResponseWriter) {
	maps.Copy(w.Header(), c.header)
	w.Header().Set("Content-Length", strconv.Itoa(len(c.answer)))
	w.WriteHeader(c.status)
	_, _ = w.Write(c.answer) // the client may have left
}

// window is one window of a rate limit.
type window struct {
	ends time.Time
	used int
}

// allowed counts a request against a limit, and answers it where it is over.
func (s *Server) allowed(c *call, key string, limit Limit) bool {
	if limit.Requests == 0 {
		return true
	}
	now := s.opts.Now()
	w := s.windows[key]
	if w == nil || !now.Before(w.ends) {
		w = &window{ends: now.Add(limit.Window)}
		s.windows[key] = w
	}
	left := w.ends.Sub(now).Seconds()
	w.used++
	c.header.Set("RateLimit-Remaining", strconv.Itoa(max(0, limit.Requests-w.used)))
	c.header.Set("RateLimit-Reset", strconv.FormatFloat(left, 'f', -1, 64))
	if w.used > limit.Requests {
		c.header.Set("Retry-After", strconv.FormatFloat(math.Ceil(left), 'f', -1, 64))
		c.refuse(http.StatusTooManyRequests, "rate limit exceeded")
		return false
	}
	return true
}
