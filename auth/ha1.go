package auth

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/md5"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"encoding/hex"
	"sync"
)

// Algorithm is the hash of a digest challenge (RFC 7616 §3.2, RFC 8760).
type Algorithm uint8

// The algorithms Tandem offers.
const (
	MD5    Algorithm = iota // 16 bytes, for phones that know nothing better
	SHA256                  // 32 bytes, offered first
)

// String is the name of the algorithm as it stands in a challenge.
func (a Algorithm) String() string {
	if a == SHA256 {
		return "SHA-256"
	}
	return "MD5"
}

// Size is the length of the hash in bytes; its hexadecimal form has twice as many digits.
func (a Algorithm) Size() int {
	if a == SHA256 {
		return sha256.Size
	}
	return md5.Size
}

// hashes holds the four HA1 values of one account. Without an extension the second half is zero.
//
//	0            16               48           64               96
//	| MD5 user   | SHA-256 user   | MD5 ext    | SHA-256 ext    |
type hashes [2 * (md5.Size + sha256.Size)]byte

// sealedHashes is hashes under AES-256-GCM: nonce, ciphertext, tag.
type sealedHashes [nonceSize + len(hashes{}) + tagSize]byte

// newHashes computes HA1 = H(user ":" realm ":" password) (RFC 7616 §3.4.2) for both names and both algorithms.
func newHashes(a NewAccount) (h hashes) {
	fill := func(half []byte, name string) {
		text := []byte(name + ":" + a.Tenant + ":" + a.Password)
		m, s := md5.Sum(text), sha256.Sum256(text)
		copy(half, m[:])
		copy(half[md5.Size:], s[:])
	}
	fill(h[:len(h)/2], a.User)
	if a.Extension != "" {
		fill(h[len(h)/2:], a.Extension)
	}
	return h
}

// of returns the hash for one name of the account, a slice into h.
func (h *hashes) of(extension bool, alg Algorithm) []byte {
	half := h[:len(h)/2]
	if extension {
		half = h[len(h)/2:]
	}
	if alg == SHA256 {
		return half[md5.Size:]
	}
	return half[:md5.Size]
}

// HA1 returns the digest secret of one account in hexadecimal: ha1[:n]. name may be the user or the extension, whichever the
// phone used as its digest user name; user is the canonical user either way. Any goroutine, no allocation, well under a microsecond or two.
//
// For an unknown or disabled name ok is false and ha1 is a decoy: the same for the same name every time, on every node that has
// the same key file, and found with the same work. A caller that checks the response against it as usual and refuses when
// !ok gives an attacker neither a different answer nor a different time.
func (s *Store) HA1(tenant, name string, alg Algorithm) (ha1 [64]byte, n int, user string, ok bool) {
	var value [sha256.Size]byte
	s.key.decoy.fill(&value, tenant, name, alg)

	r := s.record(tenant, name)
	source := r
	if r == nil || r.disabled {
		source, ok = &s.nobody, false
	} else {
		user, ok = r.user, true
	}
	size := alg.Size()
	subtle.ConstantTimeCopy(bit(ok), value[:size], source.hashes.of(name != source.user, alg))

	s.counters.lookups.Add(1)
	s.counters.unknown.Add(uint64(1 - bit(ok)))
	return ha1, hex.Encode(ha1[:], value[:size]), user, ok
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

// decoys makes the secrets of accounts that do not exist: two CBC-MACs under AES-256 of
//
//	 0           1              8               12            16
//	+-----------+--------------+---------------+-------------+----------------------------+-------------+
//	| algorithm | zeros        | tenant length | name length | tenant, name, filled up    | 1 or 2      |
//	+-----------+--------------+---------------+-------------+----------------------------+-------------+
//
// one for each half. The lengths stand in the first block, so no text is the beginning of another, which is what makes CBC-MAC
// sound. It is made for every look-up, and an HMAC would be half of what that costs.
type decoys struct {
	cipher cipher.Block
	blocks sync.Pool // *decoyBlocks: what goes through the interface of a cipher would be allocated
}

type decoyBlocks struct{ state, half [aes.BlockSize]byte }

// newDecoys takes a key of AES.
func newDecoys(secret []byte) (*decoys, error) {
	block, err := aes.NewCipher(secret)
	if err != nil {
		return nil, err
	}
	d := &decoys{cipher: block}
	d.blocks.New = func() any { return new(decoyBlocks) }
	return d, nil
}

// fill writes the decoy to dst.
func (d *decoys) fill(dst *[2 * aes.BlockSize]byte, tenant, name string, alg Algorithm) {
	b := d.blocks.Get().(*decoyBlocks)
	b.state = [aes.BlockSize]byte{byte(alg)}
	binary.BigEndian.PutUint32(b.state[8:], uint32(len(tenant)))
	binary.BigEndian.PutUint32(b.state[12:], uint32(len(name)))
	at := d.absorb(b, aes.BlockSize, tenant)
	d.absorb(b, at, name)
	d.cipher.Encrypt(b.state[:], b.state[:])
	for half := range 2 {
		b.half = b.state
		b.half[aes.BlockSize-1] ^= byte(1 + half)
		d.cipher.Encrypt(b.half[:], b.half[:])
		copy(dst[half*aes.BlockSize:], b.half[:])
	}
	d.blocks.Put(b)
}

// absorb takes text into a block that at bytes are in, and tells how many are then.
func (d *decoys) absorb(b *decoyBlocks, at int, text string) int {
	for i := range len(text) {
		if at == aes.BlockSize {
			d.cipher.Encrypt(b.state[:], b.state[:])
			at = 0
		}
		b.state[at] ^= text[i]
		at++
	}
	return at
}
