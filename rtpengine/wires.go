package rtpengine

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// wires are the transports of one side of a call, by m-line. Signalling's, under the lock of its session or endpoint.
type wires struct {
	engine *Engine
	shard  *shard
	site   *site // nil: at the engine's own addresses
	call   string
	lines  []wire
	bundle *transport // that the m-lines of a BUNDLE group share; nil: none has been agreed on
	all    []*transport
	// handshake is who begins where this side leaves it to us. A takeover forgets it: the association goes on as it is.
	handshake Handshake
}

type wire struct {
	transport *transport // nil: RTP on the m-line's own ports
	mid       string
}

func (w *wires) line(i int) *wire {
	for len(w.lines) <= i {
		w.lines = append(w.lines, wire{})
	}
	return &w.lines[i]
}

func (w *wires) open(own bool) *transport {
	t := &transport{engine: w.engine, call: w.call, own: own, chosen: -1}
	w.all = append(w.all, t)
	return t
}

// offered takes a side's offer: transports for what is new in it, new credentials where it restarts ICE, and our part in DTLS.
func (w *wires) offered(st *statement) {
	var restarted []*transport
	for i := range st.lines {
		l := &st.lines[i]
		if !l.active {
			continue
		}
		line := w.line(i)
		if l.theirs.manner == asRTP {
			line.mid, line.transport = "", nil
			continue
		}
		line.mid = l.theirs.mid
		t := line.transport
		switch own := l.theirs.manner != browser; {
		case own:
			if t == nil || !t.own {
				t = w.open(true)
			}
		case l.theirs.bundled && w.bundle != nil:
			t = w.bundle
		case t == nil || t.own:
			t = w.open(false)
		}
		line.transport = t
		if l.theirs.bundled {
			w.bundle = t
		}
		if name := l.theirs.ufrag; name != "" && !slices.Contains(restarted, t) {
			if len(t.generations) == 0 || t.latest().theirs != "" && t.latest().theirs != name {
				t.begin(w.shard, name)
			} else {
				t.hear(w.shard, name)
			}
			restarted = append(restarted, t)
		}
		l.theirs.active = w.client(t, &l.theirs)
	}
}

// client decides who begins the DTLS handshake when they offer (RFC 8842 §5.3). With ICE we do: their first check is our first sign of
// them, and a ClientHello that leaves with its answer is half a round trip ahead of theirs and saves another at the end, because the
// server of a handshake may send media last. Without ICE they do: their ClientHello opens the NAT before them.
func (w *wires) client(t *transport, o *theirs) bool {
	switch o.setup {
	case "active":
		return false
	case "passive":
		return true
	}
	if a := t.agreed[rtp]; a != nil && samePrints(a.prints, o.prints) {
		return a.active // the association goes on
	}
	switch w.handshake {
	case HandshakeTheirs:
		return false
	case HandshakeOurs:
		return true
	}
	return !t.own
}

// offering prepares an m-line of an offer of ours in a manner other than asRTP.
func (w *wires) offering(i int, m manner, mid string) {
	line := w.line(i)
	t := line.transport
	switch own := m != browser; {
	case t != nil && t.own == own:
	case !own && w.bundle != nil:
		t = w.bundle
	default:
		t = w.open(own)
	}
	line.transport = t
	if len(t.generations) == 0 && m != asDTLS {
		t.begin(w.shard, "")
	}
	if line.mid == "" && m == browser {
		line.mid = w.freeMid(i, mid)
	}
}

// freeMid is a name for an m-line: the wanted one, unless it is taken.
func (w *wires) freeMid(i int, wanted string) string {
	taken := func(name string) bool {
		return slices.ContainsFunc(w.lines, func(l wire) bool { return l.mid == name })
	}
	if wanted == "" || taken(wanted) {
		wanted = strconv.Itoa(i)
	}
	for taken(wanted) {
		wanted += "_"
	}
	return wanted
}

// answered takes their answer to an offer of ours.
func (w *wires) answered(st *statement) error {
	var group *transport
	for i := range st.lines {
		l := &st.lines[i]
		if !l.active || l.theirs.manner == asRTP {
			continue
		}
		if i >= len(w.lines) || w.lines[i].transport == nil || w.lines[i].transport.own != (l.theirs.manner != browser) {
			return reject(488, 302, "The answer takes "+l.proto+" with ICE or DTLS in a way that was not offered")
		}
		line := &w.lines[i]
		if l.theirs.bundled { // RFC 9143 §7.3: the group has the address of its first m-line
			if group == nil {
				group = line.transport
			}
			line.transport, w.bundle = group, group
		}
		if l.theirs.ufrag != "" && len(line.transport.generations) > 0 {
			line.transport.hear(w.shard, l.theirs.ufrag)
		}
		l.theirs.active = l.theirs.setup == "passive"
	}
	return nil
}

