package rtpengine

import (
	"encoding/binary"
	"math/rand/v2"
	"sync/atomic"

	audio "tandem/rtpengine/codec"
)

// transcoder makes of what one side of an m-line says a stream that the other side understands: in order, decoded, at the other's
// sampling rate, encoded in packets of the other's length, under a source of our own. Key presses (RFC 4733) and comfort noise (RFC 3389)
// keep their place in it. It has two owners: the shard hands packets over and sends what comes back, its coder does everything between.
type transcoder struct {
	path  *pathway
	from  *leg
	kinds [128]audio.Kind // by the sender's payload types; None passes as it is
	clock [128]uint32     // of the sender's payload types
	whole bool            // nothing that the sender may say passes as it is
	toned bool            // the sender's keys come as tones
	to    hearing

	voice *app // the shard's: source, numbers and reports of the stream

	lost atomic.Uint32 // by the listener's last report, 1/256; the shard writes it

	// The coder's:
	order    sequencer
	decoders [audio.Opus + 1]audio.Decoder
	rates    [audio.Opus + 1]*audio.Resampler
	encoder  audio.Encoder
	repeats  audio.Redundant // the encoder, when it can repeat things and the listener understands that
	noise    audio.NoiseSource
	began    bool
	marker   bool   // the next packet begins a talk spurt
	expected uint32 // the sender's timestamp behind what was heard
	stamp    uint32 // of the next packet
	pending  []int16
	sings    *singer     // makes tones of events, for who takes none
	hears    *tonesHeard // makes events of tones, for who has asked for that
	event    struct {
		on       bool
		in, made uint32 // timestamps: the sender's, and ours for it
		ended    bool   // its tone has ended
	}
	pcm  [audio.MaxSamples]int16
	body [laneBody]byte
}

// hearing is what one side listens to.
type hearing struct {
	kind    audio.Kind
	payload uint8
	clock   uint32
	rate    int // of the samples that are encoded
	frame   int // samples a packet
	// What else it understands; untold: not.
	event, noise uint8
	eventClock   uint32
	fec          bool // packets that repeat the one before (RFC 7587 §6.1)
}

// noPayload is no payload type.
const noPayload = 0xff

// speaking is what one side may send: the meaning of each payload type, and its clock.
type speaking struct {
	whole bool // and that is all of it
	toned bool // and keys are to be found in it
	kinds [128]audio.Kind
	clock [128]uint32
}

// wide reports whether there is more than the telephone's band in what is sent.
func (s *speaking) wide() bool {
	for _, k := range s.kinds {
		if k == audio.G722 || k == audio.Opus {
			return true
		}
	}
	return false
}

// newTranscoder makes all that a direction needs, so that its coder need not allocate.
func (e *Engine) newTranscoder(sh *shard, from *leg, says *speaking, to hearing) (*transcoder, error) {
	t := &transcoder{from: from, kinds: says.kinds, clock: says.clock, whole: says.whole, to: to, voice: newApp(), stamp: rand.Uint32()}
	var err error
	if t.encoder, err = e.codecs.NewEncoder(to.kind, t.to.rate); err != nil {
		return nil, err
	}
	if to.fec {
		t.repeats, _ = t.encoder.(audio.Redundant)
	}
	for _, k := range says.kinds {
		if !k.Speech() || t.decoders[k] != nil {
			continue
		}
		rate := k.Rate()
		if k == audio.Opus {
			rate = t.to.rate
		}
		if t.decoders[k], err = e.codecs.NewDecoder(k, rate); err != nil {
			return nil, err
		}
		t.rates[k] = audio.NewResampler(rate, t.to.rate)
	}
	if to.event == noPayload {
		t.sings = &singer{rates: audio.NewResampler(sampleRate, t.to.rate)}
	} else if says.toned {
		t.hears = &tonesHeard{rates: audio.NewResampler(t.to.rate, sampleRate), pcm: make([]int16, 0, audio.MaxSamples)}
	}
	t.toned = says.toned
	t.pending = make([]int16, 0, t.to.frame+audio.MaxSamples)
	t.path = e.coders.assign(sh)
	return t, nil
}

// end gives its place with the coder back. Signalling's, once.
func (t *transcoder) end() { t.path.coder.streams.Add(-1) }

// takes reports whether a packet is for it; others go on as they are.
func (t *transcoder) takes(h *rtpHeader) bool { return t.kinds[h.payload] != audio.None }

// handOver gives a packet of l to its transcoder's coder. Shard only.
func (r *relay) handOver(l *leg, h *rtpHeader, b []byte) {
	t := l.via
	p := voicePacket{payload: h.payload, marker: h.marker, seq: h.seq, stamp: h.stamp, ssrc: h.ssrc, at: r.now, body: h.samples(b)}
	if !t.path.in.put(t, &p) {
		t.path.coder.refused.Add(1)
		return
	}
	t.path.coder.poke()
	if l.out != nil && l.out.via != nil {
		l.out.via.report(r)
	}
}

