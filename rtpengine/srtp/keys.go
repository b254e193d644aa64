package srtp

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
)

// Labels of RFC 3711 §4.3.2; those of SRTCP follow at +3.
const (
	labelCipher = 0
	labelAuth   = 1
	labelSalt   = 2
	labelsRTCP  = 3
)

const authKeyBytes = 20 // RFC 3711 §5.2

// derive makes one session key (RFC 3711 §4.3.1, §4.3.3; RFC 7714 §11 for the shorter salt, which stands to the left).
// The key derivation rate is 0, so that r is 0 for the whole life of the master key.
func derive(master cipher.Block, salt []byte, label byte, n int) []byte {
	var x, block [aes.BlockSize]byte
	copy(x[:14], salt)
	x[7] ^= label
	out := make([]byte, 0, n+aes.BlockSize)
	for i := 0; len(out) < n; i++ {
		binary.BigEndian.PutUint16(x[14:], uint16(i))
		master.Encrypt(block[:], x[:])
		out = append(out, block[:]...)
	}
	return out[:n]
}

// keys are the session keys of RTP or of RTCP, ready for use.
type keys struct {
	salt  [14]byte
	aead  cipher.AEAD  // GCM
	block cipher.Block // counter mode, with mac
	mac   mac
	*room
}

// room is working room, for all packets of a context: what is given to an interface would otherwise be allocated for each of them.
type room struct {
	counter, stream [aes.BlockSize]byte
	aad             [12]byte
	word            [4]byte
	hasher          // counter mode
}

// init derives the session keys from the master key and salt.
func (k *keys) init(p *parameters, key, salt []byte, labels byte) error {
	master, err := aes.NewCipher(key)
	if err != nil {
		return err
	}
	copy(k.salt[:], derive(master, salt, labels+labelSalt, p.salt))
	return k.use(p, derive(master, salt, labels+labelCipher, p.key), derive(master, salt, labels+labelAuth, authKeyBytes))
}

// use takes session keys.
func (k *keys) use(p *parameters, cipherKey, authKey []byte) (err error) {
	block, err := aes.NewCipher(cipherKey)
	if err != nil {
		return err
	}
	if p.gcm {
		k.aead, err = cipher.NewGCM(block) // which has a copy
		return err
	}
	k.block, k.mac = block, k.hasher.key(authKey)
	return nil
}

// nonce is the IV of RFC 7714 §8.1 and §9.1, in counter:
//
//	| 00 00 | SSRC | ROC (RTP) or 00 00 and index (RTCP) | SEQ |  xor salt
//
// Both are the SSRC and a number of 48 bits: the packet index of RTP, the 31-bit index of RTCP.
func (k *keys) nonce(ssrc uint32, index uint64) []byte {
	iv := k.counter[:12]
	copy(iv, k.salt[:12])
	xor32(iv[2:], ssrc)
	xor48(iv[6:], index)
	return iv
}

// crypt is AES in counter mode (RFC 3711 §4.1.1), the same in both directions:
//
//	IV = (salt * 2^16) xor (SSRC * 2^64) xor (index * 2^16)
func (k *keys) crypt(b []byte, ssrc uint32, index uint64) {
	copy(k.counter[:14], k.salt[:])
	xor32(k.counter[4:], ssrc)
	xor48(k.counter[8:], index)
	for i := uint16(0); len(b) > 0; i++ {
		binary.BigEndian.PutUint16(k.counter[14:], i)
		k.block.Encrypt(k.stream[:], k.counter[:])
		if len(b) < aes.BlockSize {
			for j := range b {
				b[j] ^= k.stream[j]
			}
			return
		}
		binary.NativeEndian.PutUint64(b, binary.NativeEndian.Uint64(b)^binary.NativeEndian.Uint64(k.stream[:]))
		binary.NativeEndian.PutUint64(b[8:], binary.NativeEndian.Uint64(b[8:])^binary.NativeEndian.Uint64(k.stream[8:]))
		b = b[aes.BlockSize:]
	}
}

// tag is the HMAC over b and a word behind it that is not in b (RFC 3711 §4.2): the ROC.
func (k *keys) tag(b []byte, word uint32) []byte {
	binary.BigEndian.PutUint32(k.word[:], word)
	return k.hasher.sum(&k.mac, b, k.word[:])
}

func xor32(b []byte, v uint32) {
	binary.BigEndian.PutUint32(b, binary.BigEndian.Uint32(b)^v)
}

// xor48 takes the lower 48 bits of v.
func xor48(b []byte, v uint64) {
	binary.BigEndian.PutUint16(b, binary.BigEndian.Uint16(b)^uint16(v>>32))
	xor32(b[2:], uint32(v))
}
