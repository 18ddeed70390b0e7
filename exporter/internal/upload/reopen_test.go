package upload

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-wandb/otel-wandb/internal/wandb"
	"github.com/otel-wandb/otel-wandb/internal/wandbtest"
)

// resumed has another client go on with the run, as W&B's own does: behind all
// that is there, with the config and the summary joined, and without what it does
// not know of in _wandb.
func (f *fixture) resumed(rows int) {
	f.Helper()
	ctx := f.Context()
	r, err := f.client.ResumeStatus(ctx, wandb.Path{Project: "p", Run: "r"})
	require.NoError(f, err)
	require.NotNil(f, r)
	var config object
	for _, m := range r.Config {
		config.put(m.Key, `{"value":`+m.Raw+`}`)
	}
	config.put("_wandb", `{"value":{"t":{"5":"0.28.0"}}}`)
	config.put("theirs", `{"value":"kept"}`)
	config.put("lr", `{"value":7}`)
	run, err := f.client.UpsertRun(ctx, wandb.Upsert{
		Run: r.Path, Fields: &wandb.Fields{StorageID: r.StorageID, Tags: append(slices.Clone(r.Tags), "theirs")}, Config: config.text(),
	})
	require.NoError(f, err)
	var req wandb.StreamRequest
	for i := range rows {
		step := r.NextStep + int64(i)
		require.NoError(f, req.Add(wandb.History, r.HistoryLines+i, fmt.Sprintf(`{"their":%d,"_runtime":%d,"_step":%d}`, i, 100+i, step)))
	}
	if rows > 0 {
		require.NoError(f, req.Add(wandb.Console, r.ConsoleLines, "their line"))
		require.NoError(f, req.Add(wandb.Events, r.EventsLines, `{"_wandb":true,"system.gpu":1,"_runtime":100}`))
		var summary object
		for _, m := range r.Summary {
			summary.put(m.Key, m.Raw)
		}
		summary.put("their", fmt.Sprint(rows-1))
		summary.put("_step", fmt.Sprint(r.NextStep+int64(rows)-1))
		require.NoError(f, req.SetSummary(summary.text()))
	}
	stream := f.client.Stream(run.Path, false)
	_, err = stream.Send(ctx, &req)
	require.NoError(f, err)
	_, err = stream.Send(ctx, &wandb.StreamRequest{Complete: true})
	require.NoError(f, err)
}

// late is what comes of the run after its end: another part, which knows where the
// log is, and nothing of what others did at W&B.
func (f *fixture) late() {
	f.Helper()
	first := opening(start.Add(48*60*60*1e9), item{Key: "lr", JSON: "0.2"}, item{Key: "seed", JSON: "9007199254740993"}, item{Key: "late", JSON: "true"})
	f.write(2, first...)
	f.write(2, summary("loss.min", "0.25", "t", tableText("media/table/t_1_0123.table.json"), "_step", "4", "_runtime", "4.5", "_wandb.runtime", "4"))
	f.write(2, row(5, "loss", "0.125"), line("late", false), stats(70, "cpu", "7"), row(6, "loss", "0.0625"))
	f.write(2, summary("loss.min", "0.0625", "_step", "6"), exit(0))
}

// both checks that W&B has what the log says and what somebody else wrote, each once.
func (f *fixture) both(theirs int) {
	f.Helper()
	t, got := f.T, f.held()
	require.Empty(t, f.server.Violations())
	var said []string
	for i, r := range got.Rows() {
		assert.Equal(t, i, got.History[i].Offset)
		switch {
		case r["their"] != nil:
			said = append(said, fmt.Sprintf("%v: their %v", r["_step"], r["their"]))
		default:
			said = append(said, fmt.Sprintf("%v: %v", r["_step"], r["loss"]))
		}
	}
	want := []string{"0: NaN", "1: +Inf", "4: 0.25"}
	for i := range theirs {
		want = append(want, fmt.Sprintf("%d: their %d", 5+i, i))
	}
	want = append(want, fmt.Sprintf("%d: 0.125", 5+theirs), fmt.Sprintf("%d: 0.0625", 6+theirs))
	assert.Equal(t, want, said)
	var console []string
	for _, l := range got.Console {
		console = append(console, l.Text[strings.LastIndexByte(l.Text, ' ')+1:])
	}
	config, events := map[string]any{"lr": 0.2, "seed": int64(9007199254740993), "late": true}, 3
	want = []string{"hello", "no", "bye", "late"}
	tags := []string{"a"}
	if theirs >= 0 && f.others {
		config["theirs"] = "kept"
		if !f.forgot {
			config["lr"] = int64(7) // which the log said before, and does not say anew
		}
		tags = append(tags, "theirs")
	}
	if theirs > 0 {
		want = slices.Insert(want, 3, "line")
		events++
		assert.Equal(t, int64(theirs-1), got.Summary()["their"])
	}
	assert.Equal(t, want, console)
	assert.Len(t, got.Events, events)
	assert.Equal(t, config, got.Config())
	assert.Equal(t, tags, got.Tags)
	assert.Equal(t, int64(6+theirs), got.Summary()["_step"])
	assert.Equal(t, "finished", got.State)
	p, err := ReadProgress(f.position())
	require.NoError(t, err)
	assert.Equal(t, []int{5, 3, 4}, []int{p.History, p.Events, p.Console}, "lines of the log")
}

