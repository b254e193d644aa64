package configs

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"tandem/internal/hcltext"
)

func notEmpty(s string) (string, string) {
	if strings.TrimSpace(s) == "" {
		return "this must not be empty", "write a path"
	}
	return "", ""
}

func optional(r rule) rule {
	return func(s string) (string, string) {
		if s == "" {
			return "", ""
		}
		return r(s)
	}
}

func oneOf(words ...string) rule {
	return func(s string) (string, string) {
		for _, w := range words {
			if s == w {
				return "", ""
			}
		}
		return fmt.Sprintf("%q is not known here%s", s, hcltext.DidYouMean(s, words)), "choose from " + strings.Join(words, ", ")
	}
}

func nodeName(s string) (string, string) {
	ok := s != "" && len(s) <= 63
	for _, r := range s {
		ok = ok && (r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_.", r))
	}
	if !ok {
		return fmt.Sprintf("%q cannot be the name of a node", s), `use 1 to 63 letters, digits, "-", "_" or "."`
	}
	return "", ""
}

// headerText must fit on one header line.
func headerText(s string) (string, string) {
	for _, r := range s {
		if r < ' ' || r > '~' {
			return fmt.Sprintf("%q cannot stand in a SIP header", s), "use printable ASCII"
		}
	}
	if len(s) > 100 {
		return "this is too long for a SIP header", "use at most 100 characters"
	}
	return "", ""
}

// listener checks an address to listen on; usual is the port that a suggestion names.
func listener(usual int) rule {
	return func(s string) (wrong, instead string) {
		if _, err := netip.ParseAddrPort(s); err == nil {
			return "", ""
		}
		if addr, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
			return fmt.Sprintf("%q has no port", s), fmt.Sprintf("write %q", netip.AddrPortFrom(addr, uint16(usual)))
		}
		host, port, found := cutPort(s)
		if !found {
			return fmt.Sprintf("%q is not an address to listen on", s), fmt.Sprintf(`write IP:port, like "0.0.0.0:%d" or "[::]:%d"`, usual, usual)
		}
		if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
			return fmt.Sprintf("%q is not a port", port), "ports are numbers from 0 to 65535; 0 asks the system for a free one"
		}
		if host == "" || host == "*" {
			return fmt.Sprintf("%q names no address", s), fmt.Sprintf(`write "0.0.0.0:%s" for all IPv4 addresses or "[::]:%s" for all IPv6 ones`, port, port)
		}
		if strings.Count(s, ":") > 1 && !strings.HasPrefix(s, "[") {
			return fmt.Sprintf("%q is ambiguous", s), `write IPv6 addresses in brackets, like "[2001:db8::1]:5060"`
		}
		return fmt.Sprintf("%q is not an IP address", host), fmt.Sprintf(`listeners take IP addresses, not names: "127.0.0.1:%s"`, port)
	}
}

// ngListener checks a listener of the NG protocol: an address, behind "tcp:" or "http:" when it is not UDP's.
func ngListener(s string) (wrong, instead string) {
	network, addr := ngNetwork(s)
	wrong, instead = listener(2223)(addr)
	if wrong != "" && network == "" && strings.Count(s, ":") > 1 && !strings.ContainsAny(s, "[]") {
		return wrong, `write "127.0.0.1:2223" for UDP, "tcp:127.0.0.1:2223", or "http:127.0.0.1:2225" for HTTP and WebSocket`
	}
	return wrong, instead
}

// ngNetwork takes "tcp:127.0.0.1:2223" apart; network is "" when none is named.
func ngNetwork(s string) (network, addr string) {
	for _, n := range [...]string{"udp", "tcp", "http"} {
		if rest, ok := strings.CutPrefix(s, n+":"); ok {
			return n, rest
		}
	}
	return "", s
}

// cutPort splits at the last colon, as people read it.
func cutPort(s string) (host, port string, found bool) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

