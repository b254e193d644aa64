package cluster

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// One Raft entry carries the items of many proposers:
//
//	+---------+-------+-----------------+-------+----------------------------------------------+
//	| version | names | names x         | items | items x                                      |
//	| 1 byte  | uv    | (uv len, bytes) | uv    | (flags 1 byte, name uv, uv len, cmd bytes)   |
//	+---------+-------+-----------------+-------+----------------------------------------------+
//
// uv is an unsigned varint. An item's name is the position in the entry's own list of names. Flag 1 marks an item
// that a node without that machine may skip; every other flag is unknown and stops the node.
const (
	entryVersion = 1
	flagOptional = 1
	maxName      = 64
	// entryBytes is where a merged entry ends: larger ones delay the items behind them on slow disks and links.
	entryBytes = 16 << 10
	itemHead   = 8 // flags, name and length of an item, at most in practice; an estimate for the batcher
)

var errEntry = errors.New("damaged log entry")

// entry is a decoded entry; commands point into the encoded bytes.
type entry struct {
	items []entryItem
}

type entryItem struct {
	machine  string
	optional bool
	cmd      []byte
}

// encodeEntry writes the items in the order given.
func encodeEntry(items []item) []byte {
	var names []string
	size := 16
	for i := range items {
		if nameIndex(names, items[i].machine) < 0 {
			names = append(names, items[i].machine)
			size += 2 + len(items[i].machine)
		}
		size += 2*binary.MaxVarintLen32 + len(items[i].cmd)
	}
	b := append(make([]byte, 0, size), entryVersion)
	b = binary.AppendUvarint(b, uint64(len(names)))
	for _, name := range names {
		b = binary.AppendUvarint(b, uint64(len(name)))
		b = append(b, name...)
	}
	b = binary.AppendUvarint(b, uint64(len(items)))
	for i := range items {
		b = append(b, 0)
		b = binary.AppendUvarint(b, uint64(nameIndex(names, items[i].machine)))
		b = binary.AppendUvarint(b, uint64(len(items[i].cmd)))
		b = append(b, items[i].cmd...)
	}
	return b
}

// nameIndex is a linear search: an entry names a handful of machines.
func nameIndex(names []string, name string) int {
	for i, n := range names {
		if n == name {
			return i
		}
	}
	return -1
}

// decodeEntry is the inverse of encodeEntry. It never allocates more than the bytes can hold.
func decodeEntry(b []byte) (entry, error) {
	if len(b) == 0 {
		return entry{}, fmt.Errorf("%w: empty", errEntry)
	}
	if b[0] != entryVersion {
		return entry{}, fmt.Errorf("%w: version %d is newer than this program knows (%d)", errEntry, b[0], entryVersion)
	}
	d := decoder{b: b[1:]}
	names := make([]string, d.count(1))
	for i := range names {
		names[i] = string(d.bytes())
	}
	items := make([]entryItem, d.count(3))
	for i := range items {
		flags, name := d.byte(), d.uvarint()
		if !d.bad && (flags&^flagOptional != 0 || name >= uint64(len(names))) {
			return entry{}, fmt.Errorf("%w: item %d has flags %#x and name %d", errEntry, i, flags, name)
		}
		cmd := d.bytes()
		if d.bad {
			break
		}
		items[i] = entryItem{names[name], flags&flagOptional != 0, cmd}
	}
	if d.bad || len(d.b) != 0 {
		return entry{}, fmt.Errorf("%w: %d bytes do not add up", errEntry, len(b))
	}
	return entry{items}, nil
}

// decoder reads from the front of b; the first impossible value makes it bad and all later reads zero.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) fail() { d.b, d.bad = nil, true }

func (d *decoder) byte() byte {
	if len(d.b) == 0 {
		d.fail()
		return 0
	}
	v := d.b[0]
	d.b = d.b[1:]
	return v
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) bytes() []byte {
	n := d.uvarint()
	if n > uint64(len(d.b)) {
		d.fail()
		return nil
	}
	v := d.b[:n:n]
	d.b = d.b[n:]
	return v
}

// count reads how many elements follow, each of at least size bytes.
func (d *decoder) count(size int) int {
	n := d.uvarint()
	if n > uint64(len(d.b)/size) {
		d.fail()
		return 0
	}
	return int(n)
}
