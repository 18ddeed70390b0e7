// Package journal is an append-only file of small entries that survive a kill:
// what waits to be placed, and what placement has learned. It knows nothing of
// what an entry says.
//
//	00000007.journal   00000008.journal   00000009.journal
//	[w w . w . .]      [. . . . .]        [snapshot, s, w, s, …]◄─ appends
//	     │ retained         │ nothing retained, before the
//	     ▼ stays            ▼ snapshot: deleted
//
// Segments are framed like run logs, so that a torn tail is found and cut. A
// segment goes once a later snapshot holds what it said and nobody retains an
// entry of it. A Journal may be used by several goroutines.
package journal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/otel-wandb/otel-wandb/exporter/internal/disk"
	"github.com/otel-wandb/otel-wandb/exporter/internal/dotwandb"
)

// segmentBytes is when the next segment begins.
const segmentBytes = 8 << 20

// Ref is where an entry lies: segment and offset.
type Ref uint64

func makeRef(segment uint32, offset int64) Ref { return Ref(segment)<<32 | Ref(offset) }

func (r Ref) segment() uint32 { return uint32(r >> 32) }
func (r Ref) offset() int64   { return int64(r & 0xffffffff) }

// Journal is the open journal. Make it with Open.
type Journal struct {
	dir  string
	sync bool // fsync each append

	mu       sync.Mutex // guards everything below
	segments []*segment // the last is appended to
	file     disk.File
	framer   dotwandb.Framer
	buf      []byte
	dirty    bool
	unsure   bool // a sync failed: what the file has on the disk is not known

	damage error // of the files that Open read
}

type segment struct {
	num  uint32
	size int64
	live int64 // bytes of retained entries
}

// Open opens the journal in dir, which nobody else may use, and makes it where
// there is none. always asks for an fsync with each append. apply gets every
// entry that is there, the oldest first; a snapshot says that entries before it
// count only where it names them.
func Open(dir string, always bool, apply func(ref Ref, entry []byte) error) (*Journal, error) {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, fmt.Errorf("journal: %w: give the exporter a directory it may write to", err)
	}
	j := &Journal{dir: dir, sync: always}
	nums, err := listSegments(dir)
	if err != nil {
		return nil, err
	}
	for _, num := range nums {
		seg, err := j.replay(j.path(num), num, apply)
		if err != nil {
			return nil, err
		}
		j.segments = append(j.segments, seg)
	}
	if err := j.next(); err != nil {
		return nil, err
	}
	return j, nil
}

// listSegments gives the numbers of the segments in dir, in their order. Other
// files are none of ours.
func listSegments(dir string) (nums []uint32, err error) {
	entries, err := os.ReadDir(dir) // sorted by name, and so by number
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	for _, e := range entries {
		var num uint32
		if _, err := fmt.Sscanf(e.Name(), "%08d.journal", &num); err == nil && e.Name() == segmentName(num) {
			nums = append(nums, num)
		}
	}
	return nums, nil
}

func segmentName(num uint32) string { return fmt.Sprintf("%08d.journal", num) }

func (j *Journal) path(num uint32) string {
	return filepath.Join(j.dir, segmentName(num))
}

// Damage says where files that Open read are damaged: what lay behind that is
// lost. It is nil for torn tails, of which nothing was acknowledged.
func (j *Journal) Damage() error { return j.damage }

// replay reads one segment up to its first damage. What lies behind was never
// acknowledged, or the disk lost it: it cannot be told where entries begin.
func (j *Journal) replay(name string, num uint32, apply func(Ref, []byte) error) (*segment, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	seg := &segment{num: num, size: info.Size()}
	r, err := dotwandb.NewReader(f, dotwandb.Strict)
	if err != nil {
		return seg, nil // killed before its header was written: it says nothing
	}
	for {
		at := r.Offset()
		entry, err := r.Next()
		var corrupt *dotwandb.CorruptError
		if errors.As(err, &corrupt) && !corrupt.Torn {
			j.damage = errors.Join(j.damage, fmt.Errorf("journal %s is damaged at offset %d: %s", name, corrupt.Offset, corrupt.Reason))
		}
		if err != nil {
			return seg, nil
		}
		if err := apply(makeRef(num, at), entry); err != nil {
			return nil, fmt.Errorf("journal %s, offset %d: %w: move the file away to start without it", name, at, err)
		}
	}
}

// next begins a segment. A journal never appends to a file it did not begin:
// nothing can stand behind a torn record.
func (j *Journal) next() error {
	num := uint32(1)
	if n := len(j.segments); n > 0 {
		num = j.segments[n-1].num + 1
	}
	f, err := disk.OpenFile(j.path(num), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o666)
	for ; errors.Is(err, fs.ErrExist); num++ { // left half made when the disk was full
		f, err = disk.OpenFile(j.path(num+1), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o666)
	}
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	_, err = f.Write(dotwandb.AppendFileHeader(nil))
	if err == nil && j.sync {
		err = disk.SyncDir(j.dir) // what is synced must be found, too
	}
	if err != nil {
		return errors.Join(fmt.Errorf("journal %s: %w: free space under the exporter's `dir`", f.Name(), err), f.Close(), os.Remove(f.Name()))
	}
	if j.file != nil {
		err = j.file.Close()
	}
	j.file, j.framer, j.unsure = f, dotwandb.NewFramer(dotwandb.FileHeaderSize), false
	j.segments = append(j.segments, &segment{num: num, size: dotwandb.FileHeaderSize})
	return err
}

