package wandbexporter

import (
	"sync"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.uber.org/zap"
)

// health is what the component says of itself to the Collector: whether
// requests can be written, and whether runs get to W&B.
//
// ConcurrentSafe: by a lock of its own. Uploads report while the exporter shuts
// down and waits for them.
type health struct {
	logger *zap.Logger

	mu       sync.Mutex // guards everything below
	hosts    map[*member]component.Host
	failing  error // requests go back
	hindered error // runs do not get to W&B
}

func newHealth(logger *zap.Logger) *health {
	return &health{logger: logger, hosts: map[*member]component.Host{}}
}

func (h *health) add(m *member, host component.Host) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.hosts[m] = host
	if h.failing != nil || h.hindered != nil {
		h.report()
	}
}

func (h *health) remove(m *member) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.hosts, m)
	if len(h.hosts) == 0 {
		h.failing, h.hindered = nil, nil
	}
}

// requests is told how each request went. A change is logged once.
func (h *health) requests(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if (err == nil) == (h.failing == nil) {
		return
	}
	if h.failing = err; err != nil {
		h.logger.Error("data cannot be written: senders keep it and try again", zap.Error(err))
	} else {
		h.logger.Info("data is written again")
	}
	h.report()
}

// uploads is told what keeps runs from W&B, and nil when nothing does.
func (h *health) uploads(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.hindered = err; err != nil {
		h.logger.Warn("not all runs get to W&B: they are kept on disk", zap.Error(err))
	} else {
		h.logger.Info("runs get to W&B again")
	}
	h.report()
}

func (h *health) report() {
	event := componentstatus.NewEvent(componentstatus.StatusOK)
	switch {
	case h.failing != nil:
		event = componentstatus.NewRecoverableErrorEvent(h.failing)
	case h.hindered != nil:
		event = componentstatus.NewRecoverableErrorEvent(h.hindered)
	}
	for _, host := range h.hosts {
		componentstatus.ReportStatus(host, event)
	}
}
