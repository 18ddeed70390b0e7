package upload

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-wandb/otel-wandb/exporter/internal/dotwandb"
	"github.com/otel-wandb/otel-wandb/internal/wandb"
	"github.com/otel-wandb/otel-wandb/internal/wandbtest"
)

// An offline run goes up whole: an upsert before its lines, an alert, the rest,
// and the end alone.
func TestOffline(t *testing.T) {
	for _, features := range [][]string{nil, {wandb.StructuredConsoleLogs}} {
		bubble(t, wandbtest.Options{Features: features}, func(f *fixture) {
			t := f.T
			f.sample()
			u := f.uploader()
			require.NoError(t, u.Run(t.Context()))
			got := f.whole(1)
			assert.Equal(t, "failed", got.State)
			assert.Equal(t, "train-abcdef", got.DisplayName)
			assert.Equal(t, []string{"a"}, got.Tags)
			assert.Equal(t, "train.py", got.Program)
			require.Len(t, got.Alerts, 1)
			assert.Equal(t, "60000", got.Alerts[0].WaitDuration.String())
			assert.Contains(t, got.History[0].Text, `"big":9007199254740993`)
			assert.Contains(t, got.History[0].Text, `"val":{"acc":0.5,"f1":-Infinity}`)
			assert.Equal(t, `{"_wandb":true,"_timestamp":1767366244,"_runtime":3,"system.cpu":4.25}`, got.Events[0].Text)
			if features == nil {
				assert.Equal(t, "2026-01-02T15:04:02.234567 hello", got.Console[0].Text)
				assert.Equal(t, "ERROR 2026-01-02T15:04:02.234567 oh no", got.Console[1].Text)
			} else {
				assert.JSONEq(t, `{"ts":"2026-01-02T15:04:02.234567","content":"hello"}`, got.Console[0].Text)
				assert.JSONEq(t, `{"level":"error","ts":"2026-01-02T15:04:02.234567","content":"oh no"}`, got.Console[1].Text)
			}
			for _, want := range []string{
				`"seed":{"value":9007199254740993}`, `"lr":{"value":0.2}`,
				`"t":{"3":[2,4],"5":"0.1.0","12":"0.1.0","13":"linux-amd64"}`,
				`"m":[{"1":"loss","5":2,"6":[3],"7":[1]},{"1":"epoch","6":[],"7":[]}]`,
				`"e":{"otel-wandb":{"os":"Linux","startedAt":"2026-01-02T15:04:01Z","program":"train.py","host":"h1","memory":{"total":"1099511627776"},"writerId":"otel-wandb"}}`,
			} {
				assert.Contains(t, got.ConfigJSON, want)
			}
			assert.Equal(t, Completed, u.Status().Phase)
			assert.Equal(t, 3, u.Status().History)

			before := len(f.server.Requests())
			require.NoError(t, f.uploader().Run(t.Context()), "again: there is nothing to do")
			assert.Len(t, f.server.Requests(), before)
		})
	}
}

// A run goes up while it is written, a request each 15 seconds at most, and
// heartbeats keep it alive while it says nothing.
func TestLive(t *testing.T) {
	bubble(t, wandbtest.Options{}, func(f *fixture) {
		t := f.T
		f.write(1, opening(start, item{Key: "lr", JSON: "0.1"})...)
		u := f.uploader(following)
		done := make(chan error)
		go func() { done <- u.Run(t.Context()) }()
		synctest.Wait()
		assert.Equal(t, "running", f.held().State, "visible at once")
		for step := range 60 {
			f.write(1, row(int64(step), "loss", fmt.Sprint(step)))
			u.Wake()
			time.Sleep(time.Second)
		}
		synctest.Wait()
		assert.GreaterOrEqual(t, len(f.held().History), 45)
		requests := len(f.server.Requests())
		assert.Less(t, requests, 12)
		time.Sleep(time.Hour)
		assert.Zero(t, f.held().Crashes)
		assert.Equal(t, "running", f.held().State)
		beats := len(f.server.Requests()) - requests
		assert.InDelta(t, 120, beats, 3)

		u.Preempting()
		synctest.Wait()
		assert.Equal(t, "preempting", f.held().State)
		f.server.Stop("", "p", "r")
		time.Sleep(time.Minute)
		assert.True(t, u.Status().StopAsked)

		u.SetAlive(false)
		time.Sleep(10 * time.Minute)
		assert.Equal(t, "crashed", f.held().State, "nobody is there to say that it lives")
		f.write(1, exit(0))
		u.Wake()
		require.NoError(t, <-done)
		f.whole(0)
	})
}

