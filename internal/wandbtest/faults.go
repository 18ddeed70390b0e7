package wandbtest

import (
	"errors"
	"maps"
	"net"
	"net/http"
	"strconv"
)

// Endpoints that a fault can be scripted for. The name of a GraphQL operation,
// such as "UpsertBucket", is one too.
const (
	GraphQL    = "graphql"
	FileStream = "file_stream"
	Storage    = "storage"
	Token      = "token"
)

// Fault says what goes wrong with a request. Exactly one of the kinds is set.
type Fault struct {
	// Nth request to the endpoint from now on fails, and Times in all from
	// there; 0 is 1 for both.
	Nth, Times int

	// Status is answered, the request not looked at, with these beside it.
	Status     int
	RetryAfter string
	Body       string // the default is {"error":"scripted fault"}
	// Errors are answered as GraphQL errors in a 200, the request not looked at.
	Errors []string
	// Reset cuts the connection, the request not looked at.
	Reset bool
	// Lost does what was asked and then cuts the connection.
	Lost bool
	// Stall does what was asked, answers half, and then holds still until the
	// client gives up.
	Stall bool
	// Malformed does what was asked and answers with text that is no JSON.
	Malformed bool
}

// applies tells whether the request is done all the same.
func (f *Fault) applies() bool { return f == nil || f.Lost || f.Stall || f.Malformed }

// faultScript counts requests by endpoint and knows which are to fail.
type faultScript struct {
	counts  map[string]int
	planned []plannedFault
}

type plannedFault struct {
	endpoint    string
	first, last int
	Fault
}

// Script adds faults to an endpoint.
func (s *Server) Script(endpoint string, faults ...Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range faults {
		first := s.faults.counts[endpoint] + max(1, f.Nth)
		s.faults.planned = append(s.faults.planned, plannedFault{endpoint, first, first + max(1, f.Times) - 1, f})
	}
}

// nextFault counts the call and finds the fault that is planned for it, if any.
func (s *Server) nextFault(c *call) *Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.faults.counts == nil {
		s.faults.counts = map[string]int{}
	}
	endpoints := c.endpoints()
	for _, e := range endpoints {
		s.faults.counts[e]++
	}
	for i, p := range s.faults.planned {
		for _, e := range endpoints {
			if n := s.faults.counts[e]; p.endpoint == e && p.first <= n && n <= p.last {
				return &s.faults.planned[i].Fault
			}
		}
	}
	return nil
}

func (c *call) endpoints() []string {
	switch c.Pattern {
	case "POST /graphql":
		return []string{GraphQL, c.operation}
	case "POST /oidc/token":
		return []string{Token}
	case "/storage/", readRunFile:
		return []string{Storage}
	default:
		return []string{FileStream}
	}
}

// spoil changes the answer of c to what the fault makes of it. A nil fault
// spoils nothing.
func (f *Fault) spoil(c *call) {
	switch {
	case f == nil, f.Stall:
	case f.Reset, f.Lost:
		c.status = 0
	case f.Malformed:
		c.answer = []byte("<html>an answer of something else</html>")
	case f.Errors != nil:
		c.graphQLErrors(http.StatusOK, f.Errors...)
	default:
		c.refuse(f.Status, "scripted fault")
		if f.Body != "" {
			c.answer = []byte(f.Body)
		}
		if f.RetryAfter != "" {
			c.header.Set("Retry-After", f.RetryAfter)
		}
	}
}

// send writes the answer of c in the way of the fault.
func (f *Fault) send(s *Server, c *call, w http.ResponseWriter) {
	switch {
	case f != nil && (f.Reset || f.Lost):
		cut(w)
	case f != nil && f.Stall:
		maps.Copy(w.Header(), c.header)
		w.Header().Set("Content-Length", strconv.Itoa(len(c.answer)+1))
		w.WriteHeader(c.status)
		_, _ = w.Write(c.answer[:len(c.answer)/2])
		_ = http.NewResponseController(w).Flush()
		select {
		case <-c.Context().Done():
		case <-s.done:
		}
	default:
		c.write(w)
	}
}

// cut closes the connection under the request, with a reset where it is TCP.
func cut(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // HTTP/2: the stream is reset
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		err = tcp.SetLinger(0)
	}
	_ = errors.Join(err, conn.Close()) // it is gone either way
}
