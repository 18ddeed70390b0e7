package pace

import (
	"context"
	"time"

	"github.com/otel-wandb/otel-wandb/exporter/internal/upload"
	"github.com/otel-wandb/otel-wandb/internal/wandb"
)

// Options of a scheduler. The zero value is what an exporter wants.
type Options struct {
	// Rate of a project's file streams where no answer has said what is allowed,
	// in requests a second: 1.5. It is taken for half of the allowance.
	Rate float64
	// GraphQLRate is likewise of a user's GraphQL: 10.
	GraphQLRate float64
	// Notify is told, a line each, when a lane is throttled and when that is over.
	Notify func(Notice)
}

// Notice is something to log. It is told once for each time of throttling.
type Notice struct {
	Lane Lane
	Text string // what it is, with coordinates and a remedy
	Over bool
}

// Lane is what a scheduler does with the requests that W&B limits together.
type Lane struct {
	Host string
	// Project is the entity/project of file streams; "" with those of GraphQL.
	Project string
	Account string // of GraphQL

	Rate      float64       // requests a second that go at most
	Allowed   float64       // of those that W&B allows to all; a guess until it is Known
	Known     bool          // headers said it
	Remaining float64       // of W&B's units at its last answer, as Known
	Resets    time.Duration // until W&B's window is over
	Interval  time.Duration // between requests of a run, of those that wait now
	Runs      int           // that were heard of lately
	Alive     int           // of them: W&B must hear of these
	Waiting   int           // requests
	Sent      int64         // permits taken
	Refused   int64         // answers that asked to send less
	// ThrottledBy says what holds requests back longer than usual; "" nothing.
	ThrottledBy string
}

// Scheduler paces all of an exporter's requests. Make it with New.
//
// ConcurrentSafe: its lock.
type Scheduler struct{}

// New makes a scheduler.
func New(Options) *Scheduler { return &Scheduler{} }

// For gives the gate of a host, as in a client's base URL, and of the user whose
// credentials the client has: account is any name for them, the same for the
// same ones, and not a secret.
func (s *Scheduler) For(host, account string) *Gate { return &Gate{} }

// Lanes tells what is going on.
func (s *Scheduler) Lanes() []Lane { return nil }

// Gate lets one client's requests go: for its uploaders and for itself.
type Gate struct{}

var (
	_ upload.Pacer  = (*Gate)(nil)
	_ wandb.Limiter = (*Gate)(nil)
)

// Wait waits for the turn of an uploader's request.
func (g *Gate) Wait(ctx context.Context, _ upload.Request) error { return context.Cause(ctx) }

// Permit waits for a try's permit.
func (g *Gate) Permit(ctx context.Context, _ wandb.Call) error { return context.Cause(ctx) }

// Learn takes in what came of a try.
func (g *Gate) Learn(wandb.Call, wandb.Outcome) {}