// collect sends what the coders have made. Shard only.
func (r *relay) collect() {
	for _, p := range r.paths {
		for e := p.back.next(r.letter[12 : 12+laneBody]); e != nil; e = p.back.next(r.letter[12 : 12+laneBody]) {
			e.via.send(r, e)
			p.back.done(e)
		}
	}
}

// send puts the header before a packet that lies in r.letter.
func (t *transcoder) send(r *relay, e *laneEntry) {
	l, a := t.from, t.voice
	if l.via != t || !l.ready || l.out == nil {
		return // of an agreement that is over
	}
	if !l.open {
		r.drop(l, DropHold)
		return
	}
	b := r.letter[:12+e.size]
	a.seq++
	a.stamp = e.stamp
	b[0], b[1] = 2<<6, e.payload
	if e.marker {
		b[1] |= 0x80
	}
	binary.BigEndian.PutUint16(b[2:], a.seq)
	binary.BigEndian.PutUint32(b[4:], a.stamp)
	binary.BigEndian.PutUint32(b[8:], a.ssrc)
	if out := l.out.send(rtp, b); out != sent {
		r.drop(l, out.drop())
		return
	}
	r.passed(l)
	a.count(a.stamp, e.size, r.now)
	t.report(r)
}

// report tells the listener of the stream, and of what was heard of the listener, when it is time to. It is asked whenever a packet
// comes from either side: a listener that talks must be told how it is heard even while nobody talks to it.
func (t *transcoder) report(r *relay) {
	a, listener := t.voice, t.from.out
	if a.isDue(r.now) {
		listener.send(rtcp, a.reporter.compose(a.words[:0], r.epoch+r.now, r.now, t.to.clock, &listener.quality, &listener.trip))
	}
}

// ends reports whether the RTCP of a leg's side ends here, since it speaks of sources and clocks that the other side does not know.
func (l *leg) ends() bool { return l.via != nil && l.via.whole }

// take is the coder's: a packet in the order it came.
func (t *transcoder) take(p *voicePacket) {
	if late := t.order.take(p, t.play); late > 0 {
		t.path.coder.late.Add(uint64(late))
	}
}

// play takes a packet in its turn; missing is how many did not come before it.
func (t *transcoder) play(p *voicePacket, missing int) {
	switch kind := t.kinds[p.payload]; kind {
	case audio.None:
	case redundantSpeech:
		t.unpack(p, missing)
	case audio.Event:
		t.press(p)
	case audio.Noise:
		t.hush(p)
	default:
		t.speak(p, kind, missing)
	}
}

// speak takes sound.
func (t *transcoder) speak(p *voicePacket, kind audio.Kind, missing int) {
	d, to, clock := t.decoders[kind], t.rates[kind], t.clock[p.payload]
	if n := d.Samples(p.body); n == 0 {
		t.path.coder.failed.Add(1)
		return
	} else if t.sings != nil && t.event.on && int32(p.stamp-t.expected) < 0 && int32(p.stamp-t.event.in) >= 0 {
		return // sound that came beside a key: its tone stands there
	} else if missing > 0 && t.makeUp(p, d, to, n) {
		t.path.coder.concealed.Add(uint64(missing))
	}
	t.moveTo(p.stamp, clock)
	n, err := d.Decode(t.pcm[:], p.body)
	if err != nil {
		t.path.coder.failed.Add(1)
		return
	}
	t.expected = p.stamp + uint32(n)*clock/uint32(d.Rate())
	if kind == audio.Opus && len(p.body) < 3 && t.to.noise != noPayload { // the speaker is silent and says so by Opus's own means
		size := audio.DescribeNoise(t.body[:1], t.pcm[:n])
		t.emit(t.to.noise, false, t.stamp, t.body[:size])
		t.stamp += uint32(n) * t.to.clock / uint32(d.Rate())
		t.marker = true
		return
	}
	t.feed(t.pcm[:n], to)
}

// makeUp fills the time of lost packets, when it is not so long that it was a pause. n is the samples of the packet behind them.
func (t *transcoder) makeUp(p *voicePacket, d audio.Decoder, to *audio.Resampler, n int) bool {
	clock := t.clock[p.payload]
	gap := p.stamp - t.expected
	if !t.began || gap == 0 || gap > clock*120/1000 {
		return false
	}
	lost := min(int(gap)*d.Rate()/int(clock), len(t.pcm))
	if lost > n {
		d.Conceal(t.pcm[:lost-n])
		t.feed(t.pcm[:lost-n], to)
		lost = n
	}
	if !d.Recover(t.pcm[:lost], p.body) {
		d.Conceal(t.pcm[:lost])
	}
	t.feed(t.pcm[:lost], to)
	t.expected = p.stamp
	return true
}

