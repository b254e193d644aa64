package rtpengine

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// The model's codecs. Redundancy and retransmission are of another one.
type modelCodec struct {
	kind, rtpmap, fmtp string
	static             int // number that needs no rtpmap, or -1
	of                 string
}

var modelCodecs = map[string]modelCodec{
	"pcmu":   {"audio", "PCMU/8000", "", 0, ""},
	"pcma":   {"audio", "PCMA/8000", "", 8, ""},
	"g722":   {"audio", "G722/8000", "", 9, ""},
	"g729":   {"audio", "G729/8000", "annexb=no", 18, ""},
	"opus":   {"audio", "opus/48000/2", "useinbandfec=1", -1, ""},
	"ilbc":   {"audio", "iLBC/8000", "mode=30", -1, ""},
	"event8": {"audio", "telephone-event/8000", "0-16", -1, ""},
	"event":  {"audio", "telephone-event/48000", "0-16", -1, ""},
	"red":    {"audio", "red/48000/2", "", -1, "opus"},
	"h264-0": {"video", "H264/90000", "profile-level-id=42e01f;packetization-mode=0", -1, ""},
	"h264-1": {"video", "H264/90000", "profile-level-id=42e01f;packetization-mode=1", -1, ""},
	"vp8":    {"video", "VP8/90000", "max-fr=30", -1, ""},
	"vp9-0":  {"video", "VP9/90000", "", -1, ""},
	"vp9-2":  {"video", "VP9/90000", "profile-id=2", -1, ""},
	"rtx":    {"video", "rtx/90000", "", -1, "h264-1"},
	"rtx-v8": {"video", "rtx/90000", "", -1, "vp8"},
	"t140":   {"text", "t140/1000", "", -1, ""},
	"red-t":  {"text", "red/1000", "", -1, "t140"},
}