// W&B's own client resumes a run after its end, and then the run goes on here: it
// goes on behind, and overwrites nothing, wherever it is killed, and whatever
// becomes of the position.
func TestSomebodyElseWentOn(t *testing.T) {
	const (
		kept  = "kept"
		older = "an older one" // the machine lost power
		lost  = "lost"
	)
	for _, theirs := range []int{-1, 0, 3} { // rows; -1: nobody did
		for _, position := range []string{kept, older, lost} {
			for _, before := range []bool{true, false} {
				n := 1
				for killed := true; killed; n++ {
					require.Less(t, n, 30)
					t.Run(fmt.Sprintf("%d rows, position %s, killed at request %d, before=%t", theirs, position, n, before), func(t *testing.T) {
						bubble(t, wandbtest.Options{}, func(f *fixture) {
							t := f.T
							f.sample()
							require.NoError(t, f.uploader().Run(t.Context()))
							if f.others = theirs >= 0; f.others {
								f.resumed(theirs)
							}
							old, err := os.ReadFile(f.position())
							require.NoError(t, err)
							f.late()
							ctx, kill := context.WithCancelCause(t.Context())
							f.killAt(n, before, kill)
							err = f.uploader().Run(ctx)
							if killed = err != nil; killed {
								require.ErrorIs(t, err, errKilled)
							}
							f.intercept = nil
							switch {
							case position == older:
								require.NoError(t, os.WriteFile(f.position(), old, 0o600))
							case position == lost && strings.Contains(f.held().ConfigJSON, markKey):
								require.NoError(t, os.Remove(f.position())) // without the mark it is one loss too many
								f.forgot = true
							}
							require.NoError(t, f.uploader().Run(t.Context()))
							f.both(max(0, theirs))
						})
					})
				}
				assert.Greater(t, n, 5)
			}
		}
	}
}

// Each fault at each request of a run that goes on after somebody else did.
func TestFaultsOfGoingOn(t *testing.T) {
	for _, at := range []place{{"RunResumeStatus", 1}, {"UpsertBucket", 1}, {wandbtest.FileStream, 1}, {wandbtest.FileStream, 2}} {
		for name, ft := range faults {
			if ft.Errors != nil && at.endpoint == wandbtest.FileStream {
				continue
			}
			t.Run(fmt.Sprint(at, " ", name), func(t *testing.T) {
				bubble(t, wandbtest.Options{}, func(f *fixture) {
					t := f.T
					f.sample()
					require.NoError(t, f.uploader().Run(t.Context()))
					f.others = true
					f.resumed(3)
					f.late()
					counts := map[string]int{}
					for _, r := range f.server.Requests() {
						placeOf(r, counts)
					}
					ft.Nth = at.nth
					f.server.Script(at.endpoint, ft)
					stops := 0
					for ; ; stops++ {
						err := f.uploader(following).Run(t.Context())
						if err == nil {
							break
						}
						require.False(t, wandb.IsTransient(err), "%v", err)
						require.Less(t, stops, 50)
					}
					if slices.Contains(passing, name) {
						assert.Zero(t, stops)
					}
					came, at := false, place{at.endpoint, at.nth + counts[at.endpoint]}
					clear(counts)
					for _, r := range f.server.Requests() {
						came = placeOf(r, counts) == at && (ft.Status == 0 || r.Status == ft.Status) || came
					}
					assert.True(t, came, "the fault")
					f.both(3)
				})
			})
		}
	}
}