// companions go with the codec that they accompany.
var companions = []string{"telephone-event", "tone", "CN", "red", "rtx", "ulpfec", "flexfec-03", "flexfec", "parityfec"}

// codecs are the names that are taken without a clock: with one, any name may be meant.
var codecs = []string{
	"PCMU", "PCMA", "G722", "opus", "G729", "G723", "G728", "GSM", "GSM-EFR", "GSM-HR-08", "iLBC", "speex", "SILK", "AMR", "AMR-WB", "AMR-WB+", "EVS", "EVRC", "EVRC0", "EVRCB",
	"QCELP", "G7221", "G719", "G726-16", "G726-24", "G726-32", "G726-40", "G729D", "G729E", "G7291", "L8", "L16", "L24", "LPC", "DVI4", "MPA", "MP4A-LATM", "mpeg4-generic", "BV16",
	"BV32", "isac", "CODEC2", "LYRA", "vorbis", "VDVI", "H261", "H263", "H263-1998", "H263-2000", "H264", "H264-SVC", "H265", "H266", "VP8", "VP9", "AV1", "MP4V-ES", "MPV", "JPEG", "t140",
}

// anyCodec checks the name of a codec, or of what goes with one.
func anyCodec(s string) (string, string) {
	all := slices.Concat(codecs, companions)
	name, clock, has := strings.Cut(s, "/")
	if has {
		if n, err := strconv.ParseUint(clock, 10, 32); err != nil || n == 0 || name == "" || strings.ContainsFunc(name, notInCodecs) {
			return fmt.Sprintf("%q is not a codec", s), `write its name, or name and clock, like "opus" or "L16/16000"`
		}
		return "", ""
	}
	if slices.ContainsFunc(all, func(known string) bool { return strings.EqualFold(known, name) }) {
		return "", ""
	}
	return fmt.Sprintf("%q is no codec known here%s", s, hcltext.DidYouMean(s, all)), fmt.Sprintf("write an unusual one with its clock, like %q", name+"/8000")
}

func notInCodecs(r rune) bool {
	return (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && !strings.ContainsRune("-+._", r)
}

// mainCodec checks one that a call can be made with.
func mainCodec(s string) (string, string) {
	name, _, _ := strings.Cut(s, "/")
	if slices.ContainsFunc(companions, func(known string) bool { return strings.EqualFold(known, name) }) {
		return fmt.Sprintf("%q only accompanies codecs", s), "leave it out: it goes with them, unless codecs_off names it"
	}
	return anyCodec(s)
}

func address(s string) (string, string) {
	if _, err := netip.ParseAddr(s); err == nil {
		return "", ""
	}
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return fmt.Sprintf("%q has a port", s), fmt.Sprintf("write %q: the ports stand in media.ports", ap.Addr())
	}
	return fmt.Sprintf("%q is not an IP address", s), `write an IP address, like "0.0.0.0" or "2001:db8::1"`
}

// network checks one address or a network of them; not one of everybody, which is written by mistake or in a hurry.
func network(s string) (string, string) {
	if _, err := netip.ParseAddr(s); err == nil {
		return "", ""
	}
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
		return fmt.Sprintf("%q is neither an IP address nor a network", s), `write "10.0.0.5" or "10.0.0.0/24"`
	case p.Bits() == 0:
		return fmt.Sprintf("%q is everybody", s), "name the addresses or networks that are meant"
	case p != p.Masked():
		return fmt.Sprintf("%q has bits behind its prefix", s), fmt.Sprintf("write %q for the network or %q for the address", p.Masked(), p.Addr())
	}
	return "", ""
}

func publicAddress(s string) (string, string) {
	if wrong, instead := address(s); wrong != "" {
		return wrong, instead
	}
	if netip.MustParseAddr(s).IsUnspecified() {
		return fmt.Sprintf("%q cannot be reached by anybody", s), "write the address that peers send to"
	}
	return "", ""
}

