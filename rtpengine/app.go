package rtpengine

import (
	"encoding/binary"
	"math/rand/v2"
	"sync/atomic"

	"tandem/rtpengine/srtp"
)

// app answers in a leg's place: it echoes, plays, or listens in silence. Its shard owns it.
type app struct {
	echo   bool
	sound  *loop        // nil when nothing plays
	at     int          // next packet of sound
	listed bool         // in the relay's players
	left   int          // packet times until the sound is over, 0 = it never is
	over   *atomic.Bool // set when it is; nil when nobody asks
	digits *dialling    // sent in place of all else; nil: none

	payload uint8  // payload type of what is not echoed
	clock   uint32 // and of its timestamps, Hz
	reporter
	seq    uint16 // last sent
	talked bool   // something has been sent: seq and stamp are in use
	marker bool   // next packet starts a talk spurt

	// Echo: what is added to the phone's numbers, per source of the phone.
	from     uint32
	seqAdd   uint16
	stampAdd uint32

	packet [12 + frameSamples + srtp.Overhead]byte
	words  [maxReport + 12 + srtp.Overhead]byte // RTCP

	seat  *seat // at a mixer; nil outside of a room
	level uint8 // id of the header extension that tells how loud the phone is
}

func newApp() *app {
	a := &app{reporter: newReporter(), seq: uint16(rand.Uint32() >> 17), payload: payloadPCMU, clock: sampleRate, marker: true}
	a.stamp = rand.Uint32()
	return a
}

// catchUp is how many packets a late player sends at once; beyond them it skips.
const catchUp = 3

// rtp takes a packet of the phone.
func (a *app) rtp(r *relay, l *leg, h *rtpHeader, b []byte) {
	a.reports(r, l)
	if a.seat != nil {
		a.listen(r, l, h, b)
		return
	}
	if !a.echo {
		return
	}
	if !l.open {
		r.drop(l, DropHold)
		return
	}
	if a.digits != nil {
		return
	}
	if a.from != h.ssrc || !a.talked {
		a.from = h.ssrc
		a.seqAdd = a.seq + 1 - h.seq
		a.stampAdd = a.stamp + frameSamples - h.stamp
	}
	seq, stamp := h.seq+a.seqAdd, h.stamp+a.stampAdd
	if d := seq - a.seq; d < 1<<15 {
		a.seq, a.stamp = seq, stamp
	}
	binary.BigEndian.PutUint16(b[2:], seq)
	binary.BigEndian.PutUint32(b[4:], stamp)
	binary.BigEndian.PutUint32(b[8:], a.ssrc)
	a.send(r, l, b, len(b)-h.body)
}

// rtcp takes a control packet of the phone. Its wish for a full picture goes back to it, since the
// picture that it sees is its own.
func (a *app) rtcp(r *relay, l *leg, b []byte) {
	if a.echo && wantsKeyframe(b) {
		r.askPicture(l)
	}
}

func (a *app) send(r *relay, l *leg, b []byte, octets int) {
	if l.told != nil { // before it is encrypted in place
		if h, ok := parseRTP(b); ok {
			l.told.put(1, &h, b, r.now)
		}
	}
	switch out := l.send(rtp, b); out {
	case sent:
		if l.app != nil {
			r.passed(l)
		} else {
			r.count.forwarded++ // what a relayed side hears is not counted as what it said
		}
	case failed:
		r.drop(l, DropSend)
	default:
		r.drop(l, out.drop())
		return
	}
	a.talked = true
	a.count(a.stamp, octets, r.now)
	a.reports(r, l)
}

// play gives every player its packets for n elapsed packet times.
func (s *shard) play(n int) {
	skip := max(0, n-catchUp)
	if skip > 0 && len(s.players) > 0 {
		s.lateTicks.Add(uint64(skip))
	}
	for i := len(s.players) - 1; i >= 0; i-- { // backwards: who has ended leaves the list
		l := s.players[i]
		a := l.voice()
		late, due := skip, n-skip
		ends := a.left > 0 && a.left <= n
		if ends {
			late = min(late, a.left)
			due = a.left - late
		}
		if late > 0 {
			a.skip(late)
		}
		for range due {
			a.frame(&s.relay, l)
		}
		switch {
		case ends:
			over := a.over
			s.delist(l)
			if over != nil {
				over.Store(true)
			}
		case a.left > 0:
			a.left -= n
		}
		if a.digits != nil {
			s.dialled(l)
		}
	}
}

// speak makes it play a sound, from the place where the one before was.
func (a *app) speak(sound *loop, payload uint8) {
	a.sound, a.payload, a.clock = sound, payload, uint32(sound.codec.Clock())
}

// skip lets packet times pass unsent: the clock runs on, the sequence does not.
func (a *app) skip(n int) {
	if a.sound == nil {
		return
	}
	a.at = (a.at + n) % a.sound.packets()
	a.stamp += uint32(n) * a.sound.step()
}

// frame sends 20 ms of the sound.
func (a *app) frame(r *relay, l *leg) {
	if a.digits != nil {
		a.dial(r, l)
		return
	}
	if !l.ready || !l.hears {
		a.skip(1)
		a.marker = true
		return
	}
	body := a.sound.packet(a.at)
	b := r.spare[:12+len(body)]
	a.seq++
	a.stamp += a.sound.step()
	b[0], b[1] = 2<<6, a.payload
	if a.marker {
		b[1] |= 0x80
		a.marker = false
	}
	binary.BigEndian.PutUint16(b[2:], a.seq)
	binary.BigEndian.PutUint32(b[4:], a.stamp)
	binary.BigEndian.PutUint32(b[8:], a.ssrc)
	copy(b[12:], body)
	a.at = (a.at + 1) % a.sound.packets()
	a.send(r, l, b, len(body))
}

// compose writes a report on what was heard, and on what was said, into words.
func (a *app) compose(r *relay, l *leg) int {
	rate := a.clock
	if heard := l.quality.rate.Load(); a.echo && heard > 0 {
		rate = heard
	}
	return len(a.reporter.compose(a.words[:0], r.epoch+r.now, r.now, rate, &l.quality, &l.trip))
}

// reports sends a report when it is time for one. It is asked whenever a packet comes or goes, and once a second by housekeeping.
func (a *app) reports(r *relay, l *leg) {
	if l.ready && a.isDue(r.now) {
		l.send(rtcp, a.words[:a.compose(r, l)])
	}
}

// farewell says that the source is no more.
func (a *app) farewell(r *relay, l *leg) {
	if l.ready && a.hasSpoken() {
		n := a.compose(r, l)
		l.send(rtcp, a.bye(a.words[:n]))
	}
}
