package intake

import (
	"slices"
	"strings"

	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/otel-wandb/otel-wandb/internal/semconv"
)

// Names of machines, processes, containers and hardware are system metrics.
const (
	systemPrefix  = "system."
	processPrefix = "process."
)

var systemPrefixes = []string{systemPrefix, processPrefix, "container.", "k8s.", "hw."}

// known is a system metric that W&B has a chart of its own for.
type known struct {
	key   string  // {} stands for the index
	times float64 // from OpenTelemetry's unit to W&B's
	is    map[string]string
	must  bool     // one of is must be there; otherwise they may
	index []string // names of the attribute that is the index
	path  bool     // the index is a path; otherwise a number
}

const (
	percent = 100
	mebi    = 1.0 / (1 << 20)
)

// wandbKeys are the metrics that mean exactly what W&B's own client measures, by
// OpenTelemetry's name. What is not certain is not here, and keeps its name: the
// share of one CPU mode, say, or network traffic since the machine's start, where
// W&B has that of the run.
var wandbKeys = map[string]known{
	"system.memory.utilization": {
		key: "memory_percent", times: percent, must: true,
		is: map[string]string{"state": "used", "system.memory.state": "used"},
	},
	"system.filesystem.utilization": {
		key: "disk.{}.usagePercent", times: percent, path: true,
		is:    map[string]string{"state": "used", "system.filesystem.state": "used"},
		index: []string{"mountpoint", "system.filesystem.mountpoint"},
	},
	"process.cpu.utilization": {key: "cpu", times: percent}, // of all modes: one mode's is another metric
	"process.memory.usage":    {key: "proc.memory.rssMB", times: mebi},
	"process.thread.count":    {key: "proc.cpu.threads", times: 1},
	"process.threads":         {key: "proc.cpu.threads", times: 1}, // the collector's name of it

	"hw.gpu.utilization": {
		key: "gpu.{}.gpu", times: percent, index: gpuIndex,
		is: map[string]string{"hw.gpu.task": "general"},
	},
	"hw.gpu.memory.utilization": {key: "gpu.{}.memoryAllocated", times: percent, index: gpuIndex},
	"hw.gpu.memory.usage":       {key: "gpu.{}.memoryAllocatedBytes", times: 1, index: gpuIndex},
	"hw.temperature": {
		key: "gpu.{}.temp", times: 1, index: gpuIndex, must: true,
		is: map[string]string{"hw.type": "gpu"},
	},
	"hw.power": {
		key: "gpu.{}.powerWatts", times: 1, index: gpuIndex, must: true,
		is: map[string]string{"hw.type": "gpu"},
	},
}

var gpuIndex = []string{"index", "gpu", "hw.id"}

// says are attributes that describe a device and tell none apart.
var says = map[string]bool{
	"device": true, "system.device": true, "type": true, "system.filesystem.type": true, "mode": true, "system.filesystem.mode": true,
	"hw.name": true, "hw.vendor": true, "hw.model": true, "hw.serial_number": true, "hw.driver_version": true,
	"hw.firmware_version": true, "hw.parent": true, "hw.type": true,
}

// wandbKey is W&B's own key of a system metric. Where an attribute might tell two
// streams apart that would have one key then, there is none.
func wandbKey(name string, attrs pcommon.Map) (key string, times float64, ok bool) {
	k, ok := wandbKeys[name]
	if !ok {
		return "", 0, false
	}
	index, matched := "", false
	for attr, v := range attrs.All() {
		want, must := k.is[attr]
		switch {
		case strings.HasPrefix(attr, semconv.Prefix):
		case must:
			if v.AsString() != want {
				return "", 0, false
			}
			matched = true
		case slices.Contains(k.index, attr) && index == "":
			if index = v.AsString(); !k.path && !number(index) {
				return "", 0, false
			}
		case !says[attr] || k.index == nil:
			return "", 0, false
		}
	}
	if k.must && !matched || k.index != nil && index == "" {
		return "", 0, false
	}
	return strings.Replace(k.key, "{}", bounded(plainText(index), maxSuffix), 1), k.times, true
}

// number tells whether a GPU's index is one.
func number(s string) bool {
	return s != "" && len(s) <= 4 && strings.Trim(s, "0123456789") == ""
}
