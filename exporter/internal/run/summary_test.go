package run

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-wandb/otel-wandb/exporter/internal/dotwandb"
)

// tree is a summary, or changes of one, by path. As W&B's client has it, a value
// takes away what stands above and below its path.
type tree map[string]string

func pathOf(it dotwandb.Item) string { return pathKey(it.Key, it.Rest) }

func (t tree) remove(path string) {
	for p := range t {
		if p == path || strings.HasPrefix(p, path+"\x00") {
			delete(t, p)
		}
	}
}

func (t tree) set(path, value string) {
	t.remove(path)
	for p := range t {
		if strings.HasPrefix(path, p+"\x00") {
			delete(t, p)
		}
	}
	t[path] = value
}

// changes are those of a batch of records, merged as W&B's client merges them:
// an update takes a removal of its own path back, not one above it.
type changes struct{ update, remove tree }

func (c changes) merge(s *dotwandb.Summary) {
	for _, it := range s.Update {
		c.remove.remove(pathOf(it))
		c.update.set(pathOf(it), it.JSON)
	}
	for _, it := range s.Remove {
		c.remove.set(pathOf(it), "")
		c.update.remove(pathOf(it))
	}
}

func (c changes) apply(to tree) {
	for path, value := range c.update {
		to.set(path, value)
	}
	for path := range c.remove {
		to.remove(path)
	}
}

// summaryBy folds the summary records of a part in batches of n; 0: all in one.
func summaryBy(t *testing.T, part [][]byte, n int) tree {
	out := tree{}
	c := changes{tree{}, tree{}}
	for i, b := range part {
		rec, err := dotwandb.Decode(b)
		require.NoError(t, err)
		if rec.Summary != nil {
			c.merge(rec.Summary)
		}
		if n > 0 && i%n == 0 {
			c.apply(out)
			c = changes{tree{}, tree{}}
		}
	}
	c.apply(out)
	return out
}

// said is the summary as the metrics make it, and that of the log without W&B's
// own keys.
func said(s *State, all tree) (want, got map[string]any) {
	list := slices.Collect(maps.Values(s.metrics))
	slices.SortFunc(list, func(a, b *aggregate) int {
		if a.latest().Before(b.latest()) {
			return -1
		}
		return 1
	})
	want, got = map[string]any{}, map[string]any{}
	for _, m := range list {
		if it, ok := m.item(s.defs.find(m.name)); ok {
			put(want, m.Path, it.JSON)
		}
	}
	for path, value := range all {
		if !strings.HasPrefix(path, "_") {
			put(got, strings.Split(path, "\x00"), value)
		}
	}
	return decoded(want), decoded(got)
}

// decoded has values in the place of their texts.
func decoded(m map[string]any) map[string]any {
	out := map[string]any{}
	for k, v := range m {
		var x any
		if err := json.Unmarshal(appendTree(nil, v), &x); err != nil {
			x = err
		}
		out[k] = x
	}
	return out
}

func define(name string, at int64, ops ...string) Item {
	return Item{Kind: KindMetric, ID: ID{Hash: uint64(at) + 1<<40}, Order: Order{Time: at}, Metric: &MetricDef{Name: name, Summary: ops, Order: Order{Time: at, N: uint64(at)}}}
}

func logged(at int64, values ...Value) Item {
	return Item{Kind: KindRow, ID: ID{Hash: uint64(at) + 1<<41}, Order: Order{Time: at}, Row: &Row{Values: values}}
}

