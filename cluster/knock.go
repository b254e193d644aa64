package cluster

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"
)

// A connection to the cluster port begins with a knock, before TLS:
//
//	+--------+------+---------+---------+----------+-----------+
//	| "TDMK" | kind | token   | until   | nonce    | mac       |
//	| 4      | 1    | 8 bytes | 8 bytes | 16 bytes | 32 bytes  |
//	+--------+------+---------+---------+----------+-----------+
//
// mac is an HMAC-SHA-256 over all before it. A member's is made with a key that all members share, a newcomer's with the secret of
// its join token, which the port works out from token and until. TLS answers whoever says hello; behind the knock only those get an answer that know
// one of these secrets. A knock that was overheard and repeated gets as far as a handshake that it cannot finish.
const (
	knockMagic  = "TDMK"
	knockMember = 1
	knockJoin   = 2
	knockHead   = 4 + 1 + 8 + 8 + 16
	knockSize   = knockHead + sha256.Size
)

var errKnock = errors.New("the connection does not begin as one of a node of this cluster")

// knockKeys are what knocks and tokens are made with.
type knockKeys struct{ member, join []byte }

// newKnockKeys derives both from the secret of the cluster. The labels are part of the protocol.
func newKnockKeys(key [32]byte) knockKeys {
	return knockKeys{mac(key[:], []byte("tandem cluster member v1")), mac(key[:], []byte("tandem cluster join v1"))}
}

func mac(key, text []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(text)
	return h.Sum(nil)
}

// ticket is the part of a join token that goes over the wire.
type ticket struct {
	id    [8]byte
	until int64 // Unix seconds
}

func (t ticket) bytes() []byte { return binary.BigEndian.AppendUint64(t.id[:], uint64(t.until)) }

func (t ticket) expired(now time.Time) bool { return now.Unix() >= t.until }

const ticketSecret = 16

// secret is what only the cluster and the holder of the token know.
func (k knockKeys) secret(t ticket) []byte { return mac(k.join, t.bytes())[:ticketSecret] }

// knock makes the first bytes of a connection.
func knock(kind byte, t ticket, key []byte) ([]byte, error) {
	b := append(append(make([]byte, 0, knockSize), knockMagic...), kind)
	b = append(b, t.bytes()...)
	b = b[:knockHead]
	if _, err := rand.Read(b[knockHead-16:]); err != nil {
		return nil, err
	}
	return append(b, mac(key, b)...), nil
}

// readKnock takes the first bytes of a connection and says who claims to come: a member (the zero ticket), or a newcomer with a ticket that
// is good at that time.
func (k knockKeys) readKnock(r io.Reader, now time.Time) (newcomer bool, t ticket, err error) {
	var b [knockSize]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return false, t, err
	}
	if string(b[:4]) != knockMagic {
		return false, t, errKnock
	}
	copy(t.id[:], b[5:13])
	t.until = int64(binary.BigEndian.Uint64(b[13:21]))
	key := k.member
	if b[4] == knockJoin {
		key = k.secret(t)
	}
	switch {
	case b[4] != knockJoin && b[4] != knockMember, !hmac.Equal(mac(key, b[:knockHead]), b[knockHead:]):
		return false, t, errKnock
	case b[4] == knockJoin && t.expired(now):
		return false, t, errTokenExpired
	}
	return b[4] == knockJoin, t, nil
}

var errTokenExpired = errors.New("the join token has expired; make another with `tandem cluster token`")

// tokenPrefix says what such a text is, to people and to programs that look for secrets.
const tokenPrefix = "tandem-join-"

// Token lets one node join the cluster, once and until its time is over: it proves the newcomer to the cluster and, by the
// fingerprint of the authority, the cluster to the newcomer.
type Token struct {
	ticket      ticket
	secret      []byte
	fingerprint [sha256.Size]byte
	// Addresses of members, host:port, where the newcomer asks.
	Addresses []string
}

// Until is when the token ends.
func (t Token) Until() time.Time { return time.Unix(t.ticket.until, 0) }

// String writes the token in one word that ParseToken reads.
func (t Token) String() string {
	b := append([]byte{1}, t.ticket.bytes()...)
	b = append(append(b, t.secret...), t.fingerprint[:]...)
	b = append(b, strings.Join(t.Addresses, ",")...)
	return tokenPrefix + base64.RawURLEncoding.EncodeToString(b)
}

// ParseToken reads what String wrote.
func ParseToken(text string) (t Token, err error) {
	encoded, ok := strings.CutPrefix(strings.TrimSpace(text), tokenPrefix)
	if !ok || len(encoded) > 4096 {
		return t, fmt.Errorf("cluster: this is no join token; it begins with %q, `tandem cluster token` makes one", tokenPrefix)
	}
	b, err := base64.RawURLEncoding.DecodeString(encoded)
	const fixed = 1 + 8 + 8 + ticketSecret + sha256.Size
	if err != nil || len(b) < fixed || b[0] != 1 {
		return t, errors.New("cluster: the join token is damaged; copy it whole, or make another with `tandem cluster token`")
	}
	copy(t.ticket.id[:], b[1:9])
	t.ticket.until = int64(binary.BigEndian.Uint64(b[9:17]))
	t.secret = b[17 : 17+ticketSecret]
	copy(t.fingerprint[:], b[17+ticketSecret:])
	for _, a := range strings.Split(string(b[fixed:]), ",") {
		if _, err := netip.ParseAddrPort(a); err != nil {
			continue
		}
		t.Addresses = append(t.Addresses, a)
	}
	return t, nil
}
