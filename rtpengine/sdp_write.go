package rtpengine

import (
	"bytes"
	"cmp"
	"hash/crc64"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// origin is what the o= line to one side says (RFC 3264 §5 and §8): one id for the life of the
// session, and a version that grows by one whenever the description changes.
type origin struct {
	user    string // as the first description to this side had it
	id      uint64
	version uint64
	sum     uint64
}

// bump moves the version when the content differs from what this side was last told. The sum is the same in every engine, since a call
// may move.
func (o *origin) bump(content []byte) {
	if sum := crc64.Checksum(content, crcTable); o.version == 0 || sum != o.sum {
		o.version++
		o.sum = sum
	}
}

var crcTable = crc64.MakeTable(crc64.ECMA)

// facing is how a description must look to one side: our address, and our port for each section.
type facing struct {
	addr     netip.Addr
	preamble []string // our lines of the session part
	sections []facingSection
}

// facingSection rewrites one section; port 0 rejects it.
type facingSection struct {
	port   uint16
	mux    bool     // a=rtcp-mux is said to this side
	proto  string   // "" leaves it
	crypto []string // a=crypto lines with our keys
	// formats says how they are told; nil leaves them.
	formats *retelling
	// first and last are codecs of ours before and behind them.
	first, last []codec
	// feedback are lines of ours behind the writer's.
	feedback []string
	// deny are directions that the writer may not claim, because they were not offered.
	deny direction
	// answers is what the offerer said of the line, when this answers it: an answer can add nothing.
	answers *said
	wiring  []string // our lines of ICE, DTLS and BUNDLE
	toward  manner   // how the side speaks
	single  bool     // port is the single one
	phones  bool     // what comes from a browser goes to a phone
	// bare drops every attribute: the section was refused by us, and its keys must not travel on.
	bare bool
}

// dropped lists the attributes that speak of the far side's transport, keys or sources. None of
// them is true of ours: a passed-through a=ssrc line makes browsers play silence. Capabilities (RFC 5939, RFC 6871) would be
// negotiated behind our back.
var dropped = [...]string{
	"candidate", "remote-candidates", "end-of-candidates", "alt", "ssrc", "ssrc-group", "remote-ssrc", "max-recv-ssrc", "msid", "msid-semantic",
	"rtcp-mux", "rtcp-mux-only", "rtcp-mux-exclusive", "bundle-only",
	"crypto", "fingerprint", "setup", "connection", "tls-id", "key-mgmt", "zrtp-hash", "identity", "3ge2ae",
	"altc", "source-filter", "oldmediaip", "oldmediaport", "visited-realm", "secondary-realm",
	"csup", "creq", "acap", "tcap", "pcfg", "acfg", "rmcap", "omcap", "mfcap", "mscap", "lcfg", "lcap", "sescap", "bcap", "ccap", "icap",
}

// keepLine reports whether a line other than o=, c=, m= may travel to the other side.
func keepLine(line string) bool {
	if line[0] == 'k' {
		return false // RFC 8866 §5.12: obsolete, and a key
	}
	if line[0] != 'a' {
		return true
	}
	name, value, _ := strings.Cut(line[2:], ":")
	name = strings.ToLower(strings.TrimSpace(name)) // no phone shall hide a line from us by a letter that another one overlooks
	if strings.HasPrefix(name, "ice-") || strings.HasPrefix(name, "omr-") {
		return false
	}
	switch name {
	case "group":
		return !strings.HasPrefix(value, "BUNDLE")
	case "extmap":
		// RFC 6904: encrypted under keys that end here.
		return !strings.Contains(strings.ToLower(value), "urn:ietf:params:rtp-hdrext:encrypt")
	}
	for _, d := range dropped {
		if name == d {
			return false
		}
	}
	return true
}

// mayAnswer reports whether a line may stand in an answer to what the offerer said.
func (l *said) mayAnswer(line string) bool {
	switch {
	case line == "a=rtcp-rsize": // RFC 5506 §5.1
		return l.rsize
	case strings.HasPrefix(line, "a=rtcp-fb:"):
		return l.mayFeed(line)
	case strings.HasPrefix(line, "a=extmap:"):
		return l.mayExtend(extension(line[len("a=extmap:"):]))
	}
	return true
}

// mayExtend reports whether a header extension was offered, under the same number or under one of those that stand for a choice (RFC 8285 §6).
func (l *said) mayExtend(extension string) bool {
	_, name, _ := strings.Cut(extension, " ")
	return slices.ContainsFunc(l.extmap, func(offered string) bool {
		id, same, _ := strings.Cut(offered, " ")
		n, err := strconv.Atoi(id)
		return offered == extension || err == nil && n >= 4096 && same == name
	})
}

// render writes the description for one side. Lines that are not ours to change keep their bytes.
func (d *description) render(f *facing, o *origin) []byte {
	var tail bytes.Buffer
	tail.Grow(1024)
	address := family(f.addr) + " " + f.addr.String()
	sessionC := d.renderSession(&tail, o, address)
	for _, line := range f.preamble {
		put(&tail, line)
	}
	for i := range d.sections {
		d.sections[i].render(&tail, f.sections[i], address, sessionC)
	}
	o.bump(append(tail.Bytes(), address...))

	var out bytes.Buffer
	out.Grow(tail.Len() + 96)
	put(&out, "v=0")
	put(&out, "o=", o.user, " ", strconv.FormatUint(o.id, 10), " ", strconv.FormatUint(o.version, 10), " IN ", address)
	out.Write(tail.Bytes())
	return out.Bytes()
}

// renderSession writes what stands before the m-lines, from s= on, in the order of RFC 8866 §5; it tells whether there is a c= line.
func (d *description) renderSession(out *bytes.Buffer, o *origin, address string) (sessionC bool) {
	name, times := "s=-", false
	for _, line := range d.lines {
		switch line[0] {
		case 'o':
			if o.user == "" { // RFC 3264 §8: the same for ever
				o.user = userOf(line)
			}
		case 's':
			if len(line) > 2 {
				name = line
			}
		}
	}
	put(out, name)
	for _, line := range d.lines {
		switch line[0] {
		case 'v', 'o', 's':
			continue
		case 'c':
			if !sessionC {
				put(out, "c=IN ", address)
			}
			sessionC = true
			continue
		case 't':
			times = true
		case 'r', 'z', 'a':
			if !times {
				put(out, "t=0 0")
				times = true
			}
		}
		if keepLine(line) && !strings.HasPrefix(line, "a=rtcp:") { // RFC 3605 §2.1: of an m-line only
			put(out, line)
		}
	}
	if !times {
		put(out, "t=0 0")
	}
	return sessionC
}

// maxUser bounds the user's name of an o= line.
const maxUser = 64

// userOf is the first word of an o= line, or "-" when the name is no single word.
func userOf(line string) string {
	words := strings.Fields(line[2:])
	if len(words) != 6 || len(words[0]) > maxUser {
		return "-"
	}
	return intern(words[0])
}

func (s *section) render(out *bytes.Buffer, f facingSection, address string, sessionC bool) {
	formats := strings.Join(s.formats, " ")
	if f.formats != nil {
		formats = f.formats.words()
	}
	words := slices.DeleteFunc([]string{addedWords(f.first), formats, addedWords(f.last)}, func(s string) bool { return s == "" })
	put(out, "m=", s.kind, " ", strconv.Itoa(int(f.port)), " ", cmp.Or(f.proto, s.proto), " ", strings.Join(words, " "))
	if f.bare {
		if !sessionC {
			put(out, "c=IN ", address)
		}
		return
	}
	dir := s.dir &^ f.deny
	if s.noReceive {
		dir &^= recvonly // RFC 3264 §8.4: 0.0.0.0 said "send nothing to me"; our address is real, so a direction must say it
	}
	turned := f.port != 0 && dir != s.dir
	s.renderLines(out, f, address, sessionC, turned)
	for _, line := range slices.Concat(addedLines(f.first), addedLines(f.last), f.feedback) {
		put(out, line)
	}
	if turned {
		put(out, "a=", dir.String())
	}
	if f.single && f.port != 0 && !s.datagrams() { // RFC 3605: not the port above it
		put(out, "a=rtcp:", strconv.Itoa(int(f.port)), " IN ", address)
	}
	if f.mux && f.port != 0 {
		put(out, "a=rtcp-mux")
	}
	if f.port != 0 {
		for _, line := range f.crypto {
			put(out, line)
		}
		for _, line := range f.wiring {
			put(out, line)
		}
	}
}

// renderLines copies the section's lines, with one c= line where it had one or where nothing else gives an address.
// Where turned, a direction of ours takes the place of the writer's.
func (s *section) renderLines(out *bytes.Buffer, f facingSection, address string, sessionC, turned bool) {
	wrote := sessionC && !slices.ContainsFunc(s.lines, func(line string) bool { return line[0] == 'c' })
	for _, line := range s.lines {
		if line[0] != 'i' && !wrote { // RFC 8866 §5: i= c= b= k= a=
			put(out, "c=IN ", address)
			wrote = true
		}
		switch {
		case line[0] == 'c':
		case strings.HasPrefix(line, "a=rtcp:"):
			if f.port != 0 && f.toward != browser && !f.single {
				put(out, "a=rtcp:", strconv.Itoa(f.rtcpPort()), " IN ", address)
			}
		case turned && isDirection(line):
		case !keepLine(line):
		case f.phones && !forPhones(line, s.kind):
		case f.toward == browser && !forBrowsers(line):
		case f.answers != nil && !f.answers.mayAnswer(line):
		case f.formats != nil:
			if line = f.formats.line(line); line != "" {
				put(out, line)
			}
		default:
			put(out, line)
		}
	}
	if !wrote {
		put(out, "c=IN ", address)
	}
}

// rtcpPort is the one to name in a=rtcp: in an answer that agrees to share the RTP port, that one (RFC 5761 §5.1.3).
func (f *facingSection) rtcpPort() int {
	if f.mux && f.answers != nil {
		return int(f.port)
	}
	return int(f.port) + 1
}

func isDirection(line string) bool {
	if line[0] != 'a' {
		return false
	}
	_, ok := parseDirection(line[2:])
	return ok
}

// family is the SDP word for an address's family.
func family(addr netip.Addr) string {
	if addr.Is4() {
		return "IP4"
	}
	return "IP6"
}

func put(out *bytes.Buffer, words ...string) {
	for _, word := range words {
		out.WriteString(word)
	}
	out.WriteString("\r\n")
}
