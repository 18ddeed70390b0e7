package online

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/otel-wandb/otel-wandb/exporter/internal/pace"
	"github.com/otel-wandb/otel-wandb/exporter/internal/upload"
	"github.com/otel-wandb/otel-wandb/internal/runid"
	"github.com/otel-wandb/otel-wandb/internal/wandb"
)

// Credential is a key, or a file with an identity token, and what it is for.
type Credential struct {
	Host   string // a server's base URL
	Entity string // "" is all of the server
	// One of the two; both empty is what the environment and netrc have.
	APIKey            string
	IdentityTokenFile string
}

// Clients makes one client for each host and entity, each with the credentials
// that belong there and no others.
//
// ConcurrentSafe: a lock guards what was made.
type Clients struct {
	Given []Credential
	// Base is changed for each client: its HTTP and Storage clients, its names.
	Base wandb.Options
	// Trusted is the host to which Base.Header and Base.HTTP go, which may hold
	// secrets; other hosts get no header, and the client for files.
	Trusted string
	// Authenticated says that Base.HTTP brings credentials itself.
	Authenticated bool
	// Warn is told what is wrong with a netrc file.
	Warn func(error)

	// Pace has the say over all their requests.
	Pace *pace.Scheduler

	// ByClient says that clients bring keys of their own, with Learn: their runs
	// are sent with those, to Trusted.
	ByClient bool
	// Changed is told, with no lock held, that a client brought a key that is not
	// the one before, or its first.
	Changed func(client string)

	mu   sync.Mutex
	made map[to]way
	keys *simplelru.LRU[string, *brought] // by client; in memory only
}

// to is what a way leads to.
type to struct{ host, entity string }

// brought is the key of a client, and what was made with it: both go together.
type brought struct {
	key  string
	made map[to]way
}

// maxClients bounds the clients whose keys are remembered. Who was heard of longest
// ago is forgotten: its runs wait until it is heard of again, as after a restart.
const maxClients = 10_000

// ErrNoKeyYet says that the client that opened a run has brought no key since
// the exporter began.
var ErrNoKeyYet = errors.New("the client that opened the run has brought no key yet")

// Learn takes the key that a client brought. What is none is not taken: a typing
// mistake is mended by sending again.
func (c *Clients) Learn(client, key string) {
	if _, err := wandb.APIKey(key, "the client"); err != nil {
		return
	}
	if c.learn(client, key) && c.Changed != nil {
		c.Changed(client)
	}
}

// learn tells whether the key is another one than before.
func (c *Clients) learn(client, key string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.keys == nil {
		c.keys, _ = simplelru.NewLRU[string, *brought](maxClients, nil) // an error is about a size below 1
	}
	if b, ok := c.keys.Get(client); ok && b.key == key {
		return false
	}
	c.keys.Add(client, &brought{key: key, made: map[to]way{}})
	return true
}

// way is a client with the gate that it shares with the uploaders who use it.
type way struct {
	client *wandb.Client
	gate   *pace.Gate
}

// Way gives the client for a run, and what says when its requests may go.
func (c *Clients) Way(key runid.Coordinates, client string) (*wandb.Client, upload.Pacer, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.made == nil {
		c.made = map[to]way{}
	}
	made, own := c.made, ""
	if c.ByClient && client != "" && key.Host == c.Trusted {
		if c.keys == nil {
			return nil, nil, ErrNoKeyYet
		}
		b, ok := c.keys.Get(client)
		if !ok {
			return nil, nil, ErrNoKeyYet
		}
		made, own = b.made, b.key
	} else {
		client = ""
	}
	at := to{key.Host, key.Entity}
	w, ok := made[at]
	if !ok {
		var err error
		if w, err = c.make(key.Host, key.Entity, client, own); err != nil {
			return nil, nil, err
		}
		made[at] = w
	}
	return w.client, w.gate, nil
}

func (c *Clients) make(host, entity, owner, key string) (w way, err error) {
	look := wandb.Lookup{BaseURL: host, APIKey: key}
	given := false
	account := "environment" // W&B limits what a user asks: one gate a credential
	theirs := c.Given
	if key != "" {
		theirs, account = nil, "client "+owner
	}
	for i, g := range theirs {
		// The entity's own wins over the server's; among equals the first.
		if g.Host == host && (g.Entity == entity && entity != "" || g.Entity == "" && !given) {
			given = true
			account = strconv.Itoa(i)
			look.APIKey, look.IdentityTokenFile = g.APIKey, g.IdentityTokenFile
			if g.Entity != "" {
				break
			}
		}
	}
	creds, warning, err := wandb.Find(look)
	if err != nil {
		return w, err
	}
	if warning != nil && c.Warn != nil {
		c.Warn(warning)
	}
	opts := c.Base
	opts.BaseURL, opts.Credentials = host, creds
	if host != c.Trusted || key != "" { // what the exporter itself brings is not the client's
		opts.Header, opts.HTTP = nil, opts.Storage
	}
	if creds.IsZero() && (host != c.Trusted || !c.Authenticated) {
		return w, fmt.Errorf("no credentials for %s%s: set WANDB_API_KEY together with WANDB_BASE_URL, or configure a key for this host, or log in with W&B's own client, which writes netrc", host, of(entity))
	}
	if opts.HTTP == nil {
		opts.HTTP = http.DefaultClient
	}
	w.gate = c.Pace.For(host, account)
	opts.Limiter = w.gate
	w.client, err = wandb.New(opts)
	return w, err
}

func of(entity string) string {
	if entity == "" {
		return ""
	}
	return " (entity " + entity + ")"
}
