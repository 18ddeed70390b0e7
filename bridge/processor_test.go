package bridge

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
)

func TestProcessorStampsWhatIsUnderATask(t *testing.T) {
	p := newProgram(t, WithEntity("e"), WithProject("p"))
	tracer := p.provider.Tracer("third party")
	_, before := tracer.Start(p.ctx, "before")
	before.End()
	ctx, run, err := StartTask(p.ctx, "task")
	require.NoError(t, err)
	in, client := tracer.Start(ctx, "client", trace.WithAttributes(attribute.String("own", "x")))
	_, deeper := tracer.Start(in, "deeper")
	deeper.End()
	client.End()
	newCtx, own, err := StartTask(in, "own", WithMode(ModeNew), WithProject("q"))
	require.NoError(t, err)
	_, below := tracer.Start(newCtx, "below")
	below.End()
	own.End(nil)
	guestCtx, guest, err := StartTask(in, "guest", WithMode(ModeShared), WithRunID("x"))
	require.NoError(t, err)
	_, beside := tracer.Start(guestCtx, "beside")
	beside.End()
	guest.End(nil)
	run.End(nil)

	stamp := func(r *Run) map[string]any {
		return map[string]any{
			"wandb.run.id": r.ID(), "wandb.run.owner": r.self.SpanID().String(), "wandb.run.start_time": r.start.UnixNano(),
			"wandb.entity": "e", "wandb.project": r.Project(), "wandb.run.url": r.URL(), "wandb.wb_run_id": r.ID(),
		}
	}
	attrs, _ := p.span(t, "before")
	assert.Empty(t, attrs)
	for name, of := range map[string]*Run{"deeper": run, "below": own} {
		attrs, _ = p.span(t, name)
		assert.Equal(t, stamp(of), attrs, name)
	}
	attrs, _ = p.span(t, "client")
	assert.Equal(t, "x", attrs["own"])
	attrs, _ = p.span(t, "own")
	for k, v := range stamp(own) {
		assert.Equal(t, v, attrs[k], k)
	}
	assert.Equal(t, "new", attrs["wandb.run.mode"])
	attrs, _ = p.span(t, "guest")
	assert.Equal(t, "x", attrs["wandb.run.id"])
	assert.NotContains(t, attrs, "wandb.run.owner", "it asks for the run, and does not own it")
	attrs, _ = p.span(t, "beside")
	assert.Equal(t, map[string]any{"wandb.run.url": guest.URL(), "wandb.wb_run_id": "x"}, attrs)
}

func TestProcessorAllocatesNothing(t *testing.T) {
	type key struct{}
	unrelated := context.WithValue(t.Context(), key{}, 1)
	processor := NewSpanProcessor()
	assert.Zero(t, testing.AllocsPerRun(100, func() { processor.OnStart(unrelated, nil) }))
}

func BenchmarkLogAttrs(b *testing.B) {
	p, err := New(WithSink(nowhere{}), WithDir(""), WithTracerProvider(noTracing()))
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = p.Shutdown(context.Background()) }()
	_, run, err := StartTask(p.Context(b.Context()), "task")
	if err != nil {
		b.Fatal(err)
	}
	defer run.End(nil)
	b.ReportAllocs()
	for i := range b.N {
		run.LogAttrs(Step(int64(i)), attribute.Float64("loss", 0.5), attribute.Float64("accuracy", 0.5), attribute.Int("epoch", i))
	}
}
