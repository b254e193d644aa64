package rtpengine

import (
	"slices"
	"time"
)

// pictures puts the packets of one side's video together to pictures, in order. Of a picture of which something is missing nothing is kept,
// nor of those behind it up to the next key picture: they would show smears that nobody on the telephone has seen.
type pictures struct {
	medium  medium
	read    depacket
	sets    parameters
	started bool
	ssrc    uint32
	next    uint16 // the number of the packet that is in turn
	queue   []filmed
	spare   [][]byte

	waits bool    // for a key picture
	asked int64   // engine ns at which one was asked for last; 0 never
	torn  bool    // something is missing directly before the next packet
	open  bool    // now is being put together
	spoil bool    // and something of it is missing or wrong
	stamp uint32  // its timestamp
	now   picture // its data is reused

	done    []picture
	size    int    // octets of done
	shown   uint64 // pictures put together
	spoilt  uint64 // those that were not, or could not be shown
	another uint64 // packets of another codec than the first
}

// filmed is a packet that waits for those before it.
type filmed struct {
	seq    uint16
	marker bool
	stamp  uint32
	at     int64 // arrival, engine ns
	pos    int64 // and as a position
	body   []byte
}

const (
	mostFilmed  = 1024                   // packets that wait
	mostDone    = 16 << 20               // octets of pictures that wait to be written
	filmWait    = 400 * time.Millisecond // how long those behind a missing packet wait for it, or for its repetition
	pictureWait = time.Second            // how often a key picture is asked for
	filmJump    = 3000                   // numbers that are a new beginning
)

// reader tells how to read a video codec; nil when it cannot be recorded.
func (p *pictures) reader(m medium) depacket {
	switch m {
	case mediumVP8:
		return depacketVP8
	case mediumVP9:
		return depacketVP9
	case mediumH264:
		return p.sets.depacket
	}
	return nil
}

// put takes a packet. One that repairs a loss (RFC 4588) comes under another source.
func (p *pictures) put(e *tapped, pos int64) {
	m := e.medium &^ repair
	if p.medium == 0 {
		p.medium, p.read = m, p.reader(m)
	}
	repairs := e.medium&repair != 0
	switch {
	case m != p.medium || p.read == nil:
		p.another++
		return
	case repairs && !p.started:
		return
	case !p.started || !repairs && (e.ssrc != p.ssrc || distance(e.seq, p.next) > filmJump):
		p.begin(e)
	}
	ahead := int16(e.seq - p.next)
	if ahead < 0 || int(ahead) > filmJump {
		return
	}
	at, there := slices.BinarySearchFunc(p.queue, ahead, func(q filmed, ahead int16) int { return int(int16(q.seq-p.next)) - int(ahead) })
	if there {
		return
	}
	var room []byte
	if n := len(p.spare); n > 0 {
		room, p.spare = p.spare[n-1], p.spare[:n-1]
	}
	p.queue = slices.Insert(p.queue, at, filmed{e.seq, e.marker, e.stamp, e.at, pos, append(room[:0], e.body...)})
}

func distance(a, b uint16) int {
	d := int(int16(a - b))
	return max(d, -d)
}

func (p *pictures) begin(e *tapped) {
	for _, q := range p.queue {
		p.spare = append(p.spare, q.body)
	}
	p.queue = p.queue[:0]
	p.started, p.ssrc, p.next, p.waits, p.torn, p.open = true, e.ssrc, e.seq, true, true, false
}

// turn takes the packets that are in turn at a time; all tells that nothing more will come.
func (p *pictures) turn(now int64, place func(q *filmed) int64, all bool) {
	n := 0
	for ; n < len(p.queue); n++ {
		q := &p.queue[n]
		if q.seq != p.next {
			if !all && now-q.at < int64(filmWait) && len(p.queue)-n < mostFilmed {
				break
			}
			p.gap()
		}
		p.next = q.seq + 1
		p.take(q, place)
		p.spare = append(p.spare, q.body)
	}
	p.queue = slices.Delete(p.queue, 0, n)
}

// gap says that something is missing before the next packet.
func (p *pictures) gap() {
	p.spoil, p.torn, p.waits = true, true, true
}

// uncertain reports whether a packet may not be the first of its picture. VP8 and VP9 say so themselves; of H.264 it is known when nothing is
// missing before it, or when it holds what stands before pictures only.
func (p *pictures) uncertain(body []byte) bool {
	torn := p.torn
	p.torn = false
	if !torn || p.medium != mediumH264 || len(body) < 2 {
		return false
	}
	kind := body[0] & 0x1f
	if kind == nalSTAPA && len(body) > 3 {
		kind = body[3] & 0x1f
	}
	return kind != nalSPS && kind != nalAUD
}

// take adds a packet to its picture. Padding has no octets (RFC 3550 §5.1), and senders that measure the way send much of it.
func (p *pictures) take(q *filmed, place func(q *filmed) int64) {
	if len(q.body) == 0 {
		return
	}
	if p.open && q.stamp != p.stamp {
		p.finish()
	}
	first := !p.open
	if first {
		p.open, p.spoil, p.stamp = true, p.uncertain(q.body), q.stamp
		p.now = picture{pos: place(q), data: p.now.data[:0], open: -1}
	}
	if !p.spoil && (!p.read(&p.now, q.body, first) || len(p.now.data) > mostPicture) {
		p.spoil = true
	}
	if q.marker {
		p.finish()
	}
}

func (p *pictures) finish() {
	p.open = false
	switch {
	case p.spoil || len(p.now.data) == 0 || p.now.open >= 0 || p.size > mostDone:
		p.waits = true
		p.spoilt++
	case p.waits && !p.now.key:
		p.spoilt++
	default:
		p.waits = false
		p.shown++
		out := p.now
		out.data = append([]byte(nil), p.now.data...)
		p.size += len(out.data)
		p.done = append(p.done, out)
	}
}

// wants reports whether it is time to ask for a key picture: none has come that could be shown, and it was not asked for lately.
func (p *pictures) wants(now int64) bool {
	if !p.started || !p.waits || p.asked != 0 && now-p.asked < int64(pictureWait) {
		return false
	}
	p.asked = now
	return true
}

// until gives the pictures before a position, in the order in which they were sent.
func (p *pictures) until(to int64) []picture {
	n := 0
	for n < len(p.done) && p.done[n].pos < to {
		p.size -= len(p.done[n].data)
		n++
	}
	out := p.done[:n:n]
	p.done = p.done[n:]
	return out
}
