package online

import (
	"fmt"
	"net/http"
	"sync"

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

	mu   sync.Mutex
	made map[[2]string]*wandb.Client
}

// Client gives the client for a run.
func (c *Clients) Client(key runid.Coordinates) (*wandb.Client, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := [2]string{key.Host, key.Entity}
	if client := c.made[at]; client != nil {
		return client, nil
	}
	client, err := c.make(key.Host, key.Entity)
	if err != nil {
		return nil, err
	}
	if c.made == nil {
		c.made = map[[2]string]*wandb.Client{}
	}
	c.made[at] = client
	return client, nil
}

func (c *Clients) make(host, entity string) (*wandb.Client, error) {
	look := wandb.Lookup{BaseURL: host}
	given := false
	for _, g := range c.Given {
		// The entity's own wins over the server's; among equals the first.
		if g.Host == host && (g.Entity == entity && entity != "" || g.Entity == "" && !given) {
			given = true
			look.APIKey, look.IdentityTokenFile = g.APIKey, g.IdentityTokenFile
			if g.Entity != "" {
				break
			}
		}
	}
	creds, warning, err := wandb.Find(look)
	if err != nil {
		return nil, err
	}
	if warning != nil && c.Warn != nil {
		c.Warn(warning)
	}
	opts := c.Base
	opts.BaseURL, opts.Credentials = host, creds
	if host != c.Trusted {
		opts.Header, opts.HTTP = nil, opts.Storage
	}
	if creds.IsZero() && (host != c.Trusted || !c.Authenticated) {
		return nil, fmt.Errorf("no credentials for %s%s: set WANDB_API_KEY together with WANDB_BASE_URL, or configure a key for this host, or log in with W&B's own client, which writes netrc", host, of(entity))
	}
	if opts.HTTP == nil {
		opts.HTTP = http.DefaultClient
	}
	return wandb.New(opts)
}

func of(entity string) string {
	if entity == "" {
		return ""
	}
	return " (entity " + entity + ")"
}
