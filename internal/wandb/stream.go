package wandb

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// OpFileStream is the Op of a stream's errors.
const OpFileStream = "file stream"

// What W&B takes.
const (
	MaxLine    = 10<<20 - 100<<10 // bytes of one line
	MaxRequest = 10 << 20         // bytes of all lines of a request
)

// File is one of the files of a run's stream.
type File string

// The files. Lines of History and Events are numbered on and on and never
// change; Console lines may be sent again with other text; Summary is one line,
// whole each time.
const (
	History File = "wandb-history.jsonl"
	Events  File = "wandb-events.jsonl"
	Summary File = "wandb-summary.json"
	Console File = "output.log"
)

// Why a line does not go into a request.
var (
	// ErrFull: it goes into the next.
	ErrFull = errors.New("the request is full")
	// ErrNotNext: it does not follow the lines there are, so it goes into the next.
	ErrNotNext = errors.New("not the next line")
	// ErrLine: it goes nowhere. It must not take up a number.
	ErrLine = errors.New("a line that W&B does not take")
)

// StreamRequest is what is sent of a run at once. The zero value is a
// heartbeat. It is filled by one goroutine and may then be sent any number of
// times: lines are known by their numbers.
type StreamRequest struct {
	// Uploaded are run files whose upload is done.
	Uploaded []string
	// Preempting: the run may soon be silent for long.
	Preempting bool
	// Complete is the end of the run, with ExitCode. Nothing may follow.
	Complete bool
	ExitCode int

	files map[File]*streamLines
	size  int
}

type streamLines struct {
	Offset  int      `json:"offset"`
	Content []string `json:"content"`
}

// Add puts the line with a number into the request.
func (r *StreamRequest) Add(file File, number int, line string) error {
	switch {
	case len(line) > MaxLine:
		return fmt.Errorf("%w: line %d of %s has %d bytes, more than %d: log less in one row", ErrLine, number, file, len(line), MaxLine)
	case strings.ContainsAny(line, "\n"):
		return fmt.Errorf("%w: line %d of %s holds a line break: split it", ErrLine, number, file)
	}
	there := r.files[file]
	size := r.size + len(line)
	if file == Summary && there != nil {
		size -= len(there.Content[0])
	}
	switch {
	case size > MaxRequest && r.size > 0:
		return ErrFull
	case file == Summary:
		there = &streamLines{Content: []string{line}}
	case there == nil:
		there = &streamLines{Offset: number, Content: []string{line}}
	case number != there.Offset+len(there.Content):
		return ErrNotNext
	default:
		there.Content = append(there.Content, line)
	}
	if r.files == nil {
		r.files = map[File]*streamLines{}
	}
	r.files[file] = there
	r.size = size
	return nil
}

// SetSummary puts the whole summary into the request, in place of one there.
func (r *StreamRequest) SetSummary(object string) error { return r.Add(Summary, 0, object) }

// Size is the bytes of its lines.
func (r *StreamRequest) Size() int { return r.size }

// Lines is how many it carries.
func (r *StreamRequest) Lines() (n int) {
	for _, f := range r.files {
		n += len(f.Content)
	}
	return n
}

// IsHeartbeat tells whether it says nothing but that the run lives.
func (r *StreamRequest) IsHeartbeat() bool {
	return len(r.files) == 0 && len(r.Uploaded) == 0 && !r.Preempting && !r.Complete
}

// encode writes it as W&B reads it, the same bytes each time.
func (r *StreamRequest) encode() ([]byte, error) {
	wire := struct {
		Files      map[File]*streamLines `json:"files,omitempty"`
		Uploaded   []string              `json:"uploaded,omitempty"`
		Preempting bool                  `json:"preempting,omitempty"`
		Complete   bool                  `json:"complete,omitempty"`
		ExitCode   *int                  `json:"exitcode,omitempty"`
	}{r.files, r.Uploaded, r.Preempting, r.Complete, nil}
	if r.Complete {
		wire.ExitCode = &r.ExitCode
	}
	var b bytes.Buffer
	b.Grow(r.size + r.size/8 + 256)
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(wire); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// StreamAnswer is what W&B says to a request.
type StreamAnswer struct {
	// Stopped: somebody wants the run to end.
	Stopped bool
	// Limit is what is left of the project's allowance, if W&B says so.
	Limit *RateLimit
}

// Stream sends the requests of one run, one after the other.
//
// ConcurrentSafe: turn admits one request at a time.
type Stream struct {
	client *Client
	run    Path
	gzip   bool
	turn   chan struct{} // holds a value while a request is under way
}

// Stream gives the stream of a run, by the path of UpsertRun's answer. Zipped
// asks for the server feature FILESTREAM_GZIP.
func (c *Client) Stream(run Path, zipped bool) *Stream {
	return &Stream{client: c, run: run, gzip: zipped, turn: make(chan struct{}, 1)}
}

// Send sends a request until W&B has it, which may take a week; the context
// ends it earlier. After an error it is not known whether W&B has it: send the
// same lines with the same numbers again.
func (s *Stream) Send(ctx context.Context, r *StreamRequest) (StreamAnswer, error) {
	const op = OpFileStream
	c := s.client
	fail := func(kind, err error, transient bool) (StreamAnswer, error) {
		return StreamAnswer{}, &Error{Op: op, Host: c.base.Host, Run: s.run.String(), Kind: kind, Err: err, transient: transient}
	}
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return fail(ErrUnavailable, context.Cause(ctx), true)
	}
	body, err := r.encode()
	if err != nil {
		return fail(ErrRefused, err, false)
	}
	header := c.streamH.Clone()
	header.Set("Content-Type", "application/json")
	if s.gzip {
		header.Set("Content-Encoding", "gzip")
		if body, err = zip(body); err != nil {
			return fail(ErrRefused, err, false)
		}
	}
	entity, project, run := s.run.escaped()
	a, err := c.do(ctx, request{
		op: op, run: s.run.String(), method: http.MethodPost,
		url:    c.base.String() + "/files/" + entity + "/" + project + "/" + run + "/file_stream",
		header: header, body: bytesBody(body), policy: streamPolicy, ok: any2xx,
		limited: &Call{Op: op, Run: s.run.String(), Project: s.run.Entity + "/" + s.run.Project},
	})
	if err != nil {
		return StreamAnswer{}, err
	}
	var got struct{ Stopped bool }
	_ = json.Unmarshal(a.body, &got) // W&B has the lines; what it says besides may be no JSON
	answer := StreamAnswer{Stopped: got.Stopped}
	if limit, ok := rateLimitOf(a.header); ok {
		answer.Limit = &limit
	}
	return answer, nil
}

func zip(b []byte) ([]byte, error) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write(b); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return packed.Bytes(), nil
}
