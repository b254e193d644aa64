package rtpengine

import (
	"bytes"
	"cmp"
	"hash/maphash"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// origin is what the o= line to one side says (RFC 3264 §5 and §8): one id for the life of the
// session, and a version that grows by one whenever the description changes.
type origin struct {
	id      uint64
	version uint64
	sum     uint64
}

// bump moves the version when the content differs from what this side was last told.
func (o *origin) bump(seed maphash.Seed, content []byte) {
	if sum := maphash.Bytes(seed, content); o.version == 0 || sum != o.sum {
		o.version++
		o.sum = sum
	}
}

// facing is how a description must look to one side: our address, and our port for each section.
type facing struct {
	addr     netip.Addr
	sections []facingSection
}

// facingSection rewrites one section; port 0 rejects it.
type facingSection struct {
	port   uint16
	mux    bool     // a=rtcp-mux is said to this side
	proto  string   // "" leaves it
	crypto []string // a=crypto lines with our keys
	// bare drops every attribute: the section was refused by us, and its keys must not travel on.
	bare bool
}

// dropped lists the attributes that speak of the far side's transport, keys or sources. None of
// them is true of ours: a passed-through a=ssrc line makes browsers play silence.
var dropped = [...]string{
	"candidate", "remote-candidates", "end-of-candidates", "ssrc", "ssrc-group", "msid", "msid-semantic",
	"rtcp-mux", "rtcp-mux-only", "bundle-only", "crypto", "fingerprint", "setup", "connection", "tls-id", "key-mgmt",
	"zrtp-hash", "identity", "altc", "rtcp-rsize-only", "source-filter",
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
	if strings.HasPrefix(name, "ice-") || name == "group" && strings.HasPrefix(value, "BUNDLE") {
		return false
	}
	for _, d := range dropped {
		if name == d {
			return false
		}
	}
	return true
}

// render writes the description for one side. Lines that are not ours to change keep their bytes.
func (d *description) render(f *facing, o *origin, seed maphash.Seed) []byte {
	var tail bytes.Buffer
	tail.Grow(1024)
	address := family(f.addr) + " " + f.addr.String()
	sessionC, user := false, "-"
	for _, line := range d.lines {
		switch line[0] {
		case 'v':
		case 'o':
			user = strings.Fields(line[2:])[0]
		case 'c':
			if !sessionC {
				put(&tail, "c=IN ", address)
			}
			sessionC = true
		default:
			if keepLine(line) {
				put(&tail, line)
			}
		}
	}
	for i := range d.sections {
		d.sections[i].render(&tail, f.sections[i], address, sessionC)
	}
	o.bump(seed, append(tail.Bytes(), address...))

	var out bytes.Buffer
	out.Grow(tail.Len() + 96)
	put(&out, "v=0")
	put(&out, "o=", user, " ", strconv.FormatUint(o.id, 10), " ", strconv.FormatUint(o.version, 10), " IN ", address)
	out.Write(tail.Bytes())
	return out.Bytes()
}

func (s *section) render(out *bytes.Buffer, f facingSection, address string, sessionC bool) {
	put(out, "m=", s.kind, " ", strconv.Itoa(int(f.port)), " ", cmp.Or(f.proto, s.proto), " ", strings.Join(s.formats, " "))
	if f.bare {
		if !sessionC {
			put(out, "c=IN ", address)
		}
		return
	}
	s.renderLines(out, f, address, sessionC)
	if s.noReceive && f.port != 0 {
		// RFC 3264 §8.4: 0.0.0.0 said "send nothing to me"; our address is real, so a direction must say it.
		put(out, "a=", (s.dir &^ recvonly).String())
	}
	if f.mux && f.port != 0 {
		put(out, "a=rtcp-mux")
	}
	if f.port != 0 {
		for _, line := range f.crypto {
			put(out, line)
		}
	}
}

// renderLines copies the section's lines, with one c= line where it had one or where nothing else gives an address.
func (s *section) renderLines(out *bytes.Buffer, f facingSection, address string, sessionC bool) {
	wrote := sessionC && !slices.ContainsFunc(s.lines, func(line string) bool { return line[0] == 'c' })
	for _, line := range s.lines {
		if line[0] != 'i' && !wrote { // RFC 8866 §5: i= c= b= k= a=
			put(out, "c=IN ", address)
			wrote = true
		}
		switch {
		case line[0] == 'c':
		case strings.HasPrefix(line, "a=rtcp:"):
			if f.port != 0 {
				put(out, "a=rtcp:", strconv.Itoa(int(f.port)+1), " IN ", address)
			}
		case s.noReceive && isDirection(line):
		case keepLine(line):
			put(out, line)
		}
	}
	if !wrote {
		put(out, "c=IN ", address)
	}
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
