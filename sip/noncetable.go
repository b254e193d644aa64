package sip

import "math/bits"

// nonceUse is what is known about one nonce that was used.
type nonceUse struct {
	serial uint64
	issued uint32
	top    uint32 // highest nonce count seen
	window uint64 // bit i: top-i was seen
	last   uint64 // fingerprint of the request last accepted
}

// A nonceTable holds uses in the order in which they came and finds them by serial. A table that is full, which is the rule on a busy
// node, forgets one with every one it takes; a ring and a small index do that with two cold lines of memory where a map and a
// list need five (BenchmarkNonceLife), and in three quarters of the space.
//
// It has its memory from the start: a load neither waits for it to grow nor leaves it behind.
//
//	uses   [ newest | (room) | oldest ........ ]           a ring from head on
//	index  [ 0 | hash.position+1 | 0 | ... ]               open addressing, at most half full
type nonceTable struct {
	uses  []nonceUse
	head  int
	live  int
	index []uint64
	shift int // of a hash, to its place in index
}

// nonceHash spreads serials, which are counters. Nobody can choose them: they are signed.
func nonceHash(serial uint64) uint32 {
	return uint32(serial / nonceShards * 0x9e3779b97f4a7c15 >> 32)
}

// find gives the use of a serial, nil when there is none. It is good until the next add.
func (t *nonceTable) find(serial uint64) *nonceUse {
	if t.live == 0 {
		return nil
	}
	hash, mask := nonceHash(serial), len(t.index)-1
	for at := int(hash >> t.shift); t.index[at] != 0; at = (at + 1) & mask {
		if e := t.index[at]; uint32(e>>32) == hash {
			if u := &t.uses[uint32(e)-1]; u.serial == serial {
				return u
			}
		}
	}
	return nil
}

// add takes a use whose serial is not there. The caller keeps live below the room.
func (t *nonceTable) add(u nonceUse) {
	at := t.head + t.live
	if at >= len(t.uses) {
		at -= len(t.uses)
	}
	t.uses[at] = u
	t.live++
	t.enter(u.serial, at)
}

func (t *nonceTable) enter(serial uint64, position int) {
	hash, mask := nonceHash(serial), len(t.index)-1
	at := int(hash >> t.shift)
	for t.index[at] != 0 {
		at = (at + 1) & mask
	}
	t.index[at] = uint64(hash)<<32 | uint64(position+1)
}

func (t *nonceTable) init(room int) {
	t.uses = make([]nonceUse, room)
	width := bits.Len(uint(2*room - 1))
	t.index, t.shift = make([]uint64, 1<<width), 32-width
}

// oldest is the use that came first; live is above 0.
func (t *nonceTable) oldest() *nonceUse { return &t.uses[t.head] }

// forget takes the oldest use out.
func (t *nonceTable) forget() {
	hash, mask := nonceHash(t.oldest().serial), len(t.index)-1
	hole := int(hash >> t.shift)
	for uint32(t.index[hole]) != uint32(t.head+1) {
		hole = (hole + 1) & mask
	}
	for at := (hole + 1) & mask; t.index[at] != 0; at = (at + 1) & mask { // what stands behind the hole moves up, unless it is at home there
		home := int(uint32(t.index[at]>>32) >> t.shift)
		if (at-home)&mask >= (at-hole)&mask {
			t.index[hole] = t.index[at]
			hole = at
		}
	}
	t.index[hole] = 0
	t.live--
	if t.head++; t.head == len(t.uses) {
		t.head = 0
	}
}