// Kill the uploader at every request there is, before and after W&B has it, with
// the position and without: what is on W&B in the end is the same.
func TestKilledAtEveryRequest(t *testing.T) {
	for _, lose := range []bool{false, true} {
		for _, before := range []bool{true, false} {
			n := 1
			for killed := true; killed; n++ {
				require.Less(t, n, 100)
				t.Run(fmt.Sprintf("request %d, before=%t, lose position=%t", n, before, lose), func(t *testing.T) {
					bubble(t, wandbtest.Options{}, func(f *fixture) {
						t := f.T
						f.sample()
						f.second()
						ctx, kill := context.WithCancelCause(t.Context())
						f.killAt(n, before, kill)
						err := f.uploader().Run(ctx)
						killed = err != nil
						if killed {
							require.ErrorIs(t, err, errKilled)
						}
						f.intercept = nil
						if lose {
							_ = os.Remove(f.position())
						}
						require.NoError(t, f.uploader().Run(t.Context()))
						got := f.whole(1)
						assert.LessOrEqual(t, len(got.Alerts), 2)
						assert.Equal(t, "finished", got.State)
					})
				})
			}
			assert.Greater(t, n, 7)
		}
	}
}

// Killed after each single request: it gets there all the same.
func TestKilledAgainAndAgain(t *testing.T) {
	bubble(t, wandbtest.Options{}, func(f *fixture) {
		t := f.T
		f.sample()
		f.second()
		kills := 0
		for {
			ctx, kill := context.WithCancelCause(t.Context())
			f.killAt(8, true, kill) // seven requests a life: an artifact is made in one
			if f.uploader().Run(ctx) == nil {
				break
			}
			kills++
			require.Less(t, kills, 50)
		}
		assert.Positive(t, kills)
		f.whole(1)
	})
}

// second is another attempt of the sample, which succeeds.
func (f *fixture) second() {
	f.write(2, opening(start.Add(time.Minute), item{Key: "lr", JSON: "0.3"}, item{Key: "seed", JSON: "9007199254740993"})...)
	f.write(2, summary("loss.min", "0.25", "t", tableText("media/table/t_1_0123.table.json"), "_step", "4", "_runtime", "4.5", "_wandb.runtime", "4"), row(5, "loss", "0.125"), line("again", false), stats(70, "cpu", "7"),
		summary("loss.min", "0.125", "_step", "5", "_runtime", "5.5", "_wandb.runtime", "5"), exit(0))
}

// Parts are one run: it is complete after the last one, and runs again when
// another one comes.
func TestParts(t *testing.T) {
	bubble(t, wandbtest.Options{}, func(f *fixture) {
		t := f.T
		f.sample()
		f.second()
		require.NoError(t, f.uploader().Run(t.Context()))
		f.whole(1)
		assert.Equal(t, 1, f.completes())
		entity := f.held().Entity
		opened := "opened " + wandb.AppURL(wandbtest.URL) + "/" + entity + "/p/runs/r"
		assert.Equal(t, []string{opened, "ended " + entity + "/p/r 0"}, f.links)

		f.write(3, opening(start.Add(2*time.Minute))...)
		f.write(3, row(6, "loss", "0.1"))
		u := f.uploader(following)
		done := make(chan error)
		go func() { done <- u.Run(t.Context()) }()
		synctest.Wait()
		assert.Equal(t, "running", f.held().State)
		f.write(3, row(7, "loss", "0.05"), exit(1))
		f.write(4, opening(start.Add(3*time.Minute), item{Key: "lr", JSON: "1"})...)
		u.AddPart(f.part(4))
		time.Sleep(time.Minute)
		assert.Equal(t, "running", f.held().State)
		f.write(4, row(8, "loss", "0.01"), exit(0))
		u.Wake()
		require.NoError(t, <-done)
		assert.Equal(t, 2, f.completes())
		assert.Equal(t, []string{opened, "ended " + entity + "/p/r 0"}, f.links[2:], "again: it went on after its end")
		assert.Equal(t, "finished", f.whole(1).State)
	})
}