// Between the question and the first upsert the exporter stops, and somebody else
// goes on: it is asked again.
func TestSomebodyElseWentOnAfterTheQuestion(t *testing.T) {
	bubble(t, wandbtest.Options{}, func(f *fixture) {
		t := f.T
		f.sample()
		require.NoError(t, f.uploader().Run(t.Context()))
		f.late()
		ctx, kill := context.WithCancelCause(t.Context())
		f.killAt(2, true, kill)
		require.ErrorIs(t, f.uploader().Run(ctx), errKilled)
		f.intercept, f.others = nil, true
		f.resumed(2)
		require.NoError(t, f.uploader().Run(t.Context()))
		f.both(2)

		f.resumed(1) // and once more: their lines are between both
		f.write(3, opening(start.Add(96*60*60*1e9))...)
		f.write(3, row(7, "loss", "0.03"), exit(0))
		for range 2 {
			require.NoError(t, f.uploader().Run(t.Context()))
			rows := f.held().Rows()
			require.Len(t, rows, 9)
			assert.Equal(t, int64(0), rows[7]["their"])
			assert.Equal(t, []any{int64(10), 0.03}, []any{rows[8]["_step"], rows[8]["loss"]})
			assert.Empty(t, f.server.Violations())
			require.NoError(t, os.Remove(f.position()))
		}
	})
}

// A run that goes on after its end asks one question more, and a heartbeat of it
// does not.
func TestGoingOnAsksOnce(t *testing.T) {
	bubble(t, wandbtest.Options{}, func(f *fixture) {
		t := f.T
		f.sample()
		require.NoError(t, f.uploader().Run(t.Context()))
		before := len(f.server.Requests())
		f.late()
		require.NoError(t, f.uploader().Run(t.Context()))
		var asked []string
		for _, r := range f.server.Requests()[before:] {
			if r.Operation != "" {
				asked = append(asked, r.Operation)
			}
		}
		assert.Equal(t, []string{"RunResumeStatus", "UpsertBucket", "CreateRunFiles"}, asked)
		f.both(0)
	})
}

// Two uploads make one run at the same time: the later one, which has nothing there
// yet, sends no line, and asks again when it is tried again.
func TestClaimedByAnother(t *testing.T) {
	bubble(t, wandbtest.Options{}, func(f *fixture) {
		t := f.T
		f.sample()
		other := &TwiceError{At: wandb.Path{Entity: "e", Project: "p", Run: "r"}, Other: "another"}
		var claimed []wandb.Path
		claim := func(err error) func(*Options) {
			return func(o *Options) {
				o.Claim = func(path wandb.Path) error { claimed = append(claimed, path); return err }
			}
		}
		err := f.uploader(claim(other)).Run(t.Context())
		require.ErrorIs(t, err, other)
		var failure *Failure
		require.ErrorAs(t, err, &failure)
		assert.Equal(t, other.Remedy(), failure.Remedy())
		assert.Empty(t, f.held().History)
		require.NoError(t, f.uploader(claim(nil)).Run(t.Context()))
		f.write(2, opening(start.Add(time.Minute))...)
		require.NoError(t, f.uploader(claim(nil)).Run(t.Context()))
		path := wandb.Path{Entity: wandbtest.Entity, Project: "p", Run: "r"}
		assert.Equal(t, []wandb.Path{path, path, path, path}, claimed, "by the first upsert, by what W&B has and the upsert, by the position")
	})
}

// A mark of before knows of no parts.
func TestMarkKeepsItsForm(t *testing.T) {
	s := newState(position{Log: "l", Base: lines{1, 2, 3}, Next: lines{4, 5, 6}, Step: 7, Runtime: 8, Part: "p2"}, nil)
	assert.JSONEq(t, `{"log":"l","lines":[1,2,3],"step":7,"runtime":8}`, asJSON(s.mark()))
	s.Last = "p2"
	s.moveTo(moved{Part: "p2", Lines: lines{9, 9, 9}, Step: 10, Runtime: 11})
	assert.JSONEq(t, `{"log":"l","lines":[1,2,3],"step":7,"runtime":8,"last":"p2","moved":[{"part":"p2","lines":[9,9,9],"step":10,"runtime":11}]}`, asJSON(s.mark()))
	m := s.mark()
	assert.Equal(t, s.Moved, m.moved())
	assert.Equal(t, lines{3, 3, 3}, s.sent())
}
