package runlog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-wandb/otel-wandb/exporter/internal/disk"
)

func TestAppend(t *testing.T) {
	for _, policy := range []SyncPolicy{SyncNever, SyncInterval, SyncAlways} {
		t.Run(fmt.Sprint("policy ", policy), func(t *testing.T) {
			r := openRoot(t, Options{Sync: policy})
			p := newPart(t, folderOf(t, r), "r1")
			want := []string{"header", "run"}
			for i := 0; i < 30; i += 3 {
				require.NoError(t, p.Append(row(i), row(i+1), row(i+2)))
				want = append(want, string(row(i)), string(row(i+1)), string(row(i+2)))
			}
			require.NoError(t, p.Append())
			large := make([]byte, 3<<20)
			require.NoError(t, p.Append(large))
			want = append(want, string(large))
			require.NoError(t, r.SyncDirty())
			assert.Equal(t, want, readStrict(t, p.Path()))
		})
	}
}

func TestFinish(t *testing.T) {
	for _, tt := range []struct {
		name   string
		opts   Options
		marker bool
	}{
		{"offline the marker goes", Options{}, false},
		{"online the marker stays", Options{Online: true, Sync: SyncInterval}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPart(t, folderOf(t, openRoot(t, tt.opts)), "r1")
			require.NoError(t, p.Append([]byte("exit")))
			assert.True(t, exists(marker(p)), "while it is open")
			require.NoError(t, p.Finish())
			assert.Equal(t, tt.marker, exists(marker(p)))
			assert.NoError(t, p.Finish(), "twice is once")
			assert.NoError(t, p.Close())
			assert.ErrorIs(t, p.Append(row(1)), ErrClosed)
			assert.Equal(t, []string{"header", "run", "exit"}, readStrict(t, p.Path()))
		})
	}
	t.Run("closed only, the marker stays", func(t *testing.T) {
		p := newPart(t, folderOf(t, openRoot(t, Options{Sync: SyncInterval})), "r1")
		require.NoError(t, p.Append(row(1)))
		require.NoError(t, p.Close())
		assert.True(t, exists(marker(p)))
		assert.ErrorIs(t, p.Append(row(2)), ErrClosed)
	})
}

type file = disk.File

// faulty is a file whose next operations fail as told.
type faulty struct {
	file
	write    func(f file, b []byte, at int64) (int, error)
	truncate error
	sync     error
	close    error
}

func (f *faulty) WriteAt(b []byte, at int64) (int, error) {
	if f.write != nil {
		return f.write(f.file, b, at)
	}
	return f.file.WriteAt(b, at)
}

func (f *faulty) Truncate(n int64) error {
	if f.truncate != nil {
		return f.truncate
	}
	return f.file.Truncate(n)
}

func (f *faulty) Sync() error { return errors.Join(f.sync, f.file.Sync()) }

func (f *faulty) Close() error { return errors.Join(f.file.Close(), f.close) }

func inject(r *Root, x *faulty) {
	open := r.handles.open
	r.handles.open = func(path string) (file, error) {
		f, err := open(path)
		x.file = f
		return x, err
	}
}

func partly(n int, err error) func(f file, b []byte, at int64) (int, error) {
	return func(f file, b []byte, at int64) (int, error) {
		n, _ := f.WriteAt(b[:min(n, len(b))], at)
		return n, err
	}
}

