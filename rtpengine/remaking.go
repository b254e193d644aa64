package rtpengine

import (
	"slices"

	audio "tandem/rtpengine/codec"
)

// remaking is why the packets of a codec that both sides share are made anew: one side is to get packets of another length than the other
// makes, or takes keys in another way (RFC 4733, or as tones) than the other presses them. Such a call takes the way of a transcoded one, from
// its codec to the same.
type remaking struct {
	toward, back int  // ms of the packets towards the answerer, and to the offerer; 0: as its description asks, if asked
	asked        bool // packets are to be as long as the descriptions ask
	keys         bool // keys are converted
}

// wished is what an offer asks for, with what the configuration says where nothing is decided call by call.
func (o *OfferOptions) wished(c *TranscodeConfig) remaking {
	r := remaking{toward: o.PacketTime, back: o.PacketTimeBack, keys: o.Keys}
	if o.Lend == nil {
		r.asked, r.keys = c.PacketTimes, r.keys || c.Keys
	}
	if c.Off {
		return remaking{}
	}
	return r
}

// lendEvents offers telephone-event for who has not, where keys are converted.
func (s *Session) lendEvents(w remaking, l *line, to Side, heard *said, view *facingSection) {
	first := slices.IndexFunc(heard.codecs, func(c codec) bool { return s.engine.codecs.Encodes(c.kind()) && s.engine.codecs.Decodes(c.kind()) })
	if _, has := eventOf(heard.codecs, 0); has || !w.keys || heard.kind != "audio" || first < 0 {
		return
	}
	var used [128]bool
	told := asTheyAre(heard.codecs)
	if view.formats != nil {
		told = view.formats.formats
	}
	for _, t := range told {
		used[t.to] = true
	}
	for _, c := range view.last {
		used[c.payload] = true
	}
	c := codec{name: audio.Event.String(), clock: heard.codecs[first].clock, channels: 1, payload: 101, fmtp: "0-15"}
	if c.payload = l.numbers[to].lend(c, &used); c.payload != untold {
		view.last = append(view.last, c)
	}
}

// remake decides whether the packets of an answered m-line are made anew though its sides share a codec; mu is held. When no more calls can be
// transcoded they pass as they come.
func (s *Session) remake(x *exchange, i int, answer *said, told []told, view *facingSection) (c coding) {
	w, offer := x.remaking, &x.said[x.from].lines[i]
	if w == (remaking{}) || answer.kind != "audio" {
		return coding{}
	}
	ev, offers := eventOf(offer.codecs, 0)
	_, takes := eventOf(answer.codecs, 0)
	keys := w.keys && offers != takes
	toward, back := packetTimeOf(w.toward, answer.ptime), packetTimeOf(w.back, offer.ptime)
	lengths := w.toward != 0 || w.back != 0 || w.asked && toward != back
	if !keys && !lengths {
		return coding{}
	}
	for _, a := range answer.codecs {
		pt := toOf(told, a.payload)
		if k := a.kind(); pt == untold || !s.engine.codecs.Encodes(k) || !s.engine.codecs.Decodes(k) {
			continue
		}
		if c.lent = append(c.lent, a); len(c.lent) == 1 {
			c.own, c.both = ofNumber(offer.codecs, pt), true
		}
	}
	if len(c.lent) == 0 || !c.own.kind().Speech() || !s.coded && !s.engine.coders.begin() {
		return coding{}
	}
	s.coded = true
	answer.ptime, offer.ptime = toward, back
	if keys && offers {
		if e, ok := eventOf(offer.codecs, c.own.clock); ok {
			ev = e
		}
		view.last = []codec{ev}
	}
	return c
}

// packetTimeOf is a wished length of packets, when it is one that can be made, else the one that is asked for.
func packetTimeOf(wish, asked int) int {
	if wish >= 10 && wish <= 60 && wish%10 == 0 && wish != 50 {
		return wish
	}
	return asked
}

// alike are the codecs of a list that one of another list is, too.
func alike(list, others []codec) (out []codec) {
	for _, c := range list {
		if c.kind().Speech() && slices.ContainsFunc(others, func(o codec) bool { return o.kind() == c.kind() }) {
			out = append(out, c)
		}
	}
	return out
}

// singer makes tones of the key that is pressed on one side for another that takes no events.
type singer struct {
	rates *audio.Resampler
	made  int // samples of the key in hand so far, at 8 kHz
}

// leastTone is what a key sounds at least: shorter ones need not be heard (ITU-T Q.24).
const leastTone = 50 * sampleRate / 1000

// sing makes the sound of the event that t.event is about, up to a duration in units of the sender's clock. A key that ends is as long as
// leastTone at least.
func (t *transcoder) sing(code uint8, units, clock uint32, end bool) {
	if int(code) >= len(dtmfKeys)-1 { // a hook flash has no sound
		return
	}
	length, whole := int(uint64(units)*sampleRate/uint64(clock)), 1<<30
	if end {
		length = max(length, leastTone)
		whole = length
	}
	var piece [frameSamples]int16
	for length = min(length, t.sings.made+maxPiece); t.sings.made < length; {
		n := min(length-t.sings.made, len(piece))
		dtmfTone(piece[:n], dtmfKeys[code], t.sings.made, whole)
		t.sings.made += n
		t.feed(piece[:n], t.sings.rates)
	}
	t.expected = t.event.in + uint32(uint64(t.sings.made)*uint64(clock)/sampleRate)
}

// maxPiece bounds what one event packet makes up for at once: a second.
const maxPiece = sampleRate

// listener hears the tones of a side that takes no events for another that takes nothing else.
type tonesHeard struct {
	ear   toneEar
	rates *audio.Resampler // to 8 kHz
	pcm   []int16
}

// overhear looks for keys in sound that is on its way. One that was let go is told as an event, at once: the tone was heard, too.
func (t *transcoder) overhear(pcm []int16) {
	h := t.hears
	h.pcm = h.rates.Run(h.pcm[:0], pcm)
	for rest := h.pcm; len(rest) > 0; {
		n := min(len(rest), 2*frameSamples)
		if key, length := h.ear.hear(rest[:n]); key != 0 {
			t.tell(key, length)
		}
		rest = rest[n:]
	}
}

// tell sends a whole event: its beginning, and three times its end (RFC 4733 §2.5.1.4).
func (t *transcoder) tell(key byte, length int) {
	units := uint32(uint64(length) * uint64(t.to.eventClock) / sampleRate)
	e := telephoneEvent{code: uint8(slices.Index([]byte(dtmfKeys), key)), duration: uint16(min(units, 0xffff))}
	stamp := t.stamp - uint32(uint64(length)*uint64(t.to.clock)/sampleRate)
	for n := range 4 {
		e.end = n > 0
		e.put(t.body[:4])
		t.emit(t.to.event, n == 0, stamp, t.body[:4])
	}
	t.marker = true
}
