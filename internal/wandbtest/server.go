package wandbtest

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Key is the API key that a server accepts if its options name none.
const Key = "standin0standin0standin0standin0standin0"

// Entity is the default entity of every key.
const Entity = "standin-team"

// Options of a server. The zero value is a server that accepts Key.
type Options struct {
	// Now is the clock that states, limits and signed URLs are judged by. The
	// default is time.Now.
	Now func() time.Time
	// APIKeys are accepted as the password of user "api".
	APIKeys []string
	// IdentityTokens are accepted at /oidc/token in exchange for access tokens,
	// which hold for TokenLife (an hour).
	IdentityTokens []string
	TokenLife      time.Duration
	// Entity is where runs go that name none. Entities, if there are any, are
	// all that exist; otherwise every name does.
	Entity   string
	Entities []string
	// Username and Email are the viewer's.
	Username, Email string
	// Features are the server features that are on. NewestClient is the newest
	// version of W&B's client that the server is for: 0.99.0.
	Features     []string
	NewestClient string
	// UploadHeaders are asked of each upload to a signed URL, as "Key:Value".
	UploadHeaders []string
	// URLLife is how long a signed URL holds: an hour.
	URLLife time.Duration
	// GraphQLLimit bounds GraphQL requests, StreamLimit file stream requests to
	// one project. The zero value is no limit, and no RateLimit headers.
	GraphQLLimit, StreamLimit Limit
}

// Limit allows so many requests in each window of time.
type Limit struct {
	Requests int
	Window   time.Duration
}

// Server is a W&B server in memory. Make it with New.
//
// ConcurrentSafe: one lock guards all that it keeps.
type Server struct {
	opts Options
	mux  *http.ServeMux
	done chan struct{} // closed by Close: stalled answers end

	mu         sync.Mutex // guards everything below
	closed     bool
	ids        int
	projects   []*project
	artifacts  map[string]*artifact
	manifests  map[string]*manifest
	clientIDs  map[string]*artifact // by the id that its client gave it
	sequences  map[string]string    // the same for all versions of a name
	objects    map[string]*stored   // by signature
	tokens     map[string]time.Time
	faults     faultScript
	streaming  []string // runs with a file stream request under way
	windows    map[string]*window
	requests   []Request
	violations []string
}

type project struct {
	id, entity, entityID, name string
	runs                       []*run
}

// New makes a server.
func New(opts Options) *Server {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.APIKeys == nil {
		opts.APIKeys = []string{Key}
	}
	setDefault(&opts.Entity, Entity)
	setDefault(&opts.NewestClient, "0.99.0")
	setDefault(&opts.Username, "standin")
	setDefault(&opts.Email, "standin@example.invalid")
	setDefault(&opts.TokenLife, time.Hour)
	setDefault(&opts.URLLife, time.Hour)
	s := &Server{
		opts:      opts,
		mux:       http.NewServeMux(),
		done:      make(chan struct{}),
		artifacts: map[string]*artifact{},
		manifests: map[string]*manifest{},
		clientIDs: map[string]*artifact{},
		sequences: map[string]string{},
		objects:   map[string]*stored{},
		tokens:    map[string]time.Time{},
		windows:   map[string]*window{},
	}
	s.mux.Handle("POST /graphql", s.guarded(s.graphql))
	s.mux.Handle("POST /files/{entity}/{project}/{run}/file_stream", s.guarded(s.fileStream))
	s.mux.Handle(readRunFile, s.guarded(s.runFile))
	s.mux.Handle("POST /oidc/token", s.guarded(s.exchange))
	s.mux.Handle("/storage/", s.guarded(s.storage))
	return s
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// ServeHTTP answers a request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// Close ends the answers that a fault holds back. It does not stop a listener.
func (s *Server) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.closed = true
		close(s.done)
	}
}

// newID makes an opaque id; ids of different kinds never are alike.
func (s *Server) newID(kind string) string {
	s.ids++
	return kind + ":" + strconv.Itoa(s.ids)
}

// violation notes what W&B's own client never does.
func (s *Server) violation(format string, args ...any) {
	s.violations = append(s.violations, fmt.Sprintf(format, args...))
}

// projectOf finds a project; "" is the default entity. With create it makes one.
// It is nil where there is none, or no such entity.
func (s *Server) projectOf(entity, name string, create bool) *project {
	if entity == "" {
		entity = s.opts.Entity
	}
	if name == "" {
		name = "uncategorized"
	}
	entityID := ""
	for _, p := range s.projects {
		if p.entity != entity {
			continue
		}
		if p.name == name {
			return p
		}
		entityID = p.entityID
	}
	known := len(s.opts.Entities) == 0 || entity == s.opts.Entity || slices.Contains(s.opts.Entities, entity)
	if !create || !known {
		return nil
	}
	if entityID == "" {
		entityID = s.newID("Entity")
	}
	p := &project{id: s.newID("Project"), entity: entity, entityID: entityID, name: name}
	s.projects = append(s.projects, p)
	return p
}

// runOf finds a run by its coordinates, or gives nil.
func (s *Server) runOf(entity, project, id string) *run {
	if p := s.projectOf(entity, project, false); p != nil {
		return p.run(id)
	}
	return nil
}

func (p *project) run(id string) *run {
	for _, r := range p.runs {
		if r.id == id {
			return r
		}
	}
	return nil
}

// runByStorageID finds a run by the id that upserts answer with, or gives nil.
func (s *Server) runByStorageID(id string) *run {
	for _, p := range s.projects {
		for _, r := range p.runs {
			if r.storageID == id {
				return r
			}
		}
	}
	return nil
}

// origin is the scheme and host that the client used.
func origin(r *http.Request) string {
	if r.TLS != nil {
		return "https://" + r.Host
	}
	return "http://" + r.Host
}

// hasFeature tells whether a server feature is on.
func (s *Server) hasFeature(name string) bool { return slices.Contains(s.opts.Features, name) }

// wordOf is the first word, for operation names out of documents.
func wordOf(text string) string {
	end := strings.IndexFunc(text, func(r rune) bool {
		return r != '_' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	})
	if end < 0 {
		return text
	}
	return text[:end]
}
