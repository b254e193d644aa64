package ng

import (
	"net/netip"
	"slices"
	"strings"

	"tandem/rtpengine"
	"tandem/rtpengine/srtp"
)

// options are what an offer or answer asks for besides passing the description on.
type options struct {
	source       netip.Addr // received-from
	family       int        // address-family: 4, 6 or 0 for the same as before
	address      netip.Addr // media-address
	proto        string     // transport-protocol, "" = as it is
	wishes       rtpengine.OfferOptions
	treat        rtpengine.Treatment // of who speaks
	treated      bool                // treat has been said
	shake        rtpengine.Handshake // with who speaks
	rejectMux    bool                // rtcp-mux-reject: the offerer does not get it
	sourceOnly   bool                // SIP-source-address: the addresses of the description are not believed
	noRTCP       bool                // no a=rtcp line
	mid          bool                // generate-mid
	attributes   []attribute         // sdp-attr
	lent         []string            // codecs to transcode to
	stripped     []string            // codecs that do not count; "all"
	masked       []string            // codecs that are not told, but may be transcoded
	excepted     []string            // of all that are stripped
	offered      []string            // as if all others were stripped
	off          bool                // DTLS is not wanted
	ice          string              // force or remove, "" = as the offer has it
	loopProtect  bool
	loadLimit    bool // supports: the proxy knows the result "load limit"
	wantsRecords bool
	block        rtpengine.Block // block-DTMF: of who speaks, from now on
	traffic      string          // drop-traffic: start or stop
	fragment     bool            // the description is news of candidates alone (trickle ICE)
	noICE        bool            // reject-ICE: the offerer does not get it
	removed      []string        // kinds of m-lines that do not count: sdp-media-remove
	extensions   []string        // header extensions that do not count, by URI; "all"
	ptime        int             // ms that the description asks for, 0 = as it is
	reverse      int             // the same for the answer to this offer
	unrecorded   bool            // nobody may record this call any more
	stopsRecords bool            // record-call=off
	unmet        []string        // what was asked for and is not done
	warnings     []string
}

// meant are the flags that ask for what this engine does anyway, or that are read where they count. They are no reason to warn.
var meant = map[string]bool{
	"trust-address": true, "symmetric": true, "strict-source": true, "port-latching": true, "reset": true, "fatal": true, "fast": true,
	"full-rtcp-attribute": true, "directional": true, "all": true, "pad-crypto": true, "recrypt": true, "allow-asymmetric-codecs": true,
	"original-sendrecv": true, "provisional": true, "debug": true, "debugging": true, "no-tls-id": true, "trickle-ICE": true, "WebRTC": true,
	"block-egress": true, "skip-recording-db": true, "force": true, "to-tag": true, "unidirectional": true, "new-branch": true,
}

// understood are the keys that are read elsewhere, or that say nothing a relay must obey: the type of the SIP message changes nothing.
var understood = map[string]bool{
	"command": true, "call-id": true, "from-tag": true, "to-tag": true, "via-branch": true, "sdp": true, "flags": true,
	"label": true, "from-label": true, "to-label": true, "set-label": true, "SIP-message-type": true, "SIP-code": true, "extra-id": true,
	"delete-delay": true,
}

// options reads a request in its normal form; wrong says what of it cannot be done at all. Everything else that is not done is counted and told in
// the answer's warning, so that a proxy may be newer than this engine, and its operator sees what he does not get.
func (s *Server) options(ask dict) (o *options, wrong string) {
	o = &options{}
	for _, flag := range ask.words("flags") {
		o.flag(flag)
	}
	for key := range ask {
		if wrong = o.key(key, ask); wrong != "" {
			return nil, wrong
		}
	}
	if wrong = o.encryption(ask); wrong != "" {
		return nil, wrong
	}
	if wrong = o.speaks(ask.text("sdp")); wrong != "" {
		return nil, wrong
	}
	o.choice()
	o.warnings = append(o.warnings, s.unmet(o.unmet, ask)...)
	return o, ""
}

// maxTold bounds the things not done that the log has named.
const maxTold = 256

