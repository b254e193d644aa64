package sip

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"
)

// A nonce carries its own proof, so that a challenge costs no memory (RFC 7616 §3.3). 24 bytes, base64url:
//
//	 0                8        12                      24
//	+----------------+--------+-----------------------+
//	| serial         | issued | MAC                   |
//	+----------------+--------+-----------------------+
//
// The serial makes nonces unique, issued is in Unix seconds. The MAC is the CBC-MAC under AES-256 of serial, issued, the length
// of the realm (32 bits) and the realm filled up with zeros, cut to 96 bits. With the length in the first block no message is the
// beginning of another, which is what makes CBC-MAC sound; two blocks of AES cost a fifth of an HMAC.
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
	cipher  cipher.Block
	blocks  sync.Pool // *[aes.BlockSize]byte: what goes through the interface of a cipher would be allocated
	serial  atomic.Uint64
	evicted atomic.Uint64
	shards  [nonceShards]nonceShard
}

const nonceShards = 64

type nonceShard struct {
	mu    sync.Mutex
	room  int
	uses  nonceTable
	floor uint32 // nonces issued up to here and not in uses may have been forgotten
}

func newNonces(key [32]byte, life time.Duration, room int) (*nonces, error) {
	var start [8]byte
	if _, err := rand.Read(start[:]); err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, err
	}
	n := &nonces{cipher: block}
	n.life.Store(int64(life))
	n.serial.Store(binary.BigEndian.Uint64(start[:]))
	n.blocks.New = func() any { return new([aes.BlockSize]byte) }
	for i := range n.shards {
		n.shards[i] = nonceShard{room: max(room/nonceShards, 1)}
		n.shards[i].uses.init(n.shards[i].room)
	}
	return n, nil
}

// sign gives the MAC of the head of a nonce for a realm.
func (n *nonces) sign(head []byte, realm string) (sum [nonceMAC]byte) {
	block := n.blocks.Get().(*[aes.BlockSize]byte)
	copy(block[:nonceBytes-nonceMAC], head)
	binary.BigEndian.PutUint32(block[nonceBytes-nonceMAC:], uint32(len(realm)))
	n.cipher.Encrypt(block[:], block[:])
	for len(realm) > 0 {
		size := min(len(realm), aes.BlockSize)
		for i := range size {
			block[i] ^= realm[i]
		}
		n.cipher.Encrypt(block[:], block[:])
		realm = realm[size:]
	}
	copy(sum[:], block[:])
	n.blocks.Put(block)
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
	age, life := now.UnixNano()-int64(issued)*int64(time.Second), n.life.Load()
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
	u := sh.uses.find(serial)
	if u == nil {
		if issued <= sh.floor {
			return nonceForgotten
		}
		n.makeRoom(sh, now)
		first := nonceUse{serial: serial, issued: issued, top: nc, window: 1, last: fingerprint}
		if once {
			first.top, first.window = 1<<32-1, 1<<64-1
		}
		sh.uses.add(first)
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
	return nonceFresh
}

// makeRoom forgets expired nonces and, when that is not enough, the one that was used first.
func (n *nonces) makeRoom(sh *nonceShard, now time.Time) {
	for sh.uses.live > 0 {
		u := sh.uses.oldest()
		full := sh.uses.live >= sh.room
		expired := n.expired(u.issued, now)
		if !full && !expired {
			return
		}
		if !expired {
			sh.floor = max(sh.floor, u.issued)
			n.evicted.Add(1)
		}
		sh.uses.forget()
	}
}

// live is the number of nonces remembered.
func (n *nonces) live() int {
	total := 0
	for i := range n.shards {
		sh := &n.shards[i]
		sh.mu.Lock()
		total += sh.uses.live
		sh.mu.Unlock()
	}
	return total
}
