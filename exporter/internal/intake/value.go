package intake

import (
	"encoding/base64"
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/otel-wandb/otel-wandb/exporter/internal/run"
)

// maxDepth is how deep nested values are read; deeper ones are null. OTLP sets
// no bound, and a stack is no place to find one.
const maxDepth = 64

// appendJSON writes a value as extended JSON: NaN and infinities bare, integers
// whole, bytes as base64. Empty values inside arrays are null, in maps left out.
func appendJSON(b []byte, v pcommon.Value, depth int) []byte {
	switch v.Type() {
	case pcommon.ValueTypeStr:
		return appendText(b, v.Str())
	case pcommon.ValueTypeBool:
		return strconv.AppendBool(b, v.Bool())
	case pcommon.ValueTypeInt:
		return strconv.AppendInt(b, v.Int(), 10)
	case pcommon.ValueTypeDouble:
		return run.AppendFloat(b, v.Double())
	case pcommon.ValueTypeBytes:
		b = append(b, '"')
		b = base64.StdEncoding.AppendEncode(b, v.Bytes().AsRaw())
		return append(b, '"')
	case pcommon.ValueTypeSlice:
		if depth >= maxDepth {
			return append(b, "null"...)
		}
		b = append(b, '[')
		for i, e := range v.Slice().All() {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendJSON(b, e, depth+1)
		}
		return append(b, ']')
	case pcommon.ValueTypeMap:
		if depth >= maxDepth {
			return append(b, "null"...)
		}
		b = append(b, '{')
		first := true
		for key, e := range v.Map().All() {
			if e.Type() == pcommon.ValueTypeEmpty {
				continue
			}
			if !first {
				b = append(b, ',')
			}
			first = false
			b = append(appendText(b, key), ':')
			b = appendJSON(b, e, depth+1)
		}
		return append(b, '}')
	default:
		return append(b, "null"...)
	}
}

// tooDeep tells whether appendJSON leaves something out.
func tooDeep(v pcommon.Value, depth int) bool {
	switch v.Type() {
	case pcommon.ValueTypeSlice:
		if depth >= maxDepth {
			return true
		}
		for _, e := range v.Slice().All() {
			if tooDeep(e, depth+1) {
				return true
			}
		}
	case pcommon.ValueTypeMap:
		if depth >= maxDepth {
			return true
		}
		for _, e := range v.Map().All() {
			if tooDeep(e, depth+1) {
				return true
			}
		}
	}
	return false
}

