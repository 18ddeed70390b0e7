package wandb

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/otel-wandb/otel-wandb/internal/runid"
)

// DefaultBaseURL is W&B's own server.
const DefaultBaseURL = "https://api.wandb.ai"

// ParseBaseURL checks the base URL of a W&B server. "" is W&B's own.
func ParseBaseURL(text string) (*url.URL, error) {
	if text == "" {
		text = DefaultBaseURL
	}
	u, err := url.Parse(runid.Host(text))
	if err != nil {
		return nil, errors.New("the W&B URL cannot be parsed: give one such as " + DefaultBaseURL) // err quotes all of it
	}
	host := u.Hostname()
	ours := host == "wandb.ai" || strings.HasSuffix(host, ".wandb.ai")
	switch {
	case u.User != nil:
		return nil, fmt.Errorf("the W&B URL of %s holds a user or password: give the key apart from it", u.Host)
	case u.Scheme != "http" && u.Scheme != "https" || host == "":
		return nil, fmt.Errorf("%q is no W&B URL: give one such as %s", text, DefaultBaseURL)
	case u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("%q is no base URL: leave out what follows ? or #", text)
	case ours && !strings.Contains(host, "api."):
		return nil, fmt.Errorf("%q is W&B's web page: use %s", text, DefaultBaseURL)
	case ours && u.Scheme == "http":
		return nil, fmt.Errorf("%q would send the key unencrypted: use %s", text, DefaultBaseURL)
	}
	return u, nil
}

// AppURL is where people look at what is sent to a base URL.
func AppURL(base string) string {
	base = strings.Trim(base, "/")
	for _, rule := range []struct{ api, app string }{
		{"://api.wandb.test", "://app.wandb.test"},
		{"://api.wandb.", "://wandb."},
		{"://api.", "://app."}, // on premises
	} {
		if strings.Contains(base, rule.api) {
			return strings.Replace(base, rule.api, rule.app, 1)
		}
	}
	return base
}

// Path says which run of a server.
type Path struct{ Entity, Project, Run string }

func (p Path) String() string { return p.Entity + "/" + p.Project + "/" + p.Run }

func (p Path) escaped() (entity, project, run string) {
	return url.PathEscape(p.Entity), url.PathEscape(p.Project), url.PathEscape(p.Run)
}

// RunURL is the page of a run. Entity and project are those of [Client.UpsertRun]'s
// answer.
func RunURL(app string, p Path) string {
	entity, project, run := p.escaped()
	return strings.TrimRight(app, "/") + "/" + entity + "/" + project + "/runs/" + run
}
