package sip

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"strings"
	"time"

	"tandem/sip/message"
)

// gruus makes and reads the URIs that name one phone of a user wherever it is (RFC 5627).
//
// A public GRUU is the AOR with the instance in gr. A temporary one tells nobody whose it is: its user part is sealed, needs no
// table, and is different each time (RFC 5627 appendix A has the idea). It is good as long as the phone keeps registering with the
// Call-ID it had when the GRUU was made (§3.1.2).
//
//	sip:alice@acme.example;gr=urn:uuid:...     sip:tgruu.<sealed>@acme.example;gr
//	sealed: nonce(12) AES-GCM(instance hash(8) Call-ID hash(8) user, filled up with zeros), the tenant beside it
type gruus struct{ seal cipher.AEAD }

const (
	tempGRUU     = "tgruu."
	gruuNonce    = 12
	gruuHash     = 8
	gruuUser     = 16  // user names are filled up to a multiple of this, so that their length tells little
	maxTempGRUU  = 512 // characters of a user part that are looked at
	noGRUU       = 0
	unknownGRUU  = 404
	absentPhone  = 480
	gruuURNStart = "urn:"
)

// newGRUUs takes the key that seals temporary GRUUs; a key of zeros is replaced by one of this process's own.
func newGRUUs(key [32]byte) (gruus, error) {
	if key == ([32]byte{}) {
		if _, err := rand.Read(key[:]); err != nil {
			return gruus{}, err
		}
	}
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return gruus{}, err
	}
	seal, err := cipher.NewGCM(block)
	return gruus{seal}, err
}

// A gruuMint makes the GRUUs of one user for the 200 to a REGISTER. nil makes none.
type gruuMint struct {
	gruus
	tenant, user string // canonical
	aor          message.URI
}

// mint is nil when the phone did not ask for GRUUs (RFC 5627 §5.3).
func (j *registerJob) mint() *gruuMint {
	if !j.req.Msg.HasToken(message.Supported, "gruu") {
		return nil
	}
	a, _ := message.ParseAddress(j.req.Msg.Get(message.To))
	u, err := message.ParseURI(a.URI)
	if err != nil {
		return nil
	}
	return &gruuMint{gruus: j.r.gruus, tenant: j.req.Tenant, user: j.req.User, aor: message.URI{Scheme: u.Scheme, User: u.User, Host: u.Host, Port: u.Port}}
}

// append writes the GRUUs of one binding as parameters of its Contact.
func (g *gruuMint) append(dst, instance, callID []byte) []byte {
	pub := g.aor
	pub.Params = "gr=" + string(appendParamValue(nil, bytes.Trim(instance, "<>")))
	dst = append(pub.Append(append(dst, `;pub-gruu="`...)), '"')
	temp := g.aor
	temp.User, temp.Params = g.temporary(instance, callID), "gr"
	return append(temp.Append(append(dst, `;temp-gruu="`...)), '"')
}

// temporary is the user part of a new temporary GRUU.
func (g *gruuMint) temporary(instance, callID []byte) string {
	b := make([]byte, gruuNonce, gruuNonce+2*gruuHash+len(g.user)+gruuUser+g.seal.Overhead())
	_, _ = rand.Read(b) // never fails
	plain := make([]byte, 0, 2*gruuHash+len(g.user)+gruuUser)
	plain = append(append(plain, shortHash(instance)...), shortHash(callID)...)
	plain = append(plain, g.user...)
	for len(plain)%gruuUser != 0 {
		plain = append(plain, 0)
	}
	return tempGRUU + base64.RawURLEncoding.EncodeToString(g.seal.Seal(b, b, plain, []byte(g.tenant)))
}

func shortHash(b []byte) []byte {
	sum := sha256.Sum256(b)
	return sum[:gruuHash]
}

// appendParamValue escapes what may not stand in a URI parameter (RFC 3261 §25.1 pvalue).
func appendParamValue(dst, value []byte) []byte {
	const hex = "0123456789ABCDEF"
	for _, c := range value {
		if 'a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' || strings.IndexByte("-_.!~*'()[]/:&+$", c) >= 0 {
			dst = append(dst, c)
		} else {
			dst = append(dst, '%', hex[c>>4], hex[c&15])
		}
	}
	return dst
}

// A gruu is a GRUU as it was read: whose phone, and which.
type gruu struct {
	tenant, user string
	instance     string // of a public one
	hashes       []byte // of a temporary one: instance, Call-ID
}

// readGRUU reads a GRUU of a tenant. status: noGRUU when u is none at all, unknownGRUU when nobody has it.
func (s *Server) readGRUU(tenant string, u message.URI) (g gruu, status int) {
	instance, ok := u.Param("gr")
	if !ok {
		return g, noGRUU
	}
	g.tenant = tenant
	if instance == "" {
		return g, s.cfg.Registrar.gruus.open(&g, u.User)
	}
	g.instance = message.Unescape(instance)
	if len(g.instance) < len(gruuURNStart) || !strings.EqualFold(g.instance[:len(gruuURNStart)], gruuURNStart) {
		return g, unknownGRUU
	}
	if g.user, ok = s.cfg.Directory.User(tenant, u.UserDecoded()); !ok {
		return g, unknownGRUU
	}
	return g, absentPhone
}

