package bridge

import (
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/otel-wandb/otel-wandb/internal/runid"
)

// TaskOption changes one task: see [StartTask] and [Task]. Every
// [ConfigOption] is one too.
type TaskOption interface{ applyTask(*taskConfig) }

// ConfigOption says something of runs. Given to a task it holds for that task,
// given to [WithConfig] for the tasks under the context, given to [Setup] for
// all tasks of the program. The nearest wins.
type ConfigOption interface {
	TaskOption
	SetupOption
	applyScope(*scope)
}

// taskConfig is what one task is started with.
type taskConfig struct {
	scope   scope
	attempt *int
	retryOf string
	resume  Resume
	attrs   []attribute.KeyValue
	span    []trace.SpanStartOption
}

type taskOption func(*taskConfig)

func (o taskOption) applyTask(c *taskConfig) { o(c) }

type configOption func(*scope)

func (o configOption) applyScope(s *scope)       { o(s) }
func (o configOption) applyTask(c *taskConfig)   { o(&c.scope) }
func (o configOption) applySetup(c *setupConfig) { o(&c.scope) }

// WithProject puts runs into a project. Default: the parent's run's,
// $WANDB_PROJECT, else the collector's. A task that asks for another project
// than its parent's run is in gets a run of its own there.
func WithProject(project string) ConfigOption {
	return configOption(func(s *scope) { s.coords.Project = project })
}

// WithEntity names the user or team that owns the project. Default: the
// parent's run's, $WANDB_ENTITY, else the default of whoever uploads.
func WithEntity(entity string) ConfigOption {
	return configOption(func(s *scope) { s.coords.Entity = entity })
}

// WithHost names the W&B server by its base URL. Default: the parent's run's,
// $WANDB_BASE_URL, else the collector's. Set it only where a program writes to
// more than one server; the collector must allow each.
func WithHost(baseURL string) ConfigOption {
	return configOption(func(s *scope) { s.coords.Host = runid.Host(baseURL) })
}

// WithRunID asks for a run by its id: it is opened, or, where it exists,
// continued. Default: an id made of trace and span. Set it when something
// outside the trace must find the run again, such as a job's next attempt.
// Characters that W&B refuses are replaced.
func WithRunID(id string) ConfigOption { return configOption(func(s *scope) { s.coords.ID = id }) }

// WithRunName is the name people see. Default: the task's name and the first
// six digits of its span id.
func WithRunName(name string) ConfigOption { return configOption(func(s *scope) { s.name = name }) }

// WithGroup puts runs into a group. Default: none; for tasks of mode new the
// group of the parent's run, else its id; for ranks see [Distributed].
func WithGroup(group string) ConfigOption { return configOption(func(s *scope) { s.group = group }) }

// WithJobType says what a run does, such as "train" or "eval": W&B filters by it.
func WithJobType(jobType string) ConfigOption {
	return configOption(func(s *scope) { s.jobType = jobType })
}

// WithNotes is a longer text about a run.
func WithNotes(notes string) ConfigOption { return configOption(func(s *scope) { s.notes = notes }) }

// WithTags adds tags, 1 to 64 characters each. Tags of all scopes are joined.
func WithTags(tags ...string) ConfigOption {
	return configOption(func(s *scope) { s.tags = joinTags(s.tags, tags) })
}

// WithConfigValues adds to the run's config: hyperparameters and whatever else
// a run is compared by. Nested maps and dotted keys are the same; keys of all
// scopes are merged, the nearest wins. On a run that a task shares with its
// parent they go under the task's name, so that no child changes what the
// parent said. A value that cannot be JSON is a [*ValueError] of [StartTask].
func WithConfigValues(values map[string]any) ConfigOption {
	return configOption(func(s *scope) {
		flat := make(map[string]attribute.Value, len(values))
		if err := flatten(flat, "config", "", values); err != nil && s.err == nil {
			s.err = err
		}
		s.config = mergeConfig(s.config, flat)
	})
}

// WithMode says which run a task is on. Default: [ModeAuto].
func WithMode(m Mode) ConfigOption { return configOption(func(s *scope) { s.mode = m }) }

// WithRankScope says whether all ranks of a distributed training share a run,
// or those of each node. Default: [RankScopeGlobal].
func WithRankScope(r RankScope) ConfigOption {
	return configOption(func(s *scope) { s.rankScope = r })
}

// WithDistributed says which rank this is. Default: what the environment of
// torchrun, SLURM, Open MPI or a Kubernetes indexed job says; see
// [DistributedInfo]. Set it under a launcher of another kind.
func WithDistributed(d Distributed) ConfigOption {
	return configOption(func(s *scope) { s.ranks = &d })
}

// Resume says what is to become of a run that exists already. The zero value is
// [ResumeAllow].
type Resume string

// The ways to resume. The uploader judges them: only W&B knows what exists.
const (
	ResumeAllow Resume = "allow" // go on with it, or make it
	ResumeMust  Resume = "must"  // it must exist
	ResumeNever Resume = "never" // it must not
)

// WithResume says what is to become of a run that exists. Default: [ResumeAllow].
func WithResume(r Resume) TaskOption { return taskOption(func(c *taskConfig) { c.resume = r }) }

// WithAttempt numbers the attempts of a task that is retried on one run id; the
// highest decides how the run ended. Set it where attempts may overlap, or be
// killed: without numbers the run stays open until the killed one is given up,
// and has crashed then, whatever its successor did.
func WithAttempt(n int) TaskOption { return taskOption(func(c *taskConfig) { c.attempt = &n }) }

// WithRetryOf continues the run of an earlier attempt. It asks for that run's
// id, where [WithRunID] asks for none.
func WithRetryOf(id string) TaskOption { return taskOption(func(c *taskConfig) { c.retryOf = id }) }

// WithAttributes puts further attributes on the task's span. They are ordinary
// ones, for trace viewers; config is [WithConfigValues].
func WithAttributes(attrs ...attribute.KeyValue) TaskOption {
	return taskOption(func(c *taskConfig) { c.attrs = append(c.attrs, attrs...) })
}

// WithSpanOptions are for the task's span: links, kind, another start time.
func WithSpanOptions(opts ...trace.SpanStartOption) TaskOption {
	return taskOption(func(c *taskConfig) { c.span = append(c.span, opts...) })
}