// unmet counts what was asked for and is not done, and puts it into a warning. Kamailio and OpenSIPS read no warnings, so the node's own log
// names each such thing once. The loop's.
func (s *Server) unmet(words []string, ask dict) (warnings []string) {
	if len(words) == 0 {
		return nil
	}
	s.count.ignored.Add(uint64(len(words)))
	slices.Sort(words)
	for _, word := range words {
		if !s.told[word] && len(s.told) < maxTold {
			s.told[word] = true
			s.log.Warn("an NG flag or key is not available here and without effect; this is said once", "flag", word, "command", ask.text("command"), "call", ask.text("call-id"))
		}
	}
	return []string{"not available here: " + strings.Join(words[:min(len(words), 16)], ", ")}
}

func (o *options) lacks(what string) { o.unmet = append(o.unmet, short(what)) }

// flag takes one of the flags.
func (o *options) flag(word string) {
	switch word {
	case "no-rtcp-attribute":
		o.noRTCP = true
	case "loop-protect":
		o.loopProtect = true
	case "record-call":
		o.wantsRecords = true
	case "generate-mid":
		o.mid = true
	case "SIP-source-address":
		o.sourceOnly = true
	case "asymmetric":
		o.treat.Asymmetric, o.treated = true, true
	case "NAT-wait":
		o.treat.Wait, o.treated = true, true
	case "block-DTMF":
		o.block |= rtpengine.BlockDTMF
	case "reject-ICE":
		o.noICE = true
	case "fragment":
		o.fragment = true
	case "strip-extmap":
		o.extensions = append(o.extensions, "all")
	case "exclude-recording":
		o.unrecorded = true
	default:
		if !meant[word] {
			o.lacks(word)
		}
	}
}

// key takes one key.
func (o *options) key(key string, ask dict) (wrong string) {
	words := ask.words(key)
	word := ""
	if len(words) > 0 {
		word = words[len(words)-1] // ["IP4", "192.0.2.1"]: the address names its family itself
	}
	switch key {
	case "received-from", "media-address":
		return o.place(key, word)
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
		return o.transport(strings.ToUpper(word))
	case "SDES", "OSRTP": // read together with the protocol, in encryption
	case "rtcp-mux":
		for _, word := range words {
			o.mux(word)
		}
	case "ICE":
		for _, word := range words {
			if wrong = o.candidates(word); wrong != "" {
				return wrong
			}
		}
	case "ICE-lite":
		for _, word := range words {
			if !lite["lite-"+word] {
				o.lacks("ICE-lite=" + word)
			}
		}
	case "DTLS-fingerprint":
		if !strings.EqualFold(word, "sha-256") {
			o.lacks("DTLS-fingerprint=" + word)
		}
	case "alias-key":
		if word != "off" {
			o.lacks("alias-key=" + word)
		}
	case "T.38":
		for _, word := range words {
			if wrong = fax(word, ask); wrong != "" {
				return wrong
			}
		}
	case "ptime", "ptime-reverse":
		o.packetTime(key, ask)
	case "sdp-media-remove":
		for _, word := range words {
			o.removed = append(o.removed, strings.Trim(word, ","))
		}
	case "extmap":
		d, _ := ask[key].(dict)
		o.extensions = append(o.extensions, d.words("strip")...)
		for op := range d {
			if op != "strip" {
				o.lacks("extmap-" + op)
			}
		}
	case "DTLS":
		for _, word := range words {
			o.handshake(word)
		}
	case "bundle", "endpoint-learning", "media-echo", "generate-RTCP", "audio-player":
		for _, word := range words {
			if !harmless[key+"="+word] {
				o.lacks(key + "=" + word)
			}
		}
	case "replace":
		for _, word := range words {
			if !replaced[dashed(word)] {
				o.lacks("replace-" + dashed(word))
			}
		}
	case "direction", "interface", "from-interface", "to-interface":
		o.interfaces(words)
	case "supports":
		o.loadLimit = slices.ContainsFunc(words, func(w string) bool { return dashed(w) == "load-limit" })
	case "record-call":
		o.wantsRecords = o.wantsRecords || word == "yes" || word == "on"
		o.stopsRecords = word == "no" || word == "off"
	case "drop-traffic":
		if o.traffic = word; word != "start" && word != "stop" {
			o.lacks("drop-traffic=" + word)
		}
	case "sdp-attr":
		o.attributes = attributesOf(ask[key], o.lacks)
	case "codec":
		o.codec(ask[key])
	case "TOS":
		if tos, ok := ask.number(key); !ok || tos >= 0 && tos != 46<<2 { // what the engine marks with
			o.lacks("TOS")
		}
	case "recording-file", "recording-dir", "recording-pattern", "output-destination":
		o.lacks(key)
	default:
		if !understood[key] {
			o.lacks(key)
		}
	}
	return ""
}