// modelNames gives the names of one kind in a fixed order, so that a seed means the same each time.
func modelNames(kind string) (names []string) {
	for name, c := range modelCodecs {
		if c.kind == kind {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func modelMain(name string) bool {
	return !strings.HasPrefix(name, "event") && modelCodecs[name].of == ""
}

// modelPhone is one party as it knows the session. A good phone: no number changes its meaning in what it says, and it complains when that happens in
// what it hears.
type modelPhone struct {
	addr    netip.Addr
	numbers []map[int]string // by m-line: what its payload types have meant
	text    string           // what it heard last, without o=
	id      string
	version int
}

type modelLine struct {
	kind, proto string
	port        int
	dir         direction
	formats     []int
	means       map[int]string // by number
	mux         bool
}

func (l *modelLine) active() bool { return l.port != 0 }

// relayable is what the engine promises to relay.
func (l *modelLine) relayable() bool {
	switch l.kind + " " + l.proto {
	case "image udptl", "application UDP/BFCP":
		return true
	}
	return l.formats != nil && (l.proto == "RTP/AVP" || l.proto == "RTP/AVPF")
}

func (p *modelPhone) line(i int) map[int]string {
	for len(p.numbers) <= i {
		p.numbers = append(p.numbers, map[int]string{})
	}
	return p.numbers[i]
}

// number draws one for a codec: where it may, one the phone has used for it, or a fresh one.
func (p *modelPhone) number(t *rapid.T, i int, name string, used map[int]string) int {
	if n := modelCodecs[name].static; n >= 0 {
		return n
	}
	var known, free []int
	for n := 96; n < 128; n++ {
		if _, ok := used[n]; ok {
			continue
		}
		switch means, ok := p.line(i)[n]; {
		case !ok:
			free = append(free, n)
		case means == name:
			known = append(known, n)
		}
	}
	if len(known) > 0 && rapid.IntRange(0, 4).Draw(t, "keep") > 0 {
		free = known
	}
	if len(free) > 8 { // narrow, so that the two sides collide
		free = free[:8]
	}
	if len(free) == 0 {
		return -1
	}
	return rapid.SampledFrom(free).Draw(t, "number of "+name)
}

// list draws numbers for codecs, those that others refer to first.
func (p *modelPhone) list(t *rapid.T, i int, names []string) modelLine {
	l := modelLine{means: map[int]string{}}
	at := map[string]int{}
	for _, late := range [...]bool{false, true} {
		for _, name := range names {
			if (modelCodecs[name].of != "") != late {
				continue
			}
			if n := p.number(t, i, name, l.means); n >= 0 {
				l.means[n], at[name] = name, n
			}
		}
	}
	for _, name := range names {
		n, ok := at[name]
		_, base := at[modelCodecs[name].of]
		if ok && (base || modelCodecs[name].of == "") {
			l.formats = append(l.formats, n)
		} else if ok {
			delete(l.means, n)
		}
	}
	return l
}

// keep notes the numbers that the phone has said where the line counts.
func (p *modelPhone) keep(lines []modelLine, counts func(i int) bool) {
	for i, l := range lines {
		if counts(i) {
			maps.Copy(p.line(i), l.means)
		}
	}
}

// foreignLines are lines that speak of a side's own transport; FOREIGN must never reach the other side.
var foreignLines = []string{
	"a=candidate:FOREIGN 1 UDP 1 192.0.2.10 49170 typ host", "a=ssrc:1 cname:FOREIGN", "a=ssrc-group:FID FOREIGN", "a=msid:FOREIGN x",
	"a=ice-ufrag:FOREIGN", "a=ice-pwd:FOREIGN", "a=ice-options:FOREIGN", "a=fingerprint:sha-256 FOREIGN", "a=setup:FOREIGN", "a=tls-id:FOREIGN",
	"a=remote-candidates:FOREIGN", "a=altc:1 IP4 FOREIGN 5", "a=pcfg:1 t=FOREIGN", "a=tcap:1 FOREIGN", "a=acap:1 FOREIGN", "a=creq:FOREIGN",
	"a=crypto:1 FOREIGN inline:x", "k=clear:FOREIGN", "a=Candidate:FOREIGN", "a=source-filter: incl IN IP4 * FOREIGN", "a=rtcp:9 IN IP4 192.0.2.99",
	"a=key-mgmt:FOREIGN", "a=zrtp-hash:FOREIGN", "a=msid-semantic:FOREIGN", "a=extmap:9 urn:ietf:params:rtp-hdrext:encrypt FOREIGN", "a=alt:1 1 : FOREIGN",
	"a=end-of-candidates", "a=group:BUNDLE FOREIGN", "a=visited-realm:1 FOREIGN",
}

// write gives the lines as the phone says them, with more or less odd ways to say it.
func (p *modelPhone) write(t *rapid.T, lines []modelLine) []byte {
	at := family(p.addr) + " " + p.addr.String()
	var b strings.Builder
	line := func(format string, args ...any) {
		fmt.Fprintf(&b, format, args...)
		b.WriteString(rapid.SampledFrom([]string{"\r\n", "\r\n", "\n", " \r\n"}).Draw(t, "end"))
	}
	line("v=0")
	line("o=%s %d %d IN %s", rapid.SampledFrom([]string{"-", "a b c", "phone", ""}).Draw(t, "user"), rapid.IntRange(0, 9).Draw(t, "id"), 1, at)
	if rapid.Bool().Draw(t, "s=") {
		line("s=%s", rapid.SampledFrom([]string{"-", "", "call"}).Draw(t, "name"))
	}
	line("c=IN %s", at)
	if rapid.Bool().Draw(t, "t=") {
		line("t=0 0")
	}
	if rapid.Bool().Draw(t, "foreign session") {
		line("%s", rapid.SampledFrom(foreignLines).Draw(t, "line"))
	}
	for _, l := range lines {
		formats := "t38"
		if l.kind == "application" {
			formats = "*"
		}
		if l.formats != nil {
			formats = strings.Trim(fmt.Sprint(l.formats), "[]")
		}
		line("m=%s %d%s %s %s", l.kind, l.port, rapid.SampledFrom([]string{"", "", "/2"}).Draw(t, "ports"), l.proto, formats)
		for _, n := range l.formats {
			p.writeFormat(t, line, &l, n)
		}
		line("a=%s", l.dir)
		if l.mux {
			line("a=rtcp-mux")
		}
		if rapid.Bool().Draw(t, "foreign") {
			line("%s", rapid.SampledFrom(foreignLines).Draw(t, "line"))
		}
	}
	return []byte(b.String())
}

func (p *modelPhone) writeFormat(t *rapid.T, line func(string, ...any), l *modelLine, n int) {
	c := modelCodecs[l.means[n]]
	if c.static < 0 || rapid.Bool().Draw(t, "rtpmap") {
		name := c.rtpmap
		if rapid.IntRange(0, 3).Draw(t, "upper") == 0 {
			name = strings.ToUpper(name)
		}
		line("a=rtpmap:%d%s%s", n, rapid.SampledFrom([]string{" ", "\t", "  "}).Draw(t, "gap"), name)
	}
	if c.fmtp != "" {
		line("a=fmtp:%d %s", n, c.fmtp)
	}
	for base, name := range l.means {
		if name != c.of {
			continue
		}
		if strings.HasPrefix(c.rtpmap, "rtx") {
			line("a=fmtp:%d apt=%d", n, base)
		} else {
			line("a=fmtp:%d %d/%d", n, base, base)
		}
	}
	line("a=rtcp-fb:%d nack", n)
}

// hears checks a description that the engine tells the phone, and gives its lines.
func (p *modelPhone) hears(t *rapid.T, out []byte) []modelLine {
	text := string(out)
	if strings.Contains(text, "FOREIGN") || strings.Contains(text, "192.0.2.") || strings.Contains(text, "end-of-candidates") {
		t.Fatalf("foreign lines:\n%s", text)
	}
	d, err := parseSDP(out)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	p.checkOrigin(t, text)
	lines := make([]modelLine, len(d.sections))
	ports := map[uint16]bool{}
	for i := range d.sections {
		s := &d.sections[i]
		lines[i] = modelLine{kind: s.kind, proto: s.proto, port: int(s.port), dir: s.dir, mux: s.mux, means: map[int]string{}}
		if s.addr != p.addr || s.port != 0 && (ports[s.port] || s.port%2 != 0 || s.rtcpAddr != p.addr) {
			t.Fatalf("m-line %d: address or port is none of ours:\n%s", i, text)
		}
		ports[s.port] = true
		if s.port == 0 || s.datagrams() {
			continue
		}
		p.hearsFormats(t, i, s, &lines[i], text)
	}
	return lines
}

// checkOrigin wants one id for ever, and a version that grows when and only when the rest differs.
func (p *modelPhone) checkOrigin(t *rapid.T, text string) {
	head, rest, _ := strings.Cut(text, "\r\n")
	o, rest, _ := strings.Cut(rest, "\r\n")
	words := strings.Fields(o)
	version, err := strconv.Atoi(words[2])
	if head != "v=0" || err != nil || len(words) != 6 || words[5] != p.addr.String() || !strings.HasPrefix(rest, "s=") || !strings.Contains(rest, "\r\nt=") {
		t.Fatalf("%s", text)
	}
	switch {
	case p.id == "":
		p.id = words[0] + words[1]
	case p.id != words[0]+words[1]:
		t.Fatalf("o= was %s:\n%s", p.id, text)
	case rest == p.text && version != p.version, rest != p.text && version <= p.version:
		t.Fatalf("version was %d, before:\n%s\nnow:\n%s", p.version, p.text, text)
	}
	p.text, p.version = rest, version
}

// hearsFormats reads what the payload types mean, in a way of its own.
func (p *modelPhone) hearsFormats(t *rapid.T, i int, s *section, l *modelLine, text string) {
	for _, format := range s.formats {
		n, err := strconv.Atoi(format)
		if err != nil || slices.Contains(l.formats, n) {
			t.Fatalf("m-line %d: format %q:\n%s", i, format, text)
		}
		l.formats = append(l.formats, n)
	}
	value := func(attribute string, n int) string {
		for _, line := range s.lines {
			if rest, ok := strings.CutPrefix(line, fmt.Sprintf("a=%s:%d", attribute, n)); ok && (rest[0] == ' ' || rest[0] == '\t') {
				return strings.TrimSpace(rest)
			}
		}
		return ""
	}
	of := map[int]string{} // what the number means, without what it refers to
	for _, late := range [...]bool{false, true} {
		for _, n := range l.formats {
			rtpmap, fmtp := value("rtpmap", n), value("fmtp", n)
			refers := strings.HasPrefix(strings.ToLower(rtpmap), "r") // red, rtx
			if refers != late {
				continue
			}
			base := ""
			if refers {
				word, _, _ := strings.Cut(strings.TrimPrefix(fmtp, "apt="), "/")
				number, _ := strconv.Atoi(word)
				base, fmtp = of[number], ""
			}
			for name, c := range modelCodecs {
				if c.kind == l.kind && c.of == base && c.fmtp == fmtp && (strings.EqualFold(c.rtpmap, rtpmap) || rtpmap == "" && c.static == n) {
					of[n] = name
				}
			}
			if of[n] == "" {
				t.Fatalf("m-line %d: what is %d?\n%s", i, n, text)
			}
			if before, ok := p.line(i)[n]; ok && before != of[n] { // RFC 3264 §8.3.2
				t.Fatalf("m-line %d: %d meant %s and now means %s:\n%s", i, n, before, of[n], text)
			}
			p.line(i)[n] = of[n]
		}
	}
	l.means = of
	for _, line := range s.lines { // no line speaks of a number that is not there
		for _, attribute := range [...]string{"a=rtpmap:", "a=fmtp:", "a=rtcp-fb:"} {
			if rest, ok := strings.CutPrefix(line, attribute); ok {
				n, _ := strconv.Atoi(strings.FieldsFunc(rest, func(r rune) bool { return r == ' ' || r == '\t' })[0])
				if !slices.Contains(l.formats, n) {
					t.Fatalf("m-line %d: %s\n%s", i, line, text)
				}
			}
		}
	}
}

// closure is a session between two model phones.
type closure struct {
	t      *rapid.T
	s      *Session
	policy CodecPolicy
	phones [2]*modelPhone
	agreed [2][]modelLine // what each side said in the exchange that is in force
	heard  [2][]modelLine // and what it was told
	last   Side           // the offerer in that
}

// Whatever two good phones offer and answer, in any order, with forks and refusals: each sees what a good phone may say to it. An answer has the m-lines
// of its offer, with formats of the offer that mean the same, and directions that fit; numbers keep their meaning; no line of the other side's
// transport comes through; the version grows when and only when something changed. And packets of every format that both sides named
// arrive under the number that their reader gave it. None of this changes when another engine takes the call over in between.
func TestOfferAnswerClosure(t *testing.T) {
	t.Parallel()
	for name, policy := range map[string]CodecPolicy{
		"all codecs":   {},
		"by policy":    {Only: []string{"opus", "VP8", "pcma", "H264/90000", "G722"}},
		"some blocked": {Block: []string{"telephone-event/48000", "PCMU", "vp9", "red"}},
	} {
		t.Run(name, func(t *testing.T) {
			e, other := startEngine(t, func(c *Config) { c.Codecs = policy }), startEngine(t, func(c *Config) { c.Codecs = policy })
			rapid.Check(t, func(t *rapid.T) {
				s, err := e.NewSession(SessionConfig{})
				if err != nil {
					t.Fatal(err)
				}
				m := &closure{t: t, s: s, policy: policy}
				defer func() { m.s.Close() }()
				for side := range m.phones {
					m.phones[side] = &modelPhone{addr: rapid.SampledFrom([]netip.Addr{loop4, loop6}).Draw(t, "family")}
				}
				for range rapid.IntRange(1, 5).Draw(t, "exchanges") {
					m.exchange()
					if rapid.IntRange(0, 3).Draw(t, "taken over") == 0 {
						m.s = moved(t, m.s, e, other)
						m.checkTables()
					}
				}
			})
		})
	}
}

// drawOffer draws the lines of a phone's offer, as many as it knows of at least.
func (m *closure) drawOffer(from Side) []modelLine {
	p := m.phones[from]
	n := max(len(m.agreed[from]), rapid.IntRange(1, 3).Draw(m.t, "m-lines"))
	lines := make([]modelLine, n)
	for i := range lines {
		l := &lines[i]
		switch kind := rapid.SampledFrom([]string{"audio", "audio", "video", "text", "image", "application", "message"}).Draw(m.t, "kind"); kind {
		case "image":
			l.proto = "udptl"
		case "application":
			l.proto = rapid.SampledFrom([]string{"UDP/BFCP", "TCP/BFCP"}).Draw(m.t, "proto")
		case "message":
			l.proto = "TCP/MSRP"
		default:
			names := rapid.SliceOfNDistinct(rapid.SampledFrom(modelNames(kind)), 1, 7, rapid.ID[string]).Draw(m.t, "codecs")
			*l = p.list(m.t, i, names)
			if l.formats == nil {
				*l = p.list(m.t, i, []string{map[string]string{"audio": "pcmu", "video": "vp8", "text": "t140"}[kind]})
			}
			if l.proto = rapid.SampledFrom([]string{"RTP/AVP", "RTP/AVPF", "RTP/AVP", "RTP/SAVP"}).Draw(m.t, "proto"); l.formats == nil {
				l.proto = "RTP/SAVP" // out of numbers
				l.formats, l.means = []int{0}, map[int]string{0: "pcmu"}
			}
			l.mux = rapid.Bool().Draw(m.t, "mux")
		}
		l.kind = cmpKind(l, i, m)
		l.dir = direction(rapid.IntRange(0, 3).Draw(m.t, "direction"))
		l.port = rapid.SampledFrom([]int{4000 + 2*i, 5000 + 2*i, 0}).Draw(m.t, "port")
	}
	return lines
}

// cmpKind is the kind that goes with a line's proto and codecs.
func cmpKind(l *modelLine, _ int, _ *closure) string {
	switch l.proto {
	case "udptl":
		return "image"
	case "TCP/MSRP":
		return "message"
	case "UDP/BFCP", "TCP/BFCP":
		return "application"
	}
	for _, name := range l.means {
		return modelCodecs[name].kind
	}
	return "audio"
}

// allowed is the policy, told anew.
func (m *closure) allowed(l *modelLine) (names []string) {
	wanted := m.policy.Only
	if l.kind == "text" {
		wanted = nil
	}
	in := func(list []string, name string) bool {
		rtpmap := strings.ToLower(modelCodecs[name].rtpmap)
		return slices.ContainsFunc(list, func(entry string) bool {
			entry = strings.ToLower(entry)
			return rtpmap == entry || strings.HasPrefix(rtpmap, entry+"/")
		})
	}
	mains, had := 0, 0
	for _, n := range l.formats {
		name := l.means[n]
		if modelMain(name) {
			had++
		}
		if in(m.policy.Block, name) || modelMain(name) && wanted != nil && !in(wanted, name) {
			continue
		}
		if modelMain(name) {
			mains++
		}
		names = append(names, name)
	}
	if mains == 0 && had > 0 {
		return nil
	}
	return slices.DeleteFunc(names, func(name string) bool {
		of := modelCodecs[name].of
		return of != "" && !slices.Contains(names, of)
	})
}

func (m *closure) exchange() {
	from := Side(rapid.IntRange(0, 1).Draw(m.t, "from"))
	to := from.Other()
	offer := m.drawOffer(from)
	want := make([]bool, len(offer))
	some, asked := false, false
	for i := range offer {
		l := &offer[i]
		want[i] = l.active() && l.relayable() && (l.formats == nil || m.allowed(l) != nil)
		some, asked = some || want[i], asked || l.active()
	}
	out, err := m.s.Offer(from, m.phones[from].write(m.t, offer), m.phones[from].addr, m.phones[to].addr)
	if asked && !some {
		if r, ok := err.(*RejectError); !ok || r.Status != 488 || !strings.Contains(r.Warning, `"Line `) {
			m.t.Fatalf("nothing usable: %v", err)
		}
		return
	}
	if err != nil {
		m.t.Fatal(err)
	}
	m.phones[from].keep(offer, func(i int) bool { return want[i] })
	forks := 1
	if m.agreed[A] == nil { // only a first INVITE forks
		forks = rapid.IntRange(1, 3).Draw(m.t, "forks")
	}
	callee := *m.phones[to]
	for range forks {
		if forks > 1 {
			fork := callee
			fork.numbers = nil
			m.phones[to] = &fork
		}
		heard := m.phones[to].hears(m.t, out)
		m.checkOffer(from, offer, heard, want)
		if rapid.IntRange(0, 4).Draw(m.t, "refused") == 0 {
			if forks > 1 {
				continue
			}
			m.s.Rollback()
			break
		}
		m.answer(from, offer, heard, forks > 1)
	}
	m.checkTables()
}

// checkOffer compares what was offered with what came through.
func (m *closure) checkOffer(from Side, offer, heard []modelLine, want []bool) {
	if len(heard) < len(offer) || len(heard) < len(m.agreed[from.Other()]) {
		m.t.Fatalf("%d m-lines became %d, and there were %d", len(offer), len(heard), len(m.agreed[from.Other()]))
	}
	for i, h := range heard {
		if i >= len(offer) {
			if h.port != 0 {
				m.t.Fatalf("m-line %d was never offered", i)
			}
			continue
		}
		o := &offer[i]
		if h.kind != o.kind || h.active() != want[i] || h.active() && (h.dir != o.dir || h.proto != o.proto || h.mux != o.mux) {
			m.t.Fatalf("m-line %d: offered %+v, heard %+v", i, o, h)
		}
		if !want[i] || o.formats == nil {
			continue
		}
		var got []string
		for _, n := range h.formats {
			got = append(got, h.means[n])
		}
		wanted := m.allowed(o)
		slices.Sort(wanted)
		slices.Sort(got)
		if !slices.Equal(got, wanted) && m.room(from.Other(), i) {
			m.t.Fatalf("m-line %d: offered %v, heard %v", i, wanted, got)
		}
	}
}

// room reports whether the side's line has numbers left: only then all formats can be told.
func (m *closure) room(side Side, i int) bool { return len(m.phones[side].line(i)) < 40 }

// answer draws a good phone's answer to what it heard.
func (m *closure) answer(from Side, offer, heard []modelLine, fork bool) {
	to := from.Other()
	p := m.phones[to]
	answer := make([]modelLine, len(heard))
	some := false
	for i, h := range heard {
		a := modelLine{kind: h.kind, proto: h.proto}
		if h.formats != nil {
			var names []string
			for _, n := range h.formats {
				names = append(names, h.means[n])
			}
			names = rapid.Permutation(names).Draw(m.t, "order")
			names = names[:rapid.IntRange(1, len(names)).Draw(m.t, "taken")]
			if extra := rapid.SampledFrom(modelNames(h.kind)).Draw(m.t, "extra"); !slices.Contains(names, extra) && rapid.IntRange(0, 3).Draw(m.t, "adds") == 0 {
				names = append(names, extra)
			}
			a = p.list(m.t, i, names)
			a.kind, a.proto = h.kind, h.proto
		}
		a.dir = direction(rapid.IntRange(0, 3).Draw(m.t, "direction")) & h.dir.reverse()
		a.mux = h.mux && rapid.Bool().Draw(m.t, "mux")
		if h.active() && (h.formats == nil || a.formats != nil) {
			a.port = rapid.SampledFrom([]int{6000 + 2*i, 6000 + 2*i, 0}).Draw(m.t, "port")
		}
		if a.port == 0 && h.kind != "image" && h.kind != "application" && a.formats == nil {
			a.formats = []int{0}
			a.means = map[int]string{0: "pcmu"}
		}
		some = some || a.active()
		answer[i] = a
	}
	out, err := m.s.Answer(to, p.write(m.t, answer), p.addr, m.phones[from].addr)
	if common := m.common(heard, answer); err != nil {
		if _, ok := err.(*RejectError); ok && some && !common {
			if !fork { // as signalling does with an answer that is none
				m.s.Rollback()
			}
			return
		}
		m.t.Fatal(err)
	}
	p.keep(answer, func(i int) bool { return heard[i].active() && answer[i].active() })
	back := m.phones[from].hears(m.t, out)
	m.checkAnswer(offer, heard, answer, back)
	m.agreed[from], m.agreed[to] = offer, answer
	m.heard[from], m.heard[to] = back, heard
	m.last = from
}

// common reports whether an answer takes up anything of an offer.
func (m *closure) common(heard, answer []modelLine) bool {
	for i, a := range answer {
		if a.active() && (a.formats == nil || len(takes(&heard[i], &a)) > 0) {
			return true
		}
	}
	return false
}

// takes are the codecs of an answer that were offered, in the answer's order.
func takes(heard, answer *modelLine) (names []string) {
	for _, n := range answer.formats {
		for _, offered := range heard.means {
			if offered == answer.means[n] {
				names = append(names, offered)
			}
		}
	}
	return slices.DeleteFunc(names, func(name string) bool {
		of := modelCodecs[name].of
		return of != "" && !slices.Contains(names, of)
	})
}

func (m *closure) checkAnswer(offer, heard, answer, back []modelLine) {
	if len(back) != len(offer) {
		m.t.Fatalf("%d m-lines answer %d", len(back), len(offer))
	}
	for i, b := range back {
		o, h, a := &offer[i], &heard[i], &answer[i]
		names := takes(h, a)
		active := a.active() && h.active() && (a.formats == nil || len(names) > 0)
		if b.kind != o.kind || b.proto != o.proto || b.active() != active {
			m.t.Fatalf("m-line %d: offered %+v, answered %+v, heard %+v", i, o, a, b)
		}
		if !active {
			continue
		}
		if b.dir != a.dir || b.dir&^o.dir.reverse() != 0 || b.mux && !o.mux {
			m.t.Fatalf("m-line %d: offered %+v, answered %+v, heard %+v", i, o, a, b)
		}
		var got []string
		for _, n := range b.formats {
			if o.means[n] != b.means[n] {
				m.t.Fatalf("m-line %d: %d was offered as %s and answered as %s", i, n, o.means[n], b.means[n])
			}
			got = append(got, b.means[n])
		}
		if !slices.Equal(got, names) {
			m.t.Fatalf("m-line %d: answered %v, heard %v", i, names, got)
		}
	}
}

// checkTables compares the shard's picture with the agreement in force.
func (m *closure) checkTables() {
	settle(m.s.shard)
	for i, l := range m.s.lines {
		for side, g := range l.legs {
			other := Side(side).Other()
			active := i < len(m.heard[A]) && i < len(m.heard[B]) && m.heard[m.last][i].active()
			if g == nil {
				continue
			}
			if g.ready != active {
				m.t.Fatalf("m-line %d side %d: ready %v, agreed %v", i, side, g.ready, active)
			}
			if !active {
				continue
			}
			for n, name := range m.heard[side][i].means { // what this side was told that it may send
				for k, same := range m.agreed[other][i].means { // and the number under which the other side takes it
					if name != same {
						continue
					}
					got := n
					if g.renumber != nil {
						got = int(g.renumber[n] &^ redundant)
					}
					if g.rates[n] == 0 || m.heard[other][i].means[k] == name && got != k && m.agreed[other][i].means[got] != name {
						m.t.Fatalf("m-line %d: %s from side %d under %d should arrive under %d, not %d (%d Hz)", i, name, side, n, k, got, g.rates[n])
					}
				}
			}
		}
	}
}
