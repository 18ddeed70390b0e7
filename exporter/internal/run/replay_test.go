package run

import (
	"fmt"
	"math/rand"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-wandb/otel-wandb/exporter/internal/codec"
	"github.com/otel-wandb/otel-wandb/exporter/internal/dotwandb"
	"github.com/otel-wandb/otel-wandb/internal/runid"
)

var testConfig = Config{Linger: 5 * time.Second, RowsTimeout: time.Minute, AbandonAfter: 3 * time.Minute, IdleTimeout: 24 * time.Hour, Version: "1.0.0"}

var testKey = runid.Coordinates{Entity: "team", Project: "p", ID: "r"}

// log collects what a state writes, as the engine would.
type testLog struct {
	t     *testing.T
	parts [][][]byte // records by part
}

func (l *testLog) flush(s *State, now int64) {
	if w, ok := s.Flush(now); ok {
		l.write(s, w)
	}
}

func (l *testLog) write(s *State, w Write) {
	if w.Opens {
		l.parts = append(l.parts, nil)
		s.Began(fmt.Sprintf("part-%d", len(l.parts)))
	}
	last := &l.parts[len(l.parts)-1]
	for _, r := range w.Records {
		*last = append(*last, append([]byte(nil), r...))
	}
	s.Written()
}

// replayed is the state that the log alone gives.
func (l *testLog) replayed() *State {
	s := NewState(testKey, testConfig)
	for i, part := range l.parts {
		s.ReplayPart(fmt.Sprintf("part-%d", i+1))
		for n, rec := range part {
			end, err := s.Replay(rec)
			require.NoError(l.t, err)
			assert.Equal(l.t, l.noted(rec), end, "part %d, record %d", i, n)
		}
	}
	s.Replayed()
	return s
}

func (l *testLog) noted(b []byte) bool {
	rec, err := dotwandb.Decode(b)
	require.NoError(l.t, err)
	return rec.UUID != ""
}

// asSaved is a state as its checkpoint says it.
func asSaved(t *testing.T, s *State) saved {
	b, err := s.Checkpoint(0)
	require.NoError(t, err)
	var v saved
	require.NoError(t, codec.Unmarshal(b, &v))
	return v
}

func requireSame(t *testing.T, want, got *State) {
	t.Helper()
	a, b := asSaved(t, want), asSaved(t, got)
	diff := cmp.Diff(unpackSeen(a.IDs.Young), unpackSeen(b.IDs.Young)) + cmp.Diff(unpackSeen(a.IDs.Old), unpackSeen(b.IDs.Old))
	a.IDs.Young, a.IDs.Old, b.IDs.Young, b.IDs.Old = nil, nil, nil, nil // packed in the order of a map
	diff += cmp.Diff(unpackPoints(a.IDs.Points), unpackPoints(b.IDs.Points)) + cmp.Diff(unpackPoints(a.IDs.OldPoints), unpackPoints(b.IDs.OldPoints))
	a.IDs.Points, a.IDs.OldPoints, b.IDs.Points, b.IDs.OldPoints = nil, nil, nil, nil
	diff += cmp.Diff(a, b, cmpopts.EquateNaNs(), cmpopts.EquateEmpty(), cmpopts.EquateApprox(1e-12, 0),
		cmpopts.IgnoreUnexported(aggregate{}, Order{}), cmpopts.SortSlices(func(a, b *owner) bool { return string(a.Span[:]) < string(b.Span[:]) }))
	require.Empty(t, diff, "applied (-), replayed (+)")
}

// The log alone gives the state again: after any items in any order, with parts
// that end and go on.
func TestReplayGivesTheSameState(t *testing.T) {
	for seed := range int64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			g := generator{r: rand.New(rand.NewSource(seed))}
			l := &testLog{t: t}
			s := NewState(testKey, testConfig)
			now := int64(1_700_000_000) * int64(time.Second)
			for range 40 {
				now += int64(time.Second)
				s.Apply(now, g.request(now))
				if g.r.Intn(5) > 0 {
					l.flush(s, now)
				}
				s.TickSummary(now)
				l.flush(s, now)
				if g.r.Intn(12) == 0 && s.Open() {
					l.write(s, s.Close(int32(g.r.Intn(3))))
				}
			}
			row := generator{r: g.r, seq: 5000}.row(now)
			s.Apply(now, row) // opens a log if the last one has its exit: all is written now
			l.flush(s, now)
			requireSame(t, s, l.replayed())

			// And from a checkpoint, which holds all of it.
			b, err := s.Checkpoint(77)
			require.NoError(t, err)
			loaded, offset, err := Load(b, testConfig)
			require.NoError(t, err)
			assert.EqualValues(t, 77, offset)
			loaded.Replayed()
			requireSame(t, s, loaded)
		})
	}
}

// A batch of which only the front was written is cut: what is in front of it
// is the state as it was acknowledged.
func TestReplayForgetsHalfABatch(t *testing.T) {
	g := generator{r: rand.New(rand.NewSource(3))}
	l := &testLog{t: t}
	s := NewState(testKey, testConfig)
	torn := 0
	for now := int64(1); now < 60; now++ {
		s.Apply(now, g.request(now))
		l.flush(s, now)
	}
	first := func(n int) *State { return (&testLog{t: t, parts: [][][]byte{l.parts[0][:n]}}).replayed() }
	boundary := 0
	var want *State
	for n := 1; n <= len(l.parts[0]); n++ {
		if l.noted(l.parts[0][n-1]) {
			boundary, want = n, first(n)
			continue
		}
		if boundary > 0 {
			torn++
			requireSame(t, want, first(n))
		}
	}
	require.Greater(t, torn, 40, "batches of several records")
}

