package rtpengine

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Limits on foreign session descriptions. A description beyond them is refused, never cut.
const (
	maxSDPBytes = 64 << 10
	maxSDPLines = 2000
	maxSections = 64 // m-lines in one description
	maxActive   = 8  // m-lines that get ports; the rest are answered with port 0
)

// direction is the media direction attribute (RFC 8866 §6.7), as two bits seen from its writer.
type direction uint8

const (
	inactive direction = 0
	sendonly direction = 1
	recvonly direction = 2
	sendrecv direction = sendonly | recvonly
)

func (d direction) String() string {
	return [...]string{"inactive", "sendonly", "recvonly", "sendrecv"}[d&3]
}

// reverse is the same agreement seen from the other end.
func (d direction) reverse() direction { return d&1<<1 | d>>1&1 }

func parseDirection(name string) (direction, bool) {
	switch strings.TrimSpace(name) {
	case "sendrecv":
		return sendrecv, true
	case "sendonly":
		return sendonly, true
	case "recvonly":
		return recvonly, true
	case "inactive":
		return inactive, true
	}
	return 0, false
}

// description is a session description kept as its lines (RFC 8866 §5), so that what is not ours to
// change leaves as it came. Lines carry no line ending.
type description struct {
	lines    []string // the session part, "v=0" first
	sections []section
}

// section is one m-line and the lines that belong to it.
type section struct {
	lines  []string // without the m-line itself
	number int      // of the m-line among all lines, from 1; 0 when we wrote it

	kind    string // audio, video, ...
	port    uint16
	proto   string
	formats []string

	// What the lines say, session level applied.
	addr     netip.Addr // invalid when absent or a host name
	rtcpPort uint16     // a=rtcp (RFC 3605), else port+1
	rtcpAddr netip.Addr
	dir      direction
	mux      bool             // a=rtcp-mux (RFC 5761)
	crypto   []string         // values of a=crypto (RFC 4568), which stands at an m-line only
	extmap   []string         // values of a=extmap (RFC 8285), without a direction: "3 urn:..."
	rsize    bool             // a=rtcp-rsize (RFC 5506)
	altc     []netip.AddrPort // a=altc (RFC 6947), in its writer's order of preference
	wiring   wiring           // ICE, DTLS, BUNDLE
	// noReceive says that the writer gave 0.0.0.0, the hold of RFC 2543 (RFC 3264 §8.4).
	noReceive bool
}

// sdpError says which line of a description could not be understood.
type sdpError struct {
	Line int
	Text string
}

func (e *sdpError) Error() string { return fmt.Sprintf("sdp line %d: %s", e.Line, e.Text) }

// parseSDP reads a session description. It accepts bare LF line ends, white space at the end of lines and missing t= or s= lines,
// as phones send them, and refuses what could mean two things: no v=0 first, no o=, broken m-lines.
func parseSDP(body []byte) (*description, error) {
	if len(body) > maxSDPBytes {
		return nil, &sdpError{0, fmt.Sprintf("longer than %d bytes", maxSDPBytes)}
	}
	d := &description{}
	rest, number, origin := string(body), 0, false
	for rest != "" {
		var line string
		line, rest, _ = strings.Cut(rest, "\n")
		line = strings.TrimRight(strings.TrimSuffix(line, "\r"), " \t")
		number++
		if number > maxSDPLines {
			return nil, &sdpError{number, "too many lines"}
		}
		if line == "" {
			continue
		}
		if problem := d.add(line, number); problem != "" {
			return nil, &sdpError{number, problem}
		}
		origin = origin || strings.HasPrefix(line, "o=")
	}
	if len(d.lines) == 0 {
		return nil, &sdpError{0, "empty"}
	}
	if !origin {
		return nil, &sdpError{number, "no o= line"}
	}
	d.interpret()
	return d, nil
}

// add files one line under the session or its m-line; the answer is what is wrong with it, or "".
func (d *description) add(line string, number int) string {
	if len(line) < 2 || line[1] != '=' || line[0] < 'a' || line[0] > 'z' {
		return "not of the form x=value"
	}
	if strings.ContainsAny(line, "\x00\r") {
		return "control character"
	}
	if first := number == 1; first != (line[0] == 'v') || first && strings.TrimSpace(line[2:]) != "0" {
		return "a description starts with v=0, once"
	}
	if line[0] == 'm' {
		if len(d.sections) == maxSections {
			return "too many m-lines"
		}
		s, problem := parseMediaLine(line[2:])
		if problem != "" {
			return problem
		}
		s.number = number
		d.sections = append(d.sections, s)
		return ""
	}
	if line[0] == 'o' && (len(d.sections) > 0 || len(strings.Fields(line[2:])) < 5) {
		return "o= needs six words, before any m-line" // the first, a user's name, may be missing or several
	}
	if n := len(d.sections); n > 0 {
		d.sections[n-1].lines = append(d.sections[n-1].lines, line)
	} else {
		d.lines = append(d.lines, line)
	}
	return ""
}

// parseMediaLine reads "audio 49170/2 RTP/AVP 0 8" (RFC 8866 §5.14).
func parseMediaLine(value string) (section, string) {
	words := strings.Fields(value)
	if len(words) < 3 {
		return section{}, "m= needs media, port and proto"
	}
	port, _, _ := strings.Cut(words[1], "/")
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return section{}, "m= has no port number"
	}
	return section{kind: words[0], port: uint16(n), proto: words[2], formats: words[3:], dir: sendrecv}, ""
}

