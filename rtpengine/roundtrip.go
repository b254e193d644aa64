package rtpengine

import (
	"encoding/binary"
	"sync/atomic"
	"time"
)

// senderReport is when a sender report went by, by the middle 32 bits of its NTP time: so the receiver names it.
type senderReport struct {
	mid uint32
	at  ticks
}

// ticks are an instant of the engine's clock in 1/65536 s, the unit of DLSR; 0 is none. They come again after 18 hours, which a report
// would have to be late for.
type ticks uint32

func ticksAt(now int64) ticks {
	n := uint64(now)
	return max(1, ticks(n/uint64(time.Second)<<16+n%uint64(time.Second)<<16/uint64(time.Second)))
}

// since is how long ago it was, in the same unit.
func (t ticks) since(now int64) uint32 { return uint32(ticksAt(now) - t) }

// departures are the last reports that went to a peer, so that the peer's answer can name one.
type departures struct {
	sent [4]senderReport // the newest at next-1
	next uint8
}

func (d *departures) note(mid uint32, now int64) {
	d.sent[d.next%uint8(len(d.sent))] = senderReport{mid, ticksAt(now)}
	d.next++
}

// measure gives the round trip that a report block tells, from LSR and DLSR; all are in 1/65536 s.
func (d *departures) measure(lsr, dlsr uint32, now int64) (uint32, bool) {
	for _, sr := range d.sent {
		if lsr != 0 && sr.at != 0 && sr.mid == lsr {
			d := int64(sr.at.since(now)) - int64(dlsr)
			if d == -1 { // each of the three was rounded
				d = 0
			}
			return uint32(d), d >= 0 && d < 60<<16
		}
	}
	return 0, false
}

// roundTrip finds out how long the way to a leg's peer and back takes, from the reports that pass (RFC 3550 §6.4.1): the peer says
// which sender report it heard last (LSR) and how long it had it (DLSR), and we know when that one left us. Who sends no SR may send
// a reference time instead, and is told the same of it (RFC 3611 §4.4, §4.5). Shard only.
type roundTrip struct {
	departures                          // sender reports that went to the peer
	had        senderReport             // the last SR of the peer itself
	reported   atomic.Uint32            // ticks of its last report; anyone reads
	extended   atomic.Pointer[extended] // nil until an extended report has come by, in either direction: few phones send them
}

// references are the reference times of both directions. Shard only.
type references struct {
	departures              // that went to the peer
	asked      senderReport // the peer's own last, until it is answered
	asker      uint32       // who sent that
}

// extend gives what is kept of extended reports, for the first of which there is memory to be had: once a leg.
func (t *roundTrip) extend() *extended {
	x := t.extended.Load()
	if x == nil {
		x = &extended{}
		t.extended.Store(x)
	}
	return x
}

// follow reads the reports of a valid compound packet of the leg's peer.
func (l *leg) follow(now int64, b []byte) {
	for len(b) >= 8 {
		n := 4 + 4*int(binary.BigEndian.Uint16(b[2:]))
		if n > len(b) {
			return
		}
		blocks := b[8:max(8, n)]
		if b[1] == rtcpSR && n >= 28 {
			l.trip.had = senderReport{binary.BigEndian.Uint32(b[10:]), ticksAt(now)}
			if l.out != nil && !l.ends() {
				l.out.trip.note(l.trip.had.mid, now)
			}
			blocks = b[28:n]
		}
		if b[1] == rtcpSR || b[1] == rtcpRR {
			for count := int(b[0] & 0x1f); count > 0 && len(blocks) >= 24; count-- {
				l.report(now, blocks)
				blocks = blocks[24:]
			}
		}
		if b[1] == rtcpXR {
			l.followXR(now, b[:n])
		}
		b = b[n:]
	}
}

// hearsSource tells whether the peer is sent a source, so that what it says of it counts.
func (l *leg) hearsSource(ssrc uint32) bool {
	switch {
	case l.app != nil:
		return ssrc == l.app.ssrc
	case l.player != nil && ssrc == l.player.ssrc:
		return true
	case l.out != nil && l.out.via != nil && ssrc == l.out.via.voice.ssrc:
		return true
	}
	return l.out != nil && l.out.quality.started && ssrc == l.out.quality.ssrc
}

// report takes one report block: what the peer says of the stream that we send it.
//
//	SSRC 4 | fraction lost 1 | lost 3 | highest sequence number 4 | jitter 4 | LSR 4 | DLSR 4
func (l *leg) report(now int64, b []byte) {
	if !l.hearsSource(binary.BigEndian.Uint32(b)) {
		return
	}
	l.fraction.Store(uint32(b[4]))
	if l.out != nil && l.out.via != nil {
		l.out.via.lost.Store(uint32(b[4]))
	}
	l.trip.reported.Store(uint32(ticksAt(now)))
	l.reported.Store(int32(binary.BigEndian.Uint32(b[4:])<<8) >> 8) // 24 bits with a sign
	if d, ok := l.trip.measure(binary.BigEndian.Uint32(b[16:]), binary.BigEndian.Uint32(b[20:]), now); ok {
		l.rtt.Store(d)
	}
}
