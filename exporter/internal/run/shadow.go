package run

import (
	"maps"
	"slices"

	"github.com/otel-wandb/otel-wandb/exporter/internal/dotwandb"
)

// clashes knows whether some key was a map in one row and a plain value in
// another. Then the later of the two is the summary, and the other must go. It
// goes by being replaced: W&B's client sends what many records say in one request,
// and of those keeps a removal though a later record puts something below it.
type clashes struct {
	above map[string]struct{} // keys of maps: all that metrics lie under
	any   bool
}

// add is told of each new metric; others are all metrics.
func (c *clashes) add(key string, path []string, others map[string]*aggregate) {
	for i := 1; i < len(path); i++ {
		up := pathKey(path[0], path[1:i])
		if c.above == nil {
			c.above = map[string]struct{}{}
		}
		c.above[up] = struct{}{}
		c.any = c.any || others[up] != nil
	}
	if _, ok := c.above[key]; ok {
		c.any = true
	}
}

// latest is when a metric was last said, by a row or explicitly.
func (a *aggregate) latest() Order {
	if a.HasSet && (!a.HasRows || a.Last.Before(a.SetAt)) {
		return a.SetAt
	}
	return a.Last
}

// whole puts the entries of metrics together by their first key, each as one
// value: what a key was before, a map or a plain value, goes with it.
func whole(metrics []*aggregate, entries []dotwandb.Item) []dotwandb.Item {
	byTime := make([]int, len(metrics))
	for i := range byTime {
		byTime[i] = i
	}
	slices.SortStableFunc(byTime, func(i, j int) int {
		a, b := metrics[i].latest(), metrics[j].latest()
		switch {
		case a.Before(b):
			return -1
		case b.Before(a):
			return 1
		}
		return 0
	})
	root := map[string]any{}
	for _, i := range byTime {
		put(root, metrics[i].Path, entries[i].JSON)
	}
	items := make([]dotwandb.Item, 0, len(root))
	for _, key := range slices.Sorted(maps.Keys(root)) {
		items = append(items, dotwandb.Item{Key: key, JSON: string(appendTree(nil, root[key]))})
	}
	return items
}
