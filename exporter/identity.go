package wandbexporter

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"go.opentelemetry.io/collector/client"

	"github.com/otel-wandb/otel-wandb/exporter/internal/engine"
)

// identified is ctx with who sent the request, where the receiver has an
// authenticator: the first of the attributes that it gives. The run's log gets
// a hash of it, not the name.
func identified(ctx context.Context, attributes []string) context.Context {
	auth := client.FromContext(ctx).Auth
	if auth == nil {
		return ctx
	}
	for _, name := range attributes {
		if value := auth.GetAttribute(name); value != nil && value != "" {
			sum := sha256.Sum256(fmt.Appendf(nil, "%s=%v", name, value))
			return engine.WithClient(ctx, hex.EncodeToString(sum[:8]))
		}
	}
	return ctx
}
