package carrier

import (
	"errors"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A million rows in one task, as fast as they can be logged: AddEvent without a
// limit holds 335 MB for them.
func TestAMillionRowsLeaveTheHeapFlat(t *testing.T) {
	const rows, heap = 1_000_000, 48 << 20
	p, err := Start(Config{Sink: nowhere{}, Dir: t.TempDir(), MaxBytes: 1 << 30, Report: func(error) {}})
	require.NoError(t, err)
	s := p.Open(owner)
	inUse := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	base, most := inUse(), int64(0)
	began := time.Now()
	for i := range rows {
		require.NoError(t, rowWhenThereIsRoom(s, start, int64(i)))
		if i%50_000 == 0 {
			most = max(most, inUse()-base)
		}
	}
	took := time.Since(began)
	require.NoError(t, s.End(start, nil, nil))
	if err := p.Shutdown(t.Context()); !errors.Is(err, ErrFull) { // which a busy machine may have answered
		require.NoError(t, err)
	}
	t.Logf("%d rows in %v; the heap grew by at most %.1f MB", rows, took, float64(most)/1e6)
	assert.Less(t, most, int64(heap))
}
