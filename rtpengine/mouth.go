package rtpengine

import audio "tandem/rtpengine/codec"

// mouth encodes what is heard in a room: for one member, or for all who only listen and share a codec.
type mouth struct {
	encoder audio.Encoder
	rates   *audio.Resampler // from the room's rate to the encoder's
	narrow  []int16
	made    bool // size octets of body are this packet time's
	size    int
	body    [mostFrame]byte
}

// newMouth; nil where the codec cannot be encoded, which nobody was promised.
func newMouth(lib *audio.Library, kind audio.Kind, rate int) *mouth {
	at := kind.Rate()
	if kind == audio.Opus {
		at = rate
	}
	enc, err := lib.NewEncoder(kind, at)
	if err != nil {
		return nil
	}
	return &mouth{encoder: enc, rates: audio.NewResampler(rate, at), narrow: make([]int16, 0, 2*frameSamples)}
}

// say encodes a packet time.
func (m *mouth) say(pcm []int16) []byte {
	m.made = true
	if m.rates != nil {
		m.narrow = m.rates.Run(m.narrow[:0], pcm)
		pcm = m.narrow
	}
	var err error
	if m.size, err = m.encoder.Encode(m.body[:], pcm); err != nil {
		m.size = 0
	}
	return m.body[:m.size]
}
