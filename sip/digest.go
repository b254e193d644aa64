package sip

import (
	"crypto/md5"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"hash/maphash"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"tandem/sip/message"
)

// Secrets answers with stored digest secrets. Any goroutine; must not block.
type Secrets interface {
	// HA1 gives H(name:tenant:password) in hexadecimal, ha1[:n], for the name the phone used, and the canonical user
	// behind it. For an unknown name ok is false and ha1 a decoy that took the same work.
	HA1(tenant, name string, sha256 bool) (ha1 [64]byte, n int, user string, ok bool)
}

// DigestConfig is what a Digest needs.
type DigestConfig struct {
	Secrets   Secrets
	Key       [32]byte      // signs nonces; kept over restarts and equal on all nodes, so that nonces stay good
	Lifetime  time.Duration // of a nonce, default 5m
	MaxNonces int           // used nonces remembered, default 262,144 (about 48 B each); see nonces
}

// Digest is the server side of digest authentication (RFC 3261 §22, RFC 7616, RFC 8760): MD5 and SHA-256, qop auth.
// The realm of a tenant is its name. Nothing is kept for a challenge. Any goroutine.
type Digest struct {
	secrets Secrets
	nonces  *nonces
	seed    maphash.Seed
	count   digestCounters
}

type digestCounters struct {
	verified, retransmitted, challenges, wrong, unknown, stale, replayed, wrongURI, malformed, algorithm, countless atomic.Uint64
}

// DigestStats counts since the start, except NoncesLive.
type DigestStats struct {
	Challenges    uint64 // written
	Verified      uint64 // accepted, retransmissions included
	Retransmitted uint64 // accepted because they repeat the last request to the letter, from the same address
	Countless     uint64 // accepted without qop (RFC 2069), each on a nonce of its own
	WrongPassword uint64
	UnknownUser   uint64
	Stale         uint64 // right digest over a nonce that is too old, foreign or forgotten
	Replayed      uint64 // right digest over a nonce count that was used before
	WrongURI      uint64
	Malformed     uint64
	Algorithm     uint64 // an algorithm or qop that was not offered
	Evicted       uint64 // nonces forgotten because the table is full
	NoncesLive    int
}

// NewDigest checks cfg.
func NewDigest(cfg DigestConfig) (*Digest, error) {
	if cfg.Secrets == nil {
		return nil, errors.New("sip: digest: Secrets is required")
	}
	if cfg.Lifetime == 0 {
		cfg.Lifetime = 5 * time.Minute
	}
	if cfg.MaxNonces == 0 {
		cfg.MaxNonces = 1 << 18
	}
	if cfg.Lifetime < time.Second || cfg.MaxNonces < nonceShards {
		return nil, errors.New("sip: digest: Lifetime must be a second or more and MaxNonces 64 or more")
	}
	n, err := newNonces(cfg.Key, cfg.Lifetime, cfg.MaxNonces)
	if err != nil {
		return nil, err
	}
	return &Digest{secrets: cfg.Secrets, nonces: n, seed: maphash.MakeSeed()}, nil
}

// Stats reads the counters.
func (d *Digest) Stats() DigestStats {
	c := &d.count
	return DigestStats{
		Challenges: c.challenges.Load(), Verified: c.verified.Load(), Retransmitted: c.retransmitted.Load(), Countless: c.countless.Load(),
		WrongPassword: c.wrong.Load(), UnknownUser: c.unknown.Load(), Stale: c.stale.Load(), Replayed: c.replayed.Load(),
		WrongURI: c.wrongURI.Load(), Malformed: c.malformed.Load(), Algorithm: c.algorithm.Load(),
		Evicted: d.nonces.evicted.Load(), NoncesLive: d.nonces.live(),
	}
}

// DigestResult says who sent a request, or why that is not known.
type DigestResult struct {
	User     string // canonical, only when OK
	OK       bool
	Stale    bool   // the password is right, only the nonce is not: challenge with stale=true, no failure to count
	Present  bool   // there were credentials for this realm
	Fault    string // why not OK, for logs and counters, never for the peer
	Rejected bool   // user name or password is wrong, whichever
	Index    int    // header line of the credentials; -1 without
}