// interpret fills the fields of the sections from their lines and from the session level.
func (d *description) interpret() {
	var whole section
	whole.dir = sendrecv
	for _, line := range d.lines {
		whole.read(line)
	}
	for i := range d.sections {
		s := &d.sections[i]
		s.addr, s.noReceive, s.dir = whole.addr, whole.noReceive, whole.dir
		seen := false
		for _, line := range s.lines {
			if line[0] == 'c' {
				if seen { // several c= lines are layers of a multicast; the first is the base
					continue
				}
				seen = true
			}
			s.read(line)
		}
		if s.rtcpPort == 0 && s.port != 0 && s.port < 65535 {
			s.rtcpPort = s.port + 1
		}
		if !s.rtcpAddr.IsValid() {
			s.rtcpAddr = s.addr
		}
	}
	d.complete(&whole.wiring)
}

// read takes one line's meaning.
func (s *section) read(line string) {
	switch line[0] {
	case 'c':
		s.readConnection(strings.Fields(line[2:]))
	case 'a':
		name, value, _ := strings.Cut(line[2:], ":")
		switch name {
		case "rtcp-mux":
			s.mux = true
		case "rtcp":
			s.readRTCP(strings.Fields(value))
		case "crypto":
			s.crypto = append(s.crypto, value)
		case "rtcp-rsize":
			s.rsize = true
		case "extmap":
			s.extmap = append(s.extmap, extension(value))
		case "altc":
			s.readAlternative(strings.Fields(value))
		default:
			if dir, ok := parseDirection(name); ok && value == "" {
				s.dir = dir
			}
			s.wiring.read(name, value)
		}
	}
}

// readConnection takes "IN IP4 192.0.2.1[/ttl]"; a host name leaves the address invalid.
func (s *section) readConnection(words []string) {
	s.addr, s.noReceive = netip.Addr{}, false
	if len(words) < 3 {
		return
	}
	text, _, _ := strings.Cut(words[2], "/")
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return
	}
	if addr = addr.Unmap().WithZone(""); addr.IsUnspecified() {
		s.noReceive = true
		return
	}
	s.addr = addr
}

// readRTCP takes "53020 [IN IP6 2001:db8::1]" (RFC 3605 §2.1).
func (s *section) readRTCP(words []string) {
	if len(words) == 0 {
		return
	}
	if n, err := strconv.ParseUint(words[0], 10, 16); err == nil {
		s.rtcpPort = uint16(n)
	}
	if len(words) >= 4 {
		if addr, err := netip.ParseAddr(words[3]); err == nil && !addr.IsUnspecified() {
			s.rtcpAddr = addr.Unmap().WithZone("")
		}
	}
}

// maxAlternatives bounds the a=altc lines that are looked at in one section; two are usual.
const maxAlternatives = 8

// readAlternative takes "1 IP6 2001:db8::1 45678" (RFC 6947 §4.1).
func (s *section) readAlternative(words []string) {
	if len(words) != 4 || len(s.altc) == maxAlternatives {
		return
	}
	addr, err := netip.ParseAddr(words[2])
	port, wrong := strconv.ParseUint(words[3], 10, 16)
	if err == nil && wrong == nil && port != 0 && !addr.IsUnspecified() {
		s.altc = append(s.altc, netip.AddrPortFrom(addr.Unmap().WithZone(""), uint16(port)))
	}
}

// extension gives "3/sendonly urn:x parameters" as "3 urn:x".
func extension(value string) string {
	words := strings.Fields(value)
	if len(words) < 2 {
		return ""
	}
	id, _, _ := strings.Cut(words[0], "/")
	return intern(id + " " + words[1])
}

// plainRTP reports whether the proto is RTP that this version relays: RFC 3551's profile or plain feedback (RFC 4585).
func plainRTP(proto string) bool { return proto == "RTP/AVP" || proto == "RTP/AVPF" }

// encryptedRTP reports whether the proto asks for SRTP with keys in the description (RFC 3711 §8, RFC 5124).
func encryptedRTP(proto string) bool { return proto == "RTP/SAVP" || proto == "RTP/SAVPF" }

// datagrams reports whether the section is of datagrams that are no RTP: T.38 fax (ITU-T T.38 annex D) or floor control (RFC 8856).
// They are relayed as they are.
func (s *section) datagrams() bool {
	return s.kind == "image" && strings.EqualFold(s.proto, "udptl") || s.kind == "application" && s.proto == "UDP/BFCP"
}

// refusal says why a section cannot be relayed, as an RFC 3261 §20.43 warning code and text;
// code 0 means that it can. Sections with port 0 are refused by their writer and ask nothing.
func (s *section) refusal() (code int, text string) {
	switch {
	case s.addr.IsMulticast():
		return 330, "Multicast is not available"
	case len(s.formats) == 0:
		return 305, "No media format"
	case s.datagrams():
		return 0, ""
	case s.kind != "audio" && s.kind != "video" && s.kind != "text" && s.kind != "application":
		return 304, "Media type " + s.kind + " is not available over " + s.proto
	case !plainRTP(s.proto) && !encryptedRTP(s.proto) && !s.dtls():
		return 302, "Transport " + s.proto + " is not available"
	case !slices.ContainsFunc(s.formats, isPayloadType):
		return 305, "No RTP payload type among the formats"
	}
	if s.dtls() {
		if problem := s.dtlsRefusal(); problem != "" {
			return 302, "Media encryption (" + s.proto + ") cannot be agreed on: " + problem
		}
	}
	if encryptedRTP(s.proto) {
		if list, problem := s.keys(); len(list) == 0 {
			return 302, "Media encryption (" + s.proto + ") without a usable key: " + problem
		}
	}
	return 0, ""
}

func isPayloadType(format string) bool {
	_, ok := payloadType(format)
	return ok
}

// where names the section to whoever wrote it.
func (s *section) where() string { return "Line " + strconv.Itoa(s.number) + ", m=" + s.kind + ": " }