// W&B's client sends what many records say in one request. What it makes of
// them must not depend on which those are: `wandb sync` has them all in one.
func TestTheSummaryIsTheSameInAllBatches(t *testing.T) {
	v := func(f float64, key string, rest ...string) Value {
		v := Value{Key: key, Rest: rest}
		v.SetFloat(f)
		return v
	}
	for _, tt := range []struct {
		name  string
		items []Item
		want  string
	}{
		{
			"defined before its rows",
			[]Item{define("loss", 1, "min", "max"), logged(2, v(3, "loss")), logged(3, v(1, "loss"))},
			`{"loss":{"min":1,"max":3}}`,
		},
		{
			"defined after its rows, and again",
			[]Item{logged(1, v(3, "loss")), define("loss", 2, "max"), logged(3, v(1, "loss")), define("l*", 4, "mean"), define("loss", 5, "min")},
			`{"loss":{"min":1}}`,
		},
		{
			"a glob that comes late",
			[]Item{logged(1, v(3, "val", "loss"), v(4, "val", "acc")), define("val.*", 2, "last")},
			`{"val":{"loss":{"last":3},"acc":{"last":4}}}`,
		},
		{
			"defined as none, when it was there",
			[]Item{logged(1, v(3, "loss"), v(4, "acc")), define("loss", 2, "none")},
			`{"acc":4}`,
		},
		{
			"none, and then some",
			[]Item{logged(1, v(3, "loss")), define("loss", 2, "none"), define("loss", 3, "max")},
			`{"loss":{"max":3}}`,
		},
		{
			"a number, then a map",
			[]Item{logged(1, v(3, "a")), logged(2, v(4, "a", "b")), logged(3, v(5, "a", "c"))},
			`{"a":{"b":4,"c":5}}`,
		},
		{
			"a map, then a number",
			[]Item{logged(1, v(4, "a", "b"), v(5, "a", "c")), logged(2, v(3, "a"))},
			`{"a":3}`,
		},
		{
			"a map, a number and half of the map, in one record",
			[]Item{logged(1, v(4, "a", "b"), v(5, "a", "c")), {}, logged(2, v(3, "a")), logged(3, v(6, "a", "b"))},
			`{"a":{"b":6}}`,
		},
		{
			"a map, then a number that is defined",
			[]Item{logged(1, v(4, "a", "min"), v(5, "a", "c")), {}, logged(2, v(3, "a")), define("a", 3, "min", "last")},
			`{"a":{"min":3,"last":3}}`,
		},
		{
			"half of a map as none, and then a map below it",
			[]Item{logged(1, v(4, "a", "b"), v(5, "a", "c")), {}, define("a.b", 2, "none"), {}, logged(3, v(6, "a", "b", "d"))},
			`{"a":{"b":{"d":6},"c":5}}`,
		},
		{
			"all as none, and then a map below it",
			[]Item{logged(1, v(4, "a")), {}, define("a", 2, "none"), {}, logged(3, v(6, "a", "b"))},
			`{"a":{"b":6}}`,
		},
		{
			"a map and a number as none",
			[]Item{logged(1, v(4, "a", "b"), v(1, "e")), {}, logged(2, v(5, "a")), {}, define("a*", 3, "none")},
			`{"e":1}`,
		},
		{
			"set, then logged",
			[]Item{
				{Kind: KindSummary, ID: ID{Hash: 1}, Order: Order{Time: 1}, Values: []Value{v(9, "loss")}},
				define("loss", 2, "min"), logged(3, v(4, "loss")),
			},
			`{"loss":{"min":4}}`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, each := range []bool{true, false} { // a record for each item, or for all between empty ones
				s, l := NewState(testKey, testConfig), &testLog{t: t}
				now := int64(time.Hour)
				for _, it := range tt.items {
					now += int64(time.Second)
					if it.ID != (ID{}) {
						s.Apply(now, []Delivery{{Context: &Context{}, Items: []Item{it}}})
					}
					if each || it.ID == (ID{}) {
						l.flush(s, now)
					}
				}
				l.flush(s, now)
				l.write(s, s.Close(0))
				for n := range 4 {
					want, got := said(s, summaryBy(t, l.parts[0], n))
					text, err := json.Marshal(got)
					require.NoError(t, err)
					assert.JSONEq(t, tt.want, string(text), "in batches of %d", n)
					assert.Equal(t, want, got)
				}
			}
		})
	}
}

// The same of anything: also after a restart, which forgets what the summary has.
func TestAnySummaryIsTheSameInAllBatches(t *testing.T) {
	paths := [][]string{{"a"}, {"a", "b"}, {"a", "c"}, {"a", "b", "d"}, {"e"}, {"e.f"}}
	for seed := range int64(300) {
		r := rand.New(rand.NewSource(seed))
		s, l := NewState(testKey, testConfig), &testLog{t: t}
		now := int64(time.Hour)
		for range 40 {
			now += int64(300 * time.Millisecond)
			var it Item
			switch r.Intn(8) {
			case 0:
				it = define([]string{"a", "a.*", "a.b", "e*"}[r.Intn(4)], now, [][]string{{"min", "last"}, {"max"}, {}, {"none"}}[r.Intn(4)]...)
			case 1:
				if s.Open() {
					l.flush(s, now)
					s = l.replayed()
				}
				continue
			default:
				p := paths[r.Intn(len(paths))]
				v := Value{Key: p[0], Rest: p[1:]}
				v.SetFloat(float64(r.Intn(100)))
				it = logged(now, v)
			}
			s.Apply(now, []Delivery{{Context: &Context{}, Items: []Item{it}}})
			if r.Intn(2) == 0 {
				l.flush(s, now)
			}
		}
		if l.flush(s, now); s.Open() {
			l.write(s, s.Close(0))
		}
		for n := range 4 {
			want, got := said(s, summaryBy(t, l.parts[len(l.parts)-1], n))
			require.Equal(t, want, got, "seed %d, in batches of %d", seed, n)
		}
	}
}

// A part says where the one before it left off, not what came since.
func TestAPartBeginsWhereTheLastOneEnded(t *testing.T) {
	ctx := &Context{OwnerSpan: SpanID{1}, OwnerStart: int64(time.Hour)}
	for _, restart := range []bool{false, true} {
		s, l := NewState(testKey, testConfig), &testLog{t: t}
		now := int64(time.Hour)
		apply := func(rows int) {
			for i := range rows {
				now += int64(time.Second)
				s.Apply(now, []Delivery{{Context: ctx, Items: []Item{logged(now, intValue("x", int64(i)))}}})
			}
			l.flush(s, now)
		}
		apply(3)
		l.write(s, s.Close(0))
		if restart {
			s = l.replayed()
		}
		apply(2)
		s.addTags([]string{"late"}, &Applied{}) // says the run again
		apply(1)
		var began []*dotwandb.Run
		for _, b := range l.parts[1] {
			rec, err := dotwandb.Decode(b)
			require.NoError(t, err)
			if rec.Run != nil {
				began = append(began, rec.Run)
			}
		}
		require.Len(t, began, 2, fmt.Sprint("restart: ", restart))
		for _, run := range began {
			assert.EqualValues(t, 3, run.StartingStep)
			assert.EqualValues(t, 3, run.Runtime)
		}
	}
}
