package runview

import (
	"github.com/otel-wandb/otel-wandb/exporter/internal/dotwandb"
	"github.com/otel-wandb/otel-wandb/internal/extjson"
)

// put sets the value of an item in a nested map, and tells whether its JSON was
// fit to read. One that is not is kept as its text: to show beats to hide.
func put(into map[string]any, it *dotwandb.Item) bool {
	v, err := extjson.Decode(it.JSON)
	if err != nil {
		v = it.JSON
	}
	key := it.Key
	for _, next := range it.Rest {
		inner, ok := into[key].(map[string]any)
		if !ok {
			inner = make(map[string]any)
			into[key] = inner
		}
		into, key = inner, next
	}
	into[key] = v
	return err == nil
}

// remove removes the item's key, and the maps that it leaves empty.
func remove(from map[string]any, it *dotwandb.Item) { cut(from, it.Key, it.Rest) }

func cut(from map[string]any, key string, rest []string) {
	if len(rest) > 0 {
		inner, ok := from[key].(map[string]any)
		if !ok {
			return
		}
		if cut(inner, rest[0], rest[1:]); len(inner) > 0 {
			return
		}
	}
	delete(from, key)
}
