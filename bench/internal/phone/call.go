//go:build linux

package phone

import (
	"bytes"
	"net/netip"
	"strconv"

	"tandem/bench/internal/wire"
)

// callState is how far the caller has got.
type callState uint8

const (
	idle callState = iota
	inviting
	ringing
	talking
	leaving
	over
)

func (s callState) String() string {
	return [...]string{"idle", "inviting", "ringing", "talking", "leaving", "over"}[s]
}

// call is both ends of one call: the driver is caller and callee and finds the same record by Call-ID.
type call struct {
	generation     uint32
	state          callState
	counted        bool // started inside the measured window
	failed         bool
	caller, called *user
	started        int64

	// the caller's end
	cseq        uint32
	provisional bool
	rang        bool
	challenged  int
	attempt     int
	tag         []byte // the callee's, from the answer
	target      []byte // the callee's Contact: where in-dialog requests are for (RFC 3261 §12.2.1.1)
	routes      []byte // the route set as Route lines, already in the caller's order
	next        wire.Addr
	last        []byte // request in flight
	lastTo      wire.Addr

	// the callee's end
	heardInvite, heardAck, heardBye bool
	answered                        bool
	answerAttempt                   int
	via                             wire.Addr // where responses go
	headers                         []byte    // Via, Record-Route, From, To with tag, Call-ID, CSeq of every response
	response                        []byte    // the last one sent
}

// startCall places the next call of the rotation.
func (f *Fleet) startCall(now int64, counted bool) {
	if len(f.free) == 0 {
		f.tally.fail("driver: all call slots are taken")
		return
	}
	slot := f.free[len(f.free)-1]
	f.free = f.free[:len(f.free)-1]
	c := &f.calls[slot]
	*c = call{
		generation: c.generation + 1, state: inviting, counted: counted, started: now,
		tag: c.tag[:0], target: c.target[:0], routes: c.routes[:0], last: c.last[:0], headers: c.headers[:0], response: c.response[:0],
	}
	half := f.callers()
	c.caller, c.called = &f.users[f.next%half], &f.users[half+f.next%(len(f.users)-half)]
	f.next++
	f.active++
	f.invite(now, slot, c, f.config.CachedNonce && c.caller.proxy.usable())
	f.watch.push(now, slot, c.generation, timeToGiveUp)
}

func (f *Fleet) invite(now int64, slot uint32, c *call, credentials bool) {
	c.cseq++
	c.attempt, c.provisional = 0, false
	out := append(c.last[:0], "INVITE "...)
	uri := len(out)
	out = f.appendAOR(out, c.called)
	c.target = append(c.target[:0], out[uri:]...)
	out = f.appendCommon(out, slot, c, "INVITE", c.cseq, nil)
	out = append(append(out, "Contact: "...), c.caller.contact...)
	out = append(out, "\r\nUser-Agent: tandem-bench\r\nAllow: INVITE, ACK, CANCEL, BYE, OPTIONS\r\n"...)
	if credentials {
		out = c.caller.proxy.append(out, "Proxy-Authorization", "INVITE", c.target, c.caller, f.config.Algorithm)
	}
	c.last = f.appendBody(out, slot, f.config.Offer)
	c.lastTo = f.server
	c.caller.socket.Send(c.last, &c.lastTo)
	f.again[0].push(now, slot, c.generation, againInvite)
}

func (f *Fleet) appendAOR(out []byte, u *user) []byte {
	out = append(append(out, "sip:"...), u.name...)
	return append(append(out, '@'), f.config.Domain...)
}

// appendCommon ends the request line and writes Via to CSeq. tag is the callee's, nil outside a dialog.
func (f *Fleet) appendCommon(out []byte, slot uint32, c *call, method string, cseq uint32, tag []byte) []byte {
	out = append(append(out, " SIP/2.0\r\nVia: SIP/2.0/UDP "...), c.caller.socket.Host...)
	branch := method[0]
	if method == "ACK" && tag == nil {
		branch = 'I' // RFC 3261 §17.1.1.3: the ACK of a refusal is part of the INVITE's transaction
	}
	out = append(append(out, ";rport;branch=z9hG4bK"...), branch)
	out = appendHex32(f.appendID(out, 'c', slot, c.generation), cseq)
	out = append(out, "\r\nMax-Forwards: 70\r\nFrom: <"...)
	out = f.appendAOR(out, c.caller)
	out = appendHex32(append(out, ">;tag="...), slot^f.run)
	out = f.appendAOR(append(out, "\r\nTo: <"...), c.called)
	out = append(out, '>')
	if tag != nil {
		out = append(append(out, ";tag="...), tag...)
	}
	out = f.appendID(append(out, "\r\nCall-ID: "...), 'c', slot, c.generation)
	out = strconv.AppendUint(append(out, "@bench\r\nCSeq: "...), uint64(cseq), 10)
	return append(append(append(out, ' '), method...), "\r\n"...)
}

