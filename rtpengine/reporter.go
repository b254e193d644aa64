package rtpengine

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	random "math/rand/v2"
	"time"
)

// reportEvery is the mean time between two reports of one source, RFC 3550 §6.2's minimum. With two members the share of the bandwidth
// that RTCP may take never asks for more.
const reportEvery = 5 * time.Second

// reporter gives a source of ours its RTCP: compound SR or RR, and SDES, every five seconds or so, and a BYE at the end (RFC 3550 §6). The
// owner of the source owns it; it sends nothing itself and asks for no clock.
type reporter struct {
	ssrc    uint32
	packets uint32 // sent
	octets  uint32 // sent, of payload
	stamp   uint32 // of the last packet sent
	sentAt  int64  // when that was, engine ns
	cname   string

	due   int64     // when the next report is to go, engine ns; 0 = nobody has spoken yet
	told  bool      // a report went
	prior [2]uint32 // packets as the last two reports found them
}

// maxReport bounds what compose and bye write.
const maxReport = 28 + 24 + 28 + 24 + 8

func newReporter() reporter { return reporter{ssrc: random.Uint32(), cname: newCNAME()} }

// newCNAME is a canonical name for one call that tells nothing about us (RFC 7022 §4.2): 96 random bits.
func newCNAME() string {
	var bits [12]byte
	_, _ = rand.Read(bits[:]) // never fails
	return base64.RawStdEncoding.EncodeToString(bits[:])
}

// count takes a packet that was sent.
func (p *reporter) count(stamp uint32, octets int, now int64) {
	p.packets++
	p.octets += uint32(octets)
	p.stamp, p.sentAt = stamp, now
}

// isDue tells whether a report is to go now, and when the next one will: RFC 3550 §6.3.1 and A.7, where the number of members never
// changes. The first comes after half the time.
func (p *reporter) isDue(now int64) bool {
	switch {
	case p.due == 0:
		p.due = now + int64(p.interval()/2)
		return false
	case now < p.due:
		return false
	}
	p.due = now + int64(p.interval())
	return true
}

// interval is 0.5 to 1.5 times the mean one; 1.21828 is e - 3/2 and makes up for what timer reconsideration does.
func (p *reporter) interval() time.Duration {
	return time.Duration(float64(reportEvery) * (0.5 + random.Float64()) / 1.21828)
}

// compose appends SR with one report block, or RR when nothing was sent since the report before the last (RFC 3550 §6.4), and SDES with the
// CNAME. wall is the time in Unix ns, rate the clock of what we send.
func (p *reporter) compose(b []byte, wall, now int64, rate uint32, heard *quality, trip *roundTrip) []byte {
	start := len(b)
	speaks := p.packets != p.prior[1]
	p.prior[1], p.prior[0] = p.prior[0], p.packets
	p.told = true
	if speaks {
		b = binary.BigEndian.AppendUint32(b, 2<<30|rtcpSR<<16|6)
		b = binary.BigEndian.AppendUint32(b, p.ssrc)
		b = binary.BigEndian.AppendUint32(b, uint32(wall/1e9+ntpEpoch))
		b = binary.BigEndian.AppendUint32(b, uint32(uint64(wall%1e9)<<32/1e9))
		trip.note(binary.BigEndian.Uint32(b[start+10:]), now)
		b = binary.BigEndian.AppendUint32(b, p.stamp+uint32(uint64(max(0, now-p.sentAt))*uint64(rate)/uint64(time.Second)))
		b = binary.BigEndian.AppendUint32(b, p.packets)
		b = binary.BigEndian.AppendUint32(b, p.octets)
	} else {
		b = binary.BigEndian.AppendUint32(b, 2<<30|rtcpRR<<16|1)
		b = binary.BigEndian.AppendUint32(b, p.ssrc)
	}
	if heard.started {
		b[start] |= 1
		b[start+3] += 6
		b = appendBlock(b, heard, trip, now)
	}
	b = p.describe(b)
	return p.answerTime(b, trip, now)
}

// appendBlock writes a report block (RFC 3550 §6.4.1) of what was heard since the last one.
func appendBlock(b []byte, heard *quality, trip *roundTrip, now int64) []byte {
	fraction, lost, highest, jitter := heard.block()
	b = binary.BigEndian.AppendUint32(b, heard.ssrc)
	b = binary.BigEndian.AppendUint32(b, uint32(fraction)<<24|uint32(lost)&0xffffff)
	b = binary.BigEndian.AppendUint32(b, highest)
	b = binary.BigEndian.AppendUint32(b, jitter)
	var since uint32
	if trip.had.at != 0 {
		since = trip.had.at.since(now)
	}
	b = binary.BigEndian.AppendUint32(b, trip.had.mid)
	return binary.BigEndian.AppendUint32(b, since)
}

// describe appends SDES with the CNAME, of 16 octets (RFC 3550 §6.5).
func (p *reporter) describe(b []byte) []byte {
	b = append(b, 2<<6|1, rtcpSDES, 0, 6)
	b = binary.BigEndian.AppendUint32(b, p.ssrc)
	b = append(b, 1, byte(len(p.cname)))
	b = append(b, p.cname...)
	return append(b, 0, 0) // end of the items, and to the next word
}

// answerTime appends the answer to a reference time that the peer has sent in an extended report (RFC 3611 §4.5), once.
func (p *reporter) answerTime(b []byte, trip *roundTrip, now int64) []byte {
	times := trip.extended.Load()
	if times == nil || times.asked.at == 0 {
		return b
	}
	b = append(b, 2<<6, rtcpXR, 0, 5)
	b = binary.BigEndian.AppendUint32(b, p.ssrc)
	b = append(b, xrDLRR, 0, 0, 3)
	b = binary.BigEndian.AppendUint32(b, times.asker)
	b = binary.BigEndian.AppendUint32(b, times.asked.mid)
	b = binary.BigEndian.AppendUint32(b, times.asked.at.since(now))
	times.asked = senderReport{}
	return b
}

// bye appends BYE (RFC 3550 §6.6). A source that never sent anything says none: see speaks.
func (p *reporter) bye(b []byte) []byte {
	b = append(b, 2<<6|1, rtcpBYE, 0, 1)
	return binary.BigEndian.AppendUint32(b, p.ssrc)
}

// hasSpoken tells whether anything of this source was ever sent (RFC 3550 §6.3.7).
func (p *reporter) hasSpoken() bool { return p.packets > 0 || p.told }

// ntpEpoch is the seconds from 1900 to 1970.
const ntpEpoch = 2208988800
