package run

import (
	"math/rand"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestIntervals(t *testing.T) {
	for _, tt := range []struct {
		name    string
		in      []uint64
		repeats int
		ranges  [][2]uint64
		missing uint64 // of 1…10
	}{
		{"in order", []uint64{1, 2, 3}, 0, [][2]uint64{{1, 3}}, 7},
		{"repeated", []uint64{1, 2, 2, 1, 3}, 2, [][2]uint64{{1, 3}}, 7},
		{"backwards", []uint64{3, 2, 1}, 0, [][2]uint64{{1, 3}}, 7},
		{"a gap that is filled", []uint64{1, 2, 5, 4, 3}, 0, [][2]uint64{{1, 5}}, 5},
		{"two gaps", []uint64{2, 4, 8}, 0, [][2]uint64{{2, 2}, {4, 4}, {8, 8}}, 7},
		{"grows at the front", []uint64{5, 9, 4, 8}, 0, [][2]uint64{{4, 5}, {8, 9}}, 6},
		{"beyond the last", []uint64{9, 10, 11, 12}, 0, [][2]uint64{{9, 12}}, 8},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var s intervals
			repeats := 0
			for _, n := range tt.in {
				if !s.add(n) {
					repeats++
				}
			}
			assert.Equal(t, tt.repeats, repeats)
			assert.Equal(t, tt.ranges, s.ranges)
			assert.Equal(t, tt.missing, s.missing(10))
		})
	}
}

func TestIntervalsAreASet(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	var s intervals
	set := map[uint64]bool{}
	for range 20_000 {
		n := uint64(r.Intn(3000)) + 1
		assert.Equal(t, !set[n], s.add(n), "%d", n)
		set[n] = true
	}
	for i := 1; i < len(s.ranges); i++ {
		assert.Greater(t, s.ranges[i][0], s.ranges[i-1][1]+1, "ranges neither touch nor overlap")
	}
	assert.EqualValues(t, 3000-len(set), s.missing(3000))
}

func TestIdentities(t *testing.T) {
	var s identities
	assert.True(t, s.add(ID{Hash: 7, Pos: 1}))
	assert.False(t, s.add(ID{Hash: 7, Pos: 1}), "the same event of the same span")
	assert.True(t, s.add(ID{Hash: 7, Pos: 2}), "a span that came again with an event more")
	assert.True(t, s.add(ID{Writer: "w", Seq: 1}))
	assert.False(t, s.add(ID{Writer: "w", Seq: 1}))
	assert.True(t, s.add(ID{Writer: "v", Seq: 1}), "another writer counts for itself")
	assert.True(t, s.add(ID{}), "without identity everything is new")

	again := s.pack().unpack()
	assert.False(t, again.add(ID{Hash: 7, Pos: 2}))
	assert.False(t, again.add(ID{Writer: "w", Seq: 1}))
	assert.True(t, again.add(ID{Writer: "w", Seq: 2}))
}

func TestIdentitiesRememberAMillionAndForgetTheOldest(t *testing.T) {
	var s identities
	for i := range uint64(maxSeen * 2) {
		s.add(ID{Hash: i + 1})
	}
	assert.LessOrEqual(t, len(s.young)+len(s.old), maxSeen+1, "memory is bounded")
	assert.False(t, s.add(ID{Hash: maxSeen * 2}), "the newest is known")
	assert.False(t, s.add(ID{Hash: maxSeen*2 - maxSeen/2}), "half a million back, too")
	assert.True(t, s.add(ID{Hash: 1}), "the oldest is not: the documented bound")
}

// Points have a window of their own: however many there are, they push out no
// span and no log record.
func TestPointsHaveAWindowOfTheirOwn(t *testing.T) {
	var s identities
	assert.True(t, s.add(ID{Hash: 7}))
	for i := range uint64(maxPoints + 2) {
		assert.True(t, s.add(ID{Hash: i + 1, Point: true}))
	}
	assert.False(t, s.add(ID{Hash: 7}), "a span's")
	assert.False(t, s.add(ID{Hash: maxPoints + 2, Point: true}))
	assert.False(t, s.add(ID{Hash: maxPoints/2 + 2, Point: true}))
	assert.True(t, s.add(ID{Hash: 1, Point: true}), "too long ago")
	again := s.pack().unpack()
	assert.Equal(t, s.points, again.points)
	assert.Equal(t, s.oldPoints, again.oldPoints)
}