func (f *Fleet) appendBody(out []byte, slot uint32, write func(uint32, []byte) []byte) []byte {
	if write == nil {
		return append(out, "Content-Length: 0\r\n\r\n"...)
	}
	var room [1024]byte
	sdp := write(slot, room[:0])
	out = strconv.AppendInt(append(out, "Content-Type: application/sdp\r\nContent-Length: "...), int64(len(sdp)), 10)
	return append(append(out, "\r\n\r\n"...), sdp...)
}

// callResponse handles what comes back to the caller.
func (f *Fleet) callResponse(now int64, m *message) {
	slot, generation, ok := f.identify(m.callID)
	if !ok || int(slot) >= len(f.calls) || f.calls[slot].generation != generation || f.calls[slot].state == idle {
		f.tally.Strays++
		return
	}
	c := &f.calls[slot]
	switch {
	case is(m.cseqMethod, "invite"):
		f.inviteResponse(now, slot, c, m)
	case is(m.cseqMethod, "bye"):
		f.byeResponse(now, slot, c, m)
	default:
		f.tally.Strays++
	}
}

func (f *Fleet) inviteResponse(now int64, slot uint32, c *call, m *message) {
	if m.cseq != c.cseq && m.status >= 300 || c.state == over && m.status >= 300 { // a refusal that our ACK did not reach in time
		f.tally.Duplicates++
		f.ackRefusal(slot, c, m)
		return
	}
	switch {
	case m.status < 200:
		c.provisional = true
		if m.status == 180 {
			f.ringing(now, c)
		}
	case m.status < 300:
		f.accepted(now, slot, c, m)
	default:
		f.refused(now, slot, c, m)
	}
}

func (f *Fleet) ringing(now int64, c *call) {
	if c.rang {
		f.tally.Duplicates++
		return
	}
	c.rang = true
	if c.state != inviting {
		f.tally.AnswerBeforeRing++
		return
	}
	c.state = ringing
	if c.counted {
		f.tally.latency.Add(now - c.started)
	}
}

func (f *Fleet) accepted(now int64, slot uint32, c *call, m *message) {
	if c.state != inviting && c.state != ringing {
		f.tally.Duplicates++
		if c.state != over || !c.failed {
			f.ack(slot, c)
		}
		return
	}
	c.state = talking
	c.tag = append(c.tag[:0], tagOf(m.to)...)
	if contact := angle(m.contact); len(contact) > 0 {
		c.target = append(c.target[:0], contact...)
	}
	f.learnRoutes(c, m)
	if f.config.OnAnswered != nil {
		f.config.OnAnswered(slot, m.body)
	}
	f.ack(slot, c)
	switch {
	case f.config.Hold == 0:
		f.bye(now, slot, c)
	case f.config.Hold > 0:
		f.hold.push(now, slot, c.generation, timeToHangUp)
	default:
		f.active-- // held: nobody waits for it
	}
}

// learnRoutes makes the caller's route set of the response's Record-Route: all values, in reverse (RFC 3261 §12.1.2).
func (f *Fleet) learnRoutes(c *call, m *message) {
	c.routes = c.routes[:0]
	first := c.target
	var found [16][]byte
	n := 0
	for _, value := range m.routes[:m.routeCount] {
		for len(value) > 0 && n < len(found) {
			end := bytes.IndexByte(value, '>')
			if end < 0 {
				break
			}
			if comma := bytes.IndexByte(value[end:], ','); comma >= 0 {
				end += comma
				found[n], value = trim(value[:end]), value[end+1:]
			} else {
				found[n], value = trim(value), nil
			}
			n++
		}
	}
	for i := n - 1; i >= 0; i-- {
		if i == n-1 {
			first = angle(found[i])
		}
		c.routes = append(append(append(c.routes, "Route: "...), found[i]...), "\r\n"...)
	}
	if n > 0 && !bytes.Contains(first, []byte(";lr")) {
		f.tally.StrictRoutes++ // the driver speaks loose routing only
	}
	c.next = f.resolve(first)
}

// resolve finds the address of a SIP URI with a literal host; anything else is the server's own name.
func (f *Fleet) resolve(uri []byte) wire.Addr {
	_, host, ok := bytes.Cut(uri, []byte{':'})
	if !ok {
		return f.server
	}
	if at := bytes.IndexByte(host, '@'); at >= 0 {
		host = host[at+1:]
	}
	if end := bytes.IndexAny(host, ";?>"); end >= 0 {
		host = host[:end]
	}
	if ap, err := netip.ParseAddrPort(string(host)); err == nil && ap.Addr().Is4() {
		return wire.AddrFrom(ap)
	}
	if a, err := netip.ParseAddr(string(host)); err == nil && a.Is4() {
		return wire.AddrFrom(netip.AddrPortFrom(a, 5060))
	}
	return f.server
}