func TestInterruptedWrites(t *testing.T) {
	for _, tt := range []struct {
		name   string
		opts   Options
		faulty faulty
		says   []string
	}{
		{"disk full at the first byte", Options{}, faulty{write: partly(0, syscall.ENOSPC)}, []string{"0 of 24 bytes", "disk is full"}},
		{"disk full inside a chunk's header", Options{}, faulty{write: partly(3, syscall.ENOSPC)}, []string{"append 2 records", "3 of 24 bytes", "disk is full"}},
		{"disk full between two records", Options{}, faulty{write: partly(12, syscall.ENOSPC)}, []string{"12 of 24 bytes"}},
		{"quota used up inside a payload", Options{}, faulty{write: partly(20, syscall.EDQUOT)}, []string{"quota"}},
		{"short write without an error", Options{}, faulty{write: partly(9, nil)}, []string{"short write"}},
		{"I/O error after all bytes", Options{}, faulty{write: partly(1000, syscall.EIO)}, []string{"check the disk"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := openRoot(t, tt.opts)
			inject(r, &tt.faulty)
			p := newPart(t, folderOf(t, r), "r1")
			fault := tt.faulty.write
			tt.faulty.write = nil
			require.NoError(t, p.Append(row(0)))
			size := p.Size()

			tt.faulty.write = fault
			err := p.Append(row(1), row(2))
			require.Error(t, err)
			assert.NotErrorIs(t, err, ErrPoisoned)
			for _, s := range append(tt.says, p.Path(), fmt.Sprintf("offset %d", size)) {
				assert.ErrorContains(t, err, s)
			}
			assert.Equal(t, size, p.Size())
			assert.Equal(t, []string{"header", "run", "row 0"}, readStrict(t, p.Path()), "nothing torn stays")

			tt.faulty.write = nil
			require.NoError(t, p.Append(row(1), row(2)), "the repeat succeeds")
			assert.Equal(t, []string{"header", "run", "row 0", "row 1", "row 2"}, readStrict(t, p.Path()))
		})
	}
}

func TestPoisoned(t *testing.T) {
	for _, tt := range []struct {
		name   string
		opts   Options
		faulty faulty
		act    func(r *Root, p *Part) error
		rows   []string // that a strict reader finds after Finish
	}{
		{
			"a torn write that cannot be cut off",
			Options{},
			faulty{write: partly(9, syscall.ENOSPC), truncate: syscall.EIO},
			func(_ *Root, p *Part) error { return p.Append(row(1)) },
			[]string{"header", "run"},
		},
		{
			"a sync that fails",
			Options{Sync: SyncAlways},
			faulty{sync: syscall.EIO},
			func(_ *Root, p *Part) error { return p.Append(row(1)) },
			[]string{"header", "run"},
		},
		{
			"a sync at the interval that fails",
			Options{Sync: SyncInterval},
			faulty{sync: syscall.EIO},
			func(r *Root, p *Part) error { _ = p.Append(row(1)); return r.SyncDirty() },
			[]string{"header", "run", "row 1"},
		},
		{
			"a close that fails, to make room for another",
			Options{MaxHandles: 1},
			faulty{close: syscall.EDQUOT},
			func(_ *Root, p *Part) error {
				_ = p.Append(row(1))
				other, _ := p.folder.Create("other", start, []byte("header"), []byte("run"))
				_ = other.Append(row(1))
				return p.Append(row(2))
			},
			[]string{"header", "run", "row 1"},
		},
		{
			"a log that something else cut",
			Options{},
			faulty{},
			func(_ *Root, p *Part) error { _ = os.Truncate(p.Path(), 20); return p.Append(row(1)) },
			[]string{"header"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := openRoot(t, tt.opts)
			p := newPart(t, folderOf(t, r), "r1")
			inject(r, &tt.faulty)
			require.ErrorIs(t, tt.act(r, p), ErrPoisoned)
			tt.faulty = faulty{file: tt.faulty.file}
			for range 2 {
				err := p.Append(row(9))
				assert.ErrorIs(t, err, ErrPoisoned, "for ever")
				assert.ErrorContains(t, err, p.Path())
			}
			require.NoError(t, p.Finish())
			assert.False(t, exists(marker(p)))
			if tt.rows[len(tt.rows)-1] != "header" {
				assert.Equal(t, tt.rows, readStrict(t, p.Path()))
			}
		})
	}
}

func TestRemovedWhileOpen(t *testing.T) {
	p := newPart(t, folderOf(t, openRoot(t, Options{})), "r1")
	require.NoError(t, os.RemoveAll(p.Dir()))
	err := p.Append(row(1))
	assert.ErrorIs(t, err, fs.ErrNotExist)
	assert.False(t, exists(p.Dir()), "it does not come back without its header")
}

// W&B's core panics at a record of no known type, and an empty one has none.
func TestEmptyRecordIsRefused(t *testing.T) {
	p := newPart(t, folderOf(t, openRoot(t, Options{})), "r1")
	assert.ErrorContains(t, p.Append(row(1), nil), "record 2 of 2 is empty")
	assert.Equal(t, []string{"header", "run"}, readStrict(t, p.Path()))
}

