// Package join finds the open runs that metrics belong to which name none: by
// what the resources of the runs' tasks say of machine and program.
//
// Whoever owns a run writes its entry, when the run opens, hears of another
// resource, and ends; in the engine that is the run's shard. Requests read.
package join

import (
	"sync"

	"github.com/otel-wandb/otel-wandb/exporter/internal/run"
	"github.com/otel-wandb/otel-wandb/internal/runid"
)

// Index knows the open runs by where their tasks run. Make it with New.
//
// ConcurrentSafe: by its own lock, under which no other is taken.
type Index struct {
	mu   sync.RWMutex
	runs map[runid.Coordinates]*entry
	by   map[place][]tenant
}

type place struct {
	key   int // run.Source.Key
	value string
}

// entry is an open run; tenant is one of its tasks' resources, which has a key's
// value.
type entry struct {
	key     runid.Coordinates
	client  string
	sources []run.Source
}

type tenant struct {
	run    *entry
	source *run.Source
}

// New makes an empty index.
func New() *Index {
	return &Index{runs: map[runid.Coordinates]*entry{}, by: map[place][]tenant{}}
}

// Put makes sources all that is known of a run. Nobody changes them any more.
func (j *Index) Put(key runid.Coordinates, client string, sources []run.Source) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.drop(key)
	if len(sources) == 0 {
		return
	}
	r := &entry{key: key, client: client, sources: sources}
	j.runs[key] = r
	for i := range sources {
		for k := range run.JoinKeys {
			if v := sources[i].Key(k); v != "" {
				at := place{k, v}
				j.by[at] = append(j.by[at], tenant{r, &sources[i]})
			}
		}
	}
}

// Remove takes a run out: it has ended, or is another program's.
func (j *Index) Remove(key runid.Coordinates) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.drop(key)
}

// drop is Remove, under the lock.
func (j *Index) drop(key runid.Coordinates) {
	r := j.runs[key]
	if r == nil {
		return
	}
	delete(j.runs, key)
	for i := range r.sources {
		for k := range run.JoinKeys {
			at := place{k, r.sources[i].Key(k)}
			kept := j.by[at][:0]
			for _, p := range j.by[at] {
				if p.run != r {
					kept = append(kept, p)
				}
			}
			clear(j.by[at][len(kept):])
			if j.by[at] = kept; len(kept) == 0 {
				delete(j.by, at)
			}
		}
	}
}

// Find gives the open runs that metrics of from join, and by which key: the
// first that any run is found by. program metrics are of the runs of their own
// program only; client is who sent them, and only its runs count.
func (j *Index) Find(from *run.Source, program bool, client string) (runs []runid.Coordinates, key int) {
	j.mu.RLock()
	defer j.mu.RUnlock()
	for k := range run.JoinKeys {
		v := from.Key(k)
		if v == "" {
			continue
		}
		var last *entry
		for _, p := range j.by[place{k, v}] {
			if p.run == last || p.run.client != "" && p.run.client != client || program && !from.SameProgram(p.source) {
				continue // a run's tenants stand together
			}
			last = p.run
			runs = append(runs, p.run.key)
		}
		if len(runs) > 0 {
			return runs, k
		}
	}
	return nil, 0
}
