package placementtest

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Run runs all cases of the files that match pattern.
func Run(t *testing.T, pattern string) {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no file matches %s (%v)", pattern, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		cases, err := Parse(file, string(text))
		if err != nil {
			t.Error(err)
			continue
		}
		t.Run(strings.TrimSuffix(filepath.Base(file), filepath.Ext(file)), func(t *testing.T) {
			for _, c := range cases {
				t.Run(c.Name, func(t *testing.T) {
					if err := c.Check(); err != nil {
						t.Error(err)
					}
				})
			}
		})
	}
}

// Check runs the case in every order and delivery that it must hold in.
func (c *Case) Check() error {
	for _, o := range c.orders() {
		for _, by := range deliveries {
			if err := c.check(o, by); err != nil {
				return fmt.Errorf("%w\n    arrivals %s, %s", err, o.name, by.name)
			}
		}
	}
	return nil
}

// order puts the arrivals between two other lines into an order.
type order struct {
	name    string
	arrange func([]*arrival)
}

// shuffles is how many random orders a case of any order is run in. The seeds
// are fixed: a failure comes again.
const shuffles = 20

func (c *Case) orders() []order {
	orders := []order{{"as written", func([]*arrival) {}}}
	if !c.AnyOrder {
		return orders
	}
	orders = append(orders, order{"reversed", slices.Reverse[[]*arrival]})
	for seed := range uint64(shuffles) {
		orders = append(orders, order{fmt.Sprintf("shuffled (seed %d)", seed), func(a []*arrival) {
			rand.New(rand.NewPCG(seed, 0)).Shuffle(len(a), func(i, j int) { a[i], a[j] = a[j], a[i] })
		}})
	}
	return orders
}

func (c *Case) check(o order, by delivery) error {
	w, err := newWorld(c, by)
	if err != nil {
		return err
	}
	var pending []*arrival
	for i, s := range c.steps {
		if s.arrive != nil {
			pending = append(pending, s.arrive)
			if i+1 < len(c.steps) && c.steps[i+1].arrive != nil {
				continue
			}
			o.arrange(pending)
			w.arrive(pending)
			pending = nil
		}
		if s.after > 0 {
			w.pass(s.after)
		}
		if s.expect != nil {
			err = w.hold(s.expect)
		}
		if err == nil {
			err = w.broken
		}
		if err != nil {
			return fmt.Errorf("%s:%d: %s: %w%s", c.File, s.line, s.text, err, w.all())
		}
	}
	return nil
}

// all shows where everything is, for messages.
func (w *world) all() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(w.heard)) {
		if f, err := w.find(name); err == nil {
			fmt.Fprintf(&b, "\n    %-12s %s", name, f)
		}
	}
	return b.String()
}
