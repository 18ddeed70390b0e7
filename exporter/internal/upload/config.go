package upload

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/otel-wandb/otel-wandb/exporter/internal/dotwandb"
	"github.com/otel-wandb/otel-wandb/internal/extjson"
)

// markKey is the key in _wandb under which an upload says from where on its log
// was written to the run.
const markKey = "otel_wandb"

type mark struct {
	Log     string `json:"log"`
	Lines   [3]int `json:"lines"` // history, events, console
	Step    int64  `json:"step"`
	Runtime int64  `json:"runtime"`
	// Artifacts: rows refer to the artifacts of their tables.
	Artifacts bool `json:"artifacts,omitempty"`
	// Last is the last part with which the run went on after its end.
	Last string `json:"last,omitempty"`
	// Moved are the parts that go on behind what somebody else wrote in between.
	Moved []movedMark `json:"moved,omitempty"`
}

// movedMark is moved as the mark has it.
type movedMark struct {
	Part    string `json:"part"`
	Lines   [3]int `json:"lines"`
	Step    int64  `json:"step"`
	Runtime int64  `json:"runtime"`
}

// configText is the run's config as W&B wants it: whole, old keys beneath.
func (s *state) configText() string {
	all, own := parse(s.OldConfig), parse(s.OwnConfig)
	for _, key := range s.config.keys {
		raw, _ := s.config.get(key)
		if before, ok := own.get(key); ok && before == raw && all.at[key] != nil {
			continue // somebody else had the last word, and nothing new is said here
		}
		all.put(key, raw)
	}
	wandb, _ := s.config.get("_wandb")
	all.put("_wandb", s.wandbConfig(wandb))
	b := []byte{'{'}
	for i, key := range all.keys {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendQuoted(b, key), `:{"value":`...)
		b = append(all.at[key].append(b), '}')
	}
	return string(append(b, '}'))
}

// wandbConfig is W&B's own key: who wrote the run, where, and its metrics'
// definitions. own is what the log's config has under it.
func (s *state) wandbConfig(own string) string {
	o := parse(own)
	old := parse(parse(s.OldConfig).text0("_wandb"))
	for _, key := range []string{"viz", "visualize", "mask/class_labels"} {
		if raw, ok := old.get(key); ok && o.at[key] == nil {
			o.put(key, raw)
		}
	}
	t := s.telemetry
	if t == nil {
		t = &dotwandb.Telemetry{}
	}
	if t.CLIVersion != "" {
		o.put("cli_version", quoted(t.CLIVersion))
	}
	if t.PythonVersion != "" {
		o.put("python_version", quoted(t.PythonVersion))
	}
	o.put("t", telemetryText(t)) // without it W&B takes the run for one that never began
	if m := s.metricsText(); m != "" {
		o.put("m", m)
	}
	environments := parse(old.text0("e"))
	for i := range s.environments {
		e := &s.environments[i]
		environments.put(nonEmpty(e.WriterID, "otel-wandb"), environmentText(e))
	}
	if len(environments.keys) > 0 {
		o.put("e", environments.text())
	}
	o.put(markKey, asJSON(s.mark()))
	return o.text()
}

// mark is what W&B keeps of this upload.
func (s *state) mark() mark {
	m := mark{Log: s.Log, Lines: s.Base.numbers(), Step: s.Step, Runtime: s.Runtime, Artifacts: s.Artifacts, Last: s.Last}
	if len(s.Moved) > 0 {
		m.Step, m.Runtime = s.FirstStep, s.FirstRuntime
	}
	for _, to := range s.Moved {
		m.Moved = append(m.Moved, movedMark{to.Part, to.Lines.numbers(), to.Step, to.Runtime})
	}
	return m
}

// moved are the parts that go on elsewhere, by a mark.
func (m *mark) moved() (list []moved) {
	for _, to := range m.Moved {
		list = append(list, moved{to.Part, linesOf(to.Lines), to.Step, to.Runtime})
	}
	return list
}

// numbers are lines as a mark has them: history, events, console.
func (l lines) numbers() [3]int { return [3]int{l.History, l.Events, l.Console} }

func linesOf(n [3]int) lines { return lines{History: n[0], Events: n[1], Console: n[2]} }

// text0 is the text of a key's value, "{}" where there is none.
func (o *object) text0(key string) string {
	if raw, ok := o.get(key); ok {
		return raw
	}
	return "{}"
}

// markOf finds the mark of a log in a resumed run's config.
func markOf(config []extjson.Member, log string) (m mark, ok bool) {
	for _, member := range config {
		if member.Key != "_wandb" {
			continue
		}
		if raw, there := extjson.Get(member.Raw, markKey); there {
			ok = json.Unmarshal([]byte(raw), &m) == nil && m.Log == log
		}
	}
	return m, ok
}

func asJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // numbers and strings: a programmer's mistake
	}
	return string(b)
}

// fields is an object of protobuf field numbers, as W&B has telemetry and
// metrics in the config.
type fields struct{ object }

func (f *fields) put(number int, raw string) { f.object.put(strconv.Itoa(number), raw) }

func (f *fields) string(number int, text string) {
	if text != "" {
		f.put(number, quoted(text))
	}
}

// flags writes the numbers of those that are set, counted from 1.
func (f *fields) flags(number int, flags ...bool) {
	numbers := []int{}
	for i, set := range flags {
		if set {
			numbers = append(numbers, i+1)
		}
	}
	f.put(number, asJSON(numbers))
}

func telemetryText(t *dotwandb.Telemetry) string {
	var f fields
	if len(t.Features) > 0 {
		f.put(3, asJSON(t.Features))
	}
	f.string(4, t.PythonVersion)
	f.string(5, t.CLIVersion)
	f.string(12, t.CoreVersion)
	f.string(13, t.Platform)
	return f.text()
}

// metricsText is the list of metric definitions; "" without any. A step metric
// is named by its place in the list, from 1, and has one of its own if nobody
// defined it. Of a glob goes up what the server can do with: itself, or the
// metrics that it defines.
func (s *state) metricsText() string {
	var list []dotwandb.Metric
	for _, m := range s.metrics {
		if s.Globs && !m.Expanded || !s.Globs && m.GlobName == "" {
			list = append(list, m)
		}
	}
	find := func(name string) int {
		return slices.IndexFunc(list, func(m dotwandb.Metric) bool { return m.Name == name })
	}
	for i := 0; i < len(list); i++ {
		if step := list[i].StepMetric; step != "" && find(step) < 0 {
			list = append(list, dotwandb.Metric{Name: step})
		}
	}
	if len(list) == 0 {
		return ""
	}
	b := []byte{'['}
	for i := range list {
		m := &list[i]
		var f fields
		f.string(1, m.Name)
		f.string(2, m.GlobName)
		if m.StepMetric != "" {
			f.put(5, strconv.Itoa(find(m.StepMetric)+1))
		}
		f.flags(6, m.StepSync, m.Hidden, m.Defined)
		q := m.Summary
		f.flags(7, q.Min, q.Max, q.Mean, q.Best, q.Last, q.None, q.Copy, q.First)
		if m.Goal != 0 {
			f.put(8, strconv.Itoa(m.Goal))
		}
		if i > 0 {
			b = append(b, ',')
		}
		b = f.append(b)
	}
	return string(append(b, ']'))
}

// environmentText is an environment record as protobuf's JSON has it, in which
// 64-bit numbers are strings.
func environmentText(e *dotwandb.Environment) string {
	var o object
	text := func(key, value string) {
		if value != "" {
			o.put(key, quoted(value))
		}
	}
	number := func(key string, n uint32) {
		if n > 0 {
			o.put(key, fmt.Sprint(n))
		}
	}
	text("os", e.OS)
	text("python", e.Python)
	if !e.StartedAt.IsZero() {
		text("startedAt", e.StartedAt.UTC().Format(time.RFC3339Nano))
	}
	text("docker", e.Docker)
	if len(e.Args) > 0 {
		o.put("args", asJSON(e.Args))
	}
	text("program", e.Program)
	text("codePath", e.CodePath)
	text("codePathLocal", e.CodePathLocal)
	if e.GitRemote != "" || e.GitCommit != "" {
		git := &object{}
		for _, kv := range [][2]string{{"remote", e.GitRemote}, {"commit", e.GitCommit}} {
			if kv[1] != "" {
				git.put(kv[0], quoted(kv[1]))
			}
		}
		o.put("git", git.text())
	}
	text("email", e.Email)
	text("root", e.Root)
	text("host", e.Host)
	text("username", e.Username)
	text("executable", e.Executable)
	number("cpu_count", e.CPUCount)
	number("cpu_count_logical", e.CPUCountLogical)
	text("gpu", e.GPUType)
	number("gpu_count", e.GPUCount)
	if e.MemoryTotal > 0 {
		o.put("memory", fmt.Sprintf(`{"total":"%d"}`, e.MemoryTotal))
	}
	if len(e.Slurm) > 0 {
		slurm := &object{}
		for _, key := range slices.Sorted(maps.Keys(e.Slurm)) {
			slurm.put(key, quoted(e.Slurm[key]))
		}
		o.put("slurm", slurm.text())
	}
	text("writerId", e.WriterID)
	return o.text()
}
