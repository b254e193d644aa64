package rtpengine

import (
	"fmt"

	audio "tandem/rtpengine/codec"
)

// loop is a sound as it is sent in one codec: packets of 20 ms, over and over. Immutable.
type loop struct {
	codec audio.Kind
	body  []byte
	ends  []uint32 // of the packets in body; nil: all have frameSamples octets, as those of G.711 and G.722
}

func (l *loop) packets() int {
	if l.ends == nil {
		return len(l.body) / frameSamples
	}
	return len(l.ends)
}

func (l *loop) packet(n int) []byte {
	if l.ends == nil {
		return l.body[n*frameSamples : (n+1)*frameSamples]
	}
	from := uint32(0)
	if n > 0 {
		from = l.ends[n-1]
	}
	return l.body[from:l.ends[n]]
}

// step is by how much the timestamp of a packet is beyond that of the one before.
func (l *loop) step() uint32 { return uint32(l.codec.Clock() / 50) }

func (l *loop) bytes() int64 { return int64(len(l.body) + 4*len(l.ends)) }

// wideRate is the rate at which sounds are encoded for phones that speak G.722 or Opus.
const wideRate = 2 * sampleRate

// newLoop encodes samples of wideRate, which are whole packets.
func newLoop(lib *audio.Library, kind audio.Kind, samples []int16) (*loop, error) {
	enc, err := lib.NewEncoder(kind, wideRate)
	if err != nil {
		return nil, err
	}
	const frame = wideRate / 50
	l := &loop{codec: kind}
	var room [mostFrame]byte
	count := len(samples) / frame
	// The encoder has memory: it hears the loop's end before its beginning, so that there is no click at the seam.
	for n := count - min(count, 10); n < count; n++ {
		if _, err := enc.Encode(room[:], samples[n*frame:(n+1)*frame]); err != nil {
			return nil, err
		}
	}
	for n := range count {
		size, err := enc.Encode(room[:], samples[n*frame:(n+1)*frame])
		if err != nil {
			return nil, err
		}
		l.body = append(l.body, room[:size]...)
		if kind == audio.Opus {
			l.ends = append(l.ends, uint32(len(l.body)))
		}
	}
	return l, nil
}

// loop gives a sound in a codec. What is not G.711 is encoded when somebody needs it first, which takes some milliseconds a second of sound,
// and then kept with the sound. Whoever asks has taken the sound. Errors: ErrSoundMemory, codec.ErrMissing.
func (s *sounds) loop(k *keptSound, kind audio.Kind) (*loop, error) {
	if !kind.Speech() {
		return nil, fmt.Errorf("%w: %s", audio.ErrMissing, kind)
	}
	if l := k.loops[kind].Load(); l != nil {
		return l, nil
	}
	k.making.Lock()
	defer k.making.Unlock()
	if l := k.loops[kind].Load(); l != nil {
		return l, nil
	}
	l, err := newLoop(s.codecs, kind, s.wide(k))
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.bytes+l.bytes() > s.limit {
		if !s.evict() {
			s.failures++
			return nil, ErrSoundMemory
		}
	}
	s.bytes += l.bytes()
	k.loops[kind].Store(l)
	return l, nil
}

// wide gives the samples of a sound at wideRate: of its file once more, if that is as it was and has them, else those that G.711 has.
func (s *sounds) wide(k *keptSound) []int16 {
	const frame = wideRate / 50
	size := k.packets() * frame
	if from, err := s.find(k.name); err == nil && !from.builtin() && from.stamp == k.stamp {
		if in, done, err := s.openAt(k.name, &from); err == nil {
			defer done()
			if in.hertz() >= wideRate {
				samples, _ := read(in, wideRate, size)
				return append(samples, make([]int16, size-len(samples))...)
			}
		}
	}
	narrow := make([]int16, len(k.pcma))
	for i, code := range k.pcma {
		narrow[i] = audio.DecodeAlaw(code)
	}
	rates := audio.NewResampler(sampleRate, wideRate)
	out := make([]int16, 0, size)
	for len(narrow) > 0 {
		n := min(len(narrow), frameSamples)
		out = rates.Run(out, narrow[:n])
		narrow = narrow[n:]
	}
	return out
}

// tongue is the codec in which something of ours speaks, and the payload type that its listener has given it. The zero value is none.
type tongue struct {
	kind    audio.Kind
	payload uint8
}

// tongueOf chooses from what somebody understands: G.711 where there is any, since it costs nothing, else the first that can be encoded and
// decoded here.
func (e *Engine) tongueOf(list []codec) (best tongue) {
	for _, c := range list {
		k := c.kind()
		switch {
		case isG711(k):
			return tongue{k, c.payload}
		case best.kind == audio.None && e.codecs.Encodes(k) && e.codecs.Decodes(k):
			best = tongue{k, c.payload}
		}
	}
	return best
}