// harmless are the values of keys that ask for nothing beyond what is done. Of candidates and bundles nothing passes; the latch is the engine's own.
var harmless = map[string]bool{
	"bundle=accept": true, "bundle=reject": true,
	"endpoint-learning=delayed": true, "endpoint-learning=heuristic": true, "endpoint-learning=immediate": true, "generate-RTCP=off": true,
	"audio-player=off": true, "audio-player=default": true,
}

// replaced is what is always of our own in a description.
var replaced = map[string]bool{"origin": true, "session-connection": true, "SDP-version": true, "zero-address": true, "force-increment-sdp-ver": true}

func (o *options) place(key, word string) (wrong string) {
	addr, err := netip.ParseAddr(word)
	addr = addr.Unmap().WithZone("")
	if key == "received-from" {
		if o.source = addr; err != nil && word != "" { // a proxy that acts on no message names nobody
			return "received-from names no IP address"
		}
		return ""
	}
	if err != nil || addr.IsUnspecified() || addr.IsMulticast() {
		return "media-address names no IP address that can be reached"
	}
	o.address = addr
	return ""
}

func (o *options) transport(word string) (wrong string) {
	switch word {
	case "RTP/AVP", "RTP/AVPF", "RTP/SAVP", "RTP/SAVPF", "UDP/TLS/RTP/SAVP", "UDP/TLS/RTP/SAVPF":
		o.proto = word
	case "ACCEPT", "TRANSPARENT", "":
	default:
		return "transport-protocol " + short(word) + " is not available: this engine relays RTP/AVP, RTP/AVPF, RTP/SAVP, RTP/SAVPF, UDP/TLS/RTP/SAVP and UDP/TLS/RTP/SAVPF"
	}
	return ""
}

// mux takes a word of rtcp-mux.
func (o *options) mux(word string) {
	switch word {
	case "accept":
	case "reject":
		o.rejectMux = true
	case "demux":
		o.wishes.Mux = rtpengine.MuxNever
	case "offer", "require":
		o.wishes.Mux = rtpengine.MuxAlways
	default:
		o.lacks("rtcp-mux-" + word)
	}
}

// interfaces takes the names of interfaces: there is one of each family here, and the old names choose between families in no way that this
// engine does not know better.
func (o *options) interfaces(names []string) {
	for _, name := range names {
		if name != "default" && name != "any" && name != "internal" && name != "external" {
			o.lacks("interface " + name)
		}
	}
}

// lite are the words on ICE-lite that ask for what is so anyway: this engine is a lite agent towards both sides (RFC 8445 §2.5).
var lite = map[string]bool{
	"lite": true, "lite-both": true, "lite-forward": true, "lite-fwd": true, "lite-fw": true, "lite-offer": true, "lite-backward": true, "lite-backwards": true,
	"lite-reverse": true, "lite-answer": true, "lite-back": true, "lite-bkw": true, "lite-bk": true,
}

// candidates takes a word of ICE.
func (o *options) candidates(word string) (wrong string) {
	switch word = dashed(word); {
	case word == "force" || word == "remove":
		o.ice = word
	case word == "default" || word == "optional":
		o.ice = ""
	case word == "force-relay":
		return "ICE=force-relay is not available: candidates of the far side never pass this engine, and it is no relay beside them; ICE=force offers its own"
	case word == "trickle" || lite[word]:
	default:
		o.lacks("ICE=" + word)
	}
	return ""
}

// handshake takes a word of DTLS: who begins, where who speaks leaves that to us, or that there is none.
func (o *options) handshake(word string) {
	switch word {
	case "off", "no", "disable", "disabled":
		o.off = true
	case "passive":
		o.shake = rtpengine.HandshakeTheirs
	case "active":
		o.shake = rtpengine.HandshakeOurs
	default:
		o.lacks("DTLS=" + word)
	}
}

// fax takes a word of T.38, whose lines pass through as they are. There is no gateway to sound, and an offer that needs one is refused: who is called
// would be offered what the operator knows he does not speak. What only tunes a gateway, or ends it, asks for nothing.
func fax(word string, ask dict) (wrong string) {
	if ask.text("command") != "offer" {
		return ""
	}
	sdp := ask.text("sdp")
	if word == "gateway" || word == "decode" && speaksOf(sdp, "image") || word == "force" && speaksOf(sdp, "audio") {
		return "T.38=" + word + " is not available: this engine passes T.38 on as it is and has no gateway between fax and sound"
	}
	return ""
}

