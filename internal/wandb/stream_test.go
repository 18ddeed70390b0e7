package wandb

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-wandb/otel-wandb/internal/wandbtest"
)

func body(text string) io.ReadCloser { return io.NopCloser(strings.NewReader(text)) }

func TestWhatARequestTakes(t *testing.T) {
	line := strings.Repeat("x", MaxLine)
	for _, tc := range []struct {
		name string
		add  func(r *StreamRequest) error
		want error
		size int // of what is in it after
	}{
		{"the longest line", func(r *StreamRequest) error { return r.Add(History, 0, line) }, nil, MaxLine},
		{"a longer line goes nowhere", func(r *StreamRequest) error { return r.Add(History, 0, line+"x") }, ErrLine, 0},
		{"a line break", func(r *StreamRequest) error { return r.Add(Console, 0, "a\nb") }, ErrLine, 0},
		{"full", func(r *StreamRequest) error {
			_ = r.Add(History, 0, line)
			return r.Add(Console, 0, line)
		}, ErrFull, MaxLine},
		{"a gap", func(r *StreamRequest) error {
			_ = r.Add(Console, 7, "a")
			return r.Add(Console, 9, "b")
		}, ErrNotNext, 1},
		{"a line again", func(r *StreamRequest) error {
			_ = r.Add(Console, 7, "a")
			return r.Add(Console, 7, "b")
		}, ErrNotNext, 1},
		{"the last summary counts", func(r *StreamRequest) error {
			_ = r.SetSummary(line)
			return r.SetSummary("{}")
		}, nil, 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var r StreamRequest
			assert.ErrorIs(t, tc.add(&r), tc.want)
			assert.Equal(t, tc.size, r.Size())
		})
	}
}

func TestHowARequestLooks(t *testing.T) {
	for want, make := range map[string]func(r *StreamRequest){
		`{}`:                               func(*StreamRequest) {},
		`{"preempting":true}`:              func(r *StreamRequest) { r.Preempting = true },
		`{"complete":true,"exitcode":0}`:   func(r *StreamRequest) { r.Complete = true },
		`{"complete":true,"exitcode":255}`: func(r *StreamRequest) { r.Complete, r.ExitCode = true, 255 },
		`{"files":{"output.log":{"offset":3,"content":["a<b","\"c\""]}},"uploaded":["x"]}`: func(r *StreamRequest) {
			r.Uploaded = []string{"x"}
			require.NoError(t, r.Add(Console, 3, "a<b"))
			require.NoError(t, r.Add(Console, 4, `"c"`))
		},
	} {
		var r StreamRequest
		make(&r)
		got, err := r.encode()
		require.NoError(t, err)
		assert.Equal(t, want, string(got))
		assert.Equal(t, want == `{}`, r.IsHeartbeat())
	}
}

// The answer to a request is lost, and somebody else asks to send meanwhile:
// the same lines go up at the same numbers, and no two requests are under way.
func TestOneRequestAtATime(t *testing.T) {
	bubble(t, wandbtest.Options{}, Options{}, func(f *fixture) {
		stream := f.Stream(f.newRun().Path, false)
		f.server.Script(wandbtest.FileStream, wandbtest.Fault{Lost: true, Times: 3})
		var all sync.WaitGroup
		for range 3 {
			all.Go(func() {
				var r StreamRequest
				assert.NoError(f, r.Add(History, 0, `{"_step":0}`))
				_, err := stream.Send(f.Context(), &r)
				assert.NoError(f, err)
			})
		}
		all.Wait()
		assert.Len(f, f.held().History, 1)
		assert.Empty(f, f.server.Violations())
	})
}

func TestSharedRuns(t *testing.T) {
	bubble(t, wandbtest.Options{}, Options{}, func(f *fixture) {
		a, b := f.Shared(NewClientID()), f.Shared(NewClientID())
		path := Path{Project: "p", Run: "r"}
		for _, c := range []*Client{a, b} {
			run, err := c.UpsertRun(f.Context(), Upsert{Run: path, Config: telemetry})
			require.NoError(f, err)
			var r StreamRequest
			require.NoError(f, r.Add(History, run.HistoryLines, `{"x":1}`))
			_, err = c.Stream(run.Path, false).Send(f.Context(), &r)
			require.NoError(f, err)
		}
		assert.Len(f, f.held().History, 2)
		assert.Empty(f, f.server.Violations())
		assert.Len(f, NewClientID(), 32)

		_, err := f.Viewer(f.Context())
		require.NoError(f, err)
		requests := f.server.Requests()
		assert.Empty(f, requests[len(requests)-1].Header["X-Wandb-Client-Id"], "the client itself is not shared")
	})
}

// The limiter slows down to what W&B says is left, before W&B has to refuse.
func TestRateLimitHeadersAreFollowed(t *testing.T) {
	limit := wandbtest.Limit{Requests: 60, Window: time.Minute}
	bubble(t, wandbtest.Options{StreamLimit: limit}, Options{}, func(f *fixture) {
		stream := f.Stream(f.newRun().Path, false)
		start := time.Now()
		var answer StreamAnswer
		for range 300 {
			var err error
			answer, err = stream.Send(f.Context(), &StreamRequest{})
			require.NoError(f, err)
		}
		refused := 0
		for _, r := range f.server.Requests() {
			if r.Status == http.StatusTooManyRequests {
				refused++
			}
		}
		assert.LessOrEqual(f, refused, 3, "of 300 requests that would all go at once")
		assert.InDelta(f, 5*time.Minute, time.Since(start), float64(90*time.Second), "300 at 60 a minute")
		require.NotNil(f, answer.Limit)
		assert.LessOrEqual(f, answer.Limit.Reset, time.Minute)
	})
}

func TestALimiterLetsUnlimitedRequestsPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(time.Now())
		start := time.Now()
		for range 1000 {
			require.NoError(t, l.wait(t.Context()))
		}
		assert.Less(t, time.Since(start), time.Second)

		l.learn(RateLimit{Remaining: 0, Reset: time.Hour})
		assert.InDelta(t, minRate, l.rate, 0, "nothing left: as slow as can be, not never")
		l.learn(RateLimit{Remaining: 1, Reset: time.Second})
		assert.InDelta(t, minRate, l.rate, 0, "a second is too short to learn from")
	})
}
