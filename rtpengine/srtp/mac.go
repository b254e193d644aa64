package srtp

import (
	"crypto/sha1"
	"encoding"
	"hash"
)

// mac is a key of HMAC-SHA1 as RFC 2104 §4 would have it kept: what the hash has become behind each of the padded keys, 40 octets. An hmac.HMAC
// takes 600, and an encrypted call has eight.
type mac struct {
	inner, outer [sha1.Size]byte
}

// hasher computes HMAC-SHA1 under any key, without allocating. The zero value is ready.
type hasher struct {
	hash  hash.Hash
	state [len(stateMagic) + sha1.Size + sha1.BlockSize + 8]byte
	out   [sha1.Size]byte
}

// stateMagic begins the state of a SHA-1 as the library writes it: the chaining value follows, then the unfinished block, which is empty here,
// and the length so far, of one block.
const stateMagic = "sha\x01"

func (h *hasher) begin() {
	if h.hash == nil {
		h.hash = sha1.New()
		copy(h.state[:], stateMagic)
		h.state[len(h.state)-1] = sha1.BlockSize
	}
}

// key makes the two states of a key, which is no longer than a block.
func (h *hasher) key(key []byte) (m mac) {
	h.begin()
	for pad, into := range map[byte]*[sha1.Size]byte{0x36: &m.inner, 0x5c: &m.outer} {
		var block [sha1.BlockSize]byte
		copy(block[:], key)
		for i := range block {
			block[i] ^= pad
		}
		h.hash.Reset()
		h.hash.Write(block[:])
		state, _ := h.hash.(encoding.BinaryMarshaler).MarshalBinary() // never fails
		copy(into[:], state[len(stateMagic):])
	}
	return m
}

// goOn sets the hash to where it was behind a padded key.
func (h *hasher) goOn(from *[sha1.Size]byte) {
	copy(h.state[len(stateMagic):], from[:])
	_ = h.hash.(encoding.BinaryUnmarshaler).UnmarshalBinary(h.state[:]) // its own format
}

// sum is the code of two pieces of text. It is valid until the next one.
func (h *hasher) sum(m *mac, a, b []byte) []byte {
	h.goOn(&m.inner)
	h.hash.Write(a)
	h.hash.Write(b)
	inner := h.hash.Sum(h.out[:0])
	h.goOn(&m.outer)
	h.hash.Write(inner)
	return h.hash.Sum(h.out[:0])
}