// packetTime takes the length of packets that a side is to be asked for, and to get: 10, 20, 30, 40 or 60 ms, of G.711, G.722 and Opus.
func (o *options) packetTime(key string, ask dict) {
	n, ok := ask.number(key)
	switch {
	case !ok || n < 1 || n > 200:
		o.lacks(key)
		return
	case ask.text("command") != "offer": // rtpengine: ignored in answers
		return
	case key == "ptime":
		o.ptime, o.wishes.PacketTime = int(n), int(n)
	default:
		o.reverse, o.wishes.PacketTimeBack = int(n), int(n)
	}
	if n < 10 || n > 60 || n%10 != 0 || n == 50 {
		o.lacks("repacketization by " + key)
	}
}

// codec takes the manipulations of codecs, by name and clock: what does not count, what is not told, what may be transcoded to. How it is
// encoded is our own affair.
func (o *options) codec(value any) {
	take := func(op, name string) {
		switch op {
		case "transcode":
			o.lend(name)
		case "strip":
			o.stripped = append(o.stripped, clocked(name))
		case "mask":
			o.masked = append(o.masked, clocked(name))
		case "except":
			o.excepted = append(o.excepted, clocked(name))
		case "offer":
			o.offered = append(o.offered, clocked(name))
		default:
			o.lacks("codec-" + op + "-" + name)
		}
	}
	if d, ok := value.(dict); ok {
		for op := range d {
			if op == "" {
				continue
			}
			for _, name := range d.words(op) {
				take(op, name)
			}
		}
		value = d[""]
	}
	for _, word := range (dict{"": value}).words("") {
		op, name, _ := strings.Cut(word, "-")
		take(op, name)
	}
}

// choice makes policies of what was said of codecs. What names no codec is said in the warning; events and the like always go with the others.
func (o *options) choice() {
	good := func(list []string) (names []string) {
		for _, name := range list {
			if p := (rtpengine.CodecPolicy{Block: []string{name}}); p.Check() != nil {
				o.lacks("codec " + name)
			} else if name != "all" && name != "full" {
				names = append(names, name)
			}
		}
		return names
	}
	all := func(list []string) bool { return slices.Contains(list, "all") || slices.Contains(list, "full") }
	strip, kept := good(o.stripped), good(slices.Concat(o.offered, o.excepted))
	kept = slices.DeleteFunc(kept, func(name string) bool {
		p := rtpengine.CodecPolicy{Only: []string{name}}
		return p.Check() != nil
	})
	switch {
	case all(o.stripped) && len(kept) == 0:
		o.lacks("codec-strip-all without codec-except or codec-offer")
	case all(o.stripped) || len(o.offered) > 0 && len(kept) > 0:
		o.wishes.Strip = &rtpengine.CodecPolicy{Only: kept, Block: strip}
	case len(strip) > 0:
		o.wishes.Strip = &rtpengine.CodecPolicy{Block: strip}
	}
	if all(o.masked) {
		o.lacks("codec-mask-all")
	}
	if masked := good(o.masked); len(masked) > 0 {
		o.wishes.Codecs = &rtpengine.CodecPolicy{Block: masked}
	}
}

// speaks decides what the other side of an offer is spoken to as: by the protocol that was asked for, else by that of the offer, and by what was
// said of ICE and DTLS.
func (o *options) speaks(sdp string) (wrong string) {
	wish, ice := o.proto, o.ice == "force" || o.ice == "" && strings.Contains(sdp, "a=ice-ufrag:")
	if wish == "" && !o.off && strings.Contains(sdp, " UDP/TLS/RTP/SAVP") {
		wish = "UDP/TLS/RTP/SAVPF"
	}
	switch secret := strings.HasPrefix(wish, "UDP/TLS/"); {
	case secret && o.off:
		return "transport-protocol " + wish + " with DTLS=off leaves no way to agree on keys"
	case secret && ice:
		o.wishes.Speaks, o.wishes.SRTP = rtpengine.WebRTC, nil
	case secret:
		policy := rtpengine.SRTPRequired
		o.wishes.Speaks, o.wishes.SRTP = rtpengine.DTLS, &policy
	case o.ice == "force":
		o.wishes.Speaks = rtpengine.PlainICE
	case wish != "" || o.off || o.ice == "remove":
		o.wishes.Speaks = rtpengine.Phone
	}
	return ""
}

