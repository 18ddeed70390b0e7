package loadgen

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// Rows are row numbers by run id.
type Rows map[string][]Range

// Range of row numbers, both ends included.
type Range struct{ First, Last int64 }

// Add adds the numbers from first to last.
func (r Rows) Add(run string, first, last int64) {
	ranges := r[run]
	// Writers acknowledge in order, so this is almost always an extension.
	for i := range ranges {
		if ranges[i].Last+1 == first {
			ranges[i].Last = last
			return
		}
	}
	r[run] = append(ranges, Range{first, last})
}

// Count is how many numbers there are.
func (r Rows) Count() (n int64) {
	for _, ranges := range r {
		for _, x := range ranges {
			n += x.Last - x.First + 1
		}
	}
	return n
}

// Check holds what was found, the values of the metric "row" by run id, against
// the acknowledged rows: each of those must be there, and no row twice. A row
// that was sent but not acknowledged may be there, once.
func (r Rows) Check(found map[string][]int64) error {
	var problems []string
	count := 0
	problem := func(format string, args ...any) {
		if count++; count <= 10 {
			problems = append(problems, fmt.Sprintf(format, args...))
		}
	}
	for _, run := range slices.Sorted(maps.Keys(found)) {
		times := map[int64]int{}
		for _, row := range found[run] {
			if times[row]++; times[row] == 2 {
				problem("run %s: row %d more than once", run, row)
			}
		}
	}
	for _, run := range slices.Sorted(maps.Keys(r)) {
		there := make(map[int64]bool, len(found[run]))
		for _, row := range found[run] {
			there[row] = true
		}
		for _, x := range r[run] {
			for row := x.First; row <= x.Last; row++ {
				if !there[row] {
					problem("run %s: row %d was acknowledged and is not there", run, row)
				}
			}
		}
	}
	if count == 0 {
		return nil
	}
	return fmt.Errorf("%d rows are wrong:\n%s", count, strings.Join(problems, "\n"))
}

// Ledger keeps acknowledged rows in a file, a line "run first last" for each
// part of a request, so that they are known even when this program is killed.
type Ledger struct{ w io.Writer }

// NewLedger appends to w. Its method Acked is for Options.Acked.
func NewLedger(w io.Writer) *Ledger { return &Ledger{w} }

// Acked adds a line, in one write.
func (l *Ledger) Acked(run string, first, last int64) error {
	_, err := fmt.Fprintf(l.w, "%s %d %d\n", run, first, last)
	return err
}

// ReadLedger reads a ledger back. A last line without its end is left out.
func ReadLedger(r io.Reader) (Rows, error) {
	rows, in := Rows{}, bufio.NewReader(r)
	for n := 1; ; n++ {
		line, err := in.ReadString('\n')
		if errors.Is(err, io.EOF) {
			return rows, nil
		}
		if err != nil {
			return rows, err
		}
		var run string
		var first, last int64
		if _, err := fmt.Sscanf(line, "%s %d %d\n", &run, &first, &last); err != nil {
			return rows, fmt.Errorf("line %d of the ledger, %q: %w", n, line, err)
		}
		rows.Add(run, first, last)
	}
}
