package bridge

import (
	"cmp"
	"net/url"

	"github.com/otel-wandb/otel-wandb/internal/runid"
	"github.com/otel-wandb/otel-wandb/internal/wandb"
)

// appURL is where people look at what the API at host takes, by W&B's own
// rules. The zero host is W&B's cloud.
func appURL(host string) string { return wandb.AppURL(cmp.Or(host, wandb.DefaultBaseURL)) }

// runURL is a run's page; "" where not enough is known.
func runURL(c runid.Coordinates) string {
	if c.Entity == "" || c.Project == "" || c.ID == "" {
		return ""
	}
	return pageURL(c, "runs", c.ID)
}

// groupURL is a group's page; "" where not enough is known.
func groupURL(c runid.Coordinates, group string) string {
	if c.Entity == "" || c.Project == "" || group == "" {
		return ""
	}
	return pageURL(c, "groups", group)
}

func pageURL(c runid.Coordinates, kind, name string) string {
	return appURL(c.Host) + "/" + url.PathEscape(c.Entity) + "/" + url.PathEscape(c.Project) + "/" + kind + "/" + url.PathEscape(name)
}
