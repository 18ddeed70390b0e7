package conformance

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// step is one line of input.jsonl: a request, or time that passes.
type step struct {
	traces  *ptrace.Traces
	logs    *plog.Logs
	metrics *pmetric.Metrics
	wait    time.Duration
}

// settings are the keys of the exporter's configuration that a case may set.
type settings struct {
	AllowedHosts []string `json:"allowed_hosts"`
	Rootless     string   `json:"rootless"`
	Tasks        []struct {
		SpanName  string `json:"span_name"`
		ScopeName string `json:"scope_name"`
		Mode      string `json:"mode"`
	} `json:"tasks"`
	MetricEvents []string `json:"metric_events"`
	Placement    struct {
		By            string `json:"by"`
		UnknownParent string `json:"unknown_parent"`
	} `json:"placement"`
}

// kase is a case as any implementation reads it.
type kase struct {
	Name     string            `json:"case"`
	Title    string            `json:"title"`
	About    string            `json:"about"`
	Exempt   map[string]string `json:"exempt"`
	settings settings
	steps    []step
	expect   []byte
}

func readCase(t *testing.T, dir string) *kase {
	t.Helper()
	input, err := os.ReadFile(filepath.Join(dir, "input.jsonl"))
	require.NoError(t, err)
	k := &kase{}
	k.expect, err = os.ReadFile(filepath.Join(dir, "expect.json"))
	require.NoError(t, err)
	lines := bufio.NewScanner(bytes.NewReader(input))
	lines.Buffer(nil, 64<<20)
	for n := 1; lines.Scan(); n++ {
		require.NoError(t, k.read(lines.Bytes()), "%s, line %d", dir, n)
	}
	require.Equal(t, filepath.Base(dir), k.Name)
	return k
}

func (k *kase) read(line []byte) error {
	var l struct {
		Case     string          `json:"case"`
		Traces   json.RawMessage `json:"traces"`
		Logs     json.RawMessage `json:"logs"`
		Metrics  json.RawMessage `json:"metrics"`
		Wait     string          `json:"wait"`
		Settings json.RawMessage `json:"settings"`
	}
	if err := json.Unmarshal(line, &l); err != nil {
		return err
	}
	switch {
	case l.Case != "":
		return json.Unmarshal(line, k)
	case l.Settings != nil:
		d := json.NewDecoder(bytes.NewReader(l.Settings))
		d.DisallowUnknownFields()
		return d.Decode(&k.settings)
	case l.Traces != nil:
		td, err := (&ptrace.JSONUnmarshaler{}).UnmarshalTraces(l.Traces)
		k.steps = append(k.steps, step{traces: &td})
		return err
	case l.Logs != nil:
		ld, err := (&plog.JSONUnmarshaler{}).UnmarshalLogs(l.Logs)
		k.steps = append(k.steps, step{logs: &ld})
		return err
	case l.Metrics != nil:
		md, err := (&pmetric.JSONUnmarshaler{}).UnmarshalMetrics(l.Metrics)
		k.steps = append(k.steps, step{metrics: &md})
		return err
	case l.Wait != "":
		d, err := time.ParseDuration(l.Wait)
		k.steps = append(k.steps, step{wait: d})
		return err
	}
	return fmt.Errorf("no such line: %s", line)
}
