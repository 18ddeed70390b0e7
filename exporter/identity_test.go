package wandbexporter

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/client"

	"github.com/otel-wandb/otel-wandb/internal/semconv"
)

// user is an authenticated client.
type user map[string]any

func (u user) GetAttribute(name string) any { return u[name] }

func (u user) GetAttributeNames() (names []string) {
	for name := range u {
		names = append(names, name)
	}
	return names
}

// A run belongs to the client that opened it, over restarts too; clients that
// are not authenticated are not told apart.
func TestARunHasOneClient(t *testing.T) {
	ada, bob := user{"subject": "ada"}, user{"subject": "bob"}
	for name, tt := range map[string]struct {
		opens, writes client.AuthData
		rows          int
	}{
		"the same client":              {ada, ada, 1},
		"another client":               {ada, bob, 0},
		"another kind of name":         {ada, user{"username": "ada"}, 0},
		"one that is nobody":           {ada, nil, 0},
		"a client without a name":      {ada, user{"email": "ada@example"}, 0},
		"two whose name is empty":      {user{"subject": []string{}}, user{"subject": ""}, 1},
		"none is authenticated":        {nil, nil, 1},
		"authentication came later on": {nil, ada, 1},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			p := newPair(t, nopSettings(), configIn(dir))
			p.start(t, nopHost())
			as := func(who client.AuthData) client.Info { return client.Info{Auth: who} }
			require.NoError(t, p.logs.ConsumeLogs(client.NewContext(t.Context(), as(tt.opens)), started(1)))
			p.shutdown(t)
			p = newPair(t, nopSettings(), configIn(dir))
			p.start(t, nopHost())
			require.NoError(t, p.logs.ConsumeLogs(client.NewContext(t.Context(), as(tt.writes)), record(1, semconv.EventLog)))
			p.shutdown(t)
			all := runs(t, dir)
			require.Len(t, all, 1)
			assert.Len(t, all[0].Rows, tt.rows)
		})
	}
}
