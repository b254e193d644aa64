package rtpengine

import (
	"encoding/binary"
	"time"
)

// senderReport is when a sender report went by, by the middle 32 bits of its NTP time: so the receiver names it.
type senderReport struct {
	mid uint32
	at  int64 // engine ns
}

// departures are the last reports that went to a peer, so that the peer's answer can name one.
type departures struct {
	sent [4]senderReport // the newest at next-1
	next int
}

func (d *departures) note(mid uint32, now int64) {
	d.sent[d.next%len(d.sent)] = senderReport{mid, now}
	d.next++
}

// measure gives the round trip that a report block tells, from LSR and DLSR (in 1/65536 s).
func (d *departures) measure(lsr, dlsr uint32, now int64) (time.Duration, bool) {
	for _, sr := range d.sent {
		if lsr != 0 && sr.at != 0 && sr.mid == lsr {
			d := time.Duration(now-sr.at) - time.Duration(dlsr)*time.Second/65536
			return d, d >= 0 && d < time.Minute
		}
	}
	return 0, false
}

// roundTrip finds out how long the way to a leg's peer and back takes, from the reports that pass (RFC 3550 §6.4.1): the peer says
// which sender report it heard last (LSR) and how long it had it (DLSR), and we know when that one left us. Who sends no SR may send
// a reference time instead, and is told the same of it (RFC 3611 §4.4, §4.5). Shard only.
type roundTrip struct {
	departures              // sender reports that went to the peer
	reference  departures   // and reference times
	had        senderReport // the last SR of the peer itself
	asked      senderReport // its last reference time, until it is answered
	asker      uint32       // who sent that
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
			l.trip.had = senderReport{binary.BigEndian.Uint32(b[10:]), now}
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
	l.reportedAt.Store(now)
	l.reported.Store(int64(int32(binary.BigEndian.Uint32(b[4:])<<8) >> 8)) // 24 bits with a sign
	if d, ok := l.trip.measure(binary.BigEndian.Uint32(b[16:]), binary.BigEndian.Uint32(b[20:]), now); ok {
		l.rtt.Store(int64(d))
	}
}