func (f *fixture) completes() (n int) {
	for _, r := range f.server.Requests() {
		if strings.Contains(string(r.Body), `"complete":true`) {
			n++
		}
	}
	return n
}

// A line that is too long goes nowhere; it takes no number, is named and counted.
func TestTooLong(t *testing.T) {
	bubble(t, wandbtest.Options{}, func(f *fixture) {
		t := f.T
		f.write(1, opening(start)...)
		f.write(1, row(0, "x", "1"), row(1, "huge", `"`+strings.Repeat("x", wandb.MaxLine)+`"`), row(2, "x", "2"), exit(0))
		u := f.uploader()
		require.NoError(t, u.Run(t.Context()))
		assert.Len(t, f.held().History, 2)
		assert.Equal(t, 1, u.Status().TooLong)
		require.Len(t, f.notices, 1)
		assert.Equal(t, LineSkipped, f.notices[0].Kind)
		assert.ErrorContains(t, f.notices[0].Err, "huge")
		assert.Empty(t, f.server.Violations())
	})
}

// A summary that is too long goes without its longest values, which are named
// once: the rest of it is what people look at.
func TestSummaryTooLong(t *testing.T) {
	bubble(t, wandbtest.Options{}, func(f *fixture) {
		t := f.T
		text := `"` + strings.Repeat("x", 4<<20) + `"`
		f.write(1, opening(start)...)
		f.write(1, row(0, "a", text, "loss", "1"), row(1, "b", text), row(2, "c", text))
		f.write(1, summary("a", text, "loss", "1", "b", text[:len(text)-2]+`"`, "c", text[:len(text)-3]+`"`, "_step", "2"), exit(0))
		u := f.uploader()
		require.NoError(t, u.Run(t.Context()))
		var got map[string]any
		require.NoError(t, json.Unmarshal([]byte(f.held().SummaryJSON), &got))
		assert.ElementsMatch(t, []string{"loss", "b", "c", "_step"}, slices.Collect(maps.Keys(got)))
		assert.Equal(t, 1, u.Status().TooLong)
		require.Len(t, f.notices, 1)
		assert.Equal(t, LineSkipped, f.notices[0].Kind)
		assert.ErrorContains(t, f.notices[0].Err, `without its longest values, "a"`)
		assert.Empty(t, f.server.Violations())
	})
}

// What does not fit one request goes in several.
func TestManyRequests(t *testing.T) {
	bubble(t, wandbtest.Options{}, func(f *fixture) {
		t := f.T
		f.write(1, opening(start)...)
		text := `"` + strings.Repeat("x", 3<<20) + `"`
		for step := range 10 {
			f.write(1, row(int64(step), "x", text), line(fmt.Sprint(step), false))
		}
		f.write(1, summary("x", text), exit(0))
		require.NoError(t, f.uploader().Run(t.Context()))
		f.whole(0)
	})
}

// Values that are no JSON do not keep the rest from W&B.
func TestBadValues(t *testing.T) {
	bubble(t, wandbtest.Options{}, func(f *fixture) {
		t := f.T
		f.write(1, opening(start, item{Key: "c", JSON: "{"})...)
		f.write(1, row(0, "x", "nan", "y", "{\n\"a\":\n1}"), summary("x", ""), exit(0))
		u := f.uploader()
		require.NoError(t, u.Run(t.Context()))
		got := f.held()
		assert.Equal(t, "nan", got.Rows()[0]["x"])
		assert.Equal(t, map[string]any{"a": int64(1)}, got.Rows()[0]["y"])
		assert.Equal(t, "{", got.Config()["c"])
		assert.Equal(t, 3, u.Status().BadValues)
		assert.Empty(t, f.server.Violations())
	})
}

