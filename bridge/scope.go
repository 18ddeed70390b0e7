package bridge

import (
	"context"
	"maps"
	"slices"

	"go.opentelemetry.io/otel/attribute"

	"github.com/otel-wandb/otel-wandb/internal/runid"
)

// WithConfig returns a context under which tasks start with these options. It
// is a scope: a field that is not set is inherited from the scope around it,
// the nearest one that is set wins, tags are joined, and config is merged key
// by key. Outside the returned context everything is as before.
//
//	ctx := bridge.WithConfig(ctx, bridge.WithProject("vision"), bridge.WithTags("nightly"))
//	train(ctx)                                                    // in project vision
//	probe(bridge.WithConfig(ctx, bridge.WithMode(bridge.ModeNew))) // likewise, on a run of its own
//	report(ctx)                                                   // as train
//
// A task's own options win over its scope. A scope's run id is for the first
// task under it, and never for one of mode new that has a parent; host, entity
// and project hold for the tasks started directly under the scope, and what is
// under those follows their runs. Everything else, a run mode too, holds for
// all tasks under it.
//
// What is wrong with an option (a value that cannot be JSON) is the error of
// the next [StartTask] under the scope.
func WithConfig(ctx context.Context, opts ...ConfigOption) context.Context {
	if len(opts) == 0 {
		return ctx
	}
	st := stateOf(ctx)
	st.scope = st.scope.with(newScope(opts))
	return withState(ctx, st)
}

// scope is what the scopes around a point say together. It is immutable once
// made; nil says nothing.
type scope struct {
	coords    runid.Coordinates
	name      string
	group     string
	jobType   string
	notes     string
	mode      Mode
	rankScope RankScope
	ranks     *Distributed
	tags      []string // sorted, each once
	config    map[string]attribute.Value
	err       error // the first thing that is wrong
}

func newScope(opts []ConfigOption) *scope {
	s := &scope{}
	for _, o := range opts {
		if o != nil {
			o.applyScope(s)
		}
	}
	return s
}

// with is s with a nearer scope laid over it.
func (s *scope) with(nearer *scope) *scope {
	switch {
	case s == nil:
		return nearer
	case nearer == nil:
		return s
	}
	out := *s
	over(&out.coords.Host, nearer.coords.Host)
	over(&out.coords.Entity, nearer.coords.Entity)
	over(&out.coords.Project, nearer.coords.Project)
	over(&out.coords.ID, nearer.coords.ID)
	over(&out.name, nearer.name)
	over(&out.group, nearer.group)
	over(&out.jobType, nearer.jobType)
	over(&out.notes, nearer.notes)
	over(&out.mode, nearer.mode)
	over(&out.rankScope, nearer.rankScope)
	over(&out.ranks, nearer.ranks)
	over(&out.err, nearer.err)
	out.tags = joinTags(s.tags, nearer.tags)
	out.config = mergeConfig(s.config, nearer.config)
	return &out
}

// under is what tasks under one that started in s inherit of s: its run says
// where it is, and has used up the id.
func (s *scope) under() *scope {
	if s == nil || s.coords == (runid.Coordinates{}) {
		return s
	}
	out := *s
	out.coords = runid.Coordinates{}
	return &out
}

func over[T comparable](to *T, v T) {
	var unset T
	if v != unset {
		*to = v
	}
}

func joinTags(a, b []string) []string {
	if len(b) == 0 {
		return a
	}
	out := slices.Concat(a, b)
	slices.Sort(out)
	return slices.Compact(out)
}

func mergeConfig(a, b map[string]attribute.Value) map[string]attribute.Value {
	switch {
	case len(b) == 0:
		return a
	case len(a) == 0:
		return b
	}
	out := maps.Clone(a)
	maps.Copy(out, b)
	return out
}
