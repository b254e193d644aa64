package rtpengine

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// wiring is what the lines of a section say of ICE (RFC 8839), DTLS (RFC 8842) and BUNDLE (RFC 9143), the session part applied. Its
// candidates are not read: as a lite agent we are found by the other side, whatever addresses it has.
type wiring struct {
	mid         string
	ufrag, pwd  string
	lite        bool // its writer is a lite agent too
	prints      []fingerprint
	setup       string
	association string // a=tls-id
	bundleOnly  bool
	midExt      uint8 // id of the header extension with the mid, 0: none
}

// midExtension names the header extension that carries the mid (RFC 9143 §15).
const midExtension = "urn:ietf:params:rtp-hdrext:sdes:mid"

// maxPrints bounds the fingerprints of one section.
const maxPrints = 8

// read takes one attribute's meaning.
func (w *wiring) read(name, value string) {
	switch name {
	case "mid":
		w.mid = value
	case "ice-ufrag":
		w.ufrag = value
	case "ice-pwd":
		w.pwd = value
	case "ice-lite":
		w.lite = true
	case "setup":
		w.setup = strings.ToLower(strings.TrimSpace(value))
	case "tls-id":
		w.association = value
	case "bundle-only":
		w.bundleOnly = true
	case "fingerprint":
		if f, ok := parseFingerprint(value); ok && len(w.prints) < maxPrints {
			w.prints = append(w.prints, f)
		}
	case "extmap":
		if id, uri, _ := strings.Cut(value, " "); strings.HasPrefix(uri, midExtension) {
			id, _, _ = strings.Cut(id, "/")
			n, _ := strconv.ParseUint(id, 10, 8)
			w.midExt = uint8(n)
		}
	}
}

// complete adds to the sections what the session part says for all, and what BUNDLE makes of them.
func (d *description) complete(whole *wiring) {
	bundle := d.bundle()
	var tagged *section
	for i := range d.sections {
		s := &d.sections[i]
		s.wiring.inherit(whole)
		s.wiring.lite = whole.lite
		if tagged == nil && len(bundle) > 0 && s.wiring.mid == bundle[0] {
			tagged = s
		}
	}
	for i := range d.sections {
		s := &d.sections[i]
		if tagged != nil && slices.Contains(bundle, s.wiring.mid) {
			s.wiring.inherit(&tagged.wiring) // RFC 9143 §7.1.3: the first may speak for all
			s.mux = s.mux || tagged.mux
			if s.port == 0 && s.wiring.bundleOnly { // §6: not refused, but on the group's transport only
				s.port = 9
			}
		}
		if s.ice() { // 0.0.0.0 says here that addresses come by ICE (RFC 8840 §4.1.1)
			s.noReceive = false
		}
	}
}

// inherit takes what was not said from another place.
func (w *wiring) inherit(from *wiring) {
	if w.ufrag == "" {
		w.ufrag, w.pwd = from.ufrag, from.pwd
	}
	if len(w.prints) == 0 { // RFC 8122 §5: those of the m-line stand instead
		w.prints = from.prints
	}
	w.setup = cmp.Or(w.setup, from.setup)
	w.association = cmp.Or(w.association, from.association)
}

// bundle gives the mids of the first BUNDLE group.
func (d *description) bundle() []string {
	for _, line := range d.lines {
		if value, ok := strings.CutPrefix(line, "a=group:BUNDLE"); ok {
			return strings.Fields(value)
		}
	}
	return nil
}

// dtls reports whether the section asks for keys by DTLS (RFC 5764 §9).
func (s *section) dtls() bool { return dtlsRTP(s.proto) }

func dtlsRTP(proto string) bool { return proto == "UDP/TLS/RTP/SAVP" || proto == "UDP/TLS/RTP/SAVPF" }

