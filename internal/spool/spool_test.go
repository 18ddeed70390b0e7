package spool

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func chunk(i int) Chunk {
	stream := uint64(i % 3)
	return Chunk{
		Stream: stream, Head: fmt.Appendf(nil, "head of %d", stream), Events: fmt.Appendf(nil, "events %d", i),
		Count: i + 1, First: int64(i), Last: int64(i) + 1,
	}
}

func chunks(n int) (all []Chunk) {
	for i := range n {
		all = append(all, chunk(i))
	}
	return all
}

func create(t *testing.T, dir, writer string, most int64) *Spool {
	t.Helper()
	s, err := Create(dir, writer, []byte("resource"), most)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, s.Close()) })
	return s
}

func add(t *testing.T, s *Spool, all []Chunk) {
	t.Helper()
	n, err := s.Append(all)
	require.NoError(t, err)
	require.Equal(t, len(all), n)
}

// drain reads and acknowledges everything, so many bytes a batch.
func drain(t *testing.T, s *Spool, most int) (all []Chunk, errs []error) {
	t.Helper()
	for {
		b, err := s.Next(most)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if b == nil {
			return all, errs
		}
		count := 0
		for _, c := range b.Chunks {
			count += c.Count
			// A batch is valid until the next: keep copies.
			c.Head, c.Events = bytes.Clone(c.Head), bytes.Clone(c.Events)
			all = append(all, c)
		}
		require.Equal(t, count, b.Count)
		require.Equal(t, "resource", string(b.Resource))
		require.NoError(t, s.Ack(b))
	}
}

// files are the spool files under dir, and all that was put aside.
func files(t *testing.T, dir string) (names []string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() && e.Name() != lockName {
			names = append(names, path)
		}
		return err
	}))
	return names
}

func TestWhatGoesInComesOutInOrder(t *testing.T) {
	for _, tt := range []struct {
		name string
		make func(t *testing.T) *Spool
	}{
		{"files", func(t *testing.T) *Spool { return create(t, t.TempDir(), "w", 0) }},
		{"small files", func(t *testing.T) *Spool { return create(t, t.TempDir(), "w", 8<<10) }},
		{"memory", func(*testing.T) *Spool { return Memory("w", []byte("resource"), 0) }},
	} {
		for _, most := range []int{1, 100, 1000, 1 << 20} {
			t.Run(fmt.Sprintf("%s, %d bytes a batch", tt.name, most), func(t *testing.T) {
				s := tt.make(t)
				all := chunks(50)
				for round := range 20 {
					add(t, s, all[:25])
					add(t, s, all[25:])
					got, errs := drain(t, s, most)
					require.Empty(t, errs)
					require.Equal(t, all, got, "round %d", round)
					require.Zero(t, s.Pending())
					require.Zero(t, s.Size(), "space is given back")
				}
			})
		}
	}
}

func TestABatchIsTheSameUntilItIsAcknowledged(t *testing.T) {
	s := create(t, t.TempDir(), "w", 0)
	add(t, s, chunks(10))
	first, err := s.Next(200)
	require.NoError(t, err)
	n := len(first.Chunks)
	require.Less(t, n, 10)
	add(t, s, chunks(1))
	again, err := s.Next(200)
	require.NoError(t, err)
	assert.Equal(t, chunks(10)[:n], again.Chunks)
}

func TestTheBoundHoldsAndRoomComesBack(t *testing.T) {
	for _, dir := range []bool{true, false} {
		s := Memory("w", []byte("resource"), 64<<10)
		if dir {
			s = create(t, t.TempDir(), "w", 64<<10)
		}
		var in []Chunk
		for {
			n, err := s.Append(chunks(5))
			in = append(in, chunks(n)...)
			if err != nil {
				require.ErrorIs(t, err, ErrFull)
				break
			}
		}
		assert.LessOrEqual(t, s.Size(), int64(64<<10))
		assert.Greater(t, s.Size(), int64(60<<10))
		got, errs := drain(t, s, 4<<10)
		assert.Empty(t, errs)
		assert.Equal(t, in, got, "what was taken is there, what was not is not")
		add(t, s, chunks(5))
	}
}

func TestFilesArePrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	s := create(t, dir, "w", 0)
	add(t, s, chunks(1))
	for path, want := range map[string]os.FileMode{
		dir: 0o700, filepath.Join(dir, "w"): 0o700, filepath.Join(dir, "w", lockName): 0o600, filepath.Join(dir, "w", "000001.spool"): 0o600,
	} {
		info, err := os.Stat(path)
		require.NoError(t, err)
		assert.Equal(t, want, info.Mode().Perm(), path)
	}
}

func TestLeftoversAreAdoptedOnceAndTheLivingLeftAlone(t *testing.T) {
	dir := t.TempDir()
	alive := create(t, dir, "alive", 0)
	add(t, alive, chunks(3))
	dead := create(t, dir, "dead", 8<<10)
	add(t, dead, chunks(30))
	require.NoError(t, dead.Close(), "as the end of a process does: the lock is free, files are there")
	require.NoError(t, os.Mkdir(filepath.Join(dir, "of-somebody-else"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "of-somebody-else", "x"), nil, 0o600))

	found, err := Adopt(dir)
	require.NoError(t, err)
	require.Len(t, found, 1)
	none, err := Adopt(dir)
	require.NoError(t, err)
	assert.Empty(t, none, "it has an adopter")

	b, err := found[0].Next(1)
	require.NoError(t, err)
	require.Len(t, b.Chunks, 1)
	require.NoError(t, found[0].Ack(b))
	require.NoError(t, found[0].Close(), "the adopter ends too early")

	found, err = Adopt(dir)
	require.NoError(t, err)
	require.Len(t, found, 1)
	got, errs := drain(t, found[0], 100)
	assert.Empty(t, errs)
	require.NoError(t, found[0].Close())
	assert.Subset(t, got, chunks(30)[1:], "what was not acknowledged; what was may come again")
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 2)
	assert.Equal(t, "alive", entries[0].Name())
	assert.Equal(t, "of-somebody-else", entries[1].Name())
}

// image is the one file that a killed process left.
func image(t *testing.T) []byte {
	t.Helper()
	dir := t.TempDir()
	s := create(t, dir, "w", 0)
	add(t, s, chunks(6))
	b, err := os.ReadFile(filepath.Join(dir, "w", "000001.spool"))
	require.NoError(t, err)
	return b
}

// adoptImage adopts a folder with that one file.
func adoptImage(t *testing.T, b []byte) (dir string, s *Spool) {
	t.Helper()
	dir = t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "w"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "w", "000001.spool"), b, 0o600))
	found, err := Adopt(dir)
	require.NoError(t, err)
	if len(found) == 0 {
		return dir, nil
	}
	t.Cleanup(func() { assert.NoError(t, found[0].Close()) })
	return dir, found[0]
}

func TestATornEndIsCutWhereverItIs(t *testing.T) {
	whole := image(t)
	before := 0
	for size := range len(whole) + 1 {
		dir, s := adoptImage(t, whole[:size])
		var got []Chunk
		if s != nil {
			var errs []error
			got, errs = drain(t, s, 1<<20)
			require.Empty(t, errs, "of %d bytes %d", len(whole), size)
		}
		require.Equal(t, chunks(6)[:len(got)], append([]Chunk{}, got...))
		require.GreaterOrEqual(t, len(got), before, "a longer file has no less")
		before = len(got)
		require.Empty(t, files(t, dir), "nothing is left")
	}
	require.Equal(t, 6, before)
}

func TestDamageIsPutAsideAndWhatIsBeforeItSent(t *testing.T) {
	whole := image(t)
	events := bytes.Index(whole, []byte("events 3"))
	for _, tt := range []struct {
		name    string
		damage  func(b []byte) []byte
		survive int
	}{
		{"a flipped bit", func(b []byte) []byte { b[events] ^= 1; return b }, 3},
		{"an absurd length", func(b []byte) []byte {
			at := bytes.Index(b, []byte("events 4")) - eventsPrefix - frameHeader
			copy(b[at:], "\xff\xff\xff\xff")
			return b
		}, 4},
		{"another version", func(b []byte) []byte { b[7]++; return b }, 0},
		{"a stream without a head", func(b []byte) []byte {
			c := Chunk{Stream: 99, Events: []byte("x")}
			return appendEvents(b, &c)
		}, 6},
		{"events without a stream", func(b []byte) []byte { return appendFrame(b, kindEvents, []byte("x")) }, 6},
		{"a head without a stream", func(b []byte) []byte { return appendFrame(b, kindHead, []byte("x")) }, 6},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir, s := adoptImage(t, tt.damage(bytes.Clone(whole)))
			got, errs := drain(t, s, 1<<20)
			assert.Equal(t, chunks(6)[:tt.survive], append([]Chunk{}, got...))
			require.Len(t, errs, 1)
			require.ErrorIs(t, errs[0], ErrDamaged)
			aside := files(t, dir)
			require.Len(t, aside, 1)
			assert.Equal(t, "damaged-w-000001.spool", filepath.Base(aside[0]))
			assert.ErrorContains(t, errs[0], aside[0])
		})
	}
}