// moveTo lets the time pass in which nothing was said, by the sender's timestamps.
func (t *transcoder) moveTo(stamp, clock uint32) {
	gap := stamp - t.expected
	switch {
	case !t.began:
		t.began, t.marker = true, true
	case gap == 0:
		return
	case gap > clock*600: // backwards, or ten minutes: a new beginning
		t.pad()
		t.marker = true
	default:
		pause := uint32(uint64(gap) * uint64(t.to.clock) / uint64(clock))
		t.stamp += pause - min(pause, t.pad())
		t.marker = true
	}
	t.expected = stamp
}

// pad sends what is less than a packet, with silence behind it, and tells how long that silence is.
func (t *transcoder) pad() (ticks uint32) {
	if len(t.pending) == 0 {
		return 0
	}
	had := len(t.pending)
	t.pending = t.pending[:t.to.frame]
	clear(t.pending[had:])
	t.flush()
	return uint32(t.to.frame-had) * t.to.clock / uint32(t.to.rate)
}

// feed takes samples and sends the packets that are full.
func (t *transcoder) feed(pcm []int16, to *audio.Resampler) {
	had := len(t.pending)
	t.pending = to.Run(t.pending, pcm)
	if t.hears != nil {
		t.overhear(t.pending[had:])
	}
	t.flush()
}

func (t *transcoder) flush() {
	if t.repeats != nil {
		t.repeats.Expect(int(t.lost.Load()*100+255) / 256) // any loss is one worth an effort
	}
	used := 0
	for ; len(t.pending)-used >= t.to.frame; used += t.to.frame {
		n, err := t.encoder.Encode(t.body[:], t.pending[used:used+t.to.frame])
		if err != nil {
			t.path.coder.failed.Add(1)
		} else {
			t.emit(t.to.payload, t.marker, t.stamp, t.body[:n])
			t.marker = false
		}
		t.stamp += uint32(t.to.frame) * t.to.clock / uint32(t.to.rate)
	}
	t.pending = t.pending[:copy(t.pending, t.pending[used:])]
}

// hush takes comfort noise: described, when the other side takes that, else made.
func (t *transcoder) hush(p *voicePacket) {
	clock := t.clock[p.payload]
	t.moveTo(p.stamp, clock)
	if t.to.noise != noPayload {
		t.emit(t.to.noise, false, t.stamp, p.body[:min(len(p.body), 16)])
		t.marker = true
		return
	}
	if !t.noise.Describe(p.body) {
		t.path.coder.failed.Add(1)
		return
	}
	n := t.to.rate / 50
	t.noise.Fill(t.pcm[:n])
	t.feed(t.pcm[:n], nil)
	t.expected += clock / 50
}

// press takes a telephone event: all packets of one have its beginning as timestamp, and say how long it is by then (RFC 4733 §2.3):
//
//	|  event 8  |E|R| volume 6|  duration 16  |
func (t *transcoder) press(p *voicePacket) {
	if len(p.body) < 4 {
		t.path.coder.failed.Add(1)
		return
	}
	clock := t.clock[p.payload]
	if e := &t.event; !e.on || p.stamp != e.in {
		if !t.began {
			t.moveTo(p.stamp, clock)
		}
		if t.sings != nil { // RFC 4733 §2.5.1.3: a long event goes on where its last segment ended
			if later := p.stamp - e.in; e.on && !e.ended && later == 0xffff {
				t.sings.made -= min(t.sings.made, int(uint64(later)*sampleRate/uint64(clock)))
			} else {
				t.moveTo(p.stamp, clock)
				t.sings.made = 0
			}
		}
		*e = struct {
			on       bool
			in, made uint32
			ended    bool
		}{true, p.stamp, t.stamp, false}
		if gap := p.stamp - t.expected; gap < clock*600 {
			e.made += uint32(uint64(gap) * uint64(t.to.clock) / uint64(clock))
		}
	}
	if t.sings != nil {
		if ev, _ := parseTelephoneEvent(p.body); !t.event.ended {
			t.event.ended = ev.end
			t.sing(ev.code, uint32(ev.duration), clock, ev.end)
		}
		return
	}
	body := t.body[:copy(t.body[:4], p.body)]
	duration := uint64(binary.BigEndian.Uint16(body[2:])) * uint64(t.to.eventClock) / uint64(clock)
	binary.BigEndian.PutUint16(body[2:], uint16(min(duration, 0xffff)))
	t.emit(t.to.event, p.marker, t.event.made, body)
}

// emit gives a packet back to the shard.
func (t *transcoder) emit(payload uint8, marker bool, stamp uint32, body []byte) {
	c := t.path.coder
	if !t.path.back.put(t, &voicePacket{payload: payload, marker: marker, stamp: stamp, body: body}) {
		c.refused.Add(1)
		return
	}
	c.frames.Add(1)
}