// Verify checks the credentials for a tenant's realm in Authorization, or in Proxy-Authorization when proxy. Credentials for
// other realms are not looked at (RFC 3261 §22.3). Of several for this realm the first with an algorithm of ours counts.
// A retransmission (same bytes, same source address) of the request last accepted on a nonce is accepted again, because
// REGISTER holds no transaction that would absorb it; any other second use of a nonce count is a replay.
func (d *Digest) Verify(m *message.Message, tenant string, proxy bool, src netip.Addr, now time.Time) DigestResult {
	id := message.Authorization
	if proxy {
		id = message.ProxyAuthorization
	}
	result := DigestResult{Index: -1}
	for i := m.Index(id); i >= 0; i = m.Next(i) {
		c, digest, ok := parseDigestCredentials(m.Header(i).Value)
		switch {
		case !digest || c.realm != tenant && (ok || c.realm != ""):
			continue
		case !ok:
			d.count.malformed.Add(1)
			result = DigestResult{Present: true, Fault: "malformed credentials", Index: i}
			continue
		}
		sha, known := c.sha256()
		if !known || c.qop != "" && !strings.EqualFold(c.qop, "auth") {
			d.count.algorithm.Add(1)
			result = DigestResult{Present: true, Fault: "algorithm or qop that was not offered", Index: i}
			continue
		}
		result = d.check(m, &c, tenant, sha, src, now)
		result.Present, result.Index = true, i
		return result
	}
	return result
}

// check does the work once the credentials are read. The digest is computed in every case, so that the time says nothing
// about the user or the nonce; what is wrong with a nonce is told to those only who know the password.
func (d *Digest) check(m *message.Message, c *digestCredentials, tenant string, sha bool, src netip.Addr, now time.Time) DigestResult {
	name, _, _ := strings.Cut(c.username, "@") // some phones send user@realm
	ha1, n, user, known := d.secrets.HA1(tenant, name, sha)
	right := c.matches(ha1[:n], m.Method, sha)
	serial, issued, ours := d.nonces.open(c.nonce, tenant)
	if !right || !known {
		if known {
			d.count.wrong.Add(1)
			return DigestResult{Rejected: true, Fault: "wrong password"}
		}
		d.count.unknown.Add(1)
		return DigestResult{Rejected: true, Fault: "unknown user"}
	}
	if !sameDigestURI(c.uri, m.URI) {
		d.count.wrongURI.Add(1)
		return DigestResult{Fault: "digest-uri names something else than the Request-URI"}
	}
	if !ours || d.nonces.expired(issued, now) {
		d.count.stale.Add(1)
		return DigestResult{Stale: true, Fault: "stale nonce"}
	}
	fingerprint := maphash.String(d.seed, m.Raw()) ^ maphash.Comparable(d.seed, src)
	switch d.nonces.use(serial, issued, c.count, c.qop == "", fingerprint, now) {
	case nonceForgotten:
		d.count.stale.Add(1)
		return DigestResult{Stale: true, Fault: "stale nonce"}
	case nonceReplayed:
		// Stale, because phones that never raise nc exist: with a new nonce they get through.
		d.count.replayed.Add(1)
		return DigestResult{Stale: true, Fault: "replayed nonce count"}
	case nonceRepeated:
		d.count.retransmitted.Add(1)
	}
	if c.qop == "" {
		d.count.countless.Add(1)
	}
	d.count.verified.Add(1)
	return DigestResult{User: user, OK: true}
}

// AppendChallenge writes the header lines of a 401 (WWW-Authenticate) or, when proxy, a 407 (Proxy-Authenticate): SHA-256
// first, then MD5 (RFC 8760 §2.4), or MD5 alone for a phone that cannot choose (quirk.go). They do not depend on the user.
func (d *Digest) AppendChallenge(dst []byte, tenant string, proxy, stale, md5Only bool, now time.Time) []byte {
	d.count.challenges.Add(1)
	var text [nonceText]byte
	nonce := d.nonces.appendNew(text[:0], tenant, now)
	name := "WWW-Authenticate"
	if proxy {
		name = "Proxy-Authenticate"
	}
	realm := message.Quote(tenant)
	for _, algorithm := range [...]string{"SHA-256", "MD5"} {
		if md5Only && algorithm != "MD5" {
			continue
		}
		dst = append(append(dst, name...), ": Digest realm="...)
		dst = append(append(append(dst, realm...), `, nonce="`...), nonce...)
		dst = append(append(append(dst, `", algorithm=`...), algorithm...), `, qop="auth"`...)
		if stale {
			dst = append(dst, ", stale=true"...)
		}
		dst = append(dst, "\r\n"...)
	}
	return dst
}

// digestCredentials are the parameters of one Authorization line (RFC 7616 §3.4). Quoted values are without their quotes and
// with their escapes, because that is what goes into the hash.
type digestCredentials struct {
	username, realm, nonce, uri, response, algorithm, cnonce, qop, nc string

	count uint32 // nc as a number
	seen  uint16 // one bit a parameter
	hash  bool   // userhash or username* was there: never offered
}

