package ng

import (
	"net/netip"
	"slices"
	"strings"
)

// options are what an offer or answer asks for besides passing the description on.
type options struct {
	source       netip.Addr // received-from
	family       int        // address-family: 4, 6 or 0 for the same as before
	address      netip.Addr // media-address
	proto        string     // transport-protocol, "" = as it is
	rejectMux    bool       // rtcp-mux-reject: the offerer does not get it
	demux        bool       // rtcp-mux-demux: the other side is not offered it
	noRTCP       bool       // no a=rtcp line
	loopProtect  bool
	loadLimit    bool // supports: the proxy knows the result "load limit"
	wantsRecords bool
	warnings     []string
}

// meant are the flags that ask for what this engine does anyway, or that only choose between ways it does not have. They are no reason to
// count a request as one that asked for more than it got.
var meant = map[string]bool{
	"trust address": true, "symmetric": true, "strict source": true, "port latching": true, "SIP source address": true, "reset": true,
	"no rtcp attribute": true, "loop protect": true, "fatal": true, "full rtcp attribute": true, "directional": true, "all": true,
	"record call": true,
}

// understood are the keys that are read elsewhere, or that say nothing a relay of plain RTP must obey: there is one interface, no key and no
// candidate to pass on; origin and connection are always replaced.
var understood = map[string]bool{
	"command": true, "call-id": true, "from-tag": true, "to-tag": true, "via-branch": true, "sdp": true, "direction": true, "SDES": true,
	"DTLS-reverse": true, "DTLS-fingerprint": true, "OSRTP": true, "label": true, "from-label": true, "to-label": true, "metadata": true,
}

// options reads a request; wrong says what of it cannot be done. Everything unknown is counted and passed over, so that a proxy may be newer
// than this engine.
func (s *Server) options(ask dict) (o *options, wrong string) {
	o = &options{}
	ignored := 0
	for key := range ask {
		switch key {
		case "flags":
			for _, flag := range ask.words(key) {
				ignored += o.flag(flag)
			}
		case "rtcp-mux":
			for _, word := range ask.words(key) {
				ignored += o.mux(word)
			}
		case "replace":
			for _, word := range ask.words(key) {
				if word = spaced(word); word != "origin" && word != "session connection" && word != "SDP version" && word != "zero address" {
					ignored++
				}
			}
		case "supports":
			o.loadLimit = slices.Contains(ask.words(key), "load limit")
		case "received-from", "address-family", "media-address", "transport-protocol", "ICE", "DTLS", "record call", "record-call":
			if wrong = o.key(key, ask.words(key)); wrong != "" {
				return nil, wrong
			}
		default:
			if !understood[key] {
				ignored++
			}
		}
	}
	s.count.ignored.Add(uint64(ignored))
	return o, ""
}

// spaced is a flag as rtpengine knows it: proxies write it with dashes or spaces.
func spaced(word string) string { return strings.ReplaceAll(word, "-", " ") }

// flag takes one of the flags; 1 when it means nothing here.
func (o *options) flag(word string) int {
	switch word = spaced(word); word {
	case "no rtcp attribute":
		o.noRTCP = true
	case "loop protect":
		o.loopProtect = true
	case "record call", "record-call":
		o.wantsRecords = true
	}
	if meant[word] {
		return 0
	}
	return 1
}

// mux takes a word of rtcp-mux. "offer" and "require" ask for more than the offerer said, which plain RTP never needs.
func (o *options) mux(word string) int {
	switch word {
	case "accept":
	case "reject":
		o.rejectMux = true
	case "demux":
		o.demux = true
	default:
		return 1
	}
	return 0
}

// key takes a key whose value can be wrong.
func (o *options) key(key string, words []string) (wrong string) {
	word := ""
	if len(words) > 0 {
		word = words[len(words)-1] // ["IP4", "192.0.2.1"]: the address names its family itself
	}
	switch key {
	case "received-from":
		addr, err := netip.ParseAddr(word)
		if err != nil {
			return "received-from names no IP address"
		}
		o.source = addr.Unmap().WithZone("")
	case "media-address":
		addr, err := netip.ParseAddr(word)
		if err != nil || addr.IsUnspecified() || addr.IsMulticast() {
			return "media-address names no IP address that can be reached"
		}
		o.address = addr.Unmap().WithZone("")
	case "address-family":
		switch strings.ToUpper(word) {
		case "IP4", "IPV4", "INET":
			o.family = 4
		case "IP6", "IPV6", "INET6":
			o.family = 6
		default:
			return "Unknown address family '" + short(word) + "'"
		}
	case "transport-protocol":
		switch strings.ToUpper(word) {
		case "RTP/AVP", "RTP/AVPF":
			o.proto = strings.ToUpper(word)
		case "ACCEPT", "TRANSPARENT":
		default:
			return "transport-protocol " + short(word) + " is not available: this engine relays RTP/AVP and RTP/AVPF"
		}
	case "ICE":
		if word == "force" || word == "force-relay" || word == "force_relay" {
			return "ICE=" + word + " is not available"
		}
	case "DTLS":
		if word == "passive" || word == "active" {
			return "DTLS=" + word + " is not available"
		}
	case "record call", "record-call":
		o.wantsRecords = word == "yes" || word == "on"
	}
	return ""
}

// short is a stranger's word, not longer than an error text may be.
func short(word string) string { return word[:min(len(word), 64)] }

// destination is the address that chooses the family and the local address towards a side: of the first place known, in the wanted family.
func (o *options) destination(known ...netip.Addr) netip.Addr {
	for _, addr := range known {
		if addr.IsValid() && (o.family == 0 || addr.Is4() == (o.family == 4)) {
			return addr
		}
	}
	switch o.family {
	case 4:
		return netip.AddrFrom4([4]byte{192, 0, 2, 1}) // RFC 5737: stands for any
	case 6:
		return netip.MustParseAddr("2001:db8::1") // RFC 3849
	}
	return netip.Addr{}
}

// record starts the recording that an offer or answer asks for.
func (o *options) record(d *dialogue) {
	if !o.wantsRecords {
		return
	}
	if _, err := d.record(); err != nil {
		o.warnings = append(o.warnings, "this call is not recorded: "+err.Error())
	}
}

// reply is the answer that carries a description.
func (o *options) reply(sdp, mark string) dict {
	if o.loopProtect {
		sdp = markSDP(sdp, mark)
	}
	d := dict{"result": "ok", "sdp": sdp}
	if o.warnings != nil {
		d["warning"] = strings.Join(o.warnings, "; ")
	}
	return d
}