// broken is a disk that fails after so many bytes: the last write is torn.
type broken struct {
	store
	room int64
}

func (b *broken) WriteAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > b.room {
		n, _ := b.store.WriteAt(p[:max(b.room-off, 0)], off)
		return n, syscall.ENOSPC
	}
	return b.store.WriteAt(p, off)
}

func TestAFullDiskIsNoEnd(t *testing.T) {
	dir := t.TempDir()
	s := create(t, dir, "w", 0)
	s.segments[0].store = &broken{s.segments[0].store, 200}
	var in []Chunk
	var faults []error
	for i := range 20 {
		n, err := s.Append([]Chunk{chunk(i)})
		require.Equal(t, 1, n)
		if err != nil {
			faults = append(faults, err)
		}
		in = append(in, chunk(i))
	}
	require.Len(t, faults, 1)
	require.ErrorIs(t, faults[0], syscall.ENOSPC)
	assert.ErrorContains(t, faults[0], filepath.Join(dir, "w", "000001.spool"))
	got, errs := drain(t, s, 1<<20)
	assert.Empty(t, errs)
	assert.Equal(t, in, got, "what is in memory comes after what is on disk")
}

func TestMakingAndAdopting_ConcurrentSafe(t *testing.T) {
	dir := t.TempDir()
	const processes = 40
	var mu sync.Mutex
	seen := map[string]int{}
	var wg sync.WaitGroup
	adopt := func() {
		found, err := Adopt(dir)
		if err != nil {
			t.Error(err)
		}
		for _, s := range found {
			got, errs := drain(t, s, 1<<20)
			if err := errors.Join(append(errs, s.Close())...); err != nil {
				t.Error(err)
			}
			mu.Lock()
			for _, c := range got {
				seen[string(c.Events)]++
			}
			mu.Unlock()
		}
	}
	for i := range processes {
		wg.Go(func() {
			s, err := Create(dir, fmt.Sprint("w", i), []byte("resource"), 0)
			if err != nil {
				t.Error(err)
				return
			}
			_, err = s.Append([]Chunk{{Stream: 1, Head: []byte("h"), Events: fmt.Append(nil, i), Count: 1}})
			if err = errors.Join(err, s.Close()); err != nil {
				t.Error(err)
			}
		})
		wg.Go(adopt)
	}
	wg.Wait()
	adopt()
	assert.Len(t, seen, processes)
	for events, n := range seen {
		assert.Equal(t, 1, n, events)
	}
	assert.Empty(t, files(t, dir))
}

func TestAFolderThatCannotBeUsedIsNamed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err := Create(filepath.Join(file, "sub"), "w", nil, 0)
	assert.ErrorContains(t, err, file)
	none, err := Adopt(filepath.Join(t.TempDir(), strings.Repeat("no", 3)))
	require.NoError(t, err)
	assert.Empty(t, none)
}

// FuzzAdopt: whatever stands in a file, it is read to its end without a panic,
// and is gone or put aside then.
func FuzzAdopt(f *testing.F) {
	dir := f.TempDir()
	s, err := Create(dir, "w", []byte("resource"), 0)
	require.NoError(f, err)
	_, err = s.Append(chunks(3))
	require.NoError(f, err)
	b, err := os.ReadFile(filepath.Join(dir, "w", "000001.spool"))
	require.NoError(f, err)
	require.NoError(f, s.Close())
	f.Add(b)
	f.Add(b[:len(b)-3])
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, s := adoptImage(t, b)
		if s == nil {
			return
		}
		for range len(b) + 2 {
			batch, err := s.Next(1 << 20)
			if err != nil {
				continue
			}
			if batch == nil {
				return
			}
			require.NoError(t, s.Ack(batch))
		}
		t.Fatal("there is no end")
	})
}