// open unseals the user part of a temporary GRUU.
func (s gruus) open(g *gruu, user string) (status int) {
	text, ok := strings.CutPrefix(user, tempGRUU)
	if !ok || len(text) > maxTempGRUU {
		return unknownGRUU
	}
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(b) < gruuNonce {
		return unknownGRUU
	}
	plain, err := s.seal.Open(nil, b[:gruuNonce], b[gruuNonce:], []byte(g.tenant))
	if err != nil || len(plain) < 2*gruuHash {
		return unknownGRUU
	}
	g.hashes, g.user = plain[:2*gruuHash], string(bytes.TrimRight(plain[2*gruuHash:], "\x00"))
	return absentPhone
}

// fits tells whether a binding is one of the phone's.
func (g *gruu) fits(b *Binding) bool {
	if g.hashes == nil {
		return b.Instance != "" && strings.EqualFold(strings.Trim(b.Instance, "<>"), g.instance)
	}
	return b.Instance != "" && bytes.Equal(shortHash([]byte(b.Instance)), g.hashes[:gruuHash]) && bytes.Equal(shortHash([]byte(b.CallID)), g.hashes[gruuHash:])
}

// binding is the newest binding of the phone whose flow is alive, else the newest (RFC 5627 §6.1; RFC 5626 §7 forbids to fork to
// several flows of one phone). A temporary GRUU ends with the registration it was made for.
func (s *Server) binding(g *gruu, now time.Time) (best Binding, status int) {
	found := false
	list := s.cfg.Location.Lookup(g.tenant, g.user, now)
	slices.SortStableFunc(list, func(a, b Binding) int { return b.Since.Compare(a.Since) })
	for i := range list {
		switch b := &list[i]; {
		case !g.fits(b):
		case s.net.Alive(b.Flow):
			return *b, 0
		case !found:
			best, found = *b, true
		}
	}
	switch {
	case found:
		return best, 0
	case g.hashes != nil:
		return best, unknownGRUU
	}
	return best, absentPhone
}

// GRUU finds the phone that a GRUU stands for (RFC 5627 §6.1). status is 0 when u is no GRUU or t is its phone, 404 when nobody has
// such a GRUU, 480 when the phone is not registered. user is "" when u is no GRUU or an unknown one. Any goroutine.
func (s *Server) GRUU(tenant string, u message.URI, now time.Time) (t Target, user string, status int) {
	g, status := s.readGRUU(tenant, u)
	if status == noGRUU || status == unknownGRUU {
		return t, "", status
	}
	b, status := s.binding(&g, now)
	switch status {
	case unknownGRUU:
		return t, "", status
	case 0:
		t = targetOf(&b, tenant, g.user)
	}
	return t, g.user, status
}

// reach are the targets of a URI in one of our domains: those of a user, or the one phone of a GRUU.
func (s *Server) reach(tenant string, u message.URI, now time.Time) (user string, groups [][]Target) {
	t, user, status := s.GRUU(tenant, u, now)
	switch {
	case status != 0:
		return user, nil
	case user != "":
		return user, [][]Target{{t}}
	}
	user, ok := s.cfg.Directory.User(tenant, u.UserDecoded())
	if !ok {
		return "", nil
	}
	return user, s.Targets(tenant, user, now)
}

// phoneOf is the phone behind a URI that is a GRUU of this node. A phone may have put one into its Contact: then requests inside
// the dialog come with it (RFC 5627 §4.3).
func (s *Server) phoneOf(uri string, now time.Time) (t Target, ok bool) {
	if !strings.Contains(uri, ";gr") { // nearly always
		return t, false
	}
	u, err := message.ParseURI(uri)
	if err != nil {
		return t, false
	}
	tenant, ok := s.cfg.Directory.TenantOf(u.Host)
	if !ok {
		return t, false
	}
	t, user, status := s.GRUU(tenant, u, now)
	return t, status == 0 && user != ""
}

// dereference puts the registered contact in the place of a GRUU, and the phone's flow in that of one that is gone or
// replaced. routed: the
// request has Route values left, which say the way better than the phone's Path. What is no GRUU, or one of a phone that is not
// there any more, stays: the way it was last seen on may still be good.
func (sh *shard) dereference(t *Target, routed bool) {
	p, ok := sh.srv.phoneOf(t.URI, sh.now())
	if !ok {
		return
	}
	t.URI = p.URI
	if sh.srv.moved(t.Flow, &p, sh.now()) {
		t.Flow = p.Flow
	}
	if !routed {
		t.Path = p.Path
	}
}
