package rtpengine

import (
	"encoding/binary"
	"slices"

	audio "tandem/rtpengine/codec"
)

// voice decodes one channel of a recording. G.722 and Opus are decoded in the order in which they were encoded, so packets wait until the
// recording has waited long enough for those before them.
type voice struct {
	codecs *audio.Library
	rate   int
	queue  []spoken // by position
	spare  [][]byte // rooms of bodies
	last   int64    // where the last packet began that was decoded
	end    int64    // and where it ended
	failed uint64   // packets that were none of their codec

	decoders [audio.Opus + 1]audio.Decoder
	rates    [audio.Opus + 1]*audio.Resampler
	pcm, out []int16
}

// spoken is a packet at its position.
type spoken struct {
	medium medium
	pos    int64
	body   []byte
}

// mostSpoken bounds the packets that wait: one and a half second of the shortest that phones send.
const mostSpoken = 300

func newVoice(codecs *audio.Library, rate int) *voice {
	return &voice{codecs: codecs, rate: rate, last: -1, pcm: make([]int16, audio.MaxSamples), out: make([]int16, 0, 2*audio.MaxSamples)}
}

// clock is that of a medium's timestamps. Opus counts in 48 kHz whatever it carries (RFC 7587 §4.1), everything else in 8 kHz.
func (m medium) clock() int64 {
	if m == medium(audio.Opus) {
		return int64(audio.Opus.Clock())
	}
	return sampleRate
}

// put takes a packet; false when it is too late, or there twice.
func (v *voice) put(m medium, pos int64, body []byte) bool {
	if pos <= v.last || len(v.queue) >= mostSpoken {
		return false
	}
	at, there := slices.BinarySearchFunc(v.queue, pos, func(s spoken, pos int64) int { return int(s.pos - pos) })
	if there {
		return true
	}
	var room []byte
	if n := len(v.spare); n > 0 {
		room, v.spare = v.spare[n-1], v.spare[:n-1]
	}
	v.queue = slices.Insert(v.queue, at, spoken{m, pos, append(room[:0], body...)})
	return true
}

// speak decodes everything that begins before a position into the mix.
func (v *voice) speak(m *mix, channel uint8, to int64) {
	n := 0
	for ; n < len(v.queue) && v.queue[n].pos < to; n++ {
		s := &v.queue[n]
		v.recover(m, channel, s)
		pcm := v.decode(s)
		m.put(channel, s.pos, pcm)
		v.last, v.end = s.pos, s.pos+int64(len(pcm))/m.scale
		v.spare = append(v.spare, s.body)
	}
	v.queue = slices.Delete(v.queue, 0, n)
}

// recover puts what was lost directly before an Opus packet into the mix when the packet repeats it (RFC 6716 §2.1.7).
func (v *voice) recover(m *mix, channel uint8, s *spoken) {
	gap := s.pos - v.end
	if s.medium != medium(audio.Opus) || v.decoders[audio.Opus] == nil || gap <= 0 || gap > sampleRate*120/1000 {
		return
	}
	d := v.decoders[audio.Opus]
	n := min(int64(d.Samples(s.body)), gap*m.scale)
	if n > 0 && d.Recover(v.pcm[:n], s.body) {
		m.put(channel, s.pos-n/m.scale, v.pcm[:n])
	}
}

// decode gives the samples of a packet at the recording's rate, until the next call.
func (v *voice) decode(s *spoken) []int16 {
	n := 0
	kind := audio.PCMU // whose rate room samples of 8 kHz share
	switch s.medium {
	case samples8, samples16:
		if s.medium == samples16 {
			kind = audio.G722
		}
		for ; 2*n+1 < len(s.body) && n < len(v.pcm); n++ {
			v.pcm[n] = int16(binary.LittleEndian.Uint16(s.body[2*n:]))
		}
	default:
		kind = audio.Kind(s.medium)
		if d := v.decoder(kind); d != nil {
			var err error
			if n, err = d.Decode(v.pcm, s.body); err != nil {
				n = 0
			}
		}
		if n == 0 {
			v.failed++
			return nil
		}
	}
	if kind == audio.Opus || kind.Rate() == v.rate {
		return v.pcm[:n]
	}
	if v.rates[kind] == nil {
		v.rates[kind] = audio.NewResampler(kind.Rate(), v.rate)
	}
	v.out = v.rates[kind].Run(v.out[:0], v.pcm[:n])
	return v.out
}

// decoder makes the decoder of a codec when it is first needed; nil when it cannot be had.
func (v *voice) decoder(kind audio.Kind) audio.Decoder {
	if v.decoders[kind] == nil {
		rate := kind.Rate()
		if kind == audio.Opus {
			rate = v.rate
		}
		if d, err := v.codecs.NewDecoder(kind, rate); err == nil {
			v.decoders[kind] = d
		}
	}
	return v.decoders[kind]
}