// A record that is being written is no damage.
func TestTornTail(t *testing.T) {
	bubble(t, wandbtest.Options{}, func(f *fixture) {
		t := f.T
		f.write(1, opening(start)...)
		f.write(1, row(0, "x", "1"))
		whole, err := os.ReadFile(f.part(1))
		require.NoError(t, err)
		f.write(1, row(1, "x", "2"), exit(0))
		all, err := os.ReadFile(f.part(1))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(f.part(1), all[:len(whole)], 0o666))
		u := f.uploader(following)
		done := make(chan error)
		go func() { done <- u.Run(t.Context()) }()
		file, err := os.OpenFile(f.part(1), os.O_APPEND|os.O_WRONLY, 0o666)
		require.NoError(t, err)
		defer file.Close()
		for n := len(whole); n < len(all); n++ {
			_, err := file.Write(all[n : n+1])
			require.NoError(t, err)
			u.Wake()
			time.Sleep(20 * time.Second)
		}
		require.NoError(t, <-done)
		f.whole(0)
		assert.Empty(t, f.notices)
	})
}

// A run that W&B has from somebody else is gone on with: behind its lines and
// steps, and what people set there stays.
func TestResume(t *testing.T) {
	for _, lose := range []bool{false, true} {
		bubble(t, wandbtest.Options{}, func(f *fixture) {
			t := f.T
			path := wandb.Path{Project: "p", Run: "r"}
			other, err := f.client.UpsertRun(t.Context(), wandb.Upsert{
				Run: path, Fields: &wandb.Fields{DisplayName: "named by hand", Tags: []string{"theirs"}, Notes: "their notes"},
				Config: `{"old":{"value":1},"lr":{"value":9},"_wandb":{"value":{"t":{"5":"1"},"viz":{"a":1},"e":{"w":{"os":"x"}}}}}`,
			})
			require.NoError(t, err)
			var r wandb.StreamRequest
			require.NoError(t, r.Add(wandb.History, 0, `{"_step":7,"loss":1,"_runtime":100}`))
			require.NoError(t, r.Add(wandb.Console, 0, "theirs"))
			require.NoError(t, r.SetSummary(`{"_step":7,"theirs":5,"_wandb":{"runtime":100}}`))
			_, err = f.client.Stream(other.Path, false).Send(t.Context(), &r)
			require.NoError(t, err)

			f.write(1, opening(start, item{Key: "lr", JSON: "0.1"}, item{Key: "otel", JSON: `{"span_id":"abcdef0123456789"}`})...)
			f.write(1, row(0, "loss", "0.5"), line("ours", false), summary("loss", "0.5", "_step", "0", "_wandb.runtime", "1"))
			require.NoError(t, f.uploader().Run(t.Context()))
			if lose {
				require.NoError(t, os.Remove(f.position()))
			}
			file, table := f.tableFile(1, "t", 1)
			f.write(1, file, tableRow(1, "t", table, "loss", "0.25"), exit(0))
			require.NoError(t, f.uploader().Run(t.Context()))

			got := f.held()
			require.Len(t, f.server.Artifacts(), 1)
			assert.Equal(t, int64(9), f.server.Artifacts()[0].Step, "that of the row at W&B")
			f.wholeTables(true, got.Rows(), got.Summary())
			assert.Equal(t, "named by hand", got.DisplayName, "a default is no choice")
			assert.Equal(t, []string{"theirs", "a"}, got.Tags)
			assert.Equal(t, "their notes", got.Notes)
			assert.Equal(t, map[string]any{"old": int64(1), "lr": 0.1, "otel": map[string]any{"span_id": "abcdef0123456789"}}, got.Config())
			assert.Contains(t, got.ConfigJSON, `"viz":{"a":1}`)
			assert.Contains(t, got.ConfigJSON, `"w":{"os":"x"}`)
			require.Len(t, got.History, 3)
			assert.Equal(t, int64(8), got.Rows()[1]["_step"])
			assert.InDelta(t, 100.5, got.Rows()[1]["_runtime"], 1e-9)
			assert.Equal(t, int64(9), got.Rows()[2]["_step"])
			assert.Len(t, got.Console, 2)
			assert.Equal(t, int64(5), got.Summary()["theirs"])
			assert.Equal(t, int64(8), got.Summary()["_step"])
			assert.Empty(t, f.server.Violations())
		})
	}
}

