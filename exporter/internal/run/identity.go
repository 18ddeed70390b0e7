package run

import (
	"encoding/binary"
	"slices"
)

// maxSeen is how many spans and log records without a sequence number a run
// recognises a repeat of. Senders repeat within minutes; a million is hours of
// them. Writers with sequence numbers are recognised for ever.
const maxSeen = 1 << 20

// identities tells repeats from news.
type identities struct {
	writers map[string]*intervals
	// Two generations: when the young one is half of maxSeen, the old one goes.
	young, old map[uint64]uint32 // hash → how many positions of it are in
	// Likewise of metric points, which are many and would push out the others.
	points, oldPoints map[uint64]struct{}
}

// maxPoints is how many metric points a run recognises a repeat of: at a
// thousand streams every ten seconds, those of twenty minutes and more.
const maxPoints = 1 << 18

// add tells whether id is new, and remembers it.
func (s *identities) add(id ID) bool {
	if id.Writer != "" {
		w := s.writers[id.Writer]
		if w == nil {
			if s.writers == nil {
				s.writers = map[string]*intervals{}
			}
			w = &intervals{}
			s.writers[id.Writer] = w
		}
		return w.add(id.Seq)
	}
	if id.Hash == 0 {
		return true
	}
	if id.Point {
		return s.addPoint(id.Hash)
	}
	n, ok := s.young[id.Hash]
	if !ok {
		n = s.old[id.Hash]
	}
	if id.Pos < n {
		return false
	}
	if s.young == nil {
		s.young = map[uint64]uint32{}
	}
	s.young[id.Hash] = id.Pos + 1
	if len(s.young) > maxSeen/2 {
		s.old, s.young = s.young, nil
	}
	return true
}

func (s *identities) addPoint(hash uint64) bool {
	if _, ok := s.points[hash]; ok {
		return false
	}
	if _, ok := s.oldPoints[hash]; ok {
		return false
	}
	if s.points == nil {
		s.points = map[uint64]struct{}{}
	}
	s.points[hash] = struct{}{}
	if len(s.points) > maxPoints/2 {
		s.oldPoints, s.points = s.points, nil
	}
	return true
}

// complete tells whether all sequence numbers of a writer from 1 to last are
// in, and how many are missing.
func (s *identities) missing(writer string, last uint64) uint64 {
	w := s.writers[writer]
	if w == nil {
		return last
	}
	return w.missing(last)
}

// intervals is a set of numbers as sorted, disjoint, closed ranges. A writer
// counts without gaps, so there is nearly always one.
type intervals struct {
	ranges [][2]uint64
}

// add tells whether n was new.
func (s *intervals) add(n uint64) bool {
	r := s.ranges
	if len(r) > 0 && n == r[len(r)-1][1]+1 { // the next one: nearly always
		r[len(r)-1][1] = n
		return true
	}
	// i is the first range that ends at or behind n-1.
	i, _ := slices.BinarySearchFunc(r, n, func(e [2]uint64, n uint64) int {
		if e[1]+1 < n {
			return -1
		}
		return 1
	})
	switch {
	case i < len(r) && n >= r[i][0] && n <= r[i][1]:
		return false
	case i < len(r) && n == r[i][1]+1:
		r[i][1] = n
		if i+1 < len(r) && r[i+1][0] == n+1 {
			r[i][1] = r[i+1][1]
			s.ranges = slices.Delete(r, i+1, i+2)
		}
	case i < len(r) && n+1 == r[i][0]:
		r[i][0] = n
	default:
		s.ranges = slices.Insert(r, i, [2]uint64{n, n})
	}
	return true
}

func (s *intervals) missing(last uint64) uint64 {
	in := uint64(0)
	for _, r := range s.ranges {
		if r[0] > last {
			break
		}
		in += min(r[1], last) - max(r[0], 1) + 1
	}
	return last - min(in, last)
}

// pack and unpack are the identities' form in a checkpoint.
func (s *identities) pack() savedIdentities {
	saved := savedIdentities{
		Writers: map[string][]uint64{}, Young: packSeen(s.young), Old: packSeen(s.old),
		Points: packPoints(s.points), OldPoints: packPoints(s.oldPoints),
	}
	for name, w := range s.writers {
		for _, r := range w.ranges {
			saved.Writers[name] = append(saved.Writers[name], r[0], r[1])
		}
	}
	return saved
}

type savedIdentities struct {
	Writers map[string][]uint64 `cbor:"1,keyasint,omitempty"`
	Young   []byte              `cbor:"2,keyasint,omitempty"`
	Old     []byte              `cbor:"3,keyasint,omitempty"`

	Points    []byte `cbor:"4,keyasint,omitempty"`
	OldPoints []byte `cbor:"5,keyasint,omitempty"`
}

func (v savedIdentities) unpack() identities {
	s := identities{
		writers: map[string]*intervals{}, young: unpackSeen(v.Young), old: unpackSeen(v.Old),
		points: unpackPoints(v.Points), oldPoints: unpackPoints(v.OldPoints),
	}
	for name, flat := range v.Writers {
		w := &intervals{}
		for i := 0; i+1 < len(flat); i += 2 {
			w.ranges = append(w.ranges, [2]uint64{flat[i], flat[i+1]})
		}
		s.writers[name] = w
	}
	return s
}

func packSeen(m map[uint64]uint32) []byte {
	b := make([]byte, 0, len(m)*12)
	for hash, n := range m {
		b = binary.LittleEndian.AppendUint64(b, hash)
		b = binary.LittleEndian.AppendUint32(b, n)
	}
	return b
}

func unpackSeen(b []byte) map[uint64]uint32 {
	m := make(map[uint64]uint32, len(b)/12)
	for ; len(b) >= 12; b = b[12:] {
		m[binary.LittleEndian.Uint64(b)] = binary.LittleEndian.Uint32(b[8:])
	}
	return m
}

func packPoints(m map[uint64]struct{}) []byte {
	b := make([]byte, 0, len(m)*8)
	for hash := range m {
		b = binary.LittleEndian.AppendUint64(b, hash)
	}
	return b
}

func unpackPoints(b []byte) map[uint64]struct{} {
	m := make(map[uint64]struct{}, len(b)/8)
	for ; len(b) >= 8; b = b[8:] {
		m[binary.LittleEndian.Uint64(b)] = struct{}{}
	}
	return m
}