func TestManyPartsFewHandles(t *testing.T) {
	parts, handles, writers := 10_000, 64, 8
	if testing.Short() {
		parts = 1000
	}
	r := openRoot(t, Options{MaxHandles: handles, Sync: SyncNever})
	var open, most atomic.Int64
	really := r.handles.open
	r.handles.open = func(path string) (file, error) {
		f, err := really(path)
		for n := open.Add(1); ; {
			if m := most.Load(); n <= m || most.CompareAndSwap(m, n) {
				break
			}
		}
		return &counted{f, &open}, err
	}
	f := folderOf(t, r)
	all := make([]*Part, parts)
	var done sync.WaitGroup
	for w := range writers {
		done.Go(func() {
			for i := w; i < parts; i += writers {
				p, err := f.Create(fmt.Sprint("r", i), start, []byte("header"), []byte("run"))
				if !assert.NoError(t, err) {
					return
				}
				all[i] = p
			}
			for round := range 3 {
				for i := w; i < parts; i += writers {
					if !assert.NoError(t, all[i].Append(row(round))) {
						return
					}
				}
			}
		})
	}
	done.Wait()
	assert.LessOrEqual(t, most.Load(), int64(handles))
	for _, p := range all {
		require.Equal(t, []string{"header", "run", "row 0", "row 1", "row 2"}, readStrict(t, p.Path()))
	}
	require.NoError(t, r.Close())
	assert.Zero(t, open.Load(), "all closed")
	assert.ErrorIs(t, all[0].Append(row(4)), ErrClosed)
}

type counted struct {
	file
	open *atomic.Int64
}

func (c *counted) Close() error { c.open.Add(-1); return c.file.Close() }

func TestSyncWhileAppending(t *testing.T) {
	r := openRoot(t, Options{Sync: SyncInterval, MaxHandles: 2})
	f := folderOf(t, r)
	var done sync.WaitGroup
	for i := range 6 {
		p := newPart(t, f, fmt.Sprint("r", i))
		done.Go(func() {
			for i := range 50 {
				assert.NoError(t, p.Append(row(i)))
			}
			assert.NoError(t, p.Finish())
		})
	}
	for range 10 {
		assert.NoError(t, r.SyncDirty())
	}
	done.Wait()
	require.NoError(t, r.SyncDirty())
	assert.Empty(t, r.dirty)
}

func TestSyncThatCannotOpenIsRepeated(t *testing.T) {
	r := openRoot(t, Options{Sync: SyncInterval, MaxHandles: 1})
	p := newPart(t, folderOf(t, r), "r1")
	open := r.handles.open
	r.handles.open = func(string) (file, error) { return nil, syscall.EMFILE }
	assert.ErrorContains(t, r.SyncDirty(), "ulimit -n")
	assert.ErrorIs(t, p.Append(row(1)), syscall.EMFILE)
	r.handles.open = open
	assert.Contains(t, r.dirty, p)
	require.NoError(t, r.SyncDirty())
	assert.Empty(t, r.dirty)
	require.NoError(t, p.Append(row(1)), "the repeat succeeds")
}

func BenchmarkAppend(b *testing.B) {
	r, err := OpenRoot(b.TempDir(), Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	f, _ := r.Folder("", "")
	p, err := f.Create("r1", start, []byte("header"), []byte("run"))
	if err != nil {
		b.Fatal(err)
	}
	batch := make([][]byte, 100)
	for i := range batch {
		batch[i] = make([]byte, 250)
	}
	b.SetBytes(25_000)
	b.ReportAllocs()
	for b.Loop() {
		if err := p.Append(batch...); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCreate(b *testing.B) {
	r, err := OpenRoot(b.TempDir(), Options{LatestRun: true})
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	f, _ := r.Folder("", "")
	i := 0
	for b.Loop() {
		i++
		if _, err := f.Create(fmt.Sprint("r", i), start, []byte("header"), []byte("run")); err != nil {
			b.Fatal(err)
		}
	}
}
