//go:build linux

package phone

import (
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
)

// Algorithm of digest authentication (RFC 7616, RFC 8760).
type Algorithm string

// The two algorithms that servers offer.
const (
	MD5    Algorithm = "MD5"
	SHA256 Algorithm = "SHA-256"
)

// credential is a user's state with one kind of challenge (401 or 407): the nonce in use and how often it was used.
type credential struct {
	realm, nonce, opaque []byte
	qop                  bool
	count                uint32 // nc of the last use
	ha1                  []byte // hex, for ha1Realm
	ha1Realm             []byte
}

func (c *credential) usable() bool { return len(c.nonce) > 0 }

// take remembers the challenge of m for algorithm, and reports whether there was one.
func (c *credential) take(m *message, algorithm Algorithm) bool {
	for _, challenge := range m.challenges[:m.challengeCount] {
		offered := parameter(challenge, "algorithm")
		if len(offered) == 0 {
			offered = []byte(MD5)
		}
		if !bytes.EqualFold(offered, []byte(algorithm)) {
			continue
		}
		c.realm = append(c.realm[:0], parameter(challenge, "realm")...)
		c.nonce = append(c.nonce[:0], parameter(challenge, "nonce")...)
		c.opaque = append(c.opaque[:0], parameter(challenge, "opaque")...)
		c.qop = bytes.Contains(parameter(challenge, "qop"), []byte("auth"))
		c.count = 0
		return len(c.nonce) > 0
	}
	return false
}

// append writes a whole Authorization or Proxy-Authorization line.
func (c *credential) append(out []byte, header, method string, uri []byte, u *user, algorithm Algorithm) []byte {
	if c.ha1 == nil || !bytes.Equal(c.ha1Realm, c.realm) {
		c.ha1 = hash(algorithm, nil, []byte(u.name), []byte{':'}, c.realm, []byte{':'}, []byte(u.password))
		c.ha1Realm = append([]byte(nil), c.realm...)
	}
	c.count++
	var nc [8]byte
	appendHex32(nc[:0], c.count)
	const cnonce = "0a4f113b"
	var ha2, response [64]byte
	second := hash(algorithm, ha2[:0], []byte(method), []byte{':'}, uri)
	var sum []byte
	if c.qop {
		sum = hash(algorithm, response[:0], c.ha1, []byte{':'}, c.nonce, []byte{':'}, nc[:], []byte(":"+cnonce+":auth:"), second)
	} else {
		sum = hash(algorithm, response[:0], c.ha1, []byte{':'}, c.nonce, []byte{':'}, second)
	}
	out = append(append(out, header...), `: Digest username="`...)
	out = append(append(out, u.name...), `", realm="`...)
	out = append(append(out, c.realm...), `", nonce="`...)
	out = append(append(out, c.nonce...), `", uri="`...)
	out = append(append(out, uri...), `", response="`...)
	out = append(append(out, sum...), `", algorithm=`...)
	out = append(out, algorithm...)
	if len(c.opaque) > 0 {
		out = append(append(append(out, `, opaque="`...), c.opaque...), '"')
	}
	if c.qop {
		out = append(append(out, `, qop=auth, cnonce="`+cnonce+`", nc=`...), nc[:]...)
	}
	return append(out, "\r\n"...)
}

// hash appends the lower-case hex digest of the parts to out.
func hash(algorithm Algorithm, out []byte, parts ...[]byte) []byte {
	var buffer [512]byte
	text := buffer[:0]
	for _, p := range parts {
		text = append(text, p...)
	}
	if algorithm == SHA256 {
		sum := sha256.Sum256(text)
		return hex.AppendEncode(out, sum[:])
	}
	sum := md5.Sum(text)
	return hex.AppendEncode(out, sum[:])
}

// HA1 is what a server stores for a user: the hex digest of user:realm:password.
func HA1(algorithm Algorithm, user, realm, password string) string {
	return string(hash(algorithm, nil, []byte(user+":"+realm+":"+password)))
}

// parameter is the value of a challenge's parameter without its quotes, nil when it is missing.
func parameter(challenge []byte, name string) []byte {
	_, rest, ok := bytes.Cut(challenge, []byte{' '}) // the scheme
	for ok && len(rest) > 0 {
		var key []byte
		key, rest, ok = bytes.Cut(rest, []byte{'='})
		if !ok {
			return nil
		}
		var value []byte
		rest = bytes.TrimLeft(rest, " \t")
		if len(rest) > 0 && rest[0] == '"' {
			value, rest, _ = bytes.Cut(rest[1:], []byte{'"'})
			_, rest, ok = bytes.Cut(rest, []byte{','})
		} else {
			value, rest, ok = bytes.Cut(rest, []byte{','})
			value = trim(value)
		}
		if is(trim(key), name) {
			return value
		}
	}
	return nil
}

func appendHex32(out []byte, n uint32) []byte {
	const digits = "0123456789abcdef"
	for shift := 28; shift >= 0; shift -= 4 {
		out = append(out, digits[n>>shift&15])
	}
	return out
}
