package intake

import (
	"strings"
	"unicode/utf8"

	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/otel-wandb/otel-wandb/exporter/internal/run"
	"github.com/otel-wandb/otel-wandb/exporter/internal/wildcard"
	"github.com/otel-wandb/otel-wandb/internal/runid"
	"github.com/otel-wandb/otel-wandb/internal/semconv"
)

// attributes are what a span, start event, scope or resource says of tasks and
// runs, read in one pass.
type attributes struct {
	mode                       string
	asked                      runid.Coordinates
	retryOf                    string
	owner                      string
	hasOwner                   bool
	start                      int64
	name, group, jobType, note string
	resume                     string
	tags                       []string
	attempt                    *int64
	config                     []run.Value
	summary                    []run.Value
	ranks                      runid.Ranks
	hasRanks                   bool
	hasRank, hasWorker         bool
	rankScope                  string
	flyteRun, flyteAction      string
	replayed                   bool
	exitCode, processCode      *int64

	carrier      bool
	task, parent string
	spanName     string
	writer       string
	bad          []run.Drop // what cannot be as it was said
}

func (r *reader) attributes(m pcommon.Map) (a attributes) {
	r.read(&a, m)
	return a
}

// read fills a, which is empty.
func (r *reader) read(a *attributes, m pcommon.Map) {
	if m.Len() == 0 {
		return
	}
	for key, v := range m.All() {
		switch {
		case strings.HasPrefix(key, semconv.Prefix):
			r.wandb(a, key, v)
		case key == semconv.FlyteRunName:
			a.flyteRun = v.AsString()
		case key == semconv.FlyteActionName:
			a.flyteAction = v.AsString()
		case key == semconv.FlyteReplayed:
			a.replayed = v.Type() == pcommon.ValueTypeBool && v.Bool() || v.AsString() == "true"
		case key == semconv.ProcessExitCode:
			a.processCode = integer(v)
		}
	}
	for _, b := range []*builder{&r.config, &r.summary} {
		for _, key := range b.cut() {
			a.bad = append(a.bad, run.Drop{Reason: DropBadAttribute, Items: 1, Text: deepText(key)})
		}
	}
	a.summary = r.summary.take()
	a.config = r.config.take()
}

func (r *reader) wandb(a *attributes, key string, v pcommon.Value) {
	switch key {
	case semconv.RunMode:
		a.mode = v.AsString()
	case semconv.RunID:
		a.asked.ID = v.AsString()
	case semconv.RunRetryOf:
		a.retryOf = v.AsString()
	case semconv.RunOwner:
		a.owner, a.hasOwner = v.AsString(), true
	case semconv.RunStartTime:
		if n := integer(v); n != nil {
			a.start = *n
		}
	case semconv.Host:
		a.asked.Host = runid.Host(v.AsString())
	case semconv.Entity:
		a.asked.Entity = v.AsString()
	case semconv.Project:
		a.asked.Project = v.AsString()
	case semconv.RunName:
		a.name = text(v)
	case semconv.RunGroup:
		a.group = text(v)
	case semconv.RunJobType:
		a.jobType = text(v)
	case semconv.RunNotes:
		a.note = text(v)
	case semconv.RunTags:
		a.tags = texts(v)
	case semconv.RunResume:
		a.resume = text(v)
	case semconv.RunAttempt:
		a.attempt = integer(v)
	case semconv.Rank:
		a.hasRank = a.rank(v, &a.ranks.Rank)
	case semconv.LocalRank:
		a.rank(v, &a.ranks.LocalRank)
	case semconv.WorldSize:
		a.rank(v, &a.ranks.WorldSize)
	case semconv.LocalWorldSize:
		a.rank(v, &a.ranks.LocalWorldSize)
	case semconv.Worker:
		a.hasWorker = a.rank(v, &a.ranks.Worker)
	case semconv.RankScope:
		a.rankScope = v.AsString()
	case semconv.Carrier:
		a.carrier = v.Type() == pcommon.ValueTypeBool && v.Bool() || v.AsString() == "true"
	case semconv.Task:
		a.task = v.AsString()
	case semconv.ParentSpanID:
		a.parent = v.AsString()
	case semconv.SpanName:
		a.spanName = text(v)
	case semconv.Writer:
		a.writer = text(v)
	case semconv.ExitCode:
		a.exitCode = integer(v)
	default:
		to := &r.config
		name, ok := strings.CutPrefix(key, semconv.ConfigPrefix)
		if !ok {
			to = &r.summary
			name, ok = strings.CutPrefix(key, semconv.SummaryPrefix)
		}
		switch {
		case !ok:
		case name == "":
			a.bad = append(a.bad, run.Drop{Reason: DropBadAttribute, Items: 1, Text: "attribute " + clip(key) + " names no key behind its dot, and is left out: name it"})
		default:
			to.add(cleanKey(name), nil, v)
		}
	}
}