func (o *options) lend(name string) {
	if word, _, _ := strings.Cut(name, "/"); strings.EqualFold(word, "telephone-event") {
		o.wishes.Keys = true
		return
	}
	o.lent = append(o.lent, clocked(name))
}

// clocked takes "opus/48000/2/32000": what stands behind the clock is about the encoder.
func clocked(name string) string {
	words := strings.SplitN(name, "/", 3)
	return strings.Join(words[:min(len(words), 2)], "/")
}

// encryption decides how the other side is offered media, from the protocol, SDES and OSRTP together.
func (o *options) encryption(ask dict) (wrong string) {
	off := false
	var only, without []srtp.Suite
	for _, word := range ask.words("SDES") {
		name, suite := "", srtp.Suite(0)
		known := false
		for _, p := range [...]string{"no-", "only-"} {
			if rest, ok := strings.CutPrefix(word, p); ok {
				name = p
				suite, known = srtp.ParseSuite(rest)
			}
		}
		switch {
		case word == "off" || word == "no" || word == "disable" || word == "disabled":
			off = true
		case name == "no-" && known:
			without = append(without, suite)
		case name == "no-": // a suite that is never offered
		case name == "only-" && known:
			only = append(only, suite)
		case word == "pad" || word == "static" || word == "prefer" || word == "encrypted_srtp" || word == "encrypted_srtcp" || word == "authenticated_srtp":
		default:
			o.lacks("SDES-" + word)
		}
	}
	o.wishes.Suites = suites(only, without)
	policy := func(p rtpengine.SRTPPolicy) { o.wishes.SRTP = &p }
	osrtp := ask.words("OSRTP")
	offersOSRTP := slices.Contains(osrtp, "offer") || slices.Contains(osrtp, "offer-RFC") || slices.Contains(osrtp, "offer-rfc")
	for _, word := range osrtp {
		if !slices.Contains([]string{"offer", "offer-RFC", "offer-rfc", "accept", "accept-RFC", "accept-rfc"}, word) {
			o.lacks("OSRTP-" + word)
		}
	}
	switch {
	case strings.HasPrefix(o.proto, "RTP/SAVP"):
		if off {
			return "transport-protocol " + o.proto + " with SDES=off leaves no way to agree on keys: for DTLS it is UDP/TLS/RTP/SAVPF"
		}
		policy(rtpengine.SRTPRequired)
	case offersOSRTP && !off:
		policy(rtpengine.SRTPPreferred)
	case o.proto != "" || off:
		policy(rtpengine.SRTPOff)
	}
	return ""
}

// suites are those that may be offered, nil when all may.
func suites(only, without []srtp.Suite) (list []srtp.Suite) {
	if len(only) > 0 {
		return only // rtpengine: it takes precedence
	}
	if len(without) == 0 {
		return nil
	}
	for _, s := range [...]srtp.Suite{srtp.AES128GCM, srtp.AES256GCM, srtp.AES128CM80, srtp.AES128CM32} {
		if !slices.Contains(without, s) {
			list = append(list, s)
		}
	}
	if list == nil {
		return []srtp.Suite{srtp.AES128CM80} // one must be left; this is what RFC 4568 §6.2.1 asks of everybody
	}
	return list
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

// treatment tells the session how the side that speaks is to be dealt with.
func (o *options) treatment(d *dialogue, side rtpengine.Side) {
	if o.treated {
		d.session.Treat(side, o.treat)
	}
	if o.shake != rtpengine.HandshakeAsFits {
		d.session.Shake(side, o.shake)
	}
}

// apply does to a dialogue what an offer or answer asks for besides its description.
func (o *options) apply(c *call, d *dialogue, side rtpengine.Side) {
	const everything = rtpengine.BlockMedia | rtpengine.BlockDTMF
	switch o.traffic {
	case "stop":
		c.block &^= everything
	case "start":
		c.block |= everything
	}
	d.blocks[side] |= o.block
	c.enforceBlocks()
	if c.unrecorded = c.unrecorded || o.unrecorded; c.unrecorded || o.stopsRecords {
		stopRecording(c)
	}
	if !o.wantsRecords {
		return
	}
	if _, err := c.record(d); err != nil {
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