// People rename runs and tag them while they go on.
func TestEditsAtWandbStay(t *testing.T) {
	bubble(t, wandbtest.Options{}, func(f *fixture) {
		t := f.T
		f.write(1, opening(start)...)
		require.NoError(t, f.uploader().Run(t.Context()))
		_, err := f.client.UpsertRun(t.Context(), wandb.Upsert{
			Run: wandb.Path{Project: "p", Run: "r"}, Fields: &wandb.Fields{DisplayName: "mine", Tags: []string{"a", "good"}},
		})
		require.NoError(t, err)
		f.write(1, rec{Run: &dotwandb.Run{ID: "r", Project: "p", DisplayName: "train-abcdef", Tags: []string{"a", "late"}, StartTime: start}})
		require.NoError(t, f.uploader().Run(t.Context()))
		assert.Equal(t, "mine", f.held().DisplayName)
		assert.Equal(t, []string{"a", "good", "late"}, f.held().Tags)
	})
}

// Damage ends what can be read of a part; the next part goes on.
func TestDamage(t *testing.T) {
	bubble(t, wandbtest.Options{}, func(f *fixture) {
		t := f.T
		f.write(1, opening(start)...)
		f.write(1, row(0, "x", "1"))
		whole, err := os.ReadFile(f.part(1))
		require.NoError(t, err)
		f.write(1, row(1, "x", "2"), exit(254))
		all, err := os.ReadFile(f.part(1))
		require.NoError(t, err)
		all[len(whole)+20] ^= 1
		require.NoError(t, os.WriteFile(f.part(1), all, 0o666))
		f.write(2, opening(start.Add(time.Minute))...)
		f.write(2, row(5, "x", "3"), exit(0))
		require.NoError(t, f.uploader().Run(t.Context()))
		assert.Len(t, f.held().History, 2)
		require.Len(t, f.notices, 1)
		assert.Equal(t, LogDamaged, f.notices[0].Kind)
	})
}

// Parts have the order they are given in: names have local times, which go back
// for an hour every autumn. A part that is done may be removed.
func TestOrderOfParts(t *testing.T) {
	bubble(t, wandbtest.Options{}, func(f *fixture) {
		t := f.T
		f.write(2, opening(start)...)
		f.write(2, row(0, "x", "1"), exit(1))
		f.write(1, opening(start.Add(time.Minute))...)
		f.write(1, row(1, "x", "2"), exit(1))
		require.NoError(t, f.uploader(func(o *Options) { o.Parts = []string{f.part(2), f.part(1)} }).Run(t.Context()))
		assert.Len(t, f.held().History, 2)
		assert.Equal(t, 1, f.completes())

		require.NoError(t, os.Remove(f.part(1)))
		require.NoError(t, os.Remove(f.part(2)))
		f.write(3, opening(start.Add(2*time.Minute))...)
		f.write(3, row(2, "x", "3"), exit(0))
		require.NoError(t, f.uploader().Run(t.Context()))
		assert.Len(t, f.held().History, 3)
		assert.Equal(t, "finished", f.held().State)
		assert.Empty(t, f.server.Violations())
	})
}

