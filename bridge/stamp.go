package bridge

import (
	"maps"
	"slices"

	"go.opentelemetry.io/otel/attribute"

	"github.com/otel-wandb/otel-wandb/internal/runid"
	"github.com/otel-wandb/otel-wandb/internal/semconv"
)

// stampOf says "I belong to that run".
func stampOf(p *place) []attribute.KeyValue {
	return append(request(p.coords),
		attribute.String(semconv.RunOwner, p.owner.String()),
		attribute.Int64(semconv.RunStartTime, p.ownerStart.UnixNano()))
}

// request asks for a run by its coordinates: what a task says whose run's
// owner it does not know.
func request(c runid.Coordinates) []attribute.KeyValue {
	out := []attribute.KeyValue{attribute.String(semconv.RunID, c.ID)}
	for _, kv := range [][2]string{{semconv.Entity, c.Entity}, {semconv.Project, c.Project}, {semconv.Host, c.Host}} {
		if kv[1] != "" {
			out = append(out, attribute.String(kv[0], kv[1]))
		}
	}
	return out
}

// linksOf is what a trace viewer shows of the run, and what Weave joins by.
func linksOf(p *place) []attribute.KeyValue {
	out := []attribute.KeyValue{attribute.String(semconv.WBRunID, p.coords.ID)}
	if url := runURL(p.coords); url != "" {
		out = append(out, attribute.String(semconv.RunURL, url))
	}
	return out
}

// differs is the config and the tags of s that had does not have already.
func (s *scope) differs(had *place) (out []attribute.KeyValue) {
	if s == nil {
		return nil
	}
	tags := s.tags
	if had != nil {
		tags = slices.DeleteFunc(slices.Clone(tags), func(tag string) bool { return slices.Contains(had.tags, tag) })
	}
	if len(tags) > 0 {
		out = append(out, attribute.StringSlice(semconv.RunTags, tags))
	}
	for _, key := range slices.Sorted(maps.Keys(s.config)) {
		v := s.config[key]
		if had != nil {
			if old, ok := had.config[key]; ok && same(old, v) {
				continue
			}
		}
		out = append(out, attribute.KeyValue{Key: attribute.Key(semconv.ConfigPrefix + key), Value: v})
	}
	return out
}