// dropCredentials takes credentials for the realms of this node off a request that goes on; others stay (RFC 3261 §22.3). Phones send
// them with requests inside a dialog as well, which nobody asks them for: whoever answered the call could guess the password from
// them, without a limit. Authorization is meant for the callee, who is none of these realms.
func (s *Server) dropCredentials(m *message.Message, e *message.Edit) {
	for _, id := range [...]message.ID{message.ProxyAuthorization, message.Authorization} {
		for i := m.Index(id); i >= 0; i = m.Next(i) {
			if s.isOurCredentials(m.Header(i).Value) {
				e.Drop(i)
			}
		}
	}
}

// isOurCredentials tells whether an Authorization value answers a challenge of this node, or of somebody who pretends to be it. Digest
// credentials that cannot be read may do so and are of no use to anybody else.
func (s *Server) isOurCredentials(v string) bool {
	if len(v) < 7 || !strings.EqualFold(v[:6], "Digest") || v[6] != ' ' && v[6] != '\t' {
		return false
	}
	for rest := strings.TrimLeft(v[7:], " ,\t"); rest != ""; rest = strings.TrimLeft(rest, " ,\t") {
		var name, value string
		var ok bool
		if name, value, rest, ok = cutAuthParam(rest); !ok {
			return true
		}
		if strings.EqualFold(name, "realm") && s.cfg.Directory.HasTenant(strings.ReplaceAll(value, `\`, "")) {
			return true
		}
	}
	return false
}

// parseDigestCredentials reads a header value. digest is false for another scheme; ok is false when the credentials cannot
// be used: broken syntax, a parameter twice or missing.
func parseDigestCredentials(v string) (c digestCredentials, digest, ok bool) {
	if len(v) < 7 || !strings.EqualFold(v[:6], "Digest") || v[6] != ' ' && v[6] != '\t' {
		return c, false, false
	}
	for rest := v[7:]; ; {
		for rest != "" && (rest[0] == ' ' || rest[0] == ',' || rest[0] == '\t') {
			rest = rest[1:]
		}
		if rest == "" {
			break
		}
		var name, value string
		if name, value, rest, ok = cutAuthParam(rest); !ok || !c.set(name, value) {
			return c, true, false
		}
	}
	return c, true, c.complete()
}

// cutAuthParam reads name=token or name="quoted" at the head of s.
func cutAuthParam(s string) (name, value, rest string, ok bool) {
	eq := strings.IndexByte(s, '=')
	if eq <= 0 {
		return "", "", "", false
	}
	name, rest = trimBlanksRight(s[:eq]), skipBlanks(s[eq+1:])
	if rest == "" || rest[0] != '"' {
		end := strings.IndexByte(rest, ',')
		if end < 0 {
			end = len(rest)
		}
		value = trimBlanksRight(rest[:end])
		return name, value, rest[end:], value != "" && strings.IndexByte(value, '"') < 0
	}
	end := quoteEnd(rest)
	if end < 0 {
		return "", "", "", false
	}
	value, rest = rest[1:end], skipBlanks(rest[end+1:])
	return name, value, rest, rest == "" || rest[0] == ','
}

// quoteEnd is the offset of the quote that ends the one at the head of s, -1 without one. Escapes are rare.
func quoteEnd(s string) int {
	switch end := 1 + strings.IndexByte(s[1:], '"'); {
	case end == 0:
		return -1
	case strings.IndexByte(s[:end], '\\') < 0:
		return end
	}
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i
		}
	}
	return -1
}

func skipBlanks(s string) string {
	for s != "" && (s[0] == ' ' || s[0] == '\t') {
		s = s[1:]
	}
	return s
}

func trimBlanksRight(s string) string {
	for s != "" && (s[len(s)-1] == ' ' || s[len(s)-1] == '\t') {
		s = s[:len(s)-1]
	}
	return s
}

// The bits of digestCredentials.seen.
const (
	seenUsername = 1 << iota
	seenRealm
	seenNonce
	seenURI
	seenResponse
	seenAlgorithm
	seenCnonce
	seenQop
	seenNC
)

// set stores one parameter; false when it was there before. Unknown ones are skipped (RFC 7616 §3.4).
func (c *digestCredentials) set(name, value string) bool {
	bit, at := c.field(name)
	if at == nil {
		if strings.EqualFold(name, "username*") || strings.EqualFold(name, "userhash") && strings.EqualFold(value, "true") {
			c.hash = true
		}
		return true
	}
	if c.seen&bit != 0 {
		return false
	}
	c.seen |= bit
	*at = value
	return true
}

// field finds where a parameter goes; nil for those that are not read.
func (c *digestCredentials) field(name string) (bit uint16, at *string) {
	want := ""
	switch len(name) {
	case 2:
		want, bit, at = "nc", seenNC, &c.nc
	case 3:
		if want, bit, at = "uri", seenURI, &c.uri; name[0]|0x20 == 'q' {
			want, bit, at = "qop", seenQop, &c.qop
		}
	case 5:
		if want, bit, at = "realm", seenRealm, &c.realm; name[0]|0x20 == 'n' {
			want, bit, at = "nonce", seenNonce, &c.nonce
		}
	case 6:
		want, bit, at = "cnonce", seenCnonce, &c.cnonce
	case 8:
		if want, bit, at = "username", seenUsername, &c.username; name[0]|0x20 == 'r' {
			want, bit, at = "response", seenResponse, &c.response
		}
	case 9:
		want, bit, at = "algorithm", seenAlgorithm, &c.algorithm
	}
	if at == nil || name != want && !strings.EqualFold(name, want) {
		return 0, nil
	}
	return bit, at
}

// complete checks that everything is there that the digest is made of, in sane sizes, and reads nc.
func (c *digestCredentials) complete() bool {
	if c.hash || c.username == "" || c.realm == "" || c.nonce == "" || c.uri == "" || c.response == "" {
		return false
	}
	if len(c.username) > 256 || len(c.nonce) > 256 || len(c.cnonce) > 256 || len(c.uri) > 2048 {
		return false
	}
	if c.qop == "" { // RFC 2069 style
		return c.seen&seenQop == 0 && c.cnonce == "" && c.nc == ""
	}
	if c.cnonce == "" || len(c.nc) != 8 {
		return false
	}
	count, ok := parseHex32(c.nc)
	c.count = count
	return ok && count > 0
}

// parseHex32 reads up to eight hexadecimal digits.
func parseHex32(s string) (n uint32, ok bool) {
	for i := range len(s) {
		c := s[i]
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return 0, false
		}
		n = n<<4 | uint32(c)
	}
	return n, true
}

// sha256 tells which algorithm was used; known is false for any that is not offered, the -sess ones included. Peers that
// sent no qop are RFC 2069's, which had MD5 alone.
func (c *digestCredentials) sha256() (sha, known bool) {
	switch {
	case c.algorithm == "" || c.algorithm == "MD5" || strings.EqualFold(c.algorithm, "MD5"):
		return false, true
	case strings.EqualFold(c.algorithm, "SHA-256"):
		return true, c.qop != ""
	}
	return false, false
}

// matches computes the digest (RFC 7616 §3.4.1) and compares in constant time.
func (c *digestCredentials) matches(ha1 []byte, method string, sha bool) bool {
	var work [640]byte
	b := append(append(append(work[:0], method...), ':'), c.uri...)
	var ha2 [64]byte
	size := hexDigest(&ha2, b, sha)
	b = append(append(work[:0], ha1...), ':')
	b = append(append(b, c.nonce...), ':')
	if c.qop != "" {
		b = append(append(b, c.nc...), ':')
		b = append(append(b, c.cnonce...), ':')
		b = append(append(b, c.qop...), ':')
	}
	b = append(b, ha2[:size]...)
	var want, got [64]byte
	size = hexDigest(&want, b, sha)
	if len(c.response) != size {
		return false
	}
	copy(got[:], c.response)
	for i := range got[:size] {
		got[i] |= 0x20 // digits have the bit already; some phones send capitals
	}
	return subtle.ConstantTimeCompare(got[:size], want[:size]) == 1
}

func hexDigest(dst *[64]byte, data []byte, sha bool) int {
	if sha {
		sum := sha256.Sum256(data)
		return hex.Encode(dst[:], sum[:])
	}
	sum := md5.Sum(data)
	return hex.Encode(dst[:], sum[:])
}

// sameDigestURI compares the digest-uri with the Request-URI (RFC 3261 §22.4 item 5). Phones leave out the transport
// parameter or write the default port where the other has none; neither changes who is meant.
func sameDigestURI(digest, request string) bool {
	if message.SameURI(digest, request) {
		return true
	}
	a, errA := message.ParseURI(digest)
	b, errB := message.ParseURI(request)
	return errA == nil && errB == nil && message.SameURI(plainURI(a), plainURI(b))
}

// plainURI is u without its transport parameter and default port.
func plainURI(u message.URI) string {
	if u.Scheme == "sip" && u.Port == 5060 || u.Scheme == "sips" && u.Port == 5061 {
		u.Port = 0
	}
	if _, ok := u.Param("transport"); ok {
		var keep []string
		for _, p := range strings.Split(u.Params, ";") {
			if name, _, _ := strings.Cut(p, "="); !strings.EqualFold(strings.TrimSpace(name), "transport") {
				keep = append(keep, p)
			}
		}
		u.Params = strings.Join(keep, ";")
	}
	return u.String()
}
