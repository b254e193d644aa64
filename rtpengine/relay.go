package rtpengine

import (
	"net/netip"
	"time"

	"tandem/rtpengine/srtp"
)

// relay is the part of a shard that thinks about packets. Everything here runs in one goroutine
// at a time, allocates nothing and asks for no clock: now is set once per wake-up.
type relay struct {
	now   int64 // engine ns
	epoch int64 // unix ns at engine ns 0
	rate  int   // datagrams per second that one leg may send us

	count batchCount // since the last wake-up

	outbox *outbox // nil: packets leave one by one

	players []*leg // endpoints that play, in no order
	seated  []*leg // endpoints in rooms, in no order

	notices [maxNoticed]notice // of this batch
	noticed int
	board   chan<- notice // where they go

	ice    icePort    // where all browsers are heard
	single singlePort // where all phones are, when there is one

	spare [slabBytes + srtp.Overhead]byte // a second try at a packet while a phone changes keys

	paths  []*pathway                          // to the coders and back
	letter [12 + laneBody + srtp.Overhead]byte // what came back

	feedback feedbackRoom
}

// receive takes one datagram from a socket. raw is the kernel's form of src and may be reused.
func (r *relay) receive(k *socket, src netip.AddrPort, raw *rawAddr, b []byte) {
	l := k.leg
	if l == nil || !l.ready {
		switch {
		case l != nil:
			r.drop(l, DropUnready)
		case k.single:
			r.enterSingle(k, src, raw, b)
		case k.share > 1:
			r.enter(k, src, raw, b)
		}
		return
	}
	if l.shield != nil && l.shield.transport != nil && !looksMedia(b) {
		r.beside(l, k, src, raw, b)
		return
	}
	latch := &l.latch[k.component]
	fit := latch.judge(src)
	if fit == foreign { // before the flood is measured: strangers must not use up the phone's share
		r.drop(l, DropSource)
		return
	}
	if r.flooded(l) {
		r.drop(l, DropFlood)
		return
	}
	switch l.cargo {
	case datagrams:
		r.receiveDatagram(l, k, src, raw, fit, b)
		return
	case opaque:
		r.receiveOpaque(l, k, src, raw, fit, b)
		return
	}
	control := k.component == rtcp || l.mux && looksRTCP(b)
	if l.shield != nil {
		if b = r.plain(l, int(k.component), b, control); b == nil {
			return
		}
	}
	if control {
		r.receiveRTCP(l, k, src, raw, fit, b)
		return
	}
	h, ok := parseRTP(b)
	if !ok {
		r.drop(l, DropMalformed)
		return
	}
	rate := l.rates[h.payload]
	if rate == 0 {
		r.drop(l, DropPayload)
		return
	}
	if l.bypassed() {
		l.returned(r)
	}
	if !latch.locked {
		if latch.advance(src, fit, h.ssrc) {
			l.lock(rtp, src, raw)
		} else if fit < signalled {
			r.drop(l, DropProbing)
			return
		}
	}
	r.accept(l, &h, rate, b)
}

// accept takes a valid RTP packet of a leg's peer.
func (r *relay) accept(l *leg, h *rtpHeader, rate uint32, b []byte) {
	l.tally.packets.Add(1)
	l.tally.bytes.Add(uint64(len(b)))
	r.count.packets++
	r.count.bytes += uint64(len(b))
	l.tally.lastSeen.Store(r.now)
	if l.feed == nil || !l.feed.repairs.has(h.payload) {
		l.quality.packet(h, r.now, rate)
		if !l.events.has(h.payload) {
			l.quality.speaks(h.payload)
		}
	}
	if l.heard != nil && (l.open || l.app != nil) {
		l.heard.put(l.channel, h, b, r.now)
	}
	if l.digits != nil {
		l.digits.packet(r, &l.events, rate, h, b)
	}
	switch {
	case l.app != nil:
		l.app.rtp(r, l, h, b)
	case !l.open:
		r.drop(l, DropHold)
		l.missed()
	case l.bars != 0 && r.barred(l, h, b):
	case l.via != nil && l.via.takes(h):
		r.handOver(l, h, b)
	case l.renumber != nil && !l.renumber.rewrite(h, b, l.rates):
		r.drop(l, DropPayload)
	default:
		if l.dubs != nil {
			b = l.dub(h, rate, b, r.now)
		}
		r.forward(l, rtp, b)
	}
}

// receiveRTCP takes a control packet, from the RTCP port or muxed (RFC 5761).
func (r *relay) receiveRTCP(l *leg, k *socket, src netip.AddrPort, raw *rawAddr, fit rank, b []byte) {
	ssrc, ok := parseRTCP(b)
	if !ok {
		r.drop(l, DropMalformed)
		return
	}
	if latch := &l.latch[k.component]; !latch.locked {
		if k.component == rtcp && latch.advance(src, fit, ssrc) {
			l.lock(rtcp, src, raw)
		} else if fit < signalled {
			r.drop(l, DropProbing)
			return
		}
	}
	r.acceptRTCP(l, b)
}