// generator makes requests of all kinds of items.
type generator struct {
	r   *rand.Rand
	seq uint64
}

func (g *generator) request(now int64) (out []Delivery) {
	owner := SpanID{byte(1 + g.r.Intn(2))}
	ctx := &Context{OwnerSpan: owner, OwnerStart: 1_700_000_000 * int64(time.Second), Trace: [16]byte{1}}
	if g.r.Intn(3) == 0 {
		ctx.Group = "g"
	}
	for range 1 + g.r.Intn(4) {
		out = append(out, Delivery{Context: g.context(ctx), Items: []Item{g.item(now, owner)}})
	}
	if g.r.Intn(2) == 0 {
		out = append(out, g.points(now))
	}
	return out
}

// points are of one resource: history, system metrics, of one moment and of several.
func (g *generator) points(now int64) (d Delivery) {
	d.Context = &Context{Joined: g.r.Intn(2) == 0, Label: []string{"", "box"}[g.r.Intn(2)]}
	for range 1 + g.r.Intn(6) {
		p := &Point{Resource: uint64(g.r.Intn(2)), System: g.r.Intn(2) == 0}
		v := Value{Key: []string{"loss", "gauge", "other"}[g.r.Intn(3)]}
		v.SetFloat(float64(g.r.Intn(100)) / 4)
		p.Values = []Value{v}
		hash := uint64(g.r.Intn(500) + 1)
		d.Items = append(d.Items, Item{
			Kind: KindPoint, ID: ID{Hash: hash, Point: true}, Point: p,
			Order: Order{Time: now - int64(g.r.Intn(3))*int64(300*time.Millisecond), N: hash},
		})
	}
	return d
}

func (g generator) row(now int64) []Delivery {
	it := Item{Kind: KindRow, ID: ID{Hash: 99999}, Order: Order{Time: now}, Row: &Row{Values: []Value{intValue("x", 1)}}}
	return []Delivery{{Context: &Context{}, Items: []Item{it}}}
}

func (g *generator) context(c *Context) *Context {
	d := *c
	d.Role = []Role{RoleOwner, RoleMember, RoleNone}[g.r.Intn(3)]
	return &d
}

func (g *generator) item(now int64, owner SpanID) Item {
	at := now - int64(g.r.Intn(5))*int64(time.Second)
	it := Item{Kind: Kind(1 + g.r.Intn(int(KindHeartbeat))), Span: owner, SpanName: "train"}
	if g.r.Intn(3) == 0 {
		it.Span, it.SpanName = SpanID{9}, "eval"
	}
	g.seq++
	it.Order = Order{Time: at, Src: string(it.Span[:]), N: g.seq}
	switch g.r.Intn(3) {
	case 0:
		it.ID = ID{Writer: "w", Seq: uint64(g.r.Intn(200) + 1)}
		it.Order.Src, it.Order.N = "w", it.ID.Seq
	case 1:
		it.ID = ID{Hash: uint64(g.r.Intn(100) + 1), Pos: uint32(g.r.Intn(3))}
	default:
		it.ID = ID{Hash: g.seq + 1000}
		it.Order.N = it.ID.Hash // as intake has it of log records
	}
	value := func(key string, rest ...string) Value {
		f := float64(g.r.Intn(100)) / 4
		v := Value{Key: key, Rest: rest}
		v.SetFloat(f)
		return v
	}
	switch it.Kind {
	case KindRow:
		it.Row = &Row{Values: []Value{value([]string{"loss", "acc"}[g.r.Intn(2)]), value("nested", "a", "b"), {Key: "text", JSON: `"x"`}}}
		if g.r.Intn(4) == 0 { // a table, in the place of text
			json := fmt.Sprintf(`{"_type":"table-file","path":"media/%d","nrows":1}`, g.r.Intn(5))
			it.Row = &Row{Values: []Value{{Key: "text", JSON: json}}, File: &File{Path: "media/x", Content: []byte("x")}}
		}
		if g.r.Intn(2) == 0 {
			it.Row.Step, it.Row.HasStep = int64(g.r.Intn(6)), true
		}
	case KindConfig:
		it.Values = []Value{value([]string{"lr", "opt.beta", "opt"}[g.r.Intn(3)])}
	case KindSummary:
		it.Values = []Value{value([]string{"loss", "final"}[g.r.Intn(2)])}
	case KindMetric:
		it.Metric = &MetricDef{Name: []string{"loss", "acc", "a*", "nested*"}[g.r.Intn(4)], Step: "epoch", Summary: []string{[]string{"min", "max", "none"}[g.r.Intn(3)]}, Order: it.Order}
	case KindLine:
		it.Line = &Line{Text: []string{"a", "b"}, Stderr: true, ErrorType: "E", ErrorMessage: fmt.Sprint(g.seq)}
	case KindAlert:
		it.Alert = &Alert{Title: "t", Text: "x", Level: "INFO"}
	case KindTask:
		n := int64(g.r.Intn(3))
		it.Task = &Task{Trace: [16]byte{1}, Start: 1_700_000_000 * int64(time.Second), Tags: []string{fmt.Sprint("tag", g.r.Intn(4))}, Config: []Value{value("seed")}, Notes: "n", Env: &Environment{Host: "h"}, Source: &Source{HostName: fmt.Sprint("h", g.r.Intn(3))}}
		if g.r.Intn(2) == 0 {
			it.Task.Attempt = &n
		}
		if g.r.Intn(2) == 0 {
			it.End = &End{Time: now, Error: g.r.Intn(2) == 0}
		}
	case KindEnd:
		it.End = &End{Event: true, Time: now, Writer: "w", LastSeq: 10}
	}
	return it
}
