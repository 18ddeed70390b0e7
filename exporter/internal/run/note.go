package run

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"

	"github.com/otel-wandb/otel-wandb/exporter/internal/codec"
)

// note is what a batch's last record carries in its uuid: the identity and
// order of each row, and in full what no record shows. It is written once a
// batch; a reader that cuts a log back to the last note loses nothing that was
// acknowledged.
type note struct {
	srcs   []string
	index  map[string]uint64
	packed []byte
	last   int64 // time of the row before, for deltas
}

// fact is a change of state that the batch's records do not show.
type fact struct {
	Item      *Item  `cbor:"1,keyasint,omitempty"`
	Role      Role   `cbor:"2,keyasint,omitempty"`
	AskedID   string `cbor:"3,keyasint,omitempty"`
	Owner     *owner `cbor:"4,keyasint,omitempty"`
	Heartbeat bool   `cbor:"5,keyasint,omitempty"`
	At        int64  `cbor:"6,keyasint,omitempty"`
	Group     string `cbor:"7,keyasint,omitempty"`
	Client    string `cbor:"8,keyasint,omitempty"`
}

type savedNote struct {
	Srcs   []string `cbor:"1,keyasint,omitempty"`
	Packed []byte   `cbor:"2,keyasint,omitempty"`
	Facts  []fact   `cbor:"3,keyasint,omitempty"`
}

const (
	noteRow    = 1 << iota // a history record goes with it
	noteMerged             // its values are in facts, not to be read off the record
	noteWriter             // identity by writer and sequence
	noteHash               // identity by hash and position
	noteOwnSrc             // the order's source and count are the identity's
	noteOwnN               // the order's count is the identity's hash: a log record's is
	notePoint              // identity by a point's hash
)

// row notes a row that was written.
func (n *note) row(it *Item, o Order, merged bool) {
	flags := byte(noteRow)
	if merged {
		flags |= noteMerged
	}
	if it.ID.Writer != "" && o.Src == it.ID.Writer && o.N == it.ID.Seq {
		flags |= noteOwnSrc
	} else if it.ID.Writer == "" && it.ID.Hash != 0 && o.N == it.ID.Hash {
		flags |= noteOwnN
	}
	n.entry(flags, it.ID)
	n.packed = binary.AppendVarint(n.packed, o.Time-n.last)
	n.last = o.Time
	if flags&noteOwnSrc == 0 {
		n.packed = binary.AppendUvarint(n.packed, n.src(o.Src))
		if flags&noteOwnN == 0 {
			n.packed = binary.AppendUvarint(n.packed, o.N)
		}
	}
}

// id notes an identity whose content is in records or facts.
func (n *note) id(it *Item) { n.entry(0, it.ID) }

func (n *note) entry(flags byte, id ID) {
	switch {
	case id.Writer != "":
		flags |= noteWriter
	case id.Point:
		flags |= notePoint
	case id.Hash != 0:
		flags |= noteHash
	}
	n.packed = append(n.packed, flags)
	switch {
	case id.Writer != "":
		n.packed = binary.AppendUvarint(n.packed, n.src(id.Writer))
		n.packed = binary.AppendUvarint(n.packed, id.Seq)
	case id.Point:
		n.packed = binary.LittleEndian.AppendUint64(n.packed, id.Hash)
	case id.Hash != 0:
		n.packed = binary.LittleEndian.AppendUint64(n.packed, id.Hash)
		n.packed = binary.AppendUvarint(n.packed, uint64(id.Pos))
	}
}

func (n *note) src(s string) uint64 {
	if len(n.srcs) > 0 && n.srcs[len(n.srcs)-1] == s {
		return uint64(len(n.srcs) - 1)
	}
	if i, ok := n.index[s]; ok {
		return i
	}
	if n.index == nil {
		n.index = map[string]uint64{}
	}
	i := uint64(len(n.srcs))
	n.index[s] = i
	n.srcs = append(n.srcs, s)
	return i
}

func (n *note) empty() bool { return len(n.packed) == 0 }

func (n *note) reset() {
	clear(n.index)
	*n = note{srcs: n.srcs[:0], index: n.index, packed: n.packed[:0]}
}

// encode gives the note's text: base64, because a uuid must be UTF-8.
func (n *note) encode(facts []fact) (string, error) {
	b, err := codec.Marshal(savedNote{Srcs: n.srcs, Packed: n.packed, Facts: facts})
	if err != nil {
		return "", fmt.Errorf("encode a note: %w", err)
	}
	return base64.RawStdEncoding.EncodeToString(b), nil
}

// noteEntry is one identity of a decoded note.
type noteEntry struct {
	row, merged bool
	id          ID
	order       Order // of rows
}

// decodeNote reads what encode wrote.
func decodeNote(uuid string) (entries []noteEntry, facts []fact, err error) {
	raw, err := base64.RawStdEncoding.DecodeString(uuid)
	if err != nil {
		return nil, nil, fmt.Errorf("note is not base64: %w", err)
	}
	var saved savedNote
	if err := codec.Unmarshal(raw, &saved); err != nil {
		return nil, nil, fmt.Errorf("note: %w", err)
	}
	r := noteReader{b: saved.Packed, srcs: saved.Srcs}
	for len(r.b) > 0 && !r.bad {
		entries = append(entries, r.entry())
	}
	if r.bad {
		return nil, nil, fmt.Errorf("note ends in the middle of entry %d", len(entries))
	}
	return entries, saved.Facts, nil
}

// IsNote tells whether a record's uuid is a note of this package.
func IsNote(uuid string) bool {
	_, _, err := decodeNote(uuid)
	return err == nil
}

// noteReader reads packed entries; bad is set once, at the first lack of bytes.
type noteReader struct {
	b    []byte
	srcs []string
	last int64
	bad  bool
}

func (r *noteReader) entry() noteEntry {
	flags := r.b[0]
	r.b = r.b[1:]
	e := noteEntry{row: flags&noteRow != 0, merged: flags&noteMerged != 0}
	switch {
	case flags&noteWriter != 0:
		e.id.Writer, e.id.Seq = r.src(), r.uvarint()
	case flags&(noteHash|notePoint) != 0:
		if len(r.b) < 8 {
			r.bad = true
			return e
		}
		e.id.Hash = binary.LittleEndian.Uint64(r.b)
		r.b = r.b[8:]
		if e.id.Point = flags&notePoint != 0; !e.id.Point {
			e.id.Pos = uint32(r.uvarint())
		}
	}
	if !e.row {
		return e
	}
	delta, n := binary.Varint(r.b)
	if n <= 0 {
		r.bad = true
		return e
	}
	r.b = r.b[n:]
	r.last += delta
	e.order = Order{Time: r.last, Src: e.id.Writer, N: e.id.Seq}
	if flags&noteOwnSrc == 0 {
		e.order.Src, e.order.N = r.src(), e.id.Hash
		if flags&noteOwnN == 0 {
			e.order.N = r.uvarint()
		}
	}
	return e
}

func (r *noteReader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad = true
		r.b = nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *noteReader) src() string {
	i := r.uvarint()
	if r.bad || i >= uint64(len(r.srcs)) {
		r.bad = true
		return ""
	}
	return r.srcs[i]
}