func (a *attributes) rank(v pcommon.Value, to *int) bool {
	n := integer(v)
	if n != nil {
		*to, a.hasRanks = int(*n), true
	}
	return n != nil
}

// integer reads an int, or a float or text that is one: SDKs differ.
func integer(v pcommon.Value) *int64 {
	var n int64
	switch v.Type() {
	case pcommon.ValueTypeInt:
		n = v.Int()
	case pcommon.ValueTypeDouble:
		n = int64(v.Double())
		if float64(n) != v.Double() {
			return nil
		}
	case pcommon.ValueTypeStr:
		parsed, err := parseInt(v.Str())
		if err != nil {
			return nil
		}
		n = parsed
	default:
		return nil
	}
	return &n
}

// maxText bounds names and notes: a longer one is no name.
const maxText = 64 << 10

func text(v pcommon.Value) string { return cutText(v.AsString()) }

// cutText is valid UTF-8, and no longer than a name is.
func cutText(s string) string {
	if len(s) > maxText {
		s = s[:maxText]
		for i := len(s); i > 0 && len(s)-i < utf8.UTFMax; i-- {
			if utf8.RuneStart(s[i-1]) {
				if !utf8.FullRuneInString(s[i-1:]) {
					s = s[:i-1] // no half a rune
				}
				break
			}
		}
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

func texts(v pcommon.Value) (out []string) {
	if v.Type() != pcommon.ValueTypeSlice {
		return []string{text(v)}
	}
	for _, e := range v.Slice().All() {
		out = append(out, text(e))
	}
	return out
}

// defaults are what a scope and its resource say for all their spans.
type defaults struct {
	scope, resource attributes
	scopeName       string
	place           *runid.Coordinates // what the resource says of where; nil: nothing
	env             *run.Environment
	source          *run.Source // nil: nothing to join by
}

// Attributes of resources that W&B shows of the program and its machine.
const (
	hostName       = "host.name"
	osDescription  = "os.description"
	osType         = "os.type"
	processCommand = "process.command"
	processPath    = "process.executable.path"
	processName    = "process.executable.name"
	processArgs    = "process.command_args"
	processOwner   = "process.owner"
	imageName      = "container.image.name"
	vcsURL         = "vcs.repository.url.full"
	vcsRevision    = "vcs.ref.head.revision"
	serviceName    = "service.name"
)

// And those by which metrics find the runs of a machine or a program.
const (
	serviceInstance = "service.instance.id"
	podUID          = "k8s.pod.uid"
	containerID     = "container.id"
	hostID          = "host.id"
	processPID      = "process.pid"
	unknownService  = "unknown_service" // alone, or with ":" and the executable's name
)

// source is what a resource says of where it is; nil where metrics cannot join
// by it.
func source(m pcommon.Map) *run.Source {
	get := func(key string) string {
		v, ok := m.Get(key)
		if !ok {
			return ""
		}
		return bounded(v.AsString(), maxSourceKey)
	}
	s := run.Source{
		Instance: get(serviceInstance), Pod: get(podUID), Container: get(containerID), HostID: get(hostID), HostName: get(hostName),
		// Who has no name is called by its executable's, as the bridge calls it.
		Service: strings.TrimPrefix(strings.TrimPrefix(get(serviceName), unknownService), ":"), PID: get(processPID),
	}
	if !s.Joins() {
		return nil
	}
	return &s
}

// maxSourceKey is longer than any id of a machine or a program.
const maxSourceKey = 256

func environment(m pcommon.Map) *run.Environment {
	get := func(keys ...string) string {
		for _, key := range keys {
			if v, ok := m.Get(key); ok && v.AsString() != "" {
				return text(v)
			}
		}
		return ""
	}
	e := run.Environment{
		Host: get(hostName), OS: get(osDescription, osType), Program: get(processCommand, processName, serviceName),
		Executable: get(processPath), User: get(processOwner), Image: get(imageName),
		GitRemote: get(vcsURL), GitCommit: get(vcsRevision),
	}
	if v, ok := m.Get(processArgs); ok {
		e.Args = texts(v)
	}
	if e.Host == "" && e.OS == "" && e.Program == "" && e.Executable == "" && e.Image == "" && e.GitCommit == "" {
		return nil
	}
	return &e
}

// rule is the mode that a task rule gives a span; empty: none matches.
func (o *Options) rule(spanName, scopeName string) string {
	for _, r := range o.Rules {
		if (r.SpanName == "" || wildcard.Match(r.SpanName, spanName)) &&
			(r.ScopeName == "" || wildcard.Match(r.ScopeName, scopeName)) {
			return r.Mode
		}
	}
	return ""
}
