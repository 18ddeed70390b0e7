package run

import (
	"slices"

	"github.com/otel-wandb/otel-wandb/exporter/internal/dotwandb"
)

// clashes knows whether some key was a map in one row and a plain value in
// another. Then the later of the two is the summary, and the other must go.
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

// settle leaves out of metrics, all of them sorted by path, those that a later
// value of another shape has replaced. remove are the keys that were both.
func settle(metrics []*aggregate) (left []*aggregate, remove []dotwandb.Item) {
	gone := map[*aggregate]bool{}
	both := map[*aggregate]bool{}
	var up []*aggregate // the metrics above the one at hand
	for _, m := range metrics {
		for len(up) > 0 && !under(m.Path, up[len(up)-1].Path) {
			up = up[:len(up)-1]
		}
		for _, p := range up {
			both[p] = true
			if m.latest().Before(p.latest()) {
				gone[m] = true
			} else {
				gone[p] = true
			}
		}
		up = append(up, m)
	}
	for _, m := range metrics {
		if both[m] {
			remove = append(remove, dotwandb.Item{Key: m.Path[0], Rest: m.Path[1:]})
		}
		if !gone[m] {
			left = append(left, m)
		}
	}
	return left, remove
}

func under(path, above []string) bool {
	return len(path) > len(above) && slices.Equal(path[:len(above)], above)
}