// ice reports whether the section's writer will make checks: it is a full agent, with credentials in good form (RFC 8839 §5.4).
func (s *section) ice() bool {
	w := &s.wiring
	return !w.lite && len(w.ufrag) >= 4 && len(w.ufrag) <= 256 && len(w.pwd) >= 22 && len(w.pwd) <= 256
}

// dtlsRefusal says why a section with DTLS cannot be served, or "".
func (s *section) dtlsRefusal() string {
	switch {
	case len(s.wiring.prints) == 0:
		return "no usable a=fingerprint (sha-256, sha-384 or sha-512)"
	case !slices.Contains([]string{"", "actpass", "active", "passive"}, s.wiring.setup):
		return "a=setup:" + s.wiring.setup
	}
	return ""
}

// theirs is what outlives a description of a section's wiring; zero where it speaks neither ICE nor DTLS.
type theirs struct {
	manner  manner
	bundled bool
	midExt  uint8
	active  bool // ours is the DTLS client
	*terms       // nil where manner is asRTP; nobody changes them
}

// terms are what a side's line said of ICE and DTLS.
type terms struct {
	mid         string
	ufrag       string // "" without ICE
	prints      []fingerprint
	setup       string
	association string
}

// manner is how a side speaks on an m-line.
type manner uint8

const (
	asRTP   manner = iota
	withICE        // RTP, on ports of its own that are found by ICE
	asDTLS         // DTLS-SRTP on ports of its own, with ICE or without
	browser        // ICE, DTLS-SRTP and muxed RTCP, on the ICE port
)

func (m manner) dtls() bool { return m >= asDTLS }

// theirs keeps what the section says.
func (s *section) theirs(bundle []string) (t theirs) {
	switch ice := s.ice(); {
	case s.dtls() && ice && s.mux:
		t.manner = browser
	case s.dtls():
		t.manner = asDTLS
	case ice:
		t.manner = withICE
	default:
		return t
	}
	t.terms = &terms{}
	w := &s.wiring
	if s.ice() {
		t.ufrag = strings.Clone(w.ufrag)
	}
	if s.dtls() {
		t.prints, t.setup, t.association = strongest(w.prints), strings.Clone(w.setup), strings.Clone(w.association)
	}
	t.mid, t.midExt = strings.Clone(w.mid), w.midExt
	t.bundled = t.manner == browser && w.mid != "" && slices.Contains(bundle, w.mid)
	return t
}

// forPhones reports whether a browser's line means something to a phone, beyond what keepLine says: header extensions and feedback of
// the browser's own congestion control do not hold across two ways of different kinds, and make an INVITE too long for UDP.
func forPhones(line, kind string) bool {
	name, value, _ := strings.Cut(strings.TrimPrefix(line, "a="), ":")
	switch name {
	case "extmap", "extmap-allow-mixed", "rid", "simulcast", "rtcp-rsize", "mid":
		return false
	case "rtcp-fb":
		_, what, _ := strings.Cut(value, " ")
		return kind == "video" && (what == "nack" || what == "nack pli" || what == "ccm fir")
	}
	return true
}

// forBrowsers reports whether a line may stand in a description for a browser beside those that we write.
func forBrowsers(line string) bool {
	name, _, _ := strings.Cut(strings.TrimPrefix(line, "a="), ":")
	return name != "mid" && name != "rid" && name != "simulcast"
}

// candidate is one of ours: a host candidate, since we sit where we say (RFC 8839 §5.1).
func candidate(foundation, component int, at netip.AddrPort, priority uint32) string {
	return "a=candidate:" + strconv.Itoa(foundation) + " " + strconv.Itoa(component+1) + " UDP " +
		strconv.FormatUint(uint64(priority), 10) + " " + at.Addr().String() + " " + strconv.Itoa(int(at.Port())) + " typ host"
}

// hostPriority is a candidate's priority (RFC 8445 §5.1.2.1): 2^24 type + 2^8 local + 256 - component.
func hostPriority(component int, local uint16) uint32 {
	return 126<<24 | uint32(local)<<8 | uint32(256-component-1)
}
