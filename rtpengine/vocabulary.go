package rtpengine

import (
	"strconv"

	audio "tandem/rtpengine/codec"
)

// medium is what packets are to a recorder: a codec of the codec package, or one of the values below; 0 is nothing that it knows.
type medium uint8

const (
	samples8  = medium(audio.Event) + 1 + iota // of a room, at 8 kHz, 16 bits little endian
	samples16                                  // at 16 kHz
	mediumVP8
	mediumVP9
	mediumH264
	redundantSound                // several packets of it in one (RFC 2198)
	reported                      // what a sender report says
	repair         = medium(0x80) // with one of the others: a repetition of it (RFC 4588)
)

func mediumOf(k audio.Kind) medium {
	if k.Speech() {
		return medium(k)
	}
	return 0
}

// speech reports whether packets hold sound of a codec.
func (m medium) speech() bool { return m != 0 && audio.Kind(m).Speech() }

// medium is what a codec is to a recorder; list has what its parameters refer to.
func (c codec) medium(list []codec) medium {
	switch {
	case c.clock == videoClock && c.named("VP8"):
		return mediumVP8
	case c.clock == videoClock && c.named("VP9"):
		return mediumVP9
	case c.clock == videoClock && c.named("H264"):
		return mediumH264
	case c.named("red") && c.primary(list).kind().Speech():
		return redundantSound
	case c.named("rtx"):
		for _, other := range list {
			if m := other.medium(nil); m >= mediumVP8 && strconv.Itoa(int(other.payload)) == c.parameter("apt") {
				return m | repair
			}
		}
		return 0
	}
	return mediumOf(c.kind())
}

// videoClock is that of all video (RFC 7741, RFC 9628, RFC 6184).
const videoClock = 90000

// vocabulary says what the payload types of a side are to a recorder. Immutable.
type vocabulary [128]medium

// vocabularyOf reads what lists of codecs say; the first that is said of a number counts.
func vocabularyOf(lists ...[]codec) *vocabulary {
	v := new(vocabulary)
	for _, list := range lists {
		for _, c := range list {
			v.add(c.payload, c.medium(list))
		}
	}
	return v
}

func (v *vocabulary) add(payload uint8, m medium) {
	if v[payload] == 0 {
		v[payload] = m
	}
}

// vocabularies are those of both sides of an m-line. Like passages, they allow a phone to send the numbers of either side.
func (x *exchange) vocabularies(i int, lines *[2]said) (words [2]*vocabulary) {
	offer, answer := lines[x.from].codecs, lines[x.from.Other()].codecs
	shown, back := x.tellings(i)
	out, in := new(vocabulary), new(vocabulary)
	for _, c := range answer {
		in.add(c.payload, c.medium(answer))
		if pt := toOf(back, c.payload); pt != untold {
			out.add(pt, c.medium(answer))
		}
	}
	for _, c := range offer {
		out.add(c.payload, c.medium(offer))
		if pt := toOf(shown, c.payload); pt != untold {
			in.add(pt, c.medium(offer))
		}
	}
	words[x.from], words[x.from.Other()] = out, in
	return words
}

// tellings are how the formats of an m-line's offer and answer were told to the other side, written out.
func (x *exchange) tellings(i int) (shown, back []told) {
	if i < len(x.shown) {
		shown = x.shown[i]
	}
	if shown == nil {
		shown = asTheyAre(x.said[x.from].lines[i].codecs)
	}
	if i < len(x.back) {
		back = x.back[i]
	}
	if back == nil {
		back = asTheyAre(x.said[x.from.Other()].lines[i].codecs)
	}
	return shown, back
}

// spoken says what the sides of an m-line may say, and at which rate it is to be recorded; mu is held.
func (s *Session) spoken(i int) (words [2]*vocabulary, rate int) {
	x := s.inForce()
	if x == nil || x.said[A] == nil || x.said[B] == nil || i >= len(x.said[A].lines) || i >= len(x.said[B].lines) {
		return words, sampleRate
	}
	lines := [2]said{A: x.said[A].lines[i], B: x.said[B].lines[i]}
	rate = recordedRate(lines[x.from.Other()].codecs)
	if i < len(x.coded) && x.coded[i].both {
		rate = max(rate, recordedRate([]codec{x.coded[i].own}))
	}
	return x.vocabularies(i, &lines), rate
}

// spoken says the same of the phone and of what it is told; mu is held.
func (p *Endpoint) spoken(i int) (words [4]*vocabulary, rate int) {
	if i >= len(p.codecs) {
		return words, sampleRate
	}
	v := vocabularyOf(p.codecs[i])
	return [4]*vocabulary{v, v}, recordedRate(p.codecs[i])
}

// recordedRate is that of the first codec of an answer, which phones usually speak: as wide as telephones are, or as narrow.
func recordedRate(list []codec) int {
	for _, c := range list {
		if k := c.kind(); k.Speech() {
			return min(k.Rate(), 2*sampleRate)
		}
	}
	return sampleRate
}

// relearn tells a recording that goes on what a new agreement calls things; mu is held.
func (s *Session) relearn() {
	if !s.recording.over() {
		sound, _ := s.spoken(s.recording.line)
		words := [4]*vocabulary{sound[A], sound[B]}
		if s.recording.scenes != [2]medium{} {
			sight, _ := s.spoken(s.recording.video)
			words[2], words[3] = sight[A], sight[B]
		}
		s.recording.learn(words)
	}
}

func (p *Endpoint) relearn() {
	if !p.recording.over() {
		words, _ := p.spoken(p.recording.line)
		p.recording.learn(words)
	}
}
