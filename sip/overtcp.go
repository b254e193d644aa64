package sip

import (
	"errors"
	"net/netip"

	"tandem/sip/message"
	"tandem/sip/transport"
)

// A request that goes over UDP otherwise is tried over TCP first when it is large (RFC 3261 §18.1.1), or inside a dialog whose remote
// target says transport=tcp. It goes as UDP only while it is certain that nothing was written: under its second number a callee that got
// both would ring twice, or answer 482 to one.

// preferTCP tries TCP first when the target's own address is the one it is reached at; behind a NAT nobody listens there.
func (b *branch) preferTCP(udp transport.Flow) (transport.Flow, bool) {
	u, err := message.ParseURI(b.target.URI)
	if err != nil || udp.Node != 0 {
		return udp, false
	}
	addr, ok := addrOf(u)
	if !ok || addr.Addr() != udp.Remote.Addr().Unmap() || u.Transport() == "udp" || b.sh.srv.noTCP.has(udp.Remote, b.sh.now()) {
		return udp, false
	}
	if u.Transport() != "tcp" {
		addr = udp.Remote
	}
	tcp, err := b.sh.srv.net.FlowTo(transport.TCP, addr)
	if err != nil {
		return udp, false
	}
	b.udp, b.viaTCP = udp, true
	return tcp, true
}

// wantsTCP tells whether a request inside a dialog goes straight to a remote target that asks for TCP.
func (b *branch) wantsTCP(udp transport.Flow) bool {
	if b.fork.dialog == nil || b.fork.tx.routed.next != "" || len(b.target.Path) > 0 {
		return false
	}
	_, ok := b.sh.asksForTCP(b.target.URI, udp)
	return ok
}

// asksForTCP is the address at which a remote target wants TCP, other than the flow its phone was last seen on (RFC 3261 §12.2.1.1,
// §18). A phone does that when it was called over TCP for the size of the request. The other way round a connection that is there stays in
// use (RFC 5923): it is known to work.
func (sh *shard) asksForTCP(uri string, seen transport.Flow) (addr netip.AddrPort, ok bool) {
	if seen.Net != transport.UDP || seen.Node != 0 {
		return addr, false
	}
	u, err := message.ParseURI(uri)
	if err != nil || u.Scheme != "sip" || u.Transport() != "tcp" {
		return addr, false
	}
	addr, ok = addrOf(u)
	return addr, ok && addr.Addr() == seen.Remote.Addr().Unmap() && !sh.srv.net.IsLocalAddr(addr)
}

// openTCP is the connection there is to a remote target that asks for TCP, else the flow it was last seen on. It is for what has no
// transaction that would notice that no connection can be had: an ACK, and what the node sends itself when it ends a call.
func (sh *shard) openTCP(uri string, seen transport.Flow) transport.Flow {
	if addr, ok := sh.asksForTCP(uri, seen); ok {
		if f, ok := sh.srv.net.Connected(transport.TCP, addr); ok {
			return f
		}
	}
	return seen
}

// tcpWaited is timer T1 of a request tried over TCP that has had no answer.
func (b *branch) tcpWaited() {
	if b.sh.srv.net.Abandon(b.flow) {
		b.fallBack()
		return
	}
	b.viaTCP = false
	b.sh.timers.arm(&b.timer, b.until)
}

// connectionLost ends the wait for an answer on a connection that is gone, or could never be had (RFC 3261 §18.4).
func (b *branch) connectionLost(err error) {
	if b.viaTCP && !errors.Is(err, transport.ErrNotConnected) {
		b.viaTCP = false
		b.distrustTCP()
	}
	b.unreachable(503)
}

// distrustTCP has the next such request to a target go over UDP at once: it took a connection and did not answer what came over it.
func (b *branch) distrustTCP() {
	if b.state == branchCalling && b.udp.Remote.IsValid() && b.flow.Net == transport.TCP {
		b.sh.srv.noTCP.add(b.udp.Remote, b.sh.now())
	}
}