func (f *Fleet) refused(now int64, slot uint32, c *call, m *message) {
	f.ackRefusal(slot, c, m)
	if c.state != inviting && c.state != ringing {
		return
	}
	if (m.status == 407 || m.status == 401) && c.challenged < 2 && c.caller.proxy.take(m, f.config.Algorithm) {
		c.challenged++
		f.tally.Challenged++
		f.invite(now, slot, c, true)
		return
	}
	f.fail(now, slot, c, "INVITE answered "+strconv.Itoa(m.status))
}

// ackRefusal acknowledges a final answer of 300 or more, hop by hop.
func (f *Fleet) ackRefusal(slot uint32, c *call, m *message) {
	out := append(c.caller.socket.Buffer(), "ACK "...)
	out = f.appendAOR(out, c.called)
	out = append(append(out, " SIP/2.0\r\nVia: SIP/2.0/UDP "...), c.caller.socket.Host...)
	out = appendHex32(f.appendID(append(out, ";rport;branch=z9hG4bKI"...), 'c', slot, c.generation), m.cseq)
	out = append(append(out, "\r\nMax-Forwards: 70\r\nFrom: "...), m.from...)
	out = append(append(out, "\r\nTo: "...), m.to...)
	out = append(append(out, "\r\nCall-ID: "...), m.callID...)
	out = strconv.AppendUint(append(out, "\r\nCSeq: "...), uint64(m.cseq), 10)
	c.caller.socket.Push(append(out, " ACK\r\nContent-Length: 0\r\n\r\n"...), &f.server)
}

// ack acknowledges the answer end to end, along the route set.
func (f *Fleet) ack(slot uint32, c *call) {
	out := f.appendInDialog(c.caller.socket.Buffer(), slot, c, "ACK", c.cseq)
	c.caller.socket.Push(out, &c.next)
}

func (f *Fleet) appendInDialog(out []byte, slot uint32, c *call, method string, cseq uint32) []byte {
	out = append(append(append(out, method...), ' '), c.target...)
	out = f.appendCommon(out, slot, c, method, cseq, c.tag)
	out = append(out, c.routes...)
	return append(out, "Content-Length: 0\r\n\r\n"...)
}

// bye ends an answered call.
func (f *Fleet) bye(now int64, slot uint32, c *call) {
	if c.state != talking {
		return
	}
	c.state, c.attempt = leaving, 0
	c.last = f.appendInDialog(c.last[:0], slot, c, "BYE", c.cseq+1)
	c.lastTo = c.next
	c.caller.socket.Send(c.last, &c.lastTo)
	f.again[0].push(now, slot, c.generation, againBye)
}

func (f *Fleet) byeResponse(now int64, slot uint32, c *call, m *message) {
	switch {
	case c.state != leaving:
		f.tally.Duplicates++
	case m.status < 200:
	case m.status < 300:
		f.finish(now, slot, c)
	default:
		f.fail(now, slot, c, "BYE answered "+strconv.Itoa(m.status))
	}
}

// sendAgain retransmits the request in flight (RFC 3261 §17.1.1.2 timer A, §17.1.2.2 timer E).
func (f *Fleet) sendAgain(now int64, slot uint32, c *call, kind timerKind, hopeless string) {
	c.attempt++
	if c.attempt >= len(f.again) {
		f.fail(now, slot, c, hopeless)
		return
	}
	f.tally.Resent++
	c.caller.socket.Send(c.last, &c.lastTo)
	f.again[c.attempt].push(now, slot, c.generation, kind)
}

func (f *Fleet) finish(now int64, slot uint32, c *call) {
	c.state = over
	f.active--
	f.tally.Done++
	if c.counted {
		f.tally.Counted++
	}
	f.linger.push(now, slot, c.generation, timeToForget)
}

func (f *Fleet) fail(now int64, slot uint32, c *call, cause string) {
	c.state, c.failed = over, true
	f.active--
	f.tally.fail(cause)
	f.linger.push(now, slot, c.generation, timeToForget)
}

// forget frees the slot some time after the call; by then everything has arrived that ever will.
func (f *Fleet) forget(slot uint32, c *call) {
	if !c.failed && !c.heardAck {
		f.tally.fail("ACK never reached the callee")
	}
	if !c.failed && !c.heardBye {
		f.tally.fail("BYE was answered but never reached the callee")
	}
	if !c.failed && !c.rang {
		f.tally.NeverRang++
	}
	c.state = idle
	f.free = append(f.free, slot)
}
