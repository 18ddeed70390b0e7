package engine

import (
	"sync"

	"github.com/otel-wandb/otel-wandb/exporter/internal/run"
	"github.com/otel-wandb/otel-wandb/internal/runid"
)

// joins knows the open runs by where their tasks run, so that metrics find
// them. The shard that owns a run writes the run's entry: when it opens, hears of
// another resource, and ends. Requests read.
//
// ConcurrentSafe: by its own lock, under which no other is taken.
type joins struct {
	mu   sync.RWMutex
	runs map[runid.Coordinates]*joinable
	by   map[joinKey][]place
}

type joinKey struct {
	key   int // run.Source.Key
	value string
}

// joinable is an open run; place one resource of its tasks.
type joinable struct {
	key     runid.Coordinates
	client  string
	sources []run.Source
}

type place struct {
	run    *joinable
	source *run.Source
}

func newJoins() *joins {
	return &joins{runs: map[runid.Coordinates]*joinable{}, by: map[joinKey][]place{}}
}

// put makes sources all that is known of a run. Nobody changes them any more.
func (j *joins) put(key runid.Coordinates, client string, sources []run.Source) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.drop(key)
	if len(sources) == 0 {
		return
	}
	r := &joinable{key: key, client: client, sources: sources}
	j.runs[key] = r
	for i := range sources {
		for k := range run.JoinKeys {
			if v := sources[i].Key(k); v != "" {
				at := joinKey{k, v}
				j.by[at] = append(j.by[at], place{r, &sources[i]})
			}
		}
	}
}

func (j *joins) remove(key runid.Coordinates) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.drop(key)
}

// drop is remove, under the lock.
func (j *joins) drop(key runid.Coordinates) {
	r := j.runs[key]
	if r == nil {
		return
	}
	delete(j.runs, key)
	for i := range r.sources {
		for k := range run.JoinKeys {
			at := joinKey{k, r.sources[i].Key(k)}
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

// find gives the open runs that metrics of from join, and by which key: the
// first that any run is found by. program metrics are of the runs of their own
// program only; client is who sent them, and only its runs count.
func (j *joins) find(from *run.Source, program bool, client string) (runs []runid.Coordinates, key int) {
	j.mu.RLock()
	defer j.mu.RUnlock()
	for k := range run.JoinKeys {
		v := from.Key(k)
		if v == "" {
			continue
		}
		var last *joinable
		for _, p := range j.by[joinKey{k, v}] {
			if p.run == last || p.run.client != "" && p.run.client != client || program && !from.SameProgram(p.source) {
				continue // a run's places stand together
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