// settled gives what a leg needs to know of the wiring that was agreed on, with the DTLS associations that it asks for.
func (w *wires) settled(i int, l *said) (out wired) {
	if !l.active || l.theirs.manner == asRTP || i >= len(w.lines) || w.lines[i].transport == nil {
		return out
	}
	t := w.lines[i].transport
	out = wired{transport: t, mid: w.lines[i].mid, midExt: l.theirs.midExt}
	if !l.theirs.manner.dtls() {
		return out
	}
	a := t.agreed[rtp]
	if a == nil || a.by != w.engine.identity.tag || a.active != l.theirs.active || a.name != l.theirs.association || !samePrints(a.prints, l.theirs.prints) {
		t.agreed = [2]*association{w.associate(t, &l.theirs, rtp)}
	}
	if t.own && !l.mux && t.agreed[rtcp] == nil { // RFC 5764 §3: RTCP on a port of its own has keys of its own
		t.agreed[rtcp] = w.associate(t, &l.theirs, rtcp)
	}
	out.associations = t.agreed
	return out
}

func (w *wires) associate(t *transport, o *theirs, port int) *association {
	return &association{
		engine: w.engine, shard: w.shard, call: w.call, over: t, port: port,
		active: o.active, prints: o.prints, name: o.association, by: w.engine.identity.tag,
	}
}

func samePrints(a, b []fingerprint) bool { return slices.Equal(a, b) }

// close has the shard forget all transports.
func (w *wires) close() {
	all := w.all
	if len(all) == 0 {
		return
	}
	w.shard.order(func(sh *shard) {
		for _, t := range all {
			sh.ice.remove(t)
		}
	})
}

// attributes are the lines of an m-line that say where and how we are, setup being our word on DTLS.
func (w *wires) attributes(i int, m manner, setup string, local func(family int) netip.Addr, ports [2]uint16, mux bool) (out []string) {
	t := w.lines[i].transport
	if m == browser && w.lines[i].mid != "" {
		out = append(out, "a=mid:"+w.lines[i].mid, "a=msid:tandem "+w.lines[i].mid)
	}
	if len(t.generations) > 0 {
		g := t.latest()
		out = append(out, "a=ice-ufrag:"+g.ufrag, "a=ice-pwd:"+g.password)
		for family, port := range ports {
			if port == 0 {
				continue
			}
			for c := range 2 {
				if c == rtp || !mux {
					at := netip.AddrPortFrom(local(family), port+uint16(c))
					out = append(out, candidate(family+1, c, at, hostPriority(c, uint16(65535-family))))
				}
			}
		}
		out = append(out, "a=end-of-candidates")
	}
	if m.dtls() {
		out = append(out, "a=fingerprint:"+w.engine.identity.fingerprint, "a=setup:"+setup)
	}
	return out
}

// preamble are the lines of the session part: that we are a lite agent, and which m-lines share a transport.
func (w *wires) preamble(lines []int, manners func(i int) manner) (out []string) {
	var mids []string
	ice := false
	for _, i := range lines {
		t := w.lines[i].transport
		if t == nil {
			continue
		}
		ice = ice || len(t.generations) > 0
		if manners(i) == browser && w.lines[i].mid != "" {
			mids = append(mids, w.lines[i].mid)
		}
	}
	if ice {
		out = append(out, "a=ice-lite")
	}
	if len(mids) > 0 {
		out = append(out, "a=group:BUNDLE "+strings.Join(mids, " "))
	}
	return out
}

// wired is what a leg is told of its transport.
type wired struct {
	transport    *transport
	associations [2]*association
	mid          string
	midExt       uint8
}

// join puts a leg on the transport and under the keys that were agreed on. Shard only, as all below.
func (l *leg) join(s *setup) {
	t := s.wired.transport
	if l.carrier() != t {
		l.part()
		if t != nil {
			if l.shield == nil {
				l.shield = &shield{}
			}
			l.shield.transport = t
			t.legs = append(t.legs, l)
		}
	}
	secret := s.wired.associations[rtp] != nil
	if was := l.shield; was == nil || !secret || !was.secret { // keys of before are of another kind
		l.rekey(s.keys)
	}
	if l.shield != nil {
		l.shield.secret, l.shield.mid = secret, s.wired.mid
	}
	if t == nil {
		return
	}
	t.mid = s.wired.midExt
	if !t.own {
		l.mux = true
		if t.chosen >= 0 && !t.lost {
			l.follows(&t.pairs[t.chosen].to)
		}
	}
	for c, a := range s.wired.associations {
		t.adopt(c, a)
		if a != nil && a.state == shaken {
			a.key(l)
		}
	}
}

// adopt puts an association in the place of the one before, if it is another.
func (t *transport) adopt(component int, a *association) {
	if t.association[component] == a {
		return
	}
	t.association[component].abandon()
	t.association[component] = a
	if a != nil && !t.own && t.chosen >= 0 {
		a.reach(&t.pairs[t.chosen].to)
	}
}

// part takes a leg off its transport.
func (l *leg) part() {
	t := l.carrier()
	if t == nil {
		return
	}
	l.shield.transport = nil
	t.legs = slices.DeleteFunc(t.legs, func(g *leg) bool { return g == l })
	t.unlearn()
	if !t.own {
		l.to[rtp].clear()
		l.to[rtcp].clear()
	}
}

// begin starts the handshakes that are ours to start where no ICE says when: at once, to where the description points.
func (l *leg) begin() {
	t := l.carrier()
	if t == nil || !t.own {
		return
	}
	for c, a := range t.association {
		if a == nil || !a.active || !l.to[c].valid() {
			continue
		}
		to := l.to[c]
		if to.socket = l.sockets[to.family()][c]; to.socket != nil {
			a.reach(&to)
		}
	}
}