// appendText writes a JSON string.
func appendText(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			quoted, _ := json.Marshal(strings.ToValidUTF8(s, "\uFFFD")) // a string always marshals
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// cleanKey makes a key that every reader takes: valid UTF-8, without NUL.
func cleanKey(key string) string {
	for i := range len(key) {
		if key[i] == 0 || key[i] >= utf8.RuneSelf {
			return strings.ReplaceAll(strings.ToValidUTF8(key, "\uFFFD"), "\x00", "\uFFFD")
		}
	}
	return key
}

// builder collects values, with one allocation for the texts of many.
type builder struct {
	values []run.Value // lies in the slab, unless there are many
	text   []byte
	ends   []int
	slab   slab[run.Value]
	deep   []string // keys of values that are nested too deep
}

// slab hands out slices of few allocations: a request has thousands of small
// things that live and die together. reset takes all of them back.
type slab[T any] struct {
	chunks [][]T
	used   int // chunks handed out of
	free   []T // what is left of the last
}

const slabSize = 128

func (s *slab[T]) take(n int) []T {
	if n > slabSize {
		return make([]T, n)
	}
	if n > len(s.free) {
		s.more()
	}
	out := s.free[:n:n]
	s.free = s.free[n:]
	return out
}

// fewer is up to how many things begin has room for, at least.
const fewer = 16

// begin gives an empty slice to append to; end takes what became of it, and
// gives it back. In between nothing else is taken.
func (s *slab[T]) begin() []T {
	if len(s.free) < fewer {
		s.more()
	}
	return s.free[:0]
}

func (s *slab[T]) end(list []T) []T {
	if n := len(list); n <= len(s.free) {
		s.free = s.free[n:] // it still lies there
	}
	return slices.Clip(list)
}

func (s *slab[T]) more() {
	if s.used == len(s.chunks) {
		s.chunks = append(s.chunks, make([]T, slabSize))
	}
	s.free = s.chunks[s.used]
	s.used++
}

func (s *slab[T]) reset() {
	for _, c := range s.chunks[:s.used] {
		clear(c)
	}
	s.used, s.free = 0, nil
}

// add appends a value; maps become one value a leaf. An empty value is left out.
func (v *builder) add(key string, rest []string, val pcommon.Value) {
	switch val.Type() {
	case pcommon.ValueTypeEmpty:
		return
	case pcommon.ValueTypeInt:
		v.next(key, rest).SetInt(val.Int())
		return
	case pcommon.ValueTypeDouble:
		v.next(key, rest).SetFloat(val.Double())
		return
	case pcommon.ValueTypeMap:
		if val.Map().Len() > 0 && len(rest) < maxDepth {
			for k, e := range val.Map().All() {
				v.add(key, append(slices.Clip(rest), cleanKey(k)), e)
			}
			return
		}
	}
	if tooDeep(val, len(rest)) && !slices.Contains(v.deep, key) {
		v.deep = append(v.deep, key)
	}
	v.text = appendJSON(v.text, val, len(rest))
	v.next(key, rest)
	v.ends = append(v.ends, len(v.text))
}

// next appends a value that has only its path.
func (v *builder) next(key string, rest []string) *run.Value {
	if v.values == nil {
		v.values = v.slab.begin()
	}
	v.values = append(v.values, run.Value{Key: key, Rest: rest})
	return &v.values[len(v.values)-1]
}

// addText appends a value whose JSON is there already.
func (v *builder) addText(key string, text []byte) {
	v.text = append(v.text, text...)
	v.next(key, nil)
	v.ends = append(v.ends, len(v.text))
}

// take gives the values and empties the builder.
func (v *builder) take() []run.Value {
	if len(v.values) == 0 {
		return nil
	}
	if len(v.ends) > 0 {
		v.share(string(v.text))
	}
	values := v.slab.end(v.values)
	v.values, v.text, v.ends = nil, v.text[:0], v.ends[:0]
	return values
}

// cut gives the keys of which something was left out since it was last asked.
func (v *builder) cut() []string {
	deep := v.deep
	v.deep = nil
	return deep
}

// share gives the values that are no numbers their parts of the text.
func (v *builder) share(text string) {
	from, i := 0, 0
	for _, end := range v.ends {
		for v.values[i].Numeric {
			i++
		}
		v.values[i].JSON = text[from:end]
		from, i = end, i+1
	}
}

// maxBins is how many bins a histogram gets; W&B shows at most 512.
const maxBins = 64

// histogramJSON is W&B's inline histogram of an array of numbers; nil where it
// holds none.
func histogramJSON(val pcommon.Value) []byte {
	if val.Type() != pcommon.ValueTypeSlice {
		return nil
	}
	var nums []float64
	for _, e := range val.Slice().All() {
		f := math.NaN()
		switch e.Type() {
		case pcommon.ValueTypeInt:
			f = float64(e.Int())
		case pcommon.ValueTypeDouble:
			f = e.Double()
		}
		if !math.IsNaN(f) && !math.IsInf(f, 0) {
			nums = append(nums, f)
		}
	}
	if len(nums) == 0 {
		return nil
	}
	least, width := binRange(slices.Min(nums), slices.Max(nums))
	counts := make([]uint64, maxBins)
	for _, f := range nums {
		// In halves, because no float holds the distance of the farthest two.
		counts[min(int((f/2-least/2)/(width/2)), maxBins-1)]++
	}
	edges := make([]float64, maxBins+1)
	for i := range edges {
		half := float64(i) * (width / 2)
		edges[i] = least + half + half
	}
	return appendHistogram(nil, edges, counts)
}

// appendHistogram writes W&B's inline histogram: one edge more than counts.
func appendHistogram(b []byte, edges []float64, counts []uint64) []byte {
	b = append(b, `{"_type":"histogram","values":[`...)
	for i, n := range counts {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendUint(b, n, 10)
	}
	b = append(b, `],"bins":[`...)
	for i, edge := range edges {
		if i > 0 {
			b = append(b, ',')
		}
		b = run.AppendFloat(b, edge)
	}
	return append(b, `]}`...)
}

// binRange is where a histogram begins and the width of its bins. Numbers that
// are equal, or too near each other for bins between them, are in the middle.
func binRange(least, most float64) (from, width float64) {
	const half, normal = maxBins / 2, 0x1p-1022 // below normal a float has few digits
	width = (most/2 - least/2) / half
	if width/2 >= normal && least+width/2 > least && most-width/2 < most {
		return least, width
	}
	pad := max(0.5, math.Abs(least)/(1<<40), math.Abs(most)/(1<<40))
	least, most = max(least-pad, -math.MaxFloat64), min(most+pad, math.MaxFloat64)
	return least, (most/2 - least/2) / half
}