// Append adds an entry. When it returns, the entry has reached the operating
// system: it survives a kill of this process.
func (j *Journal) Append(entry []byte) (Ref, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.file == nil {
		return 0, errors.New("journal: closed")
	}
	seg := j.segments[len(j.segments)-1]
	if seg.size >= segmentBytes || j.unsure {
		if err := j.next(); err != nil {
			return 0, err
		}
		seg = j.segments[len(j.segments)-1]
	}
	at := j.framer.Offset()
	j.buf = j.framer.Append(j.buf[:0], entry)
	if _, err := j.file.WriteAt(j.buf, at); err != nil {
		// Cut the torn entry: what is appended behind it would be lost.
		j.framer = dotwandb.NewFramer(at)
		return 0, errors.Join(
			fmt.Errorf("journal %s, offset %d: %w: free space under the exporter's `dir`", j.path(seg.num), at, err),
			j.file.Truncate(at))
	}
	if cap(j.buf) > 1<<20 {
		j.buf = nil
	}
	seg.size = j.framer.Offset()
	j.dirty = true
	if j.sync {
		return makeRef(seg.num, at), j.force()
	}
	return makeRef(seg.num, at), nil
}

// Read gives an entry back.
func (j *Journal) Read(ref Ref) ([]byte, error) {
	f, err := os.Open(j.path(ref.segment()))
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	defer f.Close()
	if _, err := f.Seek(ref.offset(), io.SeekStart); err != nil {
		return nil, fmt.Errorf("journal %s, offset %d: %w", f.Name(), ref.offset(), err)
	}
	entry, err := dotwandb.NewReaderAt(f, ref.offset(), dotwandb.Strict).Next()
	if err != nil {
		return nil, fmt.Errorf("journal %s, offset %d: %w", f.Name(), ref.offset(), err)
	}
	return entry, nil
}

// Retain keeps bytes of an entry's segment; a negative number gives them back.
func (j *Journal) Retain(ref Ref, bytes int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if seg := j.find(ref); seg != nil {
		seg.live += bytes
	}
}

func (j *Journal) find(ref Ref) *segment {
	i, ok := slices.BinarySearchFunc(j.segments, ref.segment(), func(s *segment, n uint32) int { return int(s.num) - int(n) })
	if !ok {
		return nil
	}
	return j.segments[i]
}

// Size is how many bytes the journal has on disk; Live how many of them are
// retained.
func (j *Journal) Size() (size, live int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, s := range j.segments {
		size += s.size
		live += s.live
	}
	return size, live
}

// Sparse tells whether an entry lies in a segment of which little is retained,
// so that moving it lets the segment go. Never for the segment appended to.
func (j *Journal) Sparse(ref Ref) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	seg := j.find(ref)
	return seg != nil && seg != j.segments[len(j.segments)-1] && seg.live < seg.size/4
}

// Compact begins a segment with the entries that snapshot appends, and then
// deletes the older segments of which nothing is retained. The segment appears
// whole or not at all: a half-written snapshot would hide what it replaces.
func (j *Journal) Compact(snapshot func(add func(entry []byte))) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.file == nil {
		return errors.New("journal: closed")
	}
	framer := dotwandb.NewFramer(dotwandb.FileHeaderSize)
	buf := dotwandb.AppendFileHeader(nil)
	snapshot(func(entry []byte) { buf = framer.Append(buf, entry) })

	num := j.segments[len(j.segments)-1].num + 1
	tmp := j.path(num) + ".tmp"
	// Opened before it appears: once it is there, entries must go behind it.
	f, err := disk.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o666)
	if err != nil {
		return fmt.Errorf("journal: snapshot: %w", err)
	}
	_, err = f.Write(buf)
	if err == nil && j.sync {
		err = f.Sync()
	}
	if err == nil {
		err = os.Rename(tmp, j.path(num))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("journal: snapshot: %w", err), f.Close(), os.Remove(tmp))
	}
	err = j.file.Close()
	j.file, j.framer, j.unsure = f, framer, false
	var unnamed error // the disk may not have the segment under its name: the older ones stay
	if j.sync {
		unnamed = disk.SyncDir(j.dir)
		err = errors.Join(err, unnamed)
	}
	older := j.segments
	j.segments = nil
	for _, s := range older {
		if s.live > 0 || unnamed != nil {
			j.segments = append(j.segments, s)
			continue
		}
		err = errors.Join(err, os.Remove(j.path(s.num)))
	}
	j.segments = append(j.segments, &segment{num: num, size: framer.Offset()})
	return err
}

// Sync brings what was appended to the disk itself.
func (j *Journal) Sync() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.file == nil || !j.dirty {
		return nil
	}
	j.dirty = false
	return j.force()
}

// force syncs the file. When that fails the disk may lack anything that was
// appended since the last time, and a second try may report success falsely.
// What is appended next would lie behind that hole, where nobody looks: it goes
// to a segment of its own.
func (j *Journal) force() error {
	if err := j.file.Sync(); err != nil {
		j.unsure = true
		return fmt.Errorf("journal %s: %w: check the disk", j.path(j.segments[len(j.segments)-1].num), err)
	}
	return nil
}

// Close closes the journal. Its files stay.
func (j *Journal) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.file == nil {
		return nil
	}
	err := j.file.Close()
	j.file = nil
	return err
}

var _ io.Closer = (*Journal)(nil)
