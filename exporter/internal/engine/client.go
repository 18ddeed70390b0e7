package engine

import "context"

type clientKey struct{}

// WithClient says who sends a request, where senders are authenticated: a run is
// written by the client that opened it, and by no other. The name is kept in the
// run's log: give a hash where it tells something about a person.
func WithClient(ctx context.Context, client string) context.Context {
	return context.WithValue(ctx, clientKey{}, client)
}

func clientOf(ctx context.Context) string {
	client, _ := ctx.Value(clientKey{}).(string)
	return client
}