func hostOrAddress(s string) (string, string) {
	if a, err := netip.ParseAddr(s); err == nil {
		if a.IsUnspecified() {
			return fmt.Sprintf("%q cannot be reached by anybody", s), "write the address that peers send to"
		}
		return "", ""
	}
	if isHostName(s) {
		return "", ""
	}
	return fmt.Sprintf("%q is neither a host name nor an IP address", s), `write it without scheme and port, like "sip.acme.example" or "203.0.113.10"`
}

// isHostName follows RFC 1123 §2.1, and wants a letter in the last label, so that "10.0.0.300" is no name.
func isHostName(s string) bool {
	s = strings.TrimSuffix(s, ".")
	if s == "" || len(s) > 253 {
		return false
	}
	labels := strings.Split(s, ".")
	for _, label := range labels {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := 0; i < len(label); i++ {
			c := label[i] | 0x20
			if !(c >= 'a' && c <= 'z' || label[i] >= '0' && label[i] <= '9' || label[i] == '-') {
				return false
			}
		}
	}
	last := labels[len(labels)-1]
	return strings.Trim(last, "0123456789") != ""
}

func origin(s string) (string, string) {
	u, err := url.Parse(s)
	if err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" && u.Path == "" && u.RawQuery == "" && u.Fragment == "" && u.User == nil {
		return "", ""
	}
	return fmt.Sprintf("%q is not an origin", s), `write scheme and host only, like "https://phone.acme.example"`
}

func parsePorts(s string) (r PortRange, wrong, instead string) {
	low, high, found := strings.Cut(s, "-")
	min, errMin := strconv.ParseUint(strings.TrimSpace(low), 10, 16)
	max, errMax := strconv.ParseUint(strings.TrimSpace(high), 10, 16)
	example := `write first and last port, like "20000-29999"`
	switch {
	case !found || errMin != nil || errMax != nil:
		return r, fmt.Sprintf("%q is not a range of ports", s), example
	case min >= max:
		return r, fmt.Sprintf("the range %q ends before it has begun", s), example
	case min < 1024:
		return r, fmt.Sprintf("the range %q begins among the system's ports", s), "media ports begin at 1024 or above"
	case min%2 != 0:
		return r, fmt.Sprintf("the range %q begins with an odd port", s),
			fmt.Sprintf("RTP takes even ports and RTCP the odd one above (RFC 3550 section 11): begin at %d", min+1)
	case max-min+1 < 4:
		return r, fmt.Sprintf("the range %q is too small", s), "one call with audio takes 4 ports: two pairs of RTP and RTCP"
	}
	max -= 1 - max%2 // a last even port would have no RTCP port above it
	return PortRange{uint16(min), uint16(max)}, "", ""
}

// ParsePorts reads a range of media ports, like "20000-29999". A last port without partner is left out.
func ParsePorts(s string) (PortRange, error) {
	r, wrong, instead := parsePorts(s)
	if wrong != "" {
		return r, fmt.Errorf("%s: %s", wrong, instead)
	}
	return r, nil
}

// VirtualAddress reads "203.0.113.10/24@eth0": an address, how much of it names the network, and the interface that it stands on.
func VirtualAddress(text string) (at netip.Prefix, on string, err error) {
	prefix, on, found := strings.Cut(text, "@")
	at, err = netip.ParsePrefix(prefix)
	addr := at.Addr()
	switch {
	case err != nil || !found || on == "" || len(on) > 15 || strings.ContainsAny(on, "/ \t\n"):
		return at, on, fmt.Errorf("%q is not an address on an interface", text)
	case addr.IsUnspecified() || addr.IsMulticast() || addr.IsLoopback() || addr.IsLinkLocalUnicast() || addr.Is4In6() || addr.Zone() != "":
		return at, on, fmt.Errorf("%q is no address that can move between machines", text)
	}
	return at, on, nil
}

func virtualAddress(s string) (wrong, instead string) {
	if _, _, err := VirtualAddress(s); err != nil {
		return err.Error(), `write address/bits@interface, like "203.0.113.10/24@eth0"`
	}
	return "", ""
}
