package rtpengine

import (
	"crypto/rand"
	"encoding/base64"
	"slices"
	"strconv"
	"strings"

	"tandem/rtpengine/srtp"
)

// SRTPPolicy says how media is offered to a side. Whatever it is, a side that offers keys itself is answered with keys
// of its own (SRTPOff: only when it insists, with RTP/SAVP), so that encrypted and plain phones can talk.
type SRTPPolicy uint8

const (
	SRTPMirror    SRTPPolicy = iota // as it was offered to us: who insists on encryption gets it on both sides, or no call
	SRTPOff                         // plain RTP
	SRTPPreferred                   // RTP/AVP with keys (RFC 8643): encrypted when the side can
	SRTPRequired                    // RTP/SAVP; and an offer without keys is refused
	// SRTPPassThrough leaves the keys to the phones: they are told each other's, and we relay what we cannot read. What Tandem answers
	// itself is as with SRTPMirror. See opaque.go.
	SRTPPassThrough
)

var policyNames = [...]string{"mirror", "off", "preferred", "required", "passthrough"}

// ParseSRTPPolicy finds a policy by its name in the configuration.
func ParseSRTPPolicy(name string) (SRTPPolicy, bool) {
	for i, n := range policyNames {
		if n == name {
			return SRTPPolicy(i), true
		}
	}
	return 0, false
}

// SRTP is Config.SRTP.
func (e *Engine) SRTP() SRTPPolicy { return e.cfg.SRTP }

// secrecy is what a description says about encryption of one m-line, weakest first.
type secrecy uint8

const (
	plain         secrecy = iota // RTP/AVP
	opportunistic                // RTP/AVP with keys: take them or not (RFC 8643)
	strict                       // RTP/SAVP
)

// toward is what a side is offered: as the policy says, but never less than it had agreed to before. A re-INVITE of the
// other side cannot take its encryption away.
func (p SRTPPolicy) toward(heard, agreed secrecy) secrecy {
	switch p {
	case SRTPMirror, SRTPPassThrough:
		return max(heard, agreed)
	case SRTPPreferred:
		return max(opportunistic, agreed)
	case SRTPRequired:
		return strict
	}
	return agreed
}

// profile is the proto of an m-line offered with a secrecy, with the feedback of the one it stands for (RFC 4585, RFC 5124).
func (y secrecy) profile(proto string) string {
	name := "RTP/AVP"
	if y == strict {
		name = "RTP/SAVP"
	}
	if strings.HasSuffix(proto, "F") {
		name += "F"
	}
	return name
}

// maxCrypto bounds the a=crypto lines that are looked at in one section.
const maxCrypto = 16

// cryptoLine is one understood a=crypto line (RFC 4568 §4): a key that its writer will send under.
type cryptoLine struct {
	tag   string
	suite srtp.Suite
	key   string // master key and salt
}

// parseCrypto reads "1 AES_CM_128_HMAC_SHA1_80 inline:<key>|2^20 KDR=0". What it does not give back it explains.
func parseCrypto(value string) (c cryptoLine, problem string) {
	words := strings.Fields(value)
	if len(words) < 3 {
		return c, "a=crypto needs tag, suite and key"
	}
	if _, err := strconv.ParseUint(words[0], 10, 32); err != nil || len(words[0]) > 9 {
		return c, "a=crypto has no number as tag"
	}
	suite, ok := srtp.ParseSuite(words[1])
	if !ok {
		return c, "suite " + words[1] + " is not known"
	}
	if problem := parametersRefused(words[3:]); problem != "" {
		return c, problem
	}
	key, ok := strings.CutPrefix(words[2], "inline:")
	if !ok || strings.Contains(key, ";") {
		return c, "a=crypto needs one inline key"
	}
	key, rest, more := strings.Cut(key, "|")
	for more { // §6.1: "|lifetime" and "|MKI:length"
		var field string
		field, rest, more = strings.Cut(rest, "|")
		if strings.Contains(field, ":") {
			return c, "a key with MKI cannot be used"
		}
		if !lifetime(field) {
			return c, "a=crypto has no valid lifetime"
		}
	}
	raw, err := base64.StdEncoding.DecodeString(key)
	if err != nil { // GCM's 28 bytes need padding that some phones leave out
		raw, err = base64.RawStdEncoding.DecodeString(key)
	}
	if err != nil || len(raw) != suite.KeyBytes() {
		return c, "the key is not " + strconv.Itoa(suite.KeyBytes()) + " bytes in base64"
	}
	return cryptoLine{tag: strings.Clone(words[0]), suite: suite, key: string(raw)}, ""
}

// parametersRefused reads session parameters (RFC 4568 §6.3). One that is not known must be refused unless it says that it
// may be ignored; those that weaken the stream are refused as well.
func parametersRefused(words []string) string {
	for _, w := range words {
		if w == "KDR=0" || strings.HasPrefix(w, "WSH=") || strings.HasPrefix(w, "-") {
			continue
		}
		return "session parameter " + w + " is not available"
	}
	return ""
}

// lifetime reports whether a field is one: packets, written as a number or as "2^20".
func lifetime(field string) bool {
	power, ok := strings.CutPrefix(field, "2^")
	n, err := strconv.ParseUint(power, 10, 64)
	return err == nil && n > 0 && (!ok || n <= 48)
}

// keys are the section's usable a=crypto lines in their writer's order, which is his preference (RFC 4568 §4); where there
// are none, problem says what was wrong with the first.
func (s *section) keys() (list []cryptoLine, problem string) {
	for i, value := range s.crypto {
		if i == maxCrypto {
			break
		}
		c, wrong := parseCrypto(value)
		if wrong == "" {
			list = append(list, c)
		} else if problem == "" {
			problem = wrong
		}
	}
	if len(list) > 0 {
		return list, ""
	}
	if problem == "" {
		problem = "there is no a=crypto line"
	}
	return nil, problem
}

