package sip

import (
	"errors"

	"tandem/sip/transport"
)

// A large request that goes over UDP otherwise is tried over TCP first (RFC 3261 §18.1.1, see preferTCP). It goes as UDP only while it is
// certain that nothing was written: under its second number a callee that got both would ring twice, or answer 482 to one.

// tcpWaited is timer T1 of such a request that has had no answer.
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

// distrustTCP has the next large request to a target go over UDP at once: it took a connection and did not answer what came over it.
func (b *branch) distrustTCP() {
	if b.state == branchCalling && b.udp.Remote.IsValid() && b.flow.Net == transport.TCP {
		b.sh.srv.noTCP.add(b.udp.Remote, b.sh.now())
	}
}
