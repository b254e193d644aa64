package sip

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"hash"
	"sync"
	"sync/atomic"
	"time"
)

// A nonce carries its own proof, so that a challenge costs no memory (RFC 7616 §3.3). 24 bytes, base64url:
//
//	 0                8        12                      24
//	+----------------+--------+-----------------------+
//	| serial         | issued | HMAC-SHA256(realm)/96 |
//	+----------------+--------+-----------------------+
//
// The serial makes nonces unique, issued is in Unix seconds.
const (
	nonceBytes = 24
	nonceText  = 32 // characters
	nonceMAC   = 12
)

// nonces issues and recognises nonces and remembers the nonce counts of those that were used with the right password.
// Memory is bounded: when a shard is full it forgets the nonce used first and from then on treats unknown nonces as old
// as that one as stale. So nothing that was forgotten can be replayed, and the phone only pays a round trip. Any goroutine.
type nonces struct {
	life    atomic.Int64 // a time.Duration
	macs    sync.Pool
	serial  atomic.Uint64
	evicted atomic.Uint64
	shards  [nonceShards]nonceShard
}

const nonceShards = 64

type nonceShard struct {
	mu    sync.Mutex
	room  int
	uses  map[uint64]nonceUse
	order []uint64 // serials in the order of their first use, from head on
	head  int
	floor uint32 // nonces issued up to here and not in uses may have been forgotten
}

// nonceUse is what is known about one nonce.
type nonceUse struct {
	issued uint32
	top    uint32 // highest nonce count seen
	window uint64 // bit i: top-i was seen
	last   uint64 // fingerprint of the request last accepted
}

func newNonces(key [32]byte, life time.Duration, room int) (*nonces, error) {
	var start [8]byte
	if _, err := rand.Read(start[:]); err != nil {
		return nil, err
	}
	n := &nonces{}
	n.life.Store(int64(life))
	n.serial.Store(binary.BigEndian.Uint64(start[:]))
	n.macs.New = func() any { return &nonceSigner{hmac.New(sha256.New, key[:]), nil} }
	for i := range n.shards {
		n.shards[i] = nonceShard{room: max(room/nonceShards, 1), uses: make(map[uint64]nonceUse)}
	}
	return n, nil
}

type nonceSigner struct {
	mac hash.Hash
	buf []byte
}

// sign gives the MAC of the head of a nonce for a realm.
func (n *nonces) sign(head []byte, realm string) (sum [nonceMAC]byte) {
	s := n.macs.Get().(*nonceSigner)
	s.mac.Reset()
	s.buf = append(append(s.buf[:0], head...), realm...)
	s.mac.Write(s.buf)
	s.buf = s.mac.Sum(s.buf[:0])
	copy(sum[:], s.buf)
	n.macs.Put(s)
	return sum
}

// appendNew writes a fresh nonce.
func (n *nonces) appendNew(dst []byte, realm string, now time.Time) []byte {
	var raw [nonceBytes]byte
	binary.BigEndian.PutUint64(raw[:], n.serial.Add(1))
	binary.BigEndian.PutUint32(raw[8:], uint32(now.Unix()))
	sum := n.sign(raw[:nonceBytes-nonceMAC], realm)
	copy(raw[nonceBytes-nonceMAC:], sum[:])
	return base64.RawURLEncoding.AppendEncode(dst, raw[:])
}

// open tells whether a nonce was issued under this key for this realm.
func (n *nonces) open(nonce, realm string) (serial uint64, issued uint32, ours bool) {
	if len(nonce) != nonceText {
		return 0, 0, false
	}
	var text [nonceText]byte
	copy(text[:], nonce)
	var raw [nonceBytes]byte
	if _, err := base64.RawURLEncoding.Decode(raw[:], text[:]); err != nil {
		return 0, 0, false
	}
	sum := n.sign(raw[:nonceBytes-nonceMAC], realm)
	ours = subtle.ConstantTimeCompare(sum[:], raw[nonceBytes-nonceMAC:]) == 1
	return binary.BigEndian.Uint64(raw[:]), binary.BigEndian.Uint32(raw[8:]), ours
}

// expired tells whether a nonce is too old, or from a future that no clock difference between nodes explains.
func (n *nonces) expired(issued uint32, now time.Time) bool {
	age, life := now.Sub(time.Unix(int64(issued), 0)), time.Duration(n.life.Load())
	return age >= life || age < -life
}

type nonceVerdict uint8

const (
	nonceFresh    nonceVerdict = iota // this count was never used before
	nonceRepeated                     // the request last accepted, once more: a retransmission
	nonceReplayed                     // this count was used before, or is too far behind to tell
	nonceForgotten
)

// use marks nonce count nc of a nonce as used. Counts may come in any order within 64 of the highest (RFC 7616 §3.4 asks
// for increasing ones, but UDP reorders). once is for peers that send no count: the nonce is spent by its first use.
func (n *nonces) use(serial uint64, issued, nc uint32, once bool, fingerprint uint64, now time.Time) nonceVerdict {
	sh := &n.shards[serial%nonceShards]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	u, known := sh.uses[serial]
	if !known {
		if issued <= sh.floor {
			return nonceForgotten
		}
		n.makeRoom(sh, now)
		u = nonceUse{issued: issued, top: nc, window: 1, last: fingerprint}
		if once {
			u.top, u.window = 1<<32-1, 1<<64-1
		}
		sh.uses[serial] = u
		sh.order = append(sh.order, serial)
		return nonceFresh
	}
	if u.last == fingerprint {
		return nonceRepeated
	}
	switch {
	case once:
		return nonceReplayed
	case nc > u.top:
		if shift := nc - u.top; shift < 64 {
			u.window = u.window<<shift | 1
		} else {
			u.window = 1
		}
		u.top = nc
	case u.top-nc >= 64 || u.window&(1<<(u.top-nc)) != 0:
		return nonceReplayed
	default:
		u.window |= 1 << (u.top - nc)
	}
	u.last = fingerprint
	sh.uses[serial] = u
	return nonceFresh
}

// makeRoom forgets expired nonces and, when that is not enough, the one that was used first.
func (n *nonces) makeRoom(sh *nonceShard, now time.Time) {
	for sh.head < len(sh.order) {
		serial := sh.order[sh.head]
		u := sh.uses[serial]
		full := len(sh.uses) >= sh.room
		expired := n.expired(u.issued, now)
		if !full && !expired {
			break
		}
		if !expired {
			sh.floor = max(sh.floor, u.issued)
			n.evicted.Add(1)
		}
		delete(sh.uses, serial)
		sh.head++
	}
	if sh.head > 32 && sh.head > len(sh.order)/2 {
		sh.order = sh.order[:copy(sh.order, sh.order[sh.head:])]
		sh.head = 0
	}
}

// live is the number of nonces remembered.
func (n *nonces) live() int {
	total := 0
	for i := range n.shards {
		sh := &n.shards[i]
		sh.mu.Lock()
		total += len(sh.uses)
		sh.mu.Unlock()
	}
	return total
}