// secrecy is what the section asks for.
func (s *section) secrecy(p SRTPPolicy) secrecy {
	if encryptedRTP(s.proto) {
		return strict
	}
	if s.dtls() { // all that a browser can speak, and so no demand on the way to the other side
		return opportunistic
	}
	if p != SRTPOff && len(s.crypto) > 0 {
		if list, _ := s.keys(); len(list) > 0 {
			return opportunistic
		}
	}
	return plain
}

// ourKey is a key that we send under.
type ourKey struct {
	suite  srtp.Suite
	master []byte
	sender *srtp.Context // one for the life of the key, or its indices would come twice
}

func newOurKey(s srtp.Suite) *ourKey {
	k := &ourKey{suite: s, master: make([]byte, s.KeyBytes())}
	_, _ = rand.Read(k.master) // never fails
	return k
}

// line is the key as an attribute.
func (k *ourKey) line(tag string) string {
	return "a=crypto:" + tag + " " + k.suite.String() + " inline:" + base64.StdEncoding.EncodeToString(k.master)
}

// agreement are the keys of both directions of one side of an m-line. It is immutable; the contexts are the shard's.
type agreement struct {
	theirs  cryptoLine
	ours    *ourKey
	in, out *srtp.Context
}

// keyring holds the keys of one side of one m-line over the life of a call. Signalling's.
type keyring struct {
	offers []*ourKey  // what we offer to this side, by tag-1; kept, so that a refresh says the same again
	now    *agreement // in force; nil: plain
	level  secrecy    // of the agreement in force
	heard  []*heardKey
}

// heardKey is a key of the side's with its context: a fork or a refused re-INVITE may bring one back.
type heardKey struct {
	key     cryptoLine
	context *srtp.Context
}

// maxHeard bounds the keys remembered besides the one in force.
const maxHeard = 4

// offer gives the a=crypto lines of an offer to this side, of some suites only when they are named.
func (g *keyring) offer(only ...srtp.Suite) []string {
	if g.offers == nil {
		list := []srtp.Suite{srtp.AES128GCM, srtp.AES256GCM, srtp.AES128CM80, srtp.AES128CM32}
		if g.now != nil { // what it speaks already comes first
			g.offers = append(g.offers, g.now.ours)
		}
		for _, s := range list {
			if g.now == nil || s != g.now.ours.suite {
				g.offers = append(g.offers, newOurKey(s))
			}
		}
	}
	lines := make([]string, 0, len(g.offers))
	for i, k := range g.offers {
		if len(only) == 0 || slices.Contains(only, k.suite) {
			lines = append(lines, k.line(strconv.Itoa(i+1)))
		}
	}
	return lines
}

// accept chooses from the keys that this side offers and adds ours. The side that offers its key of before keeps both
// directions as they are; one with a new key gets a new one (RFC 4568 §7.1.4).
func (g *keyring) accept(s *section) (*agreement, error) {
	list, problem := s.keys()
	if len(list) == 0 {
		return nil, reject(488, 302, problem)
	}
	for _, c := range list {
		if g.now != nil && g.now.theirs.suite == c.suite && g.now.theirs.key == c.key {
			same := *g.now
			same.theirs.tag = c.tag
			return &same, nil
		}
	}
	return g.agree(list[0], newOurKey(list[0].suite))
}

// answered reads the answer to an offer of ours; nil without an error is a plain answer where that was left open.
func (g *keyring) answered(s *section, offered secrecy) (*agreement, error) {
	secret := encryptedRTP(s.proto)
	switch {
	case offered == strict && !secret:
		return nil, reject(488, 302, "The answer is plain "+s.proto+" where media encryption was asked for")
	case !secret && len(s.crypto) == 0:
		return nil, nil
	}
	list, problem := s.keys()
	for _, c := range list {
		if n, _ := strconv.Atoi(c.tag); n >= 1 && n <= len(g.offers) && g.offers[n-1].suite == c.suite {
			return g.agree(c, g.offers[n-1])
		}
		problem = "it is none of those offered"
	}
	return nil, reject(488, 302, "The key of the answer cannot be used: "+problem)
}

// agree makes the contexts of both directions, or finds them.
func (g *keyring) agree(theirs cryptoLine, ours *ourKey) (a *agreement, err error) {
	a = &agreement{theirs: theirs, ours: ours}
	if a.in, err = g.receiver(theirs); err != nil {
		return nil, err
	}
	if ours.sender == nil {
		if ours.sender, err = srtp.New(ours.suite, ours.master, srtp.Sender); err != nil {
			return nil, err
		}
	}
	a.out = ours.sender
	return a, nil
}

func (g *keyring) receiver(c cryptoLine) (*srtp.Context, error) {
	if a := g.now; a != nil && a.theirs.suite == c.suite && a.theirs.key == c.key {
		return a.in, nil
	}
	for _, h := range g.heard {
		if h.key.suite == c.suite && h.key.key == c.key {
			return h.context, nil
		}
	}
	context, err := srtp.New(c.suite, []byte(c.key), srtp.Receiver)
	if err != nil {
		return nil, err
	}
	if len(g.heard) == maxHeard {
		g.heard = append(g.heard[:0], g.heard[1:]...)
	}
	g.heard = append(g.heard, &heardKey{c, context})
	return context, nil
}

// settle puts an agreement in force.
func (g *keyring) settle(a *agreement, level secrecy) {
	if a == nil {
		level = plain
	}
	g.now, g.level = a, level
	if a == nil {
		return
	}
	for i, k := range g.offers {
		if k.suite == a.ours.suite {
			g.offers[i] = a.ours
		}
	}
}