// A run is made before its span's name is known, and W&B names it. The default
// that comes later replaces W&B's name, not that of a person.
func TestLateDefaultName(t *testing.T) {
	for _, edited := range []bool{false, true} {
		bubble(t, wandbtest.Options{}, func(f *fixture) {
			t := f.T
			otel := item{Key: "otel", JSON: `{"span_id":"abcdef0123456789"}`}
			f.write(1, opening(start, otel)[0], rec{Run: &dotwandb.Run{ID: "r", Project: "p", StartTime: start, Config: []item{otel}}})
			require.NoError(t, f.uploader().Run(t.Context()))
			want := "train-abcdef"
			if edited {
				want = "by hand"
				_, err := f.client.UpsertRun(t.Context(), wandb.Upsert{
					Run: wandb.Path{Project: "p", Run: "r"}, Fields: &wandb.Fields{DisplayName: want},
				})
				require.NoError(t, err)
			}
			f.write(1, rec{Run: &dotwandb.Run{ID: "r", Project: "p", DisplayName: "train-abcdef", StartTime: start, Config: []item{otel}}})
			require.NoError(t, f.uploader().Run(t.Context()))
			assert.Equal(t, want, f.held().DisplayName)
			f.write(1, setConfig("x", "1"), exit(0))
			require.NoError(t, f.uploader().Run(t.Context()))
			assert.Equal(t, want, f.held().DisplayName, "nor when something else changes")
		})
	}
}

// A task may ask that its run be there already, or not yet.
func TestResumeAsAsked(t *testing.T) {
	for name, tt := range map[string]struct {
		asked string
		there bool
		want  error
	}{
		"must, and it is not there":  {"must", false, ErrMustResume},
		"must, and it is there":      {"must", true, nil},
		"never, and it is not there": {"never", false, nil},
		"never, and it is there":     {"never", true, ErrNeverResume},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, wandbtest.Options{}, func(f *fixture) {
				t := f.T
				if tt.there {
					_, err := f.client.UpsertRun(t.Context(), wandb.Upsert{
						Run: wandb.Path{Project: "p", Run: "r"}, Config: `{"_wandb":{"value":{"t":{"5":"0.1"}}}}`,
					})
					require.NoError(t, err)
				}
				f.write(1, opening(start, item{Key: "otel", Rest: []string{"resume"}, JSON: `"` + tt.asked + `"`})...)
				f.write(1, row(0, "loss", "1"), exit(0))
				err := f.uploader().Run(t.Context())
				require.ErrorIs(t, err, tt.want)
				if tt.want == nil {
					require.NoError(t, f.uploader().Run(t.Context()), "again: its own run is no other")
					assert.Len(t, f.held().History, 1)
				}
			})
		})
	}
}

// A log that lost its end, to a power cut, and went on otherwise: W&B gets what
// the log says now.
func TestALogThatLostItsEnd(t *testing.T) {
	bubble(t, wandbtest.Options{}, func(f *fixture) {
		t := f.T
		f.write(1, opening(start)...)
		f.write(1, row(0, "loss", "1"), row(1, "loss", "2"))
		kept, err := os.ReadFile(f.part(1))
		require.NoError(t, err)
		num := f.num
		f.write(1, row(2, "loss", "3"), row(3, "loss", "4"))
		require.NoError(t, f.uploader().Run(t.Context()))
		require.Len(t, f.held().History, 4)

		require.NoError(t, os.WriteFile(f.part(1), kept, 0o600))
		f.num = num
		for step := range 4 {
			f.write(1, row(int64(2+step), "other", "1234567"))
		}
		f.write(1, exit(0))
		require.NoError(t, f.uploader().Run(t.Context()))
		got := f.held()
		require.Len(t, got.History, 6)
		for step, line := range got.History {
			assert.Contains(t, line.Text, fmt.Sprintf(`"_step":%d`, step))
			assert.Equal(t, step >= 2, strings.Contains(line.Text, "other"), line.Text)
		}
		assert.Equal(t, "finished", got.State)
		require.Len(t, f.notices, 1)
		assert.Equal(t, StateTrouble, f.notices[0].Kind)
	})
}
