package wandbexporter

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"go.opentelemetry.io/collector/client"

	"github.com/otel-wandb/otel-wandb/exporter/internal/engine"
)

// identified is ctx with who sent the request: what the receiver's
// authenticator says, else the key that the client brought. The run's log gets a
// hash of it, not the name. A key that was brought is remembered for the
// client's runs, in memory.
func (s *shared) identified(ctx context.Context) context.Context {
	info := client.FromContext(ctx)
	who := identity(info, s.cfg.ClientIdentity)
	if s.cfg.ClientAPIKey != "" {
		if keys := info.Metadata.Get(s.cfg.ClientAPIKey); len(keys) > 0 && keys[0] != "" {
			if who == "" {
				who = hashed("key", keys[0])
			}
			if clients := s.keys.Load(); clients != nil {
				clients.Learn(who, keys[0])
			}
		}
	}
	if who == "" {
		return ctx
	}
	return engine.WithClient(ctx, who)
}

// identity is the first of the attributes that the authenticator gives.
func identity(info client.Info, attributes []string) string {
	if info.Auth == nil {
		return ""
	}
	for _, name := range attributes {
		// An attribute that is empty, a list too, names nobody.
		if value := info.Auth.GetAttribute(name); value != nil && strings.Trim(fmt.Sprint(value), "[] ") != "" {
			return hashed(name, value)
		}
	}
	return ""
}

func hashed(name string, value any) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s=%v", name, value))
	return hex.EncodeToString(sum[:8])
}
