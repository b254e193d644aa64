package cluster

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"
)

// One Raft entry carries the items of many proposers:
//
//	+---------+------+-------+-----------------+---------+------------------------------+-------+------------------------------------------+
//	| version | time | names | names x         | origins | origins x                    | items | items x                                  |
//	| 1 byte  | uv   | uv    | (uv len, bytes) | uv      | (uv len, name, incarnation)  | uv    | (flags 1 byte, origin uv, seq uv,        |
//	|         |      |       |                 |         |                              |       |  name uv, uv len, cmd bytes)             |
//	+---------+------+-------+-----------------+---------+------------------------------+-------+------------------------------------------+
//
// uv is an unsigned varint, incarnation one too. time is the leader's, in Unix milliseconds. An item's name and origin are positions in the entry's own
// lists. Flag 1 marks an item that a node without that machine may skip; every other flag is unknown and stops the node. Version 1 had neither
// time nor origins, and is still read.
const (
	entryVersion = 2
	flagOptional = 1
	maxName      = 64
	// entryBytes is where a merged entry ends: larger ones delay the items behind them on slow disks and links.
	entryBytes = 16 << 10
	itemHead   = 10 // flags, origin, number, name and length of an item, at most in practice; an estimate for the batcher
)

var errEntry = errors.New("damaged log entry")

// entry is a decoded entry; commands point into the encoded bytes.
type entry struct {
	time  int64 // Unix ms, 0 in version 1
	items []entryItem
}

type entryItem struct {
	logItem  // origin is "" in version 1
	optional bool
}

// sender is what an entry's list of origins holds.
type sender struct {
	node        string
	incarnation uint64
}

// encodeEntry writes the items in the order given.
func encodeEntry(now time.Time, items []logItem) []byte {
	var names []string
	var senders []sender
	size := 32
	for i := range items {
		if slices.Index(names, items[i].machine) < 0 {
			names = append(names, items[i].machine)
			size += 2 + len(items[i].machine)
		}
		if s := (sender{items[i].origin, items[i].incarnation}); slices.Index(senders, s) < 0 {
			senders = append(senders, s)
			size += 2 + binary.MaxVarintLen64 + len(s.node)
		}
		size += 4*binary.MaxVarintLen32 + len(items[i].cmd)
	}
	b := append(make([]byte, 0, size), entryVersion)
	b = binary.AppendUvarint(b, uint64(now.UnixMilli()))
	b = binary.AppendUvarint(b, uint64(len(names)))
	for _, name := range names {
		b = binary.AppendUvarint(b, uint64(len(name)))
		b = append(b, name...)
	}
	b = binary.AppendUvarint(b, uint64(len(senders)))
	for _, s := range senders {
		b = binary.AppendUvarint(b, uint64(len(s.node)))
		b = append(b, s.node...)
		b = binary.AppendUvarint(b, s.incarnation)
	}
	b = binary.AppendUvarint(b, uint64(len(items)))
	for i := range items {
		b = append(b, 0)
		b = binary.AppendUvarint(b, uint64(slices.Index(senders, sender{items[i].origin, items[i].incarnation})))
		b = binary.AppendUvarint(b, items[i].seq)
		b = binary.AppendUvarint(b, uint64(slices.Index(names, items[i].machine)))
		b = binary.AppendUvarint(b, uint64(len(items[i].cmd)))
		b = append(b, items[i].cmd...)
	}
	return b
}

// decodeEntry is the inverse of encodeEntry. It never allocates more than the bytes can hold.
func decodeEntry(b []byte) (entry, error) {
	if len(b) == 0 {
		return entry{}, fmt.Errorf("%w: empty", errEntry)
	}
	version := b[0]
	if version == 0 || version > entryVersion {
		return entry{}, fmt.Errorf("%w: version %d is newer than this program knows (%d)", errEntry, version, entryVersion)
	}
	d := decoder{b: b[1:]}
	e := entry{}
	if version > 1 {
		e.time = int64(d.uvarint())
	}
	names := make([]string, d.count(1))
	for i := range names {
		names[i] = string(d.bytes())
	}
	senders := []sender{{}}
	if version > 1 {
		senders = make([]sender, d.count(2))
	}
	for i := 0; version > 1 && i < len(senders); i++ {
		senders[i] = sender{string(d.bytes()), d.uvarint()}
	}
	e.items = make([]entryItem, d.count(3))
	for i := range e.items {
		flags, from, seq := d.byte(), uint64(0), uint64(0)
		if version > 1 {
			from, seq = d.uvarint(), d.uvarint()
		}
		name := d.uvarint()
		if !d.bad && (flags&^flagOptional != 0 || name >= uint64(len(names)) || from >= uint64(len(senders))) {
			return entry{}, fmt.Errorf("%w: item %d has flags %#x, name %d and origin %d", errEntry, i, flags, name, from)
		}
		cmd := d.bytes()
		if d.bad {
			break
		}
		e.items[i] = entryItem{logItem{senders[from].node, senders[from].incarnation, seq, names[name], cmd}, flags&flagOptional != 0}
	}
	if d.bad || len(d.b) != 0 {
		return entry{}, fmt.Errorf("%w: %d bytes do not add up", errEntry, len(b))
	}
	return e, nil
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