// acceptRTCP takes a valid compound packet of a leg's peer.
func (r *relay) acceptRTCP(l *leg, b []byte) {
	l.tally.rtcp.Add(1)
	r.count.rtcp++
	l.tally.lastSeen.Store(r.now)
	l.follow(r.now, b)
	if l.heard != nil {
		l.heard.report(l.channel, b, r.now)
	}
	if l.app != nil {
		l.app.rtcp(r, l, b)
		return
	}
	if l.ends() {
		return // it speaks of a source and a clock that the other side does not know; see transcoder.send
	}
	r.passRTCP(l, b)
}

// plain gives the packet itself where the side's media is plain, else that of an authentic and new one; what is neither is counted,
// and nil is given. It stands before the latch: only the holder of the key becomes the peer.
func (r *relay) plain(l *leg, component int, b []byte, control bool) []byte {
	key, before := l.shield.unseal[component], l.shield.before[component]
	switch {
	case key == nil && l.shield.secret: // its handshake is not done
		r.drop(l, DropUnkeyed)
		return nil
	case key == nil:
		return b
	case before == nil:
		return r.opened(l, key, b, control)
	}
	again := r.spare[:copy(r.spare[:], b)] // a failed try spoils it
	if out, err := unprotect(key, b, control); err == nil {
		l.shield.before[component] = nil
		return out
	}
	return r.opened(l, before, again, control)
}

func (r *relay) opened(l *leg, c *srtp.Context, b []byte, control bool) []byte {
	known := c.Evicted()
	out, err := unprotect(c, b, control)
	r.count.forgotten += c.Evicted() - known
	switch err {
	case nil:
		return out
	case srtp.ErrMalformed:
		r.drop(l, DropMalformed)
	case srtp.ErrReplay:
		r.drop(l, DropReplay)
	case srtp.ErrUsedUp:
		r.drop(l, DropKey)
	default:
		r.drop(l, DropForged)
	}
	return nil
}

func unprotect(c *srtp.Context, b []byte, control bool) ([]byte, error) {
	if control {
		return c.UnprotectRTCP(b)
	}
	return c.Unprotect(b)
}

// forward sends a packet of l out of the other side's socket to the other side's peer.
func (r *relay) forward(l *leg, component int, b []byte) {
	k, to, b, out := l.out.prepare(component, b)
	if out == sent && l.feed != nil && l.feed.missed && component == rtp {
		r.reached(l)
	}
	switch {
	case out != sent:
		r.drop(l, out.drop())
		l.missed()
	case r.queue(l, k, to, b): // counted when it has left
	case k.send(b, to):
		r.passed(l)
	default:
		r.drop(l, DropSend)
	}
}

// outcome of a send.
type outcome uint8

const (
	sent outcome = iota
	nowhere
	failed
	repeated // the packet's number was sent before under this key
	usedUp   // the key takes no more
	unfit    // no packet that could be protected, or too long
	unkeyed  // the DTLS handshake is not done
)

// drop is the reason to count.
func (o outcome) drop() Drop {
	return [...]Drop{failed: DropSend, nowhere: DropUnlatched, repeated: DropReplay, usedUp: DropKey, unfit: DropMalformed, unkeyed: DropUnkeyed}[o]
}

// send sends towards this leg's peer. What b holds afterwards is undefined, up to srtp.Overhead bytes behind its end.
func (l *leg) send(component int, b []byte) outcome {
	k, to, b, out := l.prepare(component, b)
	if out == sent && !k.send(b, to) {
		return failed
	}
	return out
}

// prepare is send without sending: what is to leave, by which socket and where to.
func (l *leg) prepare(component int, b []byte) (*socket, *destination, []byte, outcome) {
	control := component == rtcp
	if l.mux {
		component = rtp
	}
	to := &l.to[component]
	if !to.valid() {
		return nil, nil, nil, nowhere
	}
	k := to.socket
	if k == nil {
		if k = l.sockets[to.family()][component]; k == nil {
			return nil, nil, nil, nowhere
		}
	}
	out := sent
	if s := l.shield; s != nil {
		switch key := s.seal[component]; {
		case key != nil:
			b, out = protect(key, b, control)
		case s.secret:
			return nil, nil, nil, unkeyed
		}
	}
	return k, to, b, out
}

func protect(c *srtp.Context, b []byte, control bool) (_ []byte, out outcome) {
	var err error
	if control {
		b, err = c.ProtectRTCP(b)
	} else {
		b, err = c.Protect(b)
	}
	switch err {
	case nil:
		return b, sent
	case srtp.ErrReplay:
		return nil, repeated
	case srtp.ErrSources, srtp.ErrUsedUp:
		return nil, usedUp
	}
	return nil, unfit
}

// drop counts a datagram that goes no further.
func (r *relay) drop(l *leg, why Drop) {
	l.tally.drop(why)
	r.count.drops[why]++
	r.count.dropped = true
}

// passed counts one that was sent.
func (r *relay) passed(l *leg) {
	l.tally.forwarded.Add(1)
	r.count.forwarded++
}

// flooded counts a datagram against the leg's second.
func (r *relay) flooded(l *leg) bool {
	if r.now-l.windowAt >= int64(time.Second) {
		l.windowAt, l.window = r.now, 0
	}
	l.window++
	return int(l.window) > r.rate
}
